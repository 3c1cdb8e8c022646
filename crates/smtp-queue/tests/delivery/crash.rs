//! SIGKILL at any moment loses nothing that was acknowledged. The processes killed are this program again, running one of
//! the ignored tests here.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, process, thread};

use smtp_queue::{Body, Envelope, Handling, Queue, QueueId, QueuedMessage, Requests};

use crate::host::{Host, address};
use crate::peer::Peer;

const FOLDER: &str = "MAILSTEAD_TEST_FOLDER";
/// What this round's messages begin to count at; or the peer's port.
const NUMBER: &str = "MAILSTEAD_TEST_NUMBER";
/// Threads that add messages at the same time.
const WRITERS: u64 = 3;

/// A process of its own; killed when this is dropped.
struct Victim {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    fn start(test: &str, folder: &Path, number: u64) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--quiet", "--ignored", "--nocapture", "--exact", test])
            .env(FOLDER, folder)
            .env(NUMBER, number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, output }
    }

    /// The next message that it acknowledged, by its name in the queue; `None` once it is dead.
    fn acknowledged(&mut self) -> Option<(QueueId, u64)> {
        loop {
            let line = self.output.next()?.ok()?;
            let Some((id, number)) = line.strip_prefix("added ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            return Some((QueueId(id.to_owned()), number.parse().ok()?));
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a victim works; `None` when it was started by hand. It ends with the process that started it.
fn instructions() -> Option<(String, u64)> {
    let folder = env::var(FOLDER).ok()?;
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        process::exit(1);
    });
    Some((folder, env::var(NUMBER).ok()?.parse().ok()?))
}

fn random(below: u32) -> u32 {
    getrandom::u32().unwrap() % below
}

/// A message that shows whether it is whole.
fn message(number: u64) -> String {
    let line = format!("message {number}, {}\r\n", "x".repeat(70));
    let lines = usize::try_from(number % 7 * number % 1000).unwrap();
    format!("Subject: {number}\r\n\r\n{}end\r\n", line.repeat(lines))
}

#[test]
#[ignore = "the process that another test kills"]
fn adds_messages_until_it_is_killed() {
    let Some((folder, first)) = instructions() else { return };
    let queue = Queue::open(Path::new(&folder)).unwrap();
    let next = AtomicU64::new(first);
    let envelope = Envelope {
        sender: Some(address("alice@example.org")),
        origin: String::new(),
        recipients: vec![address("bob@example.net"), address("eve@example.net")],
        smtputf8: false,
        body: Body::SevenBit,
        requests: Requests::default(),
        handling: Handling::default(),
    };
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let mut writer = queue.add().unwrap();
                    writer.write_all(message(number).as_bytes()).unwrap();
                    let id = writer.commit(&envelope).unwrap();
                    std::io::stdout().write_all(format!("\nadded {id} {number}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_writer_killed_at_any_moment_leaves_every_acknowledged_message_once_and_whole() {
    const ROUNDS: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = HashMap::new();
    for round in 0..ROUNDS {
        let mut victim =
            Victim::start("crash::adds_messages_until_it_is_killed", folder.path(), round * 1_000_000);
        for _ in 0..=random(20) {
            acknowledged.extend(victim.acknowledged());
        }
        thread::sleep(std::time::Duration::from_micros(u64::from(random(3000))));
        victim.kill();
        acknowledged.extend(std::iter::from_fn(|| victim.acknowledged()));
    }

    let queue = Queue::open(folder.path()).unwrap();
    let messages = queue.list(None, usize::MAX).unwrap();
    let mut numbers = HashSet::new();
    for QueuedMessage { id, size, recipients, .. } in &messages {
        let mut text = String::new();
        queue.content(id).unwrap().read_to_string(&mut text).unwrap();
        let number = text.lines().next().unwrap().strip_prefix("Subject: ").unwrap().parse().unwrap();
        assert_eq!(text, message(number), "whole");
        assert!(numbers.insert(number), "once");
        assert_eq!((*size, recipients.len()), (text.len() as u64, 2));
        assert_eq!(acknowledged.remove(id).unwrap_or(number), number);
    }
    assert!(acknowledged.is_empty(), "lost: {acknowledged:?}");
    assert!(numbers.len() >= usize::try_from(ROUNDS).unwrap());
}

#[test]
#[ignore = "the process that another test kills"]
fn delivers_until_it_is_killed() {
    let Some((folder, port)) = instructions() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut host = Host::open(Path::new(&folder), Some(Peer::smarthost_at(u16::try_from(port).unwrap())));
        host.config.queue.max_concurrent = IN_FLIGHT;
        host.run().wait().await;
    });
}

/// Messages under way at one time.
const IN_FLIGHT: usize = 3;

#[tokio::test]
async fn a_deliverer_killed_at_any_moment_sends_all_and_only_what_was_in_flight_again() {
    const KILLS: usize = 5;
    const MESSAGES: usize = 40;
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path(), None);
    for number in 0..MESSAGES {
        host.add(Some("alice@example.org"), &[&format!("{number}@example.net")]);
    }
    let port = u64::from(peer.port);
    let victim = || Victim::start("crash::delivers_until_it_is_killed", folder.path(), port);
    let mut received: HashMap<String, usize> = HashMap::new();
    for _ in 0..KILLS {
        let mut deliverer = victim();
        for _ in 0..=random(5) {
            *received.entry(peer.next().await.to.concat()).or_default() += 1;
        }
        deliverer.kill();
    }
    let _deliverer = victim();
    while received.len() < MESSAGES {
        *received.entry(peer.next().await.to.concat()).or_default() += 1;
    }
    host.wait_until_empty().await;
    while let Some(again) = peer.received_already() {
        *received.entry(again.to.concat()).or_default() += 1;
    }
    let sent: usize = received.values().sum();
    assert!(sent - MESSAGES <= KILLS * IN_FLIGHT, "{sent} sent: {received:?}");
}
