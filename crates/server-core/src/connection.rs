use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mail_config::{Config, Listener, TlsMode};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::{BoundListener, ConnectionGuard, Drain, Limits, Stream, TlsContext, program};

/// What a server process is made of, handed to its `run`.
#[derive(Debug, Clone)]
pub struct ServerContext {
    /// The configuration.
    pub config: Arc<Config>,
    /// Certificates, if any are configured.
    pub tls: Option<Arc<TlsContext>>,
    /// Connection counts.
    pub limits: Arc<Limits>,
    /// Tells when to stop.
    pub drain: Drain,
}

/// An accepted connection; with implicit TLS the handshake is done.
#[derive(Debug)]
pub struct Connection {
    /// The bytes.
    pub stream: Stream,
    /// The client's end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Which listener took it.
    pub listener: Arc<Listener>,
    /// For STARTTLS.
    pub tls: Option<Arc<TlsContext>>,
    /// Counts the connection as open until it is dropped.
    pub guard: ConnectionGuard,
    /// Tells when to stop.
    pub drain: Drain,
}

impl Connection {
    /// True if AUTH and LOGIN may be offered now: under TLS, from loopback, or because the operator says so. Promise 5.
    #[must_use]
    pub fn may_login(&self, config: &Config) -> bool {
        self.stream.is_tls()
            || self.peer.ip().to_canonical().is_loopback()
            || config.limits.allow_plaintext_login
    }

    /// True if STARTTLS may be offered now.
    #[must_use]
    pub fn may_start_tls(&self) -> bool {
        self.listener.tls == TlsMode::StartTls && self.tls.is_some() && !self.stream.is_tls()
    }
}

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The wait after an accept that failed for want of descriptors or memory.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts connections and runs `handle` for each, as a task of its own, until the context drains; then waits for the sessions to end.
///
/// `refusal` is sent to a client over a limit, before its connection is closed: a whole line of the protocol.
pub async fn serve<F, S>(
    sockets: Vec<BoundListener>,
    context: ServerContext,
    refusal: &'static [u8],
    handle: F,
) where
    F: Fn(Connection) -> S + Clone + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let sessions = TaskTracker::new();
    for BoundListener { socket, listener } in sockets {
        let accepting = Accepting { context: context.clone(), listener, refusal, sessions: sessions.clone() };
        match TcpListener::from_std(socket) {
            Ok(socket) => drop(tokio::spawn(accepting.run(socket, handle.clone()))),
            Err(error) => error!(listener = accepting.listener.name, %error, "the socket can't be served"),
        }
    }
    program::tell_ready();
    context.drain.begun().await;
    sessions.close();
    let deadline = context.config.limits.drain_timeout;
    if tokio::time::timeout(deadline, sessions.wait()).await.is_err() {
        warn!(sessions = sessions.len(), "the drain deadline has passed; the remaining sessions are cut off");
    }
}

/// One listening socket's part of [`serve`].
struct Accepting {
    context: ServerContext,
    listener: Arc<Listener>,
    refusal: &'static [u8],
    sessions: TaskTracker,
}

impl Accepting {
    async fn run<F, S>(self, socket: TcpListener, handle: F)
    where
        F: Fn(Connection) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = self.context.drain.begun() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.start(stream, peer, handle.clone()),
                Err(error) => {
                    warn!(listener = self.listener.name, %error, "can't accept a connection");
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }

    fn start<F, S>(&self, stream: TcpStream, peer: SocketAddr, handle: F)
    where
        F: Fn(Connection) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let Some(guard) = self.context.limits.connect(peer.ip()) else {
            info!(%peer, listener = self.listener.name, "refused: too many connections");
            refuse(&stream, self.refusal, self.listener.tls);
            return;
        };
        let connection = open(stream, peer, Arc::clone(&self.listener), self.context.clone(), guard);
        let span = info_span!("connection", listener = self.listener.name, %peer);
        self.sessions.spawn(
            async move {
                match connection.await {
                    Ok(connection) => handle(connection).await,
                    Err(error) => debug!(%error, "the connection did not come about"),
                }
            }
            .instrument(span),
        );
    }
}

/// Tells a client over a limit why it is turned away, as far as that goes without waiting for it.
fn refuse(stream: &TcpStream, refusal: &[u8], tls: TlsMode) {
    if tls != TlsMode::Implicit {
        let _ = stream.try_write(refusal);
    }
}

async fn open(
    stream: TcpStream,
    peer: SocketAddr,
    listener: Arc<Listener>,
    context: ServerContext,
    guard: ConnectionGuard,
) -> std::io::Result<Connection> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let tls = context.tls.as_ref().map(|tls| tls.for_role(listener.role));
    let stream = match (&tls, listener.tls) {
        (Some(tls), TlsMode::Implicit) => {
            tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??
        }
        (None, TlsMode::Implicit) => return Err(std::io::Error::other("no certificate is configured")),
        (_, TlsMode::None | TlsMode::StartTls) => Stream::Plain(stream),
    };
    Ok(Connection { stream, peer, local, listener, tls, guard, drain: context.drain })
}
