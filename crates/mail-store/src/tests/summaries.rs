use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::*;
use crate::{Summarized, Summary};

const FORM: u32 = 1;

/// A store with two messages in INBOX, of which the first has a summary.
fn summarized_inbox() -> (tempfile::TempDir, Arc<Store>, Arc<Mailbox>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"Subject: one\r\n\r\n");
    deliver(&store, b"Subject: two\r\n\r\n");
    let mailbox = inbox(&store);
    keep(&mailbox, FORM, &[of(1, "one")]);
    assert_eq!(known(&mailbox), [(1, "one".to_owned())]);
    (dir, store, mailbox)
}

/// Keeps them as soon as no thread of the store, say that of the full-text index, is at work on the account.
pub(super) fn keep(mailbox: &Mailbox, form: u32, summaries: &[Summarized]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !mailbox.keep_summaries(form, summaries).unwrap() {
        assert!(Instant::now() < deadline, "the account is always at work");
        std::thread::yield_now();
    }
}

fn of(number: u32, text: &str) -> Summarized {
    let summary = Summary {
        envelope: Some(text.into()),
        preview: Some(b"p".to_vec()),
        digest: Some(text.into()),
        ..Summary::default()
    };
    Summarized { uid: uid(number), size: 16, summary }
}

/// UIDs and texts of all summaries.
fn known(mailbox: &Mailbox) -> Vec<(u32, String)> {
    let text = |it: Summarized| String::from_utf8(it.summary.envelope.unwrap()).unwrap();
    let all = mailbox.summaries(FORM, Uid::MIN, 100).unwrap();
    assert!(all.iter().all(|it| it.summary.preview.as_deref() == Some(b"p")));
    let known: Vec<_> = all.into_iter().map(|it| (it.uid.value(), text(it))).collect();
    assert_eq!(digests(mailbox), known, "a digest is where its summary is");
    known
}

fn digests(mailbox: &Mailbox) -> Vec<(u32, String)> {
    let digests = mailbox.digests(FORM, Uid::MIN, 100).unwrap();
    let of =
        |position| digests.get(position).map(|(uid, _, it)| (uid, String::from_utf8(it.to_vec()).unwrap()));
    (0..digests.len()).filter_map(of).collect()
}

#[test]
fn a_summary_goes_with_its_message_wherever_that_goes() {
    let (dir, store, mailbox) = summarized_inbox();
    let account = store.account(&bob()).unwrap();
    let (trash, sent) = (account.open(&"Trash".parse().unwrap()), account.open(&"Sent".parse().unwrap()));
    let (trash, sent) = (trash.unwrap(), sent.unwrap());
    mailbox.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    mailbox.copy(&[uid(1), uid(2)], &trash).unwrap();
    mailbox.copy(&[uid(1)], &mailbox).unwrap();
    assert_eq!(known(&mailbox), [(1, "one".to_owned()), (3, "one".to_owned())]);
    mailbox.move_to(&[uid(2), uid(3)], &sent).unwrap();
    mailbox.move_to(&[uid(1)], &mailbox).unwrap();
    let all = [&mailbox, &trash, &sent].map(|it| known(it));
    assert_eq!(all, [[(4, "one".to_owned())], [(1, "one".to_owned())], [(2, "one".to_owned())]]);
    account.rename(&"Trash".parse().unwrap(), &"Bin".parse().unwrap()).unwrap();
    let again = Store::open(dir.path()).unwrap();
    let account = again.account(&bob()).unwrap();
    let all = ["INBOX", "Bin", "Sent"].map(|name| known(&account.open(&name.parse().unwrap()).unwrap()));
    assert_eq!(all, [[(4, "one".to_owned())], [(1, "one".to_owned())], [(2, "one".to_owned())]]);
}

