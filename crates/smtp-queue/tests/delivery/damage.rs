//! What of the queue was damaged by hand is named and holds up nothing.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

use rusqlite::Connection;
use smtp_queue::{Change, Handling, QueueId, Requests};

use crate::host::{Host, PATIENCE};
use crate::peer::{Manner, Peer, listeners};

/// SQL by which `?1`, a message, is damaged so that its row makes no sense.
const ROWS: [&str; 14] = [
    "UPDATE message SET sender = 'nobody at all' WHERE id = ?1",
    "UPDATE message SET eight_bit = 77 WHERE id = ?1",
    "UPDATE message SET priority = 99 WHERE id = ?1",
    "UPDATE message SET arrived = 9223372036854775807 WHERE id = ?1",
    "UPDATE message SET size = -1 WHERE id = ?1",
    "UPDATE recipient SET address = '@@' WHERE message = ?1",
    "UPDATE recipient SET next_attempt = -9223372036854775807 WHERE message = ?1",
    "UPDATE recipient SET notify = 'PERHAPS', priority = 99 WHERE message = ?1",
    "UPDATE recipient SET last_attempt = -9223372036854775807, priority = -99 WHERE message = ?1",
    // A bit in a text.
    "UPDATE message SET sender = CAST(x'616C69E365406578616D706C652E6F7267' AS TEXT) WHERE id = ?1",
    "UPDATE message SET origin = CAST(x'E1' AS TEXT) WHERE id = ?1",
    "UPDATE recipient SET address = CAST(x'E26F62406578616D706C652E6E6574' AS TEXT) WHERE message = ?1",
    "UPDATE recipient SET next_hop = CAST(x'E1' AS TEXT) WHERE message = ?1",
    // The row is gone, and those that it had are left.
    "DELETE FROM message WHERE id = ?1",
];

#[tokio::test]
async fn damaged_rows_are_named_and_hold_up_nothing() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
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

/// By which the mail of one is told from that of others, and what a message is called: where these can't be read, the rest goes on.
#[tokio::test]
async fn texts_that_are_no_texts_hold_up_nothing_in_the_order_of_what_is_due() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    let add = |recipient: &str| host.add(Some("alice@example.org"), &[recipient]);
    let change = |sql: &str, id: &QueueId| assert_eq!(connection.execute(sql, [&id.0]).unwrap(), 1, "{sql}");
    let origin = add("origin@example.net");
    change(
        "UPDATE recipient SET origin = CAST(x'E1E2' AS TEXT), sender = CAST(x'FF' AS TEXT) WHERE message = ?1",
        &origin,
    );
    let named = [add("one@example.net"), add("two@example.net")];
    change("UPDATE recipient SET message = CAST(x'30E1' AS TEXT) WHERE message = ?1", &named[0]);
    change("UPDATE message SET id = CAST(x'30E2' AS TEXT) WHERE id = ?1", &named[1]);
    let running = host.run();
    let mut received = Vec::new();
    for recipient in ["bob@example.net", "eve@example.net"] {
        add(recipient);
        received.push(peer.next().await.to[0].clone());
    }
    received.push(peer.next().await.to[0].clone());
    received.sort();
    assert_eq!(received, ["bob@example.net", "eve@example.net", "origin@example.net"]);
    // The name of the one can't be read; of the other only recipients are left under the old one.
    let is_told = || {
        let notices = host.queue.notices().unwrap();
        let tells = |subject: String| notices.iter().any(|it| it.subject == subject);
        tells("damaged 0\u{FFFD}".to_owned()) && tells(format!("damaged {}", named[1]))
    };
    let told = async {
        while !is_told() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("they are not named");
    running.stop().await;
    assert!(host.queue.list(None, 100).unwrap().iter().any(|it| it.id == named[0]));
    host.queue.remove(None).unwrap();
    assert_eq!(host.queue.summary().unwrap().messages, 0);
    assert!(peer.received_already().is_none());
}

