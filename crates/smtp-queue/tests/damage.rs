//! A queue whose database is damaged, cut off, removed or robbed of its log goes on with all that can be read; what is lost is named, and no file of a
//! message is removed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail_types::Address;
use smtp_queue::{Body, Envelope, Handling, Queue, QueueId, Requests};
use tempfile::TempDir;

/// Octets of a page of SQLite's.
const PAGE: u64 = 4096;

fn text(number: usize) -> Vec<u8> {
    // Every tenth one has a file of its own.
    let lines = if number.is_multiple_of(10) { 3000 } else { 40 };
    [format!("Subject: {number}\r\n\r\n"), format!("line of {number} .............\r\n").repeat(lines)]
        .concat()
        .into()
}

fn add(queue: &Arc<Queue>, number: usize) -> QueueId {
    let address = |text: &str| text.parse::<Address>().unwrap();
    let mut writer = queue.add().unwrap();
    writer.write_all(&text(number)).unwrap();
    let envelope = Envelope {
        sender: Some(address("alice@example.org")),
        origin: "alice@example.org".to_owned(),
        recipients: vec![address(&format!("bob{number}@example.net")), address("eve@example.com")],
        smtputf8: false,
        body: Body::SevenBit,
        requests: Requests::default(),
        handling: Handling { is_ours: true, ..Handling::default() },
    };
    writer.commit(&envelope).unwrap()
}

struct Ground {
    folder: TempDir,
    ids: Vec<QueueId>,
}

impl Ground {
    /// With so many messages, and nobody who has it open.
    fn new(messages: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path()).unwrap();
        let ids = (0..messages).map(|number| add(&queue, number)).collect();
        Self { folder, ids }
    }

    fn open(&self) -> Arc<Queue> {
        Queue::open(self.folder.path()).unwrap()
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("queue.sqlite")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("queue.sqlite{suffix}"))
    }

    /// Those that are queued; each of them is whole.
    fn queued(&self, queue: &Queue) -> HashSet<QueueId> {
        let listed = queue.list(None, usize::MAX).unwrap().into_iter();
        let told = self.told();
        let whole = listed.filter_map(|message| {
            let mut octets = Vec::new();
            match queue.content(&message.id) {
                Ok(mut content) => content.read_to_end(&mut octets).unwrap(),
                // That its text is lost was found out by this.
                Err(_) => {
                    assert_eq!(queue.show(&message.id).unwrap(), None);
                    return None;
                }
            };
            // Of what is held not all is known.
            assert_eq!(message.checksum, (!message.held).then(|| crc32fast::hash(&octets)));
            let shown = String::from_utf8(octets.clone()).unwrap();
            let number = shown.lines().next().unwrap().strip_prefix("Subject: ").unwrap().parse().unwrap();
            assert!(octets == text(number), "{number} is not whole");
            assert!(message.recipients.len() == 2 || told.contains(&message.id.0), "{message:?}");
            Some(message.id)
        });
        whole.collect()
    }

    /// What operators are told, all in one.
    fn told(&self) -> String {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let texts = entries.filter(|path| path.extension().is_some_and(|it| it == "txt"));
        texts.map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    fn set_aside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let is_aside = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("queue.sqlite.damaged-") && !name.ends_with("-wal")
        };
        entries.filter(is_aside).collect()
    }

    /// Every message is queued, or named, or has its file: those that aren't queued.
    #[track_caller]
    fn nothing_vanished(&self, queue: &Queue) -> Vec<QueueId> {
        let (queued, told) = (self.queued(queue), self.told());
        let others: Vec<QueueId> = self.ids.iter().filter(|id| !queued.contains(id)).cloned().collect();
        for id in &others {
            let file = self.folder.path().join("messages").join(&id.0);
            assert!(!file.exists() || told.contains(&id.0), "{id} is not named in {told}");
        }
        let files = fs::read_dir(self.folder.path().join("messages")).unwrap().count();
        assert_eq!(files, self.ids.len().div_ceil(10));
        others
    }

    /// It goes on, and operators are told what happened.
    #[track_caller]
    fn goes_on(&mut self, queue: &Arc<Queue>) {
        let number = self.ids.len();
        self.ids.push(add(queue, number));
        assert!(self.queued(queue).contains(&self.ids[number]));
        let notices = queue.notices().unwrap();
        assert!(notices.iter().any(|it| it.subject == "damaged queue.sqlite"), "{notices:?}");
        assert!(self.told().starts_with("the queue's database "), "{}", self.told());
    }
}

