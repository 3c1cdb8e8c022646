//! A queue that can't write.

use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mail_directory::Directory;
use mail_types::Secret;
use rusqlite::Connection;
use smtp_queue::{Handling, QueueError, QueueId, Requests};
use testkit::{OnSmallDisk, SmallDisk};

use crate::host::{Host, address};
use crate::log::Log;
use crate::peer::Peer;

/// What the log says of an outcome that is not written down.
const UNRECORDED: &str = "a delivery can't be recorded";
const MESSAGES: usize = 20;

/// A queue in which SQLite says that the disk is full, whatever is to be written of messages: a key that can't grow any more is the same to it.
struct Full(Connection);

impl Full {
    fn new(host: &Host) -> Self {
        let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
        let full = "CREATE TABLE full (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO full VALUES (9223372036854775807);
            CREATE TRIGGER full_message BEFORE INSERT ON message BEGIN INSERT INTO full VALUES (NULL); END;
            CREATE TRIGGER full_recipient BEFORE UPDATE ON recipient BEGIN INSERT INTO full VALUES (NULL); END;";
        connection.execute_batch(full).unwrap();
        Self(connection)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        self.0
            .execute_batch("DROP TRIGGER full_message; DROP TRIGGER full_recipient; DROP TABLE full")
            .unwrap();
    }
}

impl Host {
    fn add_later(&self, number: usize, release: Option<Timestamp>) -> Result<QueueId, QueueError> {
        let (to, handling) = (format!("{number}@example.net"), Handling { release, ..Handling::default() });
        self.try_add(b"Subject: x\r\n\r\n", Some("alice@example.org"), &[&to], Requests::default(), handling)
    }

    /// Queues messages of which none is tried before `fill` has taken all room.
    async fn queue_and_fill<F>(&self, peer: &mut Peer, fill: impl Fn(&Self) -> F) -> F {
        let mut wait = SignedDuration::from_secs(2);
        loop {
            let release = Timestamp::now() + wait;
            (0..MESSAGES).for_each(|number| drop(self.add_later(number, Some(release)).unwrap()));
            let full = fill(self);
            if Timestamp::now() < release {
                return full;
            }
            // The machine is slow.
            drop(full);
            self.wait_until_empty().await;
            while peer.received_already().is_some() {}
            wait *= 2;
        }
    }
}

/// A process that died while nothing can be recorded would send again what it has sent: so that is little. `fill` takes all room, until what it returns is
/// dropped.
async fn nothing_more_is_sent_while_there_is_no_room_and_then_all_once<F>(fill: impl Fn(&Host) -> F) {
    let mut log = Log::start();
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.max_concurrent = 1;
    let running = host.run();
    host.add_later(MESSAGES, None).unwrap();
    assert_eq!(peer.next().await.to, ["20@example.net"]);
    host.wait_until_empty().await;
    let full = host.queue_and_fill(&mut peer, fill).await;
    let refused = host.add_later(MESSAGES, None);
    assert!(refused.is_err_and(|error| error.is_full()), "what can't be queued is not acknowledged");
    let mut sent = vec![peer.next().await.to];
    // By then others have had seconds.
    log.wait(UNRECORDED, 3).await;
    assert!(peer.received_already().is_none(), "more was sent");
    assert_eq!(host.queue.summary().unwrap().messages, MESSAGES as u64);
    drop(full);
    host.add_later(MESSAGES, None).unwrap();
    while sent.len() <= MESSAGES {
        sent.push(peer.next().await.to);
    }
    host.wait_until_empty().await;
    running.stop().await;
    assert!(peer.received_already().is_none());
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), MESSAGES + 1, "nothing twice");
}

#[tokio::test]
async fn while_outcomes_can_not_be_recorded_nothing_more_is_sent_and_then_nothing_twice() {
    nothing_more_is_sent_while_there_is_no_room_and_then_all_once(Full::new).await;
}

/// Where nothing may be mounted, the test above has SQLite say it.
#[test]
fn so_it_is_on_a_disk_that_is_full() {
    match SmallDisk::run("full::on_a_small_disk", "8m").unwrap() {
        OnSmallDisk::Passed => {}
        OnSmallDisk::NotHere(why) => println!("no disk can be made here that is soon full: {why}"),
    }
}

#[tokio::test]
#[ignore = "what another test runs on a small disk"]
async fn on_a_small_disk() {
    let Some(disk) = SmallDisk::here() else { return };
    nothing_more_is_sent_while_there_is_no_room_and_then_all_once(|_| disk.fill().unwrap()).await;
}

/// Nothing can be recorded any more of a message that the operator has removed, however long one waits.
#[tokio::test]
async fn the_attempt_at_a_message_that_is_removed_ends_though_it_can_not_be_recorded() {
    let mut log = Log::start();
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    // An attempt that goes on would be waited for.
    host.config.limits.drain_timeout = Duration::from_secs(3600);
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    let targets = [address("alice@example.org"), address("carol@example.org")];
    directory.add_account(&targets[1], &Secret::new("correct horse battery".to_owned())).unwrap();
    directory.add_alias(&"both@example.org".parse().unwrap(), &targets).unwrap();
    // Carol's mailbox can't be written to.
    let domain = host.config.mail_dir().join("example.org");
    fs::create_dir_all(&domain).unwrap();
    fs::write(domain.join("carol"), "no folder").unwrap();
    let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    let fails = "CREATE TRIGGER fails BEFORE UPDATE ON recipient WHEN old.address = 'both@example.org'
                 BEGIN SELECT RAISE(ABORT, 'no'); END";
    connection.execute_batch(fails).unwrap();
    let id = host.add_large("alice@example.org", "both@example.org");
    let running = host.run();
    log.wait(UNRECORDED, 1).await;
    host.queue.remove(Some(&id)).unwrap();
    // What goes on to carol was to be queued with the outcome, and the file that it would be is gone.
    host.add(Some("alice@example.org"), &["dave@example.net"]);
    assert_eq!(peer.next().await.to, ["dave@example.net"]);
    running.stop().await;
    assert_eq!((host.letters(), host.queue.summary().unwrap().messages), (1, 0));
}
