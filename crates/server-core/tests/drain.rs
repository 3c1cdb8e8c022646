//! Draining: who is accepted at that moment is served.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::future::{Future, poll_fn};
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use mail_config::Config;
use server_core::{BoundListener, Drain, Limits, Refusals, ServerContext, serve};
use tokio::io::AsyncWriteExt as _;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a handler holds. It is cloned for each listener, and for each client once it is accepted and before it has a session: then the acceptor is
/// stopped here until it may go on.
#[derive(Debug)]
struct Stop {
    is_accepting: bool,
    accepted: Sender<()>,
    goes_on: Arc<Mutex<Receiver<()>>>,
}

impl Clone for Stop {
    fn clone(&self) -> Self {
        if self.is_accepting {
            self.accepted.send(()).unwrap();
            self.goes_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        Self { is_accepting: true, accepted: self.accepted.clone(), goes_on: Arc::clone(&self.goes_on) }
    }
}

fn context(drain: &Drain) -> ServerContext {
    let config = Config::new("mail.example.org".parse().unwrap(), "/nonexistent".into());
    ServerContext {
        tls: None,
        limits: Limits::new(&config.limits),
        drain: drain.clone(),
        metrics: Default::default(),
        config: Arc::new(config),
    }
}

/// Whether it is done at one look.
async fn is_done(future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_accepted_while_a_drain_begins_is_served_to_the_end() {
    let drain = Drain::new();
    let context = context(&drain);
    let listener = Arc::new(context.config.smtp.listeners.first().unwrap().clone());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let (accepted, is_accepted) = channel();
    let (go_on, goes_on) = channel();
    let stop = Stop { is_accepting: false, accepted, goes_on: Arc::new(Mutex::new(goes_on)) };
    let is_served = Arc::new(AtomicBool::new(false));
    let handle = {
        let is_served = Arc::clone(&is_served);
        move |mut connection: server_core::Connection| {
            let (is_served, _stop) = (Arc::clone(&is_served), &stop);
            async move {
                connection.stream.write_all(b"220 served\r\n").await.unwrap();
                is_served.store(true, Ordering::SeqCst);
            }
        }
    };
    let [too_many, too_many_there, banned] =
        [&b"421 too many\r\n"[..], b"421 of you\r\n", b"421 banned\r\n"].map(Into::into);
    let refusals = Refusals { too_many, too_many_there, banned };
    let mut serving = pin!(serve(vec![BoundListener { socket, listener }], context, refusals, handle));
    assert!(!is_done(serving.as_mut()).await);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // It is accepted, has no session yet, and now the drain begins.
    is_accepted.recv_timeout(PATIENCE).unwrap();
    drain.begin();
    assert!(!is_done(serving.as_mut()).await, "who has been accepted is not waited for");
    go_on.send(()).unwrap();
    serving.await;
    assert!(is_served.load(Ordering::SeqCst));
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "220 served\r\n");
}
