//! The index is only a cache: cut short, overwritten or removed under those who work with it, it costs no UID and no flag.
//! `MAILSTEAD_DAMAGES` says in how many ways.

use std::os::unix::fs::FileExt as _;

use fastrand::Rng;
use mail_types::InternalDate;

use super::soak::setting;
use super::*;
use crate::StoreError;
use crate::index::{Index, MEANWHILE};

/// UIDVALIDITY, and UID, flags, date, size and content of each message.
type Shown = (u32, Vec<(u32, String, i64, u64, String)>);

fn look(mailbox: &Mailbox) -> Result<Shown, StoreError> {
    let now = mailbox.sync()?;
    let mut messages = Vec::new();
    for message in (0..now.len()).map(|at| now.get(at).unwrap()) {
        let content = String::from_utf8(mailbox.open_message(message.uid)?.read().unwrap()).unwrap();
        let date = message.internal_date.unix_seconds();
        messages.push((message.uid.value(), message.flags.to_string(), date, message.size, content));
    }
    Ok((mailbox.uid_validity().value(), messages))
}

/// What a client gets that tries again after a temporary error.
fn patiently<T>(act: impl Fn() -> Result<T, StoreError>) -> T {
    let mut failed = Vec::new();
    for _ in 0..5 {
        match act() {
            Ok(value) => return value,
            Err(error @ (StoreError::Index { .. } | StoreError::Io { .. })) => failed.push(error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{failed:?}");
}

/// INBOX with messages of all kinds, among them some with keywords beyond the letters, and an index of many pages.
fn begin(dir: &Path) {
    let store = Store::open(dir).unwrap();
    let mailbox = inbox(&store);
    for number in 0..150_i64 {
        let keywords = keyword(&[Flag::Seen], &format!("key{}", number % 30));
        let date = InternalDate::from_unix(1_700_000_000 + number);
        let mut append =
            mailbox.append(if number % 3 == 0 { keywords } else { Flags::new() }, Some(date)).unwrap();
        append.write_all(format!("number {number}\r\n").as_bytes()).unwrap();
        append.commit().unwrap();
    }
    let uids = mailbox.snapshot().uids().to_vec();
    mailbox.store(&uids[20..60], &FlagChange::Add(flags(&[Flag::Flagged]))).unwrap();
    mailbox.expunge(&uids[100..110]).unwrap();
    mailbox.store(&uids[5..9], &FlagChange::Add(keyword(&[], "late"))).unwrap();
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
            let arrived = entry.metadata().unwrap().modified().unwrap();
            std::fs::File::open(to).unwrap().set_modified(arrived).unwrap();
        }
    }
}

/// Cuts a file short.
fn cut(path: &Path, random: &mut Rng) -> String {
    let size = std::fs::metadata(path).map_or(0, |it| it.len());
    let left = random.u64(0..size.max(1));
    std::fs::File::options().write(true).open(path).unwrap().set_len(left).unwrap();
    format!("{} cut to {left} of {size}", path.display())
}

/// Overwrites a part of a file.
fn noise(path: &Path, at: u64, count: u64, random: &mut Rng) -> String {
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(count as usize).collect();
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(&noise, at).unwrap();
    format!("{}: noise at {at}, {count} octets", path.display())
}

/// Overwrites some octets or pages of a log, which may begin and end anywhere.
fn noise_in_log(path: &Path, random: &mut Rng) -> String {
    let size = std::fs::metadata(path).map_or(0, |it| it.len());
    let at = random.u64(0..size.max(1));
    let most = if random.bool() { 64 } else { 16 * 1024 };
    noise(path, at, random.u64(1..=most).min(size - at), random)
}

/// Damages a file in one of the ways that disks and people have.
pub(crate) fn damage(path: &Path, random: &mut Rng) -> String {
    let size = std::fs::metadata(path).map_or(0, |it| it.len());
    let file = || std::fs::File::options().write(true).open(path).unwrap();
    let noise = |random: &mut Rng, at: u64, count: u64| noise(path, at, count, random);
    match random.u8(0..8) {
        0 => {
            std::fs::remove_file(path).unwrap();
            "removed".to_owned()
        }
        1 => {
            file().set_len(0).unwrap();
            "emptied".to_owned()
        }
        2 | 3 => cut(path, random),
        4 => noise(random, 0, size),
        5 => noise(random, 0, 100),
        _ => {
            // Whole pages: what one page has, half of it would not show.
            let page = 4096;
            let first = random.u64(0..size.div_ceil(page).max(1));
            let count = random.u64(1..=4);
            noise(random, first * page, (count * page).min(size.saturating_sub(first * page).max(1)))
        }
    }
}

#[test]
fn an_index_damaged_in_any_way_under_two_processes_changes_nothing_that_clients_see() {
    let template = fast_dir();
    begin(template.path());
    for seed in 0..setting("MAILSTEAD_DAMAGES", 16) {
        let dir = fast_dir();
        copy_tree(template.path(), dir.path());
        let stores = [(); 2].map(|()| Store::open(dir.path()).unwrap());
        let boxes = [inbox(&stores[0]), inbox(&stores[1])];
        let mut random = Rng::with_seed(seed);
        let mut before = look(&boxes[0]).unwrap();
        let mut mod_seq = boxes[0].snapshot().highest_mod_seq();
        for round in 0..3 {
            let index = dir.path().join("example.org/bob/index.sqlite");
            let what = match random.u8(0..6) {
                0 => cut(&index.with_extension("sqlite-wal"), &mut random),
                1 | 2 => noise_in_log(&index.with_extension("sqlite-wal"), &mut random),
                _ => damage(&index, &mut random),
            };
            let case = format!("seed {seed}, {round}: {what}");
            let first = random.usize(0..2);
            if random.bool() {
                assert_eq!(patiently(|| look(&boxes[first])), before, "{case}");
            }
            // The work goes on, at the one and at the other, and at one that is started only now.
            let put = || {
                let mut append = boxes[1 - first].append(keyword(&[], "new"), None)?;
                append.write_all(b"one more\r\n").unwrap();
                append.commit()
            };
            let added = patiently(put);
            assert!(before.1.iter().all(|it| it.0 < added.value()), "{case}");
            let store = Store::open(dir.path()).unwrap();
            let account = patiently(|| store.account(&bob()));
            let started = patiently(|| account.open(&MailboxName::inbox()));
            let now = patiently(|| look(&boxes[first]));
            assert_eq!((now.0, &now.1[..before.1.len()]), (before.0, &before.1[..]), "{case}");
            assert_eq!(now.1.len(), before.1.len() + 1, "{case}");
            // Who asks what has changed since hears of the new one at least.
            let since = boxes[first].snapshot();
            assert!(since.changed_since(mod_seq).contains(&(since.len() - 1)), "{case}");
            mod_seq = since.highest_mod_seq();
            for other in [&boxes[1 - first], &started] {
                assert_eq!(patiently(|| look(other)), now, "{case}");
            }
            before = now;
        }
        // Nobody may have needed a page that is damaged; a check finds that too.
        let found = stores[0].check(&bob(), false, &mut |_| ()).unwrap();
        assert!(found.iter().all(|it| it.problem.code() == "index-damaged"), "seed {seed}: {found:?}");
        assert_eq!(stores[0].rebuild(&bob(), &mut |_| ()).unwrap(), [], "seed {seed}");
        for mailbox in &boxes {
            assert_eq!(look(mailbox).unwrap(), before, "seed {seed}");
        }
    }
}

/// Noise that SQLite doesn't see, since all holds together: numbers are others, and one message lies in another folder.
#[test]
fn a_row_that_is_not_as_it_was_written_is_damage() {
    let template = fast_dir();
    begin(template.path());
    let store = Store::open(template.path()).unwrap();
    let before = look(&inbox(&store)).unwrap();
    let now = inbox(&store).snapshot();
    let mod_seq = now.highest_mod_seq();
    assert_eq!(inbox(&store).expunged_since(mod_seq.value() - 2, &now).unwrap().len(), 10);
    drop(store);
    let changes = [
        "UPDATE message SET wire = wire + 4 WHERE uid = 30",
        "UPDATE message SET seconds = 1 WHERE uid = 30",
        "UPDATE message SET mod_seq = 1 << 40 WHERE uid = 30",
        "UPDATE message SET extra = '26' WHERE uid = 30",
        "UPDATE message SET saved = 7 WHERE uid = 30",
        "UPDATE message SET folder = '.Other' WHERE uid >= 90",
        "UPDATE mailbox SET uid_next = 40",
        "UPDATE mailbox SET uid_next = 4000000000",
        "UPDATE mailbox SET mod_seq = 1",
        "UPDATE mailbox SET least_mod_seq = 1 << 40",
        "UPDATE mailbox SET messages = 1",
        "UPDATE expunged SET uid = 3 WHERE uid = 101",
    ];
    for change in changes {
        let dir = fast_dir();
        copy_tree(template.path(), dir.path());
        let index = dir.path().join("example.org/bob/index.sqlite");
        rusqlite::Connection::open(&index).unwrap().execute_batch(change).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let found = store.check(&bob(), false, &mut |_| ()).unwrap();
        assert!(found.iter().any(|it| it.problem.code() == "index-damaged"), "{change}: {found:?}");
        let mailbox = inbox(&store);
        assert_eq!(look(&mailbox).unwrap(), before, "{change}");
        let now = mailbox.snapshot();
        let is_log = change.contains("expunged");
        // What lies in the log is read only where somebody asks for it.
        assert_eq!(now.highest_mod_seq() == mod_seq, is_log, "{change}");
        assert_eq!(mailbox.expunged_since(mod_seq.value() - 2, &now), None, "{change}");
    }
}

#[test]
fn an_index_removed_while_it_is_opened_is_made_anew_at_once() {
    for moment in 0..2 {
        let dir = fast_dir();
        begin(dir.path());
        let before = look(&inbox(&Store::open(dir.path()).unwrap())).unwrap();
        let path = dir.path().join("example.org/bob/index.sqlite");
        let (removed, mut left) = (path.clone(), moment);
        MEANWHILE.set(Some(Box::new(move || {
            if left == 0 {
                std::fs::remove_file(&removed).unwrap();
            }
            left -= 1;
        })));
        let account = Store::open(dir.path()).unwrap().account(&bob());
        MEANWHILE.set(None);
        let mailbox = account.unwrap().open(&MailboxName::inbox()).unwrap();
        assert_eq!(look(&mailbox).unwrap(), before, "{moment}");
        assert!(path.exists(), "{moment}");
    }
}

thread_local! {
    static CHECKPOINTED: std::cell::RefCell<Option<(Index, Vec<bool>)>> = const { std::cell::RefCell::new(None) };
}

/// SQLite calls this once it has the lock of checkpoints and waits for the one who writes.
fn checkpoint_beside(_attempts: i32) -> bool {
    CHECKPOINTED.with_borrow_mut(|it| {
        let (index, done) = it.as_mut().unwrap();
        done.push(index.checkpoint().unwrap());
    });
    false
}

#[test]
fn a_checkpoint_that_another_one_is_in_the_way_of_is_not_done() {
    let dir = fast_dir();
    let path = dir.path().join("index.sqlite");
    let index = Index::open(&path).unwrap();
    index.begin().unwrap();
    index.put_commits(1).unwrap();
    index.commit().unwrap();
    CHECKPOINTED.set(Some((index, Vec::new())));
    let (writing, mut other) =
        (rusqlite::Connection::open(&path).unwrap(), rusqlite::Connection::open(&path).unwrap());
    writing.execute_batch("BEGIN IMMEDIATE").unwrap();
    other.busy_handler(Some(checkpoint_beside)).unwrap();
    let is_busy: bool = other.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0)).unwrap();
    writing.execute_batch("ROLLBACK").unwrap();
    let (index, done) = CHECKPOINTED.take().unwrap();
    assert_eq!((is_busy, done), (true, vec![false]));
    assert!(index.checkpoint().unwrap());
}