fn garbage(length: u64) -> Vec<u8> {
    let mut octets = vec![0; usize::try_from(length).unwrap()];
    getrandom::fill(&mut octets).unwrap();
    octets
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn what_is_no_database_is_set_aside_and_the_files_of_messages_stay() {
    let ways: [fn(&Path); 5] = [
        |path| fs::write(path, "this is no database, whoever put it here").unwrap(),
        |path| fs::write(path, garbage(length(path))).unwrap(),
        |path| fs::write(path, vec![0; usize::try_from(length(path)).unwrap()]).unwrap(),
        |path| File::create(path).map(drop).unwrap(),
        |path| File::options().write(true).open(path).unwrap().write_all_at(b"SQLite format 4\0", 0).unwrap(),
    ];
    for damage in ways {
        let mut ground = Ground::new(31);
        damage(&ground.database());
        let mut octets = fs::read(ground.database()).unwrap();
        if octets.is_empty() {
            octets.resize(512, 0); // so that SQLite reads its log
        }
        let queue = ground.open();
        assert_eq!(ground.nothing_vanished(&queue).len(), 31);
        let aside = ground.set_aside();
        assert_eq!((aside.len(), fs::read(&aside[0]).unwrap()), (1, octets), "it stays as it was");
        assert!(ground.told().contains("4 files in messages/ belong to no message"), "{}", ground.told());
        ground.goes_on(&queue);
        // Nothing happens again.
        drop(queue);
        ground.queued(&ground.open());
        assert_eq!(ground.set_aside().len(), 1);
    }
}

#[test]
fn of_a_database_that_was_cut_off_at_any_page_all_that_can_be_read_goes_on() {
    let most = (1..6).map(|part| {
        let mut ground = Ground::new(200);
        let kept = length(&ground.database()) / PAGE * part / 6 * PAGE;
        File::options().write(true).open(ground.database()).unwrap().set_len(kept).unwrap();
        let queue = ground.open();
        let queued = 200 - ground.nothing_vanished(&queue).len();
        ground.goes_on(&queue);
        queued
    });
    let most = most.max().unwrap();
    assert!(most > 20, "only {most} of 200 were saved");
}

#[test]
fn a_page_of_garbage_anywhere_costs_what_stood_there_and_nothing_else() {
    let mut ground = Ground::new(300);
    let (pages, whole) = (length(&ground.database()) / PAGE, fs::read(ground.database()).unwrap());
    assert!(pages > 60);
    let mut costs = Vec::new();
    for page in (1..pages).step_by(7) {
        let _ = fs::remove_file(ground.beside("-wal"));
        fs::write(ground.database(), &whole).unwrap();
        let file = File::options().write(true).open(ground.database()).unwrap();
        file.write_all_at(&garbage(PAGE), page * PAGE).unwrap();
        let queue = ground.open();
        // What reads all of it finds it.
        let lost = ground.nothing_vanished(&queue).len();
        assert_eq!(queue.summary().unwrap().messages, 300 - u64::try_from(lost).unwrap());
        costs.push(lost);
    }
    costs.sort_unstable();
    assert!(costs[costs.len() / 2] < 30, "{costs:?}");
    ground.goes_on(&ground.open());
}

#[test]
fn a_message_of_which_only_recipients_and_file_are_left_is_queued_and_held() {
    let ground = Ground::new(21);
    let connection = rusqlite::Connection::open(ground.database()).unwrap();
    let root: u64 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'message'", [], |row| row.get(0))
        .unwrap();
    drop(connection);
    let file = File::options().write(true).open(ground.database()).unwrap();
    file.write_all_at(&garbage(PAGE), (root - 1) * PAGE).unwrap();
    let queue = ground.open();
    let queued = ground.queued(&queue);
    assert_eq!(queued, [0, 10, 20].map(|number| ground.ids[number].clone()).into());
    let message = queue.show(&ground.ids[10]).unwrap().unwrap();
    assert!(message.held && message.handling.is_ours, "{message:?}");
    assert_eq!(message.sender.unwrap().to_string(), "alice@example.org");
    assert_eq!(message.recipients[0].address.to_string(), "bob10@example.net");
    let told = ground.told();
    assert!(told.contains("3 are held") && told.contains("18 are lost"), "{told}");
    let lost = format!("{} from <alice@example.org> to bob11@example.net, eve@example.com", ground.ids[11]);
    assert!(told.contains(&lost), "{told}");
    queue.release(Some(&ground.ids[10])).unwrap();
    assert!(queue.show(&ground.ids[10]).unwrap().unwrap().recipients[1].next_attempt.is_some());
}

/// What is in the log outlives the database.
#[test]
fn of_an_emptied_database_all_that_its_log_has_goes_on() {
    let mut ground = Ground::new(0);
    let running = ground.open();
    ground.ids.extend((0..11).map(|number| add(&running, number)));
    // As a crash leaves it.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["queue.sqlite", "queue.sqlite-wal"] {
        fs::copy(ground.folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    fs::rename(ground.folder.path().join("messages"), crashed.path().join("messages")).unwrap();
    File::create(crashed.path().join("queue.sqlite")).unwrap();
    let ground = Ground { folder: crashed, ids: ground.ids };
    let queue = ground.open();
    assert_eq!(ground.queued(&queue).len(), 11);
    assert!(ground.told().contains("it was cut off"), "{}", ground.told());
}

/// The file is gone, and what has not come into it yet is left.
#[test]
fn the_log_of_a_database_that_is_gone_is_read_and_set_aside() {
    let mut ground = Ground::new(0);
    let running = ground.open();
    ground.ids.extend((0..11).map(|number| add(&running, number)));
    let crashed = tempfile::tempdir().unwrap();
    let log = crashed.path().join("queue.sqlite-wal");
    fs::copy(ground.beside("-wal"), &log).unwrap();
    fs::rename(ground.folder.path().join("messages"), crashed.path().join("messages")).unwrap();
    let octets = fs::read(&log).unwrap();
    let ground = Ground { folder: crashed, ids: ground.ids };
    let queue = ground.open();
    assert_eq!(ground.queued(&queue).len(), 11);
    assert!(ground.told().contains("somebody removed it"), "{}", ground.told());
    let aside = ground.set_aside();
    assert_eq!(fs::read(format!("{}-wal", aside[0].display())).unwrap(), octets);
}

/// What it held is lost, which must not stay untold.
#[test]
fn a_log_that_was_overwritten_is_set_aside_and_told() {
    let mut ground = Ground::new(21);
    let running = ground.open();
    add(&running, 99);
    let crashed = tempfile::tempdir().unwrap();
    fs::copy(ground.database(), crashed.path().join("queue.sqlite")).unwrap();
    fs::rename(ground.folder.path().join("messages"), crashed.path().join("messages")).unwrap();
    drop(running);
    let ids = std::mem::take(&mut ground.ids);
    let mut ground = Ground { folder: crashed, ids };
    // As the loss of power may leave it.
    fs::write(ground.beside("-wal"), [0; 8192]).unwrap();
    assert!(ground.open().notices().unwrap().is_empty());
    let octets = garbage(8192);
    fs::write(ground.beside("-wal"), &octets).unwrap();
    let queue = ground.open();
    assert_eq!(ground.nothing_vanished(&queue), []);
    assert!(ground.told().contains("its log was overwritten"), "{}", ground.told());
    assert_eq!(fs::read(format!("{}-wal", ground.set_aside()[0].display())).unwrap(), octets);
    ground.goes_on(&queue);
}

#[test]
fn what_is_no_file_where_one_belongs_is_set_aside_and_no_folder_where_that_belongs() {
    for name in ["queue.sqlite", "queue.sqlite-wal", "queue.turn", "queue.open", "wakeup", "messages"] {
        let ground = Ground::new(1);
        let path = ground.folder.path().join(name);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
            fs::write(&path, "this is no folder").unwrap();
        } else {
            let _ = fs::remove_file(&path);
            fs::create_dir(&path).unwrap();
        }
        let queue = ground.open();
        let id = add(&queue, 10);
        assert!(queue.list(None, 10).unwrap().iter().any(|it| it.id == id), "{name}");
        assert!(queue.content(&id).is_ok(), "{name}");
        let aside = ground.folder.path().join(format!("{name}.damaged"));
        assert_eq!(aside.is_file(), name == "messages", "{name}");
        assert_eq!(aside.is_dir(), name != "messages", "{name}");
    }
}

/// A `data_dir` that is wrong in the config may lead anywhere.
#[test]
fn what_lies_above_the_queue_is_not_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "somebody's").unwrap();
    assert!(Queue::open(&file.join("below/queue")).is_err());
    assert_eq!(fs::read_to_string(file).unwrap(), "somebody's");
}

