//! Of what is queued, and of a damaged database that is made anew.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::host::address;
use super::{dies, instructions};
use crate::step::Step;
use crate::{Body, Envelope, Handling, Queue, QueueWriter, Requests};

fn writer(queue: &Arc<Queue>, octets: &[u8]) -> (QueueWriter, Envelope) {
    let mut writer = queue.add().unwrap();
    writer.write_all(octets).unwrap();
    let envelope = Envelope {
        sender: Some(address("alice@example.org")),
        origin: "alice@example.org".to_owned(),
        recipients: vec![address("bob@example.net")],
        smtputf8: false,
        body: Body::SevenBit,
        requests: Requests::default(),
        handling: Handling::default(),
    };
    (writer, envelope)
}

fn large() -> Vec<u8> {
    // Not in pieces that are small.
    b"0123456789".repeat(20_000)
}

#[test]
#[ignore = "the process that another test has die"]
fn queues_two_messages() {
    let Some((folder, _)) = instructions() else { return };
    let queue = Queue::open(&folder).unwrap();
    let messages = vec![writer(&queue, &large()), writer(&queue, b"small")];
    queue.commit_all(messages, Duration::ZERO).unwrap();
    std::io::stdout().write_all(b"\nacknowledged\n").unwrap();
}

#[test]
fn messages_are_queued_as_a_whole_or_not_at_all_wherever_a_process_dies() {
    let steps = [
        (Step::FileMade, 0),
        (Step::FileWritten, 0),
        (Step::FileFlushed, 0),
        (Step::FolderFlushed, 0),
        (Step::Changed, 0),
        (Step::Committed, 2),
        // It comes to no such step, and so to its end.
        (Step::Replied, 2),
    ];
    for (step, queued) in steps {
        let folder = tempfile::tempdir().unwrap();
        let (died, said) = dies("writing::queues_two_messages", folder.path(), 0, (step, 0));
        let is_acknowledged = said.contains("\nacknowledged\n");
        assert_eq!((died, is_acknowledged), (step != Step::Replied, step == Step::Replied), "{step:?}");
        let queue = Queue::open(folder.path()).unwrap();
        let listed = queue.list(None, 10).unwrap();
        assert_eq!(listed.len(), queued, "{step:?}");
        for (message, octets) in listed.iter().zip([large(), b"small".to_vec()]) {
            let mut found = Vec::new();
            queue.content(&message.id).unwrap().read_to_end(&mut found).unwrap();
            assert!(found == octets, "{step:?}");
        }
        assert_eq!(queue.sweep(Duration::ZERO).unwrap(), usize::from(queued == 0), "{step:?}");
        assert_eq!(fs::read_dir(folder.path().join("messages")).unwrap().count(), queued / 2);
        assert!(queue.notices().unwrap().is_empty(), "nobody is told of what is as usual");
    }
}

#[test]
#[ignore = "the process that another test has die"]
fn opens_a_damaged_database() {
    let Some((folder, _)) = instructions() else { return };
    Queue::open(&folder).unwrap().list(None, 100).unwrap();
}

/// The names of what is queued.
fn queued(folder: &Path) -> Vec<String> {
    let listed = Queue::open(folder).unwrap().list(None, 100).unwrap();
    listed.into_iter().map(|message| message.id.0).collect()
}

#[test]
fn a_damaged_database_is_made_anew_wherever_a_process_dies_at_that() {
    let original = tempfile::tempdir().unwrap();
    {
        let queue = Queue::open(original.path()).unwrap();
        let messages = (0..60).map(|_| writer(&queue, &b"x".repeat(3000))).collect();
        queue.commit_all(messages, Duration::ZERO).unwrap();
    }
    let database = original.path().join("queue.sqlite");
    let octets = fs::read(&database).unwrap();
    fs::write(&database, &octets[..octets.len() / 8 * 7]).unwrap();
    let copy = || {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(&database, folder.path().join("queue.sqlite")).unwrap();
        fs::create_dir(folder.path().join("messages")).unwrap();
        folder
    };
    let undisturbed = copy();
    let expected = queued(undisturbed.path());
    assert!(expected.len() > 10 && expected.len() < 60, "{}", expected.len());
    for step in [Step::SetAside, Step::Renewed, Step::Cleared, Step::InPlace] {
        let folder = copy();
        let (died, _) = dies("writing::opens_a_damaged_database", folder.path(), 0, (step, 0));
        assert!(died, "{step:?}");
        assert_eq!(queued(folder.path()), expected, "{step:?}");
        let names = fs::read_dir(folder.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
        // With what SQLite had beside it.
        let logs = names.iter().filter(|name| name.ends_with("Z-wal")).count();
        assert_eq!(count("queue.sqlite.damaged-") - logs, 1, "{step:?} {names:?}");
        assert_eq!(count("damage-"), 1, "{step:?} {names:?}");
        assert_eq!((count("queue.sqlite.new"), count("queue.sqlite.renewed")), (0, 0), "{step:?} {names:?}");
    }
}

/// What was set aside by a process that came to no end is not taken for what lies there now.
#[test]
fn a_log_that_came_since_a_process_died_is_read_and_set_aside() {
    let running = tempfile::tempdir().unwrap();
    let queue = Queue::open(running.path()).unwrap();
    let add = || {
        let (writer, envelope) = writer(&queue, b"small");
        writer.commit(&envelope).unwrap().0
    };
    let log = |folder: &Path| folder.join("queue.sqlite-wal");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("queue.sqlite"), "").unwrap();
    let mut ids: Vec<String> = (0..5).map(|_| add()).collect();
    fs::copy(log(running.path()), log(folder.path())).unwrap();
    let (died, _) = dies("writing::opens_a_damaged_database", folder.path(), 0, (Step::SetAside, 0));
    assert!(died);
    ids.push(add());
    fs::remove_file(log(folder.path())).unwrap();
    fs::copy(log(running.path()), log(folder.path())).unwrap();
    let octets = fs::read(log(folder.path())).unwrap();
    assert_eq!(queued(folder.path()), ids);
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut logs = names.filter(|path| path.to_string_lossy().ends_with("Z-wal"));
    assert!(logs.any(|path| fs::read(path).unwrap() == octets));
}
