use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mail_config::{Config, Smarthost};
use mail_directory::Directory;
use mail_types::{Address, Secret};
use server_core::{Drain, Limits, ServerContext};
use smtp_queue::{Body, Envelope, Handling, Queue, QueueError, QueueId, QueuedMessage, Requests};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A host with the domain example.org, the account alice, and its queue.
pub(crate) struct Host {
    _folder: Option<TempDir>,
    pub(crate) config: Config,
    pub(crate) queue: Arc<Queue>,
}

impl Host {
    pub(crate) fn new(smarthost: Option<Smarthost>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self::open(folder.path(), smarthost);
        Self { _folder: Some(folder), ..host }
    }

    /// In a folder in which it may have been before.
    pub(crate) fn open(folder: &Path, smarthost: Option<Smarthost>) -> Self {
        let mut config = Config::new("mail.example.org".parse().unwrap(), folder.to_owned());
        config.relay.smarthost = smarthost;
        // Nothing is asked of the world outside.
        config.relay.direct = false;
        let directory = Directory::open(&config.directory_file()).unwrap();
        if directory.add_domain(&"example.org".parse().unwrap()).is_ok() {
            let password = Secret::new("correct horse battery".to_owned());
            directory.add_account(&address("alice@example.org"), &password).unwrap();
        }
        let queue = Queue::open(&config.queue_dir()).unwrap();
        Self { _folder: None, config, queue }
    }

    pub(crate) fn run(&self) -> Running {
        let drain = Drain::new();
        let context = ServerContext {
            config: Arc::new(self.config.clone()),
            tls: None,
            limits: Limits::new(&self.config.limits),
            drain: drain.clone(),
            metrics: Default::default(),
        };
        let task = tokio::spawn(async move { smtp_queue::run(context, Vec::new()).await.unwrap() });
        Running { drain, task }
    }

    pub(crate) fn add(&self, sender: Option<&str>, recipients: &[&str]) -> QueueId {
        self.add_with(sender, recipients, Requests::default())
    }

    pub(crate) fn add_with(&self, sender: Option<&str>, recipients: &[&str], requests: Requests) -> QueueId {
        self.add_handled(sender, recipients, requests, Handling::default())
    }

    pub(crate) fn add_handled(
        &self,
        sender: Option<&str>,
        recipients: &[&str],
        requests: Requests,
        handling: Handling,
    ) -> QueueId {
        self.add_text(TEXT, sender, recipients, requests, handling)
    }

    /// A message that has a file of its own.
    pub(crate) fn add_large(&self, sender: &str, recipient: &str) -> QueueId {
        let text = [TEXT, &b"x\r\n".repeat(50_000)].concat();
        self.add_text(&text, Some(sender), &[recipient], Requests::default(), Handling::default())
    }

    fn add_text(
        &self,
        text: &[u8],
        sender: Option<&str>,
        recipients: &[&str],
        requests: Requests,
        handling: Handling,
    ) -> QueueId {
        self.try_add(text, sender, recipients, requests, handling).unwrap()
    }

    /// The same where the queue may refuse it.
    pub(crate) fn try_add(
        &self,
        text: &[u8],
        sender: Option<&str>,
        recipients: &[&str],
        requests: Requests,
        handling: Handling,
    ) -> Result<QueueId, QueueError> {
        let mut writer = self.queue.add()?;
        writer.write_all(text).unwrap();
        let recipients = recipients.iter().map(|it| address(it)).collect();
        let sender = sender.map(address);
        let body = Body::SevenBit;
        // Whose it is: that of who sends it from here.
        let origin = sender
            .iter()
            .filter(|it| it.domain().as_str() == "example.org")
            .map(Address::to_string)
            .collect();
        let envelope = Envelope { sender, origin, recipients, smtputf8: false, body, requests, handling };
        writer.commit(&envelope)
    }

    /// Waits until the queue holds the message in such a state.
    pub(crate) async fn wait(&self, id: &QueueId, state: impl Fn(Option<&QueuedMessage>) -> bool) {
        let reached = async {
            while !state(self.queue.show(id).unwrap().as_ref()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("still {:?}", self.queue.show(id).unwrap()));
    }

    pub(crate) async fn wait_until_empty(&self) {
        let empty = async {
            while self.queue.summary().unwrap().messages > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, empty).await.expect("the queue is not empty");
    }

    fn inbox(&self) -> PathBuf {
        self.config.mail_dir().join("example.org/alice/Maildir/new")
    }

    /// How many are in alice's INBOX.
    pub(crate) fn letters(&self) -> usize {
        fs::read_dir(self.inbox()).map_or(0, Iterator::count)
    }

    pub(crate) async fn mail(&self) -> String {
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

pub(crate) struct Running {
    drain: Drain,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.drain.begin();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    /// Until it ends by itself.
    pub(crate) async fn wait(self) {
        self.task.await.unwrap();
    }
}

const TEXT: &[u8] = b"Subject: hello\r\nMessage-ID: <1@example.org>\r\n\r\n.dot\r\n";

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap()
}
