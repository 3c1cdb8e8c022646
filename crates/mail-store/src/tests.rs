use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail_types::{Address, Flag, Flags, MailboxName, Uid};

use crate::{FlagChange, Mailbox, Snapshot, Store};

mod accounts;
mod acl;
mod changes;
mod check;
mod content;
mod costs;
mod crashes;
pub(crate) mod damage;
mod foreign;
mod identity;
mod junk;
mod metadata;
mod misfits;
mod notices;
mod object_ids;
mod order;
mod quota;
mod races;
mod readers;
mod room;
mod save_dates;
mod saved;
mod second_opinion;
mod soak;
mod summaries;
mod watch;

/// A folder in memory where the system has such: for tests of many steps, each of which flushes.
fn fast_dir() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    let of_system = std::env::temp_dir();
    tempfile::tempdir_in(if in_memory.is_dir() { in_memory } else { &of_system }).unwrap()
}

fn bob() -> Address {
    "bob@example.org".parse().unwrap()
}

fn inbox(store: &Arc<Store>) -> Arc<Mailbox> {
    store.account(&bob()).unwrap().open(&MailboxName::inbox()).unwrap()
}

fn deliver(store: &Store, text: &[u8]) {
    let mut delivery = store.deliver(&[bob().into()]).unwrap();
    delivery.write_all(text).unwrap();
    delivery.commit().into_iter().for_each(|result| result.unwrap());
}

fn keyword(flags: &[Flag], name: &str) -> Flags {
    let mut flags: Flags = flags.iter().copied().collect();
    flags.insert_keyword(name.parse().unwrap());
    flags
}

fn uid(number: u32) -> Uid {
    Uid::try_from(number).unwrap()
}

fn flags(flags: &[Flag]) -> Flags {
    flags.iter().copied().collect()
}

/// Until the folder's times can be relied on, past the tick of the clock in which all is compared in any case.
fn settle(mailbox: &Mailbox) {
    mailbox.sync().unwrap();
    while mailbox.recheck_in().is_some_and(|time| time < Duration::from_millis(500)) {
        std::thread::sleep(Duration::from_millis(5));
        mailbox.sync().unwrap();
    }
}

/// Until the mailbox is as it is to be: what happens in the tick of the clock in which we changed a folder is found later.
fn until(mailbox: &Mailbox, wanted: impl Fn(&Snapshot) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !wanted(&mailbox.sync().unwrap()) {
        assert!(Instant::now() < deadline, "it did not come to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a mailbox is known by in the names of its files.
fn mark(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("mailstead-mailbox")).unwrap();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    format!("{}-{}", value("uidvalidity "), value("id "))
}

/// The only file in a folder.
fn only_file(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_rebuilt_index_gives_the_same_uids_flags_and_keywords() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"Subject: a\r\n\r\none\r\n");
    deliver(&store, b"Subject: b\n\ntwo\n");
    let mailbox = inbox(&store);
    let mut append = mailbox.append(keyword(&[Flag::Seen], "$Forwarded"), None).unwrap();
    append.write_all(b"x\r\n").unwrap();
    let third = append.commit().unwrap();
    mailbox.store(&[Uid::MIN], &FlagChange::Add(keyword(&[Flag::Flagged], "Work"))).unwrap();
    mailbox.expunge(&[Uid::try_from(2).unwrap()]).unwrap();
    let all = |mailbox: &Mailbox| {
        let it = mailbox.sync().unwrap();
        (0..it.len())
            .map(|n| it.get(n).unwrap())
            .map(|m| (m.uid, m.flags, m.size, m.internal_date))
            .collect::<Vec<_>>()
    };
    let (before, validity) = (all(&mailbox), mailbox.uid_validity());
    assert_eq!(before.len(), 2);
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    assert_eq!(all(&mailbox), before);
    let again = Store::open(dir.path()).unwrap();
    let mailbox = inbox(&again);
    assert_eq!((all(&mailbox), mailbox.uid_validity()), (before, validity));
    deliver(&again, b"new\r\n");
    assert!(*mailbox.sync().unwrap().uids().to_vec().last().unwrap() > third);
}

#[test]
fn two_processes_see_each_others_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    let (a, b) = (inbox(&one), inbox(&two));
    deliver(&one, b"hello\r\n");
    assert_eq!(b.sync().unwrap().len(), 1);
    a.store(&[Uid::MIN], &FlagChange::Add([Flag::Seen].into_iter().collect())).unwrap();
    assert!(b.sync().unwrap().get(0).unwrap().flags.contains(Flag::Seen));
    b.expunge(&[Uid::MIN]).unwrap();
    assert!(a.sync().unwrap().is_empty());
}

#[test]
fn copies_and_moves_keep_flags_and_a_bare_lf_counts_as_crlf() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    deliver(&store, b"a\nb\n");
    let (inbox, trash) = (inbox(&store), account.open(&"Trash".parse().unwrap()).unwrap());
    inbox.store(&[Uid::MIN], &FlagChange::Replace(keyword(&[Flag::Answered], "k"))).unwrap();
    assert_eq!(inbox.move_to(&[Uid::MIN], &trash).unwrap(), [(Uid::MIN, Uid::MIN)]);
    let message = trash.snapshot().get(0).unwrap();
    assert_eq!((message.size, message.flags.to_string()), (6, "\\Answered k".to_owned()));
    assert_eq!(trash.open_message(Uid::MIN).unwrap().read().unwrap(), b"a\r\nb\r\n");
    assert!(inbox.sync().unwrap().is_empty());
    account.delete(&"Trash".parse().unwrap()).unwrap();
    assert!(trash.sync().is_err());
}

#[test]
fn many_messages_appended_together_keep_their_order_and_come_in_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mailbox = inbox(&store);
    let begin = |number: u32| {
        let mut append = mailbox.append(Flags::new(), None).unwrap();
        append.write_all(format!("{number}\r\n").as_bytes()).unwrap();
        append
    };
    let uids = crate::Append::commit_all((0..100).map(begin).collect()).unwrap();
    for (number, uid) in uids.iter().enumerate() {
        let content = mailbox.open_message(*uid).unwrap().read().unwrap();
        assert_eq!(content, format!("{number}\r\n").as_bytes());
    }
    assert!(uids.is_sorted());
    for entry in
        std::fs::read_dir(dir.path().join("example.org/bob/Maildir/cur")).unwrap().map(Result::unwrap)
    {
        let (name, size) = (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len());
        assert!(name.contains(&format!(",S={size},")), "{name} has {size} octets");
    }
    let messages: Vec<_> = (0..100).map(begin).collect();
    std::fs::remove_file(only_file(&dir.path().join("example.org/bob/Maildir/tmp"))).unwrap();
    crate::Append::commit_all(messages).unwrap_err();
    assert_eq!(mailbox.sync().unwrap().uids().to_vec(), uids);
}
