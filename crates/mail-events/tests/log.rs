//! The log as its writers and readers have it, on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use mail_config::Config;
use mail_events::{
    Attempt, AttemptOutcome, Entry, Event, EventLog, Message, MessageOutcome, Operation, Queued, QueuedWhy,
    Reader, Refusal, Stage,
};

fn config(folder: &Path) -> Config {
    Config::new("mail.example.org".parse().unwrap(), folder.to_owned())
}

fn message(id: &str, recipient: &str, queue_id: Option<&str>) -> Event {
    Event::Message(Box::new(Message {
        id: id.to_owned(),
        listener: "smtp".to_owned(),
        peer: "192.0.2.1".to_owned(),
        helo: "client.example.net".to_owned(),
        protocol: "ESMTPS".to_owned(),
        tls: Some("TLS_AES_256_GCM_SHA384".to_owned()),
        account: None,
        sender: "Sender@example.net".to_owned(),
        recipients: vec![recipient.to_owned()],
        accounts: Vec::new(),
        remote: Vec::new(),
        message_id: Some(format!("<{id}@client.example.net>")),
        size: 1000,
        verdict: Some("accept; score=0".to_owned()),
        outcome: MessageOutcome::Accepted,
        reply: "250 2.0.0 The message is safe".to_owned(),
        queue_id: queue_id.map(ToOwned::to_owned),
        milliseconds: 7,
    }))
}

fn attempt(queue_id: &str, recipient: &str, outcome: AttemptOutcome) -> Event {
    Event::Attempt(Box::new(Attempt {
        queue_id: queue_id.to_owned(),
        sender: "sender@example.net".to_owned(),
        recipient: recipient.to_owned(),
        attempt: 1,
        outcome,
        host: Some("mx.example.com".to_owned()),
        status: "2.0.0".to_owned(),
        class: None,
        text: "250 OK".to_owned(),
        next: None,
        seconds: 3,
    }))
}

fn refusal(peer: &str) -> Event {
    Event::Refusal(Box::new(Refusal {
        id: "r".to_owned(),
        listener: "smtp".to_owned(),
        peer: peer.to_owned(),
        helo: "x".to_owned(),
        tls: None,
        account: None,
        stage: Stage::Rcpt,
        sender: String::new(),
        recipient: Some("nobody@example.org".to_owned()),
        reply: "550 5.1.1 No such user here".to_owned(),
    }))
}

fn reader(config: &Config) -> Reader {
    Reader::open(&config.events_dir()).unwrap()
}

fn entries(config: &Config) -> Vec<Entry> {
    let mut entries = Vec::new();
    reader(config).each(|entry| entries.push(entry)).unwrap();
    entries
}

fn segments(config: &Config) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(config.events_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_is_noted_is_read_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let events = [
        message("1", "bob@example.org", None),
        refusal("192.0.2.1"),
        attempt("Q1", "far@example.com", AttemptOutcome::Deferred),
        Event::Operator(Operation { queue_id: Some("Q1".to_owned()), operation: "hold".to_owned() }),
    ];
    let log = EventLog::open(&config, "smtp").unwrap();
    events.iter().for_each(|event| log.note(event.clone()));
    drop(log);
    let read: Vec<Event> = entries(&config).into_iter().map(|entry| entry.event).collect();
    assert_eq!(read, events);
}

#[test]
fn a_torn_line_and_a_damaged_one_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let write = |id: &str| {
        let log = EventLog::open(&config, "smtp").unwrap();
        log.note(message(id, "bob@example.org", None));
    };
    write("1");
    write("2");
    let [path] = segments(&config).try_into().unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in 1..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|octet| **octet == b'\n').count();
        let expected = lines + usize::from(whole[cut] == b'\n');
        assert_eq!(entries(&config).len(), expected, "cut off at {cut}");
    }
    write("3");
    assert_eq!(entries(&config).len(), 3, "the torn one was whole but for its line end");
    let mut damaged = fs::read(&path).unwrap();
    damaged[40] = 0xFF;
    fs::write(&path, damaged).unwrap();
    assert_eq!(entries(&config).len(), 2);
}

#[test]
fn the_log_stays_within_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.log.events.max_size = 1 << 20;
    for round in 0..12 {
        let log = EventLog::open(&config, "smtp").unwrap();
        for number in 0..400 {
            log.note(message(&format!("{round}.{number}"), "bob@example.org", None));
        }
    }
    let size: u64 = segments(&config).iter().map(|path| path.metadata().unwrap().len()).sum();
    // A segment is closed once it is over its part, by what was gathered in one moment at most.
    assert!((512 << 10..=(1 << 20) + (400 << 10)).contains(&size), "{size}");
    let last = entries(&config).pop().unwrap();
    assert!(matches!(last.event, Event::Message(it) if it.id == "11.399"), "the newest stay");
}

