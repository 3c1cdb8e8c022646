//! What of the queue was damaged by hand is named and holds up nothing.

use rusqlite::Connection;
use smtp_queue::{Change, QueueId};

use crate::host::{Host, PATIENCE};
use crate::peer::Peer;

/// SQL by which `?1`, a message, is damaged so that its row makes no sense.
const ROWS: [&str; 9] = [
    "UPDATE message SET sender = 'nobody at all' WHERE id = ?1",
    "UPDATE message SET eight_bit = 77 WHERE id = ?1",
    "UPDATE message SET priority = 99 WHERE id = ?1",
    "UPDATE message SET arrived = 9223372036854775807 WHERE id = ?1",
    "UPDATE message SET size = -1 WHERE id = ?1",
    "UPDATE recipient SET address = '@@' WHERE message = ?1",
    "UPDATE recipient SET next_attempt = -9223372036854775807 WHERE message = ?1",
    "UPDATE recipient SET notify = 'PERHAPS', priority = 99 WHERE message = ?1",
    "UPDATE recipient SET last_attempt = -9223372036854775807, priority = -99 WHERE message = ?1",
];

#[tokio::test]
async fn damaged_rows_are_named_and_hold_up_nothing() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    let damaged: Vec<QueueId> = ROWS
        .iter()
        .map(|sql| {
            let id = host.add(Some("alice@example.org"), &["bob@example.net"]);
            assert_eq!(connection.execute(sql, [&id.0]).unwrap(), 1, "{sql}");
            id
        })
        .collect();
    let running = host.run();
    for _ in 0..3 {
        host.add(Some("alice@example.org"), &["eve@example.net"]);
        assert_eq!(peer.next().await.to, ["eve@example.net"]);
    }
    let named = async {
        loop {
            let notices = host.queue.notices().unwrap();
            let is_named = |id: &&QueueId| notices.iter().any(|it| it.subject == format!("damaged {id}"));
            if damaged.iter().all(|id| is_named(&id)) {
                return notices;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let notices = tokio::time::timeout(PATIENCE, named).await.expect("not all are named");
    assert!(notices[0].text.contains("mailstead queue remove"), "{notices:?}");
    let held = host.add(Some("alice@example.org"), &["later@example.net"]);
    host.wait(&held, |message| message.is_some_and(|it| it.recipients[0].attempts == 1)).await;
    // Nobody who lists the queue is held up either, and what is damaged can be removed.
    let listed = host.queue.list(None, 100).unwrap();
    assert_eq!(listed.iter().map(|it| &it.id).collect::<Vec<_>>(), [&held]);
    for id in &damaged {
        assert_eq!(host.queue.change_one(id, &Change::Remove).unwrap(), 1, "{id}");
    }
    assert_eq!(host.queue.summary().unwrap().messages, 1);
    running.stop().await;
    assert!(peer.received_already().is_none());
}

/// While it is open, and then by those that open it next.
#[tokio::test]
async fn mail_goes_on_when_the_database_is_overwritten() {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut waits = None;
    for octets in ["this is no database", "", "nor is this"] {
        let host = Host::open(folder.path(), Some(peer.smarthost()));
        let running = host.run();
        let id = host.add_large("alice@example.org", "later@example.net");
        host.wait(&id, |message| message.is_some_and(|it| it.recipients[0].attempts == 1)).await;
        std::fs::write(host.config.queue_dir().join("queue.sqlite"), octets).unwrap();
        for recipient in ["eve@example.net", "bob@example.net"] {
            host.add(Some("alice@example.org"), &[recipient]);
            assert_eq!(peer.next().await.to, [recipient]);
        }
        running.stop().await;
        waits = Some((host.config.queue_dir(), id));
    }
    let (queue_dir, id) = waits.unwrap();
    let queue = smtp_queue::Queue::open(&queue_dir).unwrap();
    assert!(queue_dir.join("messages").join(&id.0).exists());
    let is_queued = queue.show(&id).unwrap().is_some();
    let told = queue.notices().unwrap();
    assert!(is_queued || told.iter().any(|it| it.subject == "damaged queue.sqlite"), "{told:?}");
    assert!(peer.received_already().is_none(), "nothing twice");
}

/// What is left of a message must not go out as if it were all.
#[tokio::test]
async fn a_message_that_was_cut_off_is_not_sent() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let small = host.add(Some("alice@example.org"), &["bob@example.net"]);
    let large = host.add_large("alice@example.org", "bob@example.net");
    let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    connection.execute("UPDATE content SET octets = substr(octets, 1, 5)", []).unwrap();
    let file = host.config.queue_dir().join("messages").join(&large.0);
    std::fs::File::options().write(true).open(&file).unwrap().set_len(7).unwrap();
    let running = host.run();
    for (id, octets) in [(&small, 5), (&large, 7)] {
        host.wait(id, |message| message.is_some_and(|it| it.recipients[0].attempts == 1)).await;
        let why = host.queue.show(id).unwrap().unwrap().recipients[0].diagnosis.clone().unwrap().to_string();
        assert!(why.contains(&format!("is damaged: it has {octets} octets instead of")), "{why}");
    }
    running.stop().await;
    assert!(peer.received_already().is_none());
}
