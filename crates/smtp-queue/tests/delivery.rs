//! The queue process as a whole, against a server on loopback: what is queued is delivered once, tried again, or bounced.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mail_config::{Config, RelayTls, Smarthost};
use mail_directory::Directory;
use mail_types::{Address, Secret};
use server_core::{Drain, Limits, ServerContext};
use smtp_queue::{Envelope, Queue, QueueId, QueuedMessage};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A message as the server got it.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    from: String,
    to: Vec<String>,
    text: String,
}

/// A server that takes everything, but refuses `no@` for good and `later@` for now, and never answers `stall@`.
struct Peer {
    port: u16,
    received: UnboundedReceiver<Received>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, received) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sender.clone()));
            }
        });
        Self { port, received }
    }

    async fn next(&mut self) -> Received {
        timeout(PATIENCE, self.received.recv()).await.expect("nothing was delivered").unwrap()
    }

    fn smarthost(&self) -> Smarthost {
        let host = "127.0.0.1".to_owned();
        Smarthost { host, port: self.port, tls: RelayTls::None, ca_file: None, credentials: None }
    }
}

async fn serve(stream: TcpStream, received: UnboundedSender<Received>) -> Option<()> {
    let mut stream = BufStream::new(stream);
    let mut message = Received { from: String::new(), to: Vec::new(), text: String::new() };
    answer(&mut stream, "220 peer").await?;
    loop {
        let line = read_line(&mut stream).await?;
        let (verb, argument) = line.split_once(['<', ' ']).unwrap_or((&line, ""));
        let path = argument.split(['<', '>']).find(|it| it.contains('@')).unwrap_or_default().to_owned();
        let reply = match verb {
            "EHLO" => "250-peer\r\n250 PIPELINING",
            "MAIL" => {
                (message.from, message.to) = (path, Vec::new());
                "250 ok"
            }
            "RCPT" if path.starts_with("no@") => "550 5.1.1 no such user",
            "RCPT" if path.starts_with("later@") => "451 4.2.0 come back later",
            "RCPT" if path.starts_with("stall@") => std::future::pending().await,
            "RCPT" => {
                message.to.push(path);
                "250 ok"
            }
            "DATA" if message.to.is_empty() => "554 5.5.1 no recipients",
            "DATA" => {
                answer(&mut stream, "354 go").await?;
                message.text = read_message(&mut stream).await?;
                let next = Received { from: String::new(), to: Vec::new(), text: String::new() };
                received.send(std::mem::replace(&mut message, next)).ok()?;
                "250 2.0.0 taken"
            }
            _ => "250 ok",
        };
        answer(&mut stream, reply).await?;
    }
}

async fn answer(stream: &mut BufStream<TcpStream>, reply: &str) -> Option<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn read_line(stream: &mut BufStream<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let length = stream.read_line(&mut line).await.ok()?;
    (length > 0).then(|| line.trim_end().to_owned())
}

async fn read_message(stream: &mut BufStream<TcpStream>) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n.\r\n") {
        stream.read_line(&mut text).await.ok().filter(|length| *length > 0)?;
    }
    Some(text)
}

/// A host with the domain example.org, the account alice, and its queue.
struct Host {
    _folder: TempDir,
    config: Config,
    queue: Arc<Queue>,
}

impl Host {
    fn new(smarthost: Option<Smarthost>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new("mail.example.org".parse().unwrap(), folder.path().to_owned());
        config.relay.smarthost = smarthost;
        let directory = Directory::open(&config.directory_file()).unwrap();
        directory.add_domain(&"example.org".parse().unwrap()).unwrap();
        let password = Secret::new("correct horse battery".to_owned());
        directory.add_account(&address("alice@example.org"), &password).unwrap();
        let queue = Queue::open(&config.queue_dir()).unwrap();
        Self { _folder: folder, config, queue }
    }

    fn run(&self) -> Running {
        let drain = Drain::new();
        let context = ServerContext {
            config: Arc::new(self.config.clone()),
            tls: None,
            limits: Limits::new(&self.config.limits),
            drain: drain.clone(),
        };
        let task = tokio::spawn(async move { smtp_queue::run(context, Vec::new()).await.unwrap() });
        Running { drain, task }
    }

    fn add(&self, sender: Option<&str>, recipients: &[&str]) -> QueueId {
        let mut writer = self.queue.add().unwrap();
        writer.write_all(b"Subject: hello\r\nMessage-ID: <1@example.org>\r\n\r\n.dot\r\n").unwrap();
        let recipients = recipients.iter().map(|it| address(it)).collect();
        let sender = sender.map(address);
        writer.commit(&Envelope { sender, recipients, smtputf8: false, eight_bit: false }).unwrap()
    }