/// While it is open.
#[test]
fn a_folder_of_messages_that_was_removed_is_made_again() {
    let ground = Ground::new(0);
    let queue = ground.open();
    let lost = add(&queue, 10);
    fs::remove_dir_all(ground.folder.path().join("messages")).unwrap();
    let id = add(&queue, 10);
    let mut octets = Vec::new();
    queue.content(&id).unwrap().read_to_end(&mut octets).unwrap();
    assert!(octets == text(10) && queue.content(&lost).is_err());
}

#[test]
fn a_database_that_lacks_a_table_or_a_column_is_made_anew_of_the_rest() {
    let ways = [
        ("DROP TABLE message", 3),
        ("DROP TABLE recipient", 0),
        ("DROP TABLE content", 3),
        ("DROP TABLE notice", 21),
        ("ALTER TABLE message DROP COLUMN ret", 21),
        ("ALTER TABLE recipient DROP COLUMN warned", 21),
    ];
    for (sql, queued) in ways {
        for is_open in [true, false] {
            let mut ground = Ground::new(21);
            let before = is_open.then(|| ground.open());
            let connection = rusqlite::Connection::open(ground.database()).unwrap();
            connection.execute_batch(&format!("PRAGMA foreign_keys = 0; {sql}")).unwrap();
            drop(connection);
            let queue = before.unwrap_or_else(|| ground.open());
            ground.nothing_vanished(&queue);
            // What isn't asked for at that is found out by who adds.
            let number = ground.ids.len();
            ground.ids.push(add(&queue, number));
            let notices = queue.notices().unwrap();
            assert!(notices.iter().any(|it| it.subject == "damaged queue.sqlite"), "{sql}: {notices:?}");
            assert_eq!(ground.queued(&queue).len(), queued + 1, "{sql}: {}", ground.told());
        }
    }
}