/// Each is named, tried again later as nothing else is, and the rest goes on.
#[tokio::test]
async fn files_of_messages_that_are_gone_or_something_else_hold_up_nothing() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let folder = host.config.queue_dir().join("messages");
    let ways: [fn(&Path); 5] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "this is no message").unwrap(),
        |path| fs::write(path, "x".repeat(2_000_000)).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("nowhere", path).unwrap();
        },
    ];
    let damaged = ways.map(|damage| {
        let id = host.add_large("alice@example.org", "bob@example.net");
        damage(&folder.join(&id.0));
        id
    });
    let running = host.run();
    host.add(Some("alice@example.org"), &["eve@example.net"]);
    assert_eq!(peer.next().await.to, ["eve@example.net"]);
    for id in &damaged {
        host.wait(id, |message| message.is_some_and(|it| it.recipients[0].attempts == 1)).await;
        let why = host.queue.show(id).unwrap().unwrap().recipients[0].diagnosis.clone().unwrap().to_string();
        assert!(why.contains("is damaged: it has") || why.contains("can't be read"), "{why}");
    }
    running.stop().await;
    assert!(peer.received_already().is_none());
    for id in &damaged {
        assert_eq!(host.queue.change_one(id, &Change::Remove).unwrap(), 1);
    }
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
        fs::write(host.config.queue_dir().join("queue.sqlite"), octets).unwrap();
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
    fs::File::options().write(true).open(&file).unwrap().set_len(7).unwrap();
    let running = host.run();
    for (id, octets) in [(&small, 5), (&large, 7)] {
        host.wait(id, |message| message.is_some_and(|it| it.recipients[0].attempts == 1)).await;
        let why = host.queue.show(id).unwrap().unwrap().recipients[0].diagnosis.clone().unwrap().to_string();
        assert!(why.contains(&format!("is damaged: it has {octets} octets instead of")), "{why}");
    }
    running.stop().await;
    assert!(peer.received_already().is_none());
}

impl Host {
    /// What came of the one attempt at the message's one recipient.
    async fn why_not_sent(&self, id: &QueueId) -> String {
        self.wait(id, |message| message.is_some_and(|it| it.recipients[0].attempts == 1)).await;
        self.queue.show(id).unwrap().unwrap().recipients[0].diagnosis.clone().unwrap().to_string()
    }

    /// Waits until operators are told so of the message, or nothing any more.
    async fn is_named(&self, id: &QueueId, why: Option<&str>) {
        let named = async {
            loop {
                let notices = self.queue.notices().unwrap();
                let notice = notices.into_iter().find(|it| it.subject == format!("damaged {id}"));
                if notice.as_ref().is_some_and(|it| why.is_some_and(|why| it.text.contains(why)))
                    || notice.is_none() && why.is_none()
                {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, named).await.expect("it is not named so");
    }
}

/// By a bit or by many, at its beginning or at its end: nobody gets the message to its end, until its text is put back.
#[tokio::test]
async fn a_message_of_the_right_length_that_is_not_what_was_queued_is_not_sent() {
    const ALTERED: &str = "its text is not what was queued";
    for manner in [Manner::Willing, Manner::Chunking] {
        let mut peer = Peer::at(listeners(&["127.0.0.1"]).await.remove(0), manner);
        let host = Host::new(Some(peer.smarthost()));
        let (alice, bob) = ("alice@example.org", "bob@example.net");
        let small = host.add(Some(alice), &[bob]);
        let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
        let flip =
            "UPDATE content SET octets = CAST(replace(CAST(octets AS TEXT), 'hello', 'hullo') AS BLOB)";
        assert_eq!(connection.execute(flip, []).unwrap(), 1);
        let places = [0, 70_000, 150_000];
        let larges: Vec<_> = places
            .iter()
            .map(|place| {
                let id = host.add_large(alice, bob);
                let file = host.config.queue_dir().join("messages").join(&id.0);
                let file = fs::File::options().read(true).write(true).open(file).unwrap();
                let mut octet = [0];
                file.read_exact_at(&mut octet, *place).unwrap();
                file.write_all_at(&[octet[0] ^ 1], *place).unwrap();
                (id, file, octet[0])
            })
            .collect();
        let here = host.add_large(bob, alice);
        let file = host.config.queue_dir().join("messages").join(&here.0);
        fs::write(&file, "y".repeat(fs::read(&file).unwrap().len())).unwrap();
        let running = host.run();
        for id in larges.iter().map(|(id, ..)| id).chain([&small, &here]) {
            let why = host.why_not_sent(id).await;
            assert_eq!(why, format!("4.3.0 message {id} is damaged: {ALTERED}"));
            host.is_named(id, Some(ALTERED)).await;
        }
        assert!(peer.received_already().is_none() && host.letters() == 0);
        let (id, file, octet) = &larges[1];
        file.write_all_at(&[*octet], places[1]).unwrap();
        host.queue.retry(Some(id)).unwrap();
        assert_eq!(peer.next().await.to, [bob]);
        host.wait(id, |message| message.is_none()).await;
        host.is_named(id, None).await;
        running.stop().await;
        assert!(peer.received_already().is_none());
    }
}

/// Nothing of what is left of it comes back.
#[tokio::test]
async fn the_sender_of_a_damaged_message_hears_of_it_when_its_time_is_over() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.expire_after = std::time::Duration::from_millis(1);
    let id = host.add_large("alice@example.org", "bob@example.net");
    let file = host.config.queue_dir().join("messages").join(&id.0);
    fs::write(&file, "y".repeat(fs::read(&file).unwrap().len())).unwrap();
    let running = host.run();
    let bounce = host.mail().await;
    let words: Vec<&str> = bounce.split_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("Final-Recipient: rfc822; bob@example.net Action: failed"), "{bounce}");
    assert!(words.contains(&format!("message {id} is damaged: its text is not what was queued")), "{bounce}");
    assert!(!bounce.contains("yyy"), "{bounce}");
    host.is_named(&id, None).await;
    running.stop().await;
    assert!(peer.received_already().is_none());
}

