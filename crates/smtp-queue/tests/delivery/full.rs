//! A queue that can't write.

use std::time::Duration;

use mail_directory::Directory;
use rusqlite::Connection;

use crate::host::{Host, address};
use crate::peer::Peer;

/// A process that died now would send again what it has sent: so that is little.
#[tokio::test]
async fn while_outcomes_can_not_be_recorded_nothing_more_is_sent_and_then_nothing_twice() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    let full = "CREATE TRIGGER full BEFORE UPDATE ON recipient BEGIN SELECT RAISE(ABORT, 'full'); END";
    connection.execute_batch(full).unwrap();
    let add = |number| drop(host.add(Some("alice@example.org"), &[&format!("{number}@example.net")]));
    let running = host.run();
    add(0);
    let mut sent = vec![peer.next().await.to];
    // To record it has failed by then.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    (1..20).for_each(add);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(peer.received_already().is_none(), "more was sent");
    assert_eq!(host.queue.summary().unwrap().messages, 20);
    connection.execute_batch("DROP TRIGGER full").unwrap();
    while sent.len() < 20 {
        sent.push(peer.next().await.to);
    }
    host.wait_until_empty().await;
    running.stop().await;
    assert!(peer.received_already().is_none());
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), 20, "nothing twice");
}

/// Nothing can be recorded any more of a message that the operator has removed, however long one waits.
#[tokio::test]
async fn who_removes_a_message_that_can_not_be_recorded_lets_all_others_go_on() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    let targets = [address("alice@example.org"), address("bob@example.net")];
    directory.add_alias(&"both@example.org".parse().unwrap(), &targets).unwrap();
    let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    let full = "CREATE TRIGGER full BEFORE UPDATE ON recipient WHEN old.address = 'both@example.org'
                BEGIN SELECT RAISE(ABORT, 'full'); END";
    connection.execute_batch(full).unwrap();
    let id = host.add_large("alice@example.org", "both@example.org");
    let running = host.run();
    // It is tried, and to record that fails.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    host.queue.remove(Some(&id)).unwrap();
    host.add(Some("alice@example.org"), &["dave@example.net"]);
    assert_eq!(peer.next().await.to, ["dave@example.net"]);
    running.stop().await;
}