#[test]
fn of_a_message_to_thousands_those_before_and_behind_the_damage_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let recipients: Vec<Address> =
        (0..3000).map(|number| format!("bob{number}@example.net").parse().unwrap()).collect();
    let envelope = Envelope {
        sender: None,
        origin: String::new(),
        recipients,
        smtputf8: false,
        body: Body::SevenBit,
        requests: Requests::default(),
        handling: Handling::default(),
    };
    let mut writer = queue.add().unwrap();
    writer.write_all(&text(1)).unwrap();
    let id = writer.commit(&envelope).unwrap();
    drop(queue);
    let path = folder.path().join("queue.sqlite");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch("DROP INDEX recipient_due_in_turn; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(connection);
    let octets = fs::read(&path).unwrap();
    let place = octets.windows(19).position(|it| it == b"bob1500@example.net").unwrap();
    let page = u64::try_from(place).unwrap() / PAGE;
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0x5a; 4096], page * PAGE).unwrap();
    let queue = Queue::open(folder.path()).unwrap();
    let kept = queue.show(&id).unwrap().unwrap().recipients;
    assert!((2800..3000).contains(&kept.len()), "{}", kept.len());
    assert!(kept[0].address.to_string() == "bob0@example.net");
    assert!(kept[kept.len() - 1].address.to_string() == "bob2999@example.net");
    let told = queue.notices().unwrap();
    assert!(told[0].text.contains("(1 of them may lack recipients)"), "{told:?}");
}

/// Where the process that is to add a message works.
const FOLDER: &str = "MAILSTEAD_TEST_FOLDER";

#[test]
#[ignore = "the process that another test starts"]
fn a_fresh_process_adds_one() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let queue = Queue::open(Path::new(&folder)).unwrap();
    let id = add(&queue, 71);
    std::io::stdout().write_all(format!("\nadded {id}\n").as_bytes()).unwrap();
}