/// What the first of them has found out holds for the others.
#[tokio::test]
async fn recipients_with_return_addresses_of_their_own_get_nothing_of_a_damaged_message() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    host.config.queue.verp = vec!["alice@example.org".parse().unwrap()];
    let ours = Handling { is_ours: true, ..Handling::default() };
    let to = ["bob@example.net", "eve@example.net", "dave@example.net"];
    let text = "Subject: x\r\n\r\n".to_owned() + &"x\r\n".repeat(50_000);
    let id =
        host.try_add(text.as_bytes(), Some("alice@example.org"), &to, Requests::default(), ours).unwrap();
    let file = host.config.queue_dir().join("messages").join(&id.0);
    fs::write(&file, text.replace("x\r\n", "y\r\n")).unwrap();
    let running = host.run();
    let is_tried = |message: &smtp_queue::QueuedMessage| message.recipients.iter().all(|it| it.attempts == 1);
    host.wait(&id, |message| message.is_some_and(is_tried)).await;
    let message = host.queue.show(&id).unwrap().unwrap();
    for recipient in message.recipients {
        assert!(recipient.diagnosis.unwrap().to_string().contains("damaged"), "{}", recipient.address);
    }
    running.stop().await;
    assert!(peer.received_already().is_none());
}

/// By an older version, or found as a file of which only the recipients are known.
#[tokio::test]
async fn a_message_without_a_checksum_is_sent() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    host.add_large("alice@example.org", "bob@example.net");
    host.add(Some("alice@example.org"), &["bob@example.net"]);
    let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
    connection.execute("UPDATE message SET checksum = NULL", []).unwrap();
    let running = host.run();
    for _ in 0..2 {
        assert_eq!(peer.next().await.to, ["bob@example.net"]);
    }
    host.wait_until_empty().await;
    running.stop().await;
}

/// A way to make a file unreadable, and what the system says of it.
type Unreadable = (fn(&Path), &'static str);

/// Whatever the system says: it is tried again, named, and goes out when it can be read.
#[tokio::test]
async fn a_message_whose_file_can_not_be_read_waits_and_is_named() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let folder = host.config.queue_dir().join("messages");
    let ways: [Unreadable; 3] = [
        // Of it nothing can be read: an I/O error.
        (|path| std::os::unix::fs::symlink("/proc/self/mem", path).unwrap(), "Input/output error"),
        (|path| std::os::unix::fs::symlink(path, path).unwrap(), "Too many levels of symbolic links"),
        (
            |path| {
                fs::write(path, "no").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
            },
            "Permission denied",
        ),
    ];
    let mut waiting = Vec::new();
    for (damage, why) in ways {
        let id = host.add_large("alice@example.org", "bob@example.net");
        let (path, kept) = (folder.join(&id.0), host.config.queue_dir().join("kept"));
        fs::rename(&path, &kept).unwrap();
        damage(&path);
        // Who may read all is refused nothing.
        if why == "Permission denied" && fs::read(&path).is_ok() {
            fs::rename(&kept, &path).unwrap();
            host.queue.remove(Some(&id)).unwrap();
            continue;
        }
        if why == "Input/output error" {
            // As long as that says it is.
            let connection = Connection::open(host.config.queue_dir().join("queue.sqlite")).unwrap();
            connection.execute("UPDATE message SET size = 0 WHERE id = ?1", [&id.0]).unwrap();
            waiting.push((id, why, None));
        } else {
            let kept_as = kept.with_added_extension(&id.0);
            fs::rename(kept, &kept_as).unwrap();
            waiting.push((id, why, Some(kept_as)));
        }
    }
    let running = host.run();
    host.add(Some("alice@example.org"), &["eve@example.net"]);
    assert_eq!(peer.next().await.to, ["eve@example.net"]);
    for (id, why, kept) in waiting {
        assert_eq!(host.why_not_sent(&id).await, "4.3.0 the message file can't be read");
        host.is_named(&id, Some(why)).await;
        assert!(peer.received_already().is_none());
        if let Some(kept) = kept {
            fs::rename(kept, folder.join(&id.0)).unwrap();
            host.queue.retry(Some(&id)).unwrap();
            assert_eq!(peer.next().await.to, ["bob@example.net"]);
            host.is_named(&id, None).await;
        }
    }
    running.stop().await;
}
