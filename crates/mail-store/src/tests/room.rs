//! Mail leaves of the disk what it is to leave free, and what makes room goes on.

use std::io::ErrorKind;

use disk_room::MinFree;

use super::*;
use crate::StoreError;

/// A store of which the disk is full of mail by now: of these messages.
fn full_of(texts: &[&str]) -> (tempfile::TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().unwrap();
    let before = Store::open(dir.path()).unwrap();
    texts.iter().for_each(|text| deliver(&before, text.as_bytes()));
    before.create_account(&bob()).unwrap();
    let store = Store::open_with(dir.path(), MinFree::octets(u64::MAX), None).unwrap();
    (dir, store)
}

fn files(dir: &Path) -> usize {
    let maildir = dir.join("example.org/bob/Maildir");
    ["tmp", "new", "cur"].iter().map(|part| std::fs::read_dir(maildir.join(part)).unwrap().count()).sum()
}

#[test]
fn a_message_that_would_take_the_last_of_the_disk_is_not_written_and_leaves_nothing() {
    let (dir, store) = full_of(&[]);
    let mut small = store.deliver(&[bob().into()]).unwrap();
    small.write_all(b"Subject: small\r\n\r\n").unwrap();
    assert!(small.commit_all().is_err_and(|(_, error)| error.is_full()));
    let mut large = store.deliver(&[bob().into()]).unwrap();
    let written = large.write_all(&[b'x'; 100_000]);
    assert!(written.is_err_and(|error| error.kind() == ErrorKind::StorageFull));
    drop(large);
    let inbox = inbox(&store);
    let mut append = inbox.append(Flags::new(), None).unwrap();
    append.write_message(b"Subject: appended\r\n\r\n").unwrap();
    assert!(append.commit().is_err_and(|error| error.is_full()));
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn what_is_there_is_read_moved_marked_and_removed_on_a_disk_full_of_mail() {
    let (dir, store) = full_of(&["Subject: one\r\n\r\n", "Subject: two\r\n\r\n"]);
    let (inbox, trash) =
        (inbox(&store), store.account(&bob()).unwrap().open(&"Trash".parse().unwrap()).unwrap());
    let uids = inbox.sync().unwrap().uids().to_vec();
    assert!(inbox.open_message(uids[0]).unwrap().read().unwrap().starts_with(b"Subject: one"));
    inbox.store(&uids, &FlagChange::Add([Flag::Deleted].into_iter().collect())).unwrap();
    inbox.move_to(&uids[1..], &trash).unwrap();
    inbox.expunge(&uids).unwrap();
    trash.expunge(&trash.sync().unwrap().uids().to_vec()).unwrap();
    assert_eq!(files(dir.path()), 0);
}

/// A copy is another name for a file: it takes no more than a row in the index.
#[test]
fn a_copy_leaves_half_of_what_a_message_leaves() {
    let (dir, store) = full_of(&["Subject: one\r\n\r\n"]);
    let copy = |store: &Arc<Store>| -> Result<(), StoreError> {
        let trash = store.account(&bob()).unwrap().open(&"Trash".parse().unwrap()).unwrap();
        let inbox = inbox(store);
        let uids = inbox.sync()?.uids().to_vec();
        inbox.copy(&uids, &trash).map(drop)
    };
    assert!(copy(&store).is_err_and(|error| error.is_full()));
    drop(store);
    let free = disk_room::Disk::of(dir.path()).unwrap().free;
    // Others may write to this disk meanwhile.
    let a_bit_more = Store::open_with(dir.path(), MinFree::octets(free + free / 2), None).unwrap();
    assert!(a_bit_more.check_disk(0).is_err());
    copy(&a_bit_more).unwrap();
}