#[test]
fn a_flood_of_refusals_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let log = EventLog::open(&config, "smtp").unwrap();
    for _ in 0..500 {
        log.note_refusal("192.0.2.1", || refusal("192.0.2.1"));
    }
    drop(log);
    let entries = entries(&config);
    assert_eq!(entries.len(), 21);
    assert!(matches!(&entries[20].event, Event::Omitted(it) if it.count == 480));
}

#[test]
fn a_message_is_traced_from_its_client_to_the_report_by_any_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let report = Event::Queued(Box::new(Queued {
        queue_id: "Q2".to_owned(),
        parent: "Q1".to_owned(),
        why: QueuedWhy::Report,
        sender: String::new(),
        recipients: vec!["sender@example.net".to_owned()],
        size: Some(2000),
    }));
    // The queue's segment is older than the message that came by SMTP.
    let queue = EventLog::open(&config, "queue").unwrap();
    queue.note(attempt("Q2", "sender@example.net", AttemptOutcome::Delivered));
    queue.note(report);
    queue.note(attempt("Q1", "far@example.com", AttemptOutcome::Bounced));
    queue.note(attempt("Q9", "other@example.com", AttemptOutcome::Delivered));
    drop(queue);
    let smtp = EventLog::open(&config, "smtp").unwrap();
    smtp.note(message("1", "far@example.com", Some("Q1")));
    smtp.note(message("2", "bob@example.org", None));
    drop(smtp);
    for wanted in ["<1@CLIENT.example.net>", "1@client.example.net", "1", "q1", "Q2", "FAR@example.com"] {
        let found = reader(&config).trace(wanted, 10).unwrap();
        assert_eq!(found.stories.len(), 1, "{wanted}");
        assert_eq!(found.stories[0].entries.len(), 4, "{wanted}");
    }
    assert_eq!(reader(&config).trace("sender@example.net", 10).unwrap().stories.len(), 3);
    let last = reader(&config).trace("sender@example.net", 1).unwrap();
    assert_eq!((last.stories.len(), last.more), (1, 2));
    assert!(reader(&config).trace("example.net", 10).unwrap().stories.is_empty());
    assert!(reader(&config).trace("", 10).unwrap().stories.is_empty());
}

/// A newsletter has as many events as recipients, and who sends much has as many messages.
#[test]
fn of_very_much_the_last_messages_are_told_and_of_each_its_first_and_last_events() {
    const MESSAGES: usize = 25_000;
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let log = EventLog::open(&config, "smtp").unwrap();
    log.note(message("newsletter", "all@example.com", Some("Q")));
    drop(log);
    // As the log writes it, in numbers that it would not take at once.
    let line = |second: usize, event: &Event| {
        let at = jiff::Timestamp::from_second(1_800_000_000 + i64::try_from(second).unwrap()).unwrap();
        serde_json::to_string(&Entry { at, event: event.clone() }).unwrap() + "\n"
    };
    let mut text = String::new();
    for number in 0..3000 {
        text += &line(number, &attempt("Q", &format!("{number}@example.com"), AttemptOutcome::Delivered));
    }
    fs::write(config.events_dir().join("20270101T000000.000000-queue.jsonl"), &text).unwrap();
    // Each message of another one stands in two segments, as those of two servers do.
    let (mut first, mut second) = (String::new(), String::new());
    for number in 0..MESSAGES {
        let id = format!("Q{number}");
        first += &line(number, &attempt(&id, "busy@example.com", AttemptOutcome::Deferred));
        second += &line(number + 5, &attempt(&id, "busy@example.com", AttemptOutcome::Delivered));
    }
    fs::write(config.events_dir().join("20270102T000000.000000-a.jsonl"), first).unwrap();
    fs::write(config.events_dir().join("20270102T000000.000000-b.jsonl"), second).unwrap();

    let found = reader(&config).trace("newsletter", 10).unwrap();
    let story = &found.stories[0];
    assert_eq!((story.entries.len(), story.omitted, story.gap()), (1000, 2001, Some((500, 2001))));
    let of = |entry: &Entry| {
        let Event::Attempt(it) = &entry.event else { return "the message".to_owned() };
        it.recipient.clone()
    };
    let told = [0, 1, 499, 500, 999].map(|place| of(&story.entries[place]));
    assert_eq!(
        told,
        ["the message", "0@example.com", "498@example.com", "2500@example.com", "2999@example.com"]
    );

    let found = reader(&config).trace("busy@example.com", 3).unwrap();
    assert_eq!(found.more, MESSAGES - 3, "each is counted once");
    let ids = found.stories.iter().map(|story| {
        let Event::Attempt(it) = &story.entries[0].event else { panic!("{story:?}") };
        (it.queue_id.clone(), story.entries.len())
    });
    assert_eq!(ids.collect::<Vec<_>>(), [24_997, 24_998, 24_999].map(|number| (format!("Q{number}"), 2)));
}

#[test]
fn a_log_that_is_off_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.log.events.enabled = false;
    let log = EventLog::open(&config, "smtp").unwrap();
    log.note(message("1", "bob@example.org", None));
    drop(log);
    assert!(!config.events_dir().exists());
    assert!(entries(&config).is_empty());
}