    /// Waits until the queue holds the message in such a state.
    async fn wait(&self, id: &QueueId, state: impl Fn(Option<&QueuedMessage>) -> bool) {
        let reached = async {
            while !state(self.queue.show(id).unwrap().as_ref()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("still {:?}", self.queue.show(id).unwrap()));
    }

    fn inbox(&self) -> PathBuf {
        self.config.mail_dir().join("example.org/alice/Maildir/new")
    }

    async fn mail(&self) -> String {
        let inbox = self.inbox();
        let arrived = async {
            loop {
                if let Some(text) = first_file(&inbox) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, arrived).await.expect("no mail")
    }
}

fn first_file(folder: &Path) -> Option<String> {
    let file = fs::read_dir(folder).ok()?.next()?.ok()?;
    fs::read_to_string(file.path()).ok()
}

struct Running {
    drain: Drain,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.drain.begin();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn gone(message: Option<&QueuedMessage>) -> bool {
    message.is_none()
}

#[tokio::test]
async fn a_message_added_by_another_process_goes_out_at_once_and_once() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let other = Queue::open(&host.config.queue_dir()).unwrap();
    for _ in 0..2 {
        let id = host.add(Some("alice@example.org"), &["bob@example.net", "eve@example.net"]);
        let received = peer.next().await;
        assert_eq!(received.from, "alice@example.org");
        assert_eq!(received.to, ["bob@example.net", "eve@example.net"]);
        assert!(received.text.ends_with("\r\n\r\n..dot\r\n.\r\n"), "{}", received.text);
        host.wait(&id, gone).await;
    }
    running.stop().await;
    assert_eq!(other.summary().unwrap().messages, 0);
    assert!(peer.received.try_recv().is_err());
    assert_eq!(fs::read_dir(host.config.queue_dir().join("messages")).unwrap().count(), 0);
}

#[tokio::test]
async fn each_recipient_is_delivered_retried_or_bounced_for_itself() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let id = host.add(Some("carol@example.com"), &["yes@x.org", "no@x.org", "later@x.org"]);
    assert_eq!(peer.next().await.to, ["yes@x.org"]);
    let bounce = peer.next().await;
    assert_eq!((bounce.from.as_str(), &bounce.to[..]), ("", &["carol@example.com".to_owned()][..]));
    assert!(bounce.text.contains("Final-Recipient: rfc822; no@x.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"));
    assert!(!bounce.text.contains("later@x.org") && !bounce.text.contains("yes@x.org"), "{}", bounce.text);

    let message = host.queue.show(&id).unwrap().unwrap();
    let states: Vec<_> = message.recipients.iter().map(|it| it.state.as_str()).collect();
    assert_eq!(states, ["delivered", "failed", "pending"]);
    let later = &message.recipients[2];
    let why = later.diagnosis.as_ref().unwrap().to_string();
    assert!(why.ends_with("said: 451 4.2.0 come back later"), "{why}");
    assert!(later.attempts == 1 && later.next_attempt > later.last_attempt);
    host.queue.retry(Some(&id)).unwrap();
    host.wait(&id, |message| message.unwrap().recipients[2].attempts == 2).await;
    running.stop().await;
}

#[tokio::test]
async fn what_can_not_be_delivered_in_time_comes_back_to_a_local_sender() {
    let peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.expire_after = Duration::from_millis(1);
    let running = host.run();
    let id = host.add(Some("alice@example.org"), &["later@x.org"]);
    let bounce = host.mail().await;
    assert!(bounce.starts_with("Return-Path: <>\r\n"), "{bounce}");
    assert!(bounce.contains("Status: 5.4.7\r\n") && bounce.contains("come back later"), "{bounce}");
    assert!(bounce.contains("In-Reply-To: <1@example.org>\r\n") && bounce.contains("Subject: hello\r\n"));
    host.wait(&id, gone).await;
    running.stop().await;
}

#[tokio::test]
async fn a_message_from_nobody_is_never_bounced() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let id = host.add(None, &["no@x.org"]);
    host.wait(&id, gone).await;
    running.stop().await;
    assert_eq!(host.queue.summary().unwrap().messages, 0);
    assert!(peer.received.try_recv().is_err());
}

