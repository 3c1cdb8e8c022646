//! What we store the `maildir` crate reads, and what it stores we read.

use maildir::Maildir;

use super::*;

/// What a Maildir holds, as the crate sees it: flags and content, sorted.
fn seen(maildir: &Maildir) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = maildir
        .list_cur()
        .chain(maildir.list_new())
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.flags().to_owned(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn what_we_store_another_implementation_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"Subject: one\r\n\r\n1\r\n");
    deliver(&store, b"Subject: two\r\n\r\n2\r\n");
    let mailbox = inbox(&store);
    mailbox.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen, Flag::Flagged]))).unwrap();
    store.account(&bob()).unwrap().create(&"Work/2026".parse().unwrap(), None).unwrap();
    let maildir = Maildir::from(dir.path().join("example.org/bob/Maildir"));
    assert_eq!(
        seen(&maildir),
        [
            (String::new(), b"Subject: two\r\n\r\n2\r\n".to_vec()),
            ("FS".to_owned(), b"Subject: one\r\n\r\n1\r\n".to_vec())
        ]
    );
    let folders = maildir.list_subdirs().map(|folder| folder.unwrap().path().to_owned());
    assert!(folders.into_iter().any(|folder| folder.ends_with(".Work.2026")));
}

#[test]
fn what_another_implementation_stores_and_changes_we_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mailbox = inbox(&store);
    let maildir = Maildir::from(dir.path().join("example.org/bob/Maildir"));
    maildir.store_new(b"Subject: new\n\n1\n").unwrap();
    maildir.store_cur_with_flags(b"Subject: read\r\n\r\n2\r\n", "RS").unwrap();
    let snapshot = mailbox.sync().unwrap();
    let mut all: Vec<_> = (0..snapshot.len())
        .map(|at| snapshot.get(at).unwrap())
        .map(|it| (it.flags.to_string(), it.size))
        .collect();
    all.sort();
    // RFC822.SIZE counts each line end as CRLF.
    assert_eq!(all, [(String::new(), 19), ("\\Answered \\Seen".to_owned(), 20)]);
    let ours = maildir.list_cur().map(|entry| entry.unwrap()).find(|entry| entry.flags().is_empty()).unwrap();
    maildir.set_flags(ours.id(), "F").unwrap();
    let changed = mailbox.sync().unwrap();
    assert!((0..changed.len()).any(|at| changed.get(at).unwrap().flags.contains(Flag::Flagged)));
    assert_eq!(changed.uids().to_vec(), snapshot.uids().to_vec());
}