/// A queue that two have open, with 30 messages, and one that was removed.
fn opened_twice() -> (Ground, [Arc<Queue>; 2], QueueId) {
    let mut ground = Ground::new(20);
    let both = [ground.open(), ground.open()];
    ground.ids.extend((20..31).map(|number| add(&both[0], number)));
    let gone = ground.ids.remove(1);
    both[0].remove(Some(&gone)).unwrap();
    (ground, both, gone)
}

/// Without the log.
fn replace_by_copy(ground: &Ground) {
    let copy = ground.folder.path().join("copy");
    fs::copy(ground.database(), &copy).unwrap();
    fs::rename(copy, ground.database()).unwrap();
}

/// Who comes anew must not go by what is left: those know more that have it open.
#[test]
fn what_a_fresh_process_queues_and_what_those_know_who_had_it_open_is_kept_together() {
    let ways: [fn(&Ground); 5] = [
        |ground| fs::remove_file(ground.beside("-shm")).unwrap(),
        |ground| fs::remove_file(ground.beside("-wal")).unwrap(),
        |ground| fs::remove_file(ground.database()).unwrap(),
        replace_by_copy,
        |ground| {
            for suffix in ["", "-wal", "-shm"] {
                fs::remove_file(ground.beside(suffix)).unwrap();
            }
        },
    ];
    for (way, damage) in ways.into_iter().enumerate() {
        let (mut ground, [one, other], _) = opened_twice();
        damage(&ground);
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--quiet", "--ignored", "--nocapture", "--exact", "a_fresh_process_adds_one"])
            .env(FOLDER, ground.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let added = said.lines().find_map(|line| line.strip_prefix("added "));
        ground.ids.push(QueueId(added.unwrap_or_else(|| panic!("way {way}: {said}")).to_owned()));
        for queue in [one, other, ground.open()] {
            assert_eq!(ground.queued(&queue), ground.ids.iter().cloned().collect(), "way {way}");
        }
        assert!(ground.told().contains("0 are lost"), "{}", ground.told());
    }
}

/// Of two that have it open, each finds out for itself.
#[test]
fn who_has_it_open_loses_nothing_when_files_are_removed_or_replaced_under_it() {
    let ways: [fn(&Ground); 7] = [
        |ground| fs::remove_file(ground.database()).unwrap(),
        |ground| fs::remove_file(ground.beside("-wal")).unwrap(),
        |ground| fs::remove_file(ground.beside("-shm")).unwrap(),
        |ground| {
            for suffix in ["", "-wal", "-shm"] {
                fs::remove_file(ground.beside(suffix)).unwrap();
            }
        },
        |ground| {
            fs::remove_file(ground.database()).unwrap();
            fs::write(ground.database(), garbage(20_000)).unwrap();
        },
        |ground| {
            // Another process comes before those that know more.
            fs::remove_file(ground.database()).unwrap();
            ground.open().list(None, 1).unwrap();
        },
        replace_by_copy,
    ];
    for (way, damage) in ways.into_iter().enumerate() {
        let (mut ground, [one, other], gone) = opened_twice();
        let visitor = Queue::visit(ground.folder.path()).unwrap();
        damage(&ground);
        assert!(ground.queued(&other).len() == 30, "way {way}");
        ground.goes_on(&one);
        let second = ground.ids.remove(1);
        one.remove(Some(&second)).unwrap();
        ground.goes_on(&other);
        for queue in [visitor, one, other, ground.open(), Queue::visit(ground.folder.path()).unwrap()] {
            assert_eq!(ground.queued(&queue).len(), 31, "way {way}");
            assert!(queue.show(&gone).unwrap().is_none() && queue.show(&second).unwrap().is_none());
        }
        assert!(ground.told().contains("0 are lost"), "{}", ground.told());
    }
}

/// Overwritten in place: those that have it open find out when they read what was overwritten.
#[test]
fn a_database_that_is_overwritten_while_it_is_open_holds_up_nothing() {
    for kept in [0, 1, 10] {
        let mut ground = Ground::new(200);
        let (one, other) = (ground.open(), ground.open());
        let file = File::options().write(true).open(ground.database()).unwrap();
        file.write_all_at(&garbage(length(&ground.database()) - kept * PAGE), kept * PAGE).unwrap();
        ground.nothing_vanished(&one);
        ground.goes_on(&one);
        ground.goes_on(&other);
        ground.nothing_vanished(&ground.open());
    }
}