#[tokio::test]
async fn local_recipients_get_their_mail_without_a_smarthost() {
    let host = Host::new(None);
    let running = host.run();
    let id = host.add(Some("carol@example.com"), &["alice@example.org"]);
    assert!(host.mail().await.starts_with("Return-Path: <carol@example.com>\r\nSubject: hello\r\n"));
    host.wait(&id, gone).await;
    running.stop().await;
}

#[tokio::test]
async fn an_alias_leads_on_to_another_host_and_an_unknown_user_bounces() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    let targets = [address("alice@example.org"), address("bob@example.net")];
    directory.add_alias(&address("both@example.org"), &targets).unwrap();
    let running = host.run();
    host.add(Some("carol@example.com"), &["both@example.org"]);
    let forwarded = peer.next().await;
    assert_eq!(
        (forwarded.from.as_str(), &forwarded.to[..]),
        ("carol@example.com", &["bob@example.net".to_owned()][..])
    );
    assert!(host.mail().await.contains("Subject: hello"));
    host.add(Some("carol@example.com"), &["nobody@example.org"]);
    assert!(peer.next().await.text.contains("Final-Recipient: rfc822; nobody@example.org\r\n"));
    running.stop().await;
}

#[tokio::test]
async fn without_a_smarthost_mail_waits_and_says_so_until_there_is_one() {
    let mut host = Host::new(None);
    let running = host.run();
    let id = host.add(Some("alice@example.org"), &["bob@example.net"]);
    host.wait(&id, |message| message.unwrap().recipients[0].attempts == 1).await;
    let message = host.queue.show(&id).unwrap().unwrap();
    let why = message.recipients[0].diagnosis.as_ref().unwrap().to_string();
    assert_eq!(why, "4.4.4 no [relay] smarthost is configured");
    running.stop().await;

    let mut peer = Peer::start().await;
    host.config.relay.smarthost = Some(peer.smarthost());
    let running = host.run();
    assert_eq!(peer.next().await.to, ["bob@example.net"]);
    running.stop().await;
}

#[tokio::test]
async fn a_delivery_cut_off_is_tried_again_by_the_next_process() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.limits.drain_timeout = Duration::from_millis(50);
    let id = host.add(Some("alice@example.org"), &["bob@example.net", "stall@example.net"]);
    let running = host.run();
    // It hangs in RCPT; the deadline of the drain cuts it off.
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.stop().await;
    let message = host.queue.show(&id).unwrap().unwrap();
    assert!(message.recipients.iter().all(|it| it.attempts == 0 && it.next_attempt.is_some()));

    let second = host.add(Some("alice@example.org"), &["bob@example.net"]);
    let running = host.run();
    assert_eq!(peer.next().await.to, ["bob@example.net"], "the stalled one holds up no other");
    host.wait(&second, gone).await;
    running.stop().await;
}

#[tokio::test]
async fn only_one_process_delivers_and_the_next_takes_over() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let (first, second) = (host.run(), host.run());
    for _ in 0..5 {
        host.add(Some("alice@example.org"), &["bob@example.net"]);
        peer.next().await;
    }
    first.stop().await;
    host.add(Some("alice@example.org"), &["bob@example.net"]);
    peer.next().await;
    second.stop().await;
    assert!(peer.received.try_recv().is_err(), "each was sent once");
}

#[tokio::test]
async fn held_messages_stay_until_they_are_released() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let held = host.add(Some("alice@example.org"), &["held@example.net"]);
    host.queue.hold(Some(&held)).unwrap();
    let running = host.run();
    host.add(Some("alice@example.org"), &["bob@example.net"]);
    assert_eq!(peer.next().await.to, ["bob@example.net"]);
    host.queue.release(Some(&held)).unwrap();
    assert_eq!(peer.next().await.to, ["held@example.net"]);
    running.stop().await;
}

#[tokio::test]
async fn a_message_whose_file_is_lost_blocks_no_other() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let lost = host.add(Some("alice@example.org"), &["bob@example.net"]);
    fs::remove_file(host.config.queue_dir().join("messages").join(&lost.0)).unwrap();
    let running = host.run();
    host.add(Some("alice@example.org"), &["eve@example.net"]);
    assert_eq!(peer.next().await.to, ["eve@example.net"]);
    host.wait(&lost, |message| message.unwrap().recipients[0].attempts == 1).await;
    let why = host.queue.show(&lost).unwrap().unwrap().recipients[0].diagnosis.clone().unwrap().to_string();
    assert_eq!(why, "4.3.0 the message file can't be read");
    running.stop().await;
}