#[test]
fn a_summary_goes_when_its_message_goes() {
    let (_dir, store, mailbox) = summarized_inbox();
    mailbox.expunge(&[uid(1)]).unwrap();
    assert_eq!(known(&mailbox), []);
    keep(&mailbox, FORM, &[of(1, "late"), of(2, "two")]);
    assert_eq!(known(&mailbox), [(2, "two".to_owned())], "what is gone is not kept again");
    let account = store.account(&bob()).unwrap();
    let name: MailboxName = "Sent".parse().unwrap();
    let old = account.open(&name).unwrap();
    mailbox.copy(&[uid(2)], &old).unwrap();
    account.delete(&name).unwrap();
    account.create(&name, None).unwrap();
    let new = account.open(&name).unwrap();
    assert_eq!(known(&new), []);
    mailbox.move_to(&[uid(2)], &new).unwrap();
    assert_eq!(known(&new), [(1, "two".to_owned())]);
    assert_eq!(known(&old), [], "another mailbox has the name");
    keep(&old, FORM, &[of(1, "of the old one")]);
    assert_eq!(known(&new), [(1, "two".to_owned())]);
}

#[test]
fn a_summary_of_another_form_or_size_does_not_count() {
    let (_dir, _store, mailbox) = summarized_inbox();
    assert!(mailbox.summaries(FORM + 1, Uid::MIN, 100).unwrap().is_empty());
    keep(&mailbox, FORM, &[Summarized { size: 17, ..of(2, "two") }]);
    assert_eq!(known(&mailbox), [(1, "one".to_owned())]);
    keep(&mailbox, FORM + 1, &[of(1, "better")]);
    let better = mailbox.summaries(FORM + 1, Uid::MIN, 100).unwrap();
    assert_eq!(better.iter().map(|it| it.uid).collect::<Vec<_>>(), [uid(1)]);
    assert_eq!(mailbox.digests(FORM + 1, Uid::MIN, 100).unwrap().get(0), Some((1, 16, &b"better"[..])));
}

/// The index is only a cache: without it all goes on, and what is learned again is found again.
#[test]
fn summaries_are_learned_again_after_the_index_is_lost() {
    let (dir, _store, mailbox) = summarized_inbox();
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    mailbox.store(&[uid(2)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    assert_eq!(known(&mailbox), []);
    keep(&mailbox, FORM, &[of(2, "two")]);
    assert_eq!(known(&mailbox), [(2, "two".to_owned())]);
}

#[test]
fn an_index_that_another_process_made_anew_is_left_whole() {
    let (dir, _store, mailbox) = summarized_inbox();
    let other = Store::open(dir.path()).unwrap();
    let others = inbox(&other);
    let index = dir.path().join("example.org/bob/index.sqlite");
    std::fs::remove_file(&index).unwrap();
    mailbox.store(&[uid(2)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    let log = || std::fs::metadata(index.with_extension("sqlite-wal")).unwrap().ino();
    let before = log();
    others.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Flagged]))).unwrap();
    assert_eq!(log(), before);
    keep(&others, FORM, &[of(2, "two")]);
    assert_eq!(known(&mailbox), [(2, "two".to_owned())]);
}

#[test]
fn summaries_wait_for_nobody_who_is_at_work_on_the_account() {
    let (dir, _store, mailbox) = summarized_inbox();
    let path = dir.path().join("example.org/bob/lock");
    let lock = File::options().write(true).open(path).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert!(!mailbox.keep_summaries(FORM, &[of(2, "two")]).unwrap());
    assert_eq!(known(&mailbox), [(1, "one".to_owned())]);
    drop(lock);
    keep(&mailbox, FORM, &[of(2, "two")]);
}

/// SQLite doesn't see that a text is another.
#[test]
fn a_summary_that_is_not_as_it_was_written_is_shown_to_nobody_and_made_anew() {
    for change in [
        "UPDATE summary SET envelope = x'6f6e65' || ' '",
        "UPDATE digest SET digest = 'noise'",
        "UPDATE summary SET uid = 2",
        "UPDATE digest SET uid = 2",
    ] {
        let (dir, _store, mailbox) = summarized_inbox();
        let index = dir.path().join("example.org/bob/index.sqlite");
        rusqlite::Connection::open(&index).unwrap().execute_batch(change).unwrap();
        let summaries = mailbox.summaries(FORM, Uid::MIN, 100);
        assert!(summaries.is_err() || mailbox.digests(FORM, Uid::MIN, 100).is_err(), "{change}");
        // Who works next finds the index damaged.
        mailbox.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
        assert_eq!(known(&mailbox), [], "{change}");
        keep(&mailbox, FORM, &[of(1, "one")]);
        assert_eq!(known(&mailbox), [(1, "one".to_owned())]);
    }
}
