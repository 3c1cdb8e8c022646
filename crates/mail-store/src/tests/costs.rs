//! Costs don't grow with the mailbox.

use super::*;
use crate::account::TIMES_LOCKED;
use crate::mailbox::FILES_READ;

/// An INBOX of so many messages, whose first comparison is final.
fn settled_inbox(dir: &Path, messages: usize) -> (Arc<Store>, Arc<Mailbox>) {
    let store = Store::open(dir).unwrap();
    (0..messages).for_each(|_| deliver(&store, b"x\r\n"));
    let mailbox = inbox(&store);
    settle(&mailbox);
    (store, mailbox)
}

#[test]
fn our_own_changes_and_deliveries_read_none_of_the_messages_that_lie_there() {
    // A slow machine may bring the comparison that is due after our changes into the middle: then once more.
    let mut reads = (0..10).map(|_| {
        let dir = tempfile::tempdir().unwrap();
        let (store, mailbox) = settled_inbox(dir.path(), 30);
        let trash = store.account(&bob()).unwrap().open(&"Trash".parse().unwrap()).unwrap();
        settle(&trash);
        let before = FILES_READ.get();
        mailbox.store(&[uid(3)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
        let mut append = mailbox.append(Flags::new(), None).unwrap();
        append.write_all(b"x\r\n").unwrap();
        append.commit().unwrap();
        mailbox.copy(&[uid(3), uid(4)], &trash).unwrap();
        mailbox.move_to(&[uid(5)], &trash).unwrap();
        mailbox.expunge(&[uid(6)]).unwrap();
        mailbox.sync().unwrap();
        deliver(&store, b"x\r\n");
        assert_eq!(mailbox.sync().unwrap().len(), 30);
        mailbox.open_message(uid(7)).unwrap();
        FILES_READ.get() - before
    });
    assert!(reads.any(|read| read == 1), "only the delivery is read");
}

/// Until nothing has changed for so long that the next change shows by the times.
fn until_a_look_waits_for_no_lock(mailbox: &Mailbox) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let waits = || {
        let before = TIMES_LOCKED.get();
        mailbox.sync().unwrap();
        TIMES_LOCKED.get() > before
    };
    while waits() {
        assert!(Instant::now() < deadline, "every look waits for the lock");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_look_right_after_our_own_change_waits_for_no_lock() {
    // A slow machine may bring the verification that is due after our changes into the middle: then once more.
    let mut locked = (0..10).map(|_| {
        let dir = tempfile::tempdir().unwrap();
        let (_store, mailbox) = settled_inbox(dir.path(), 3);
        // The first change raises the high-water mark in a file.
        mailbox.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
        until_a_look_waits_for_no_lock(&mailbox);
        mailbox.store(&[uid(2)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
        let before = TIMES_LOCKED.get();
        (0..3).for_each(|_| assert!(mailbox.sync().unwrap().get(1).unwrap().flags.contains(Flag::Seen)));
        TIMES_LOCKED.get() - before
    });
    assert!(locked.any(|times| times == 0));
}

#[test]
fn messages_opened_one_after_the_other_are_looked_up_together_and_are_the_right_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (0..300).for_each(|number| deliver(&store, format!("{number}\r\n").as_bytes()));
    let mailbox = inbox(&store);
    let read = |at: u32| mailbox.open_message(uid(at)).unwrap().read().unwrap();
    for number in [7, 8, 9, 200, 1, 300, 2, 3].into_iter().chain(1..=300) {
        if number % 5 == 0 {
            mailbox.store(&[uid(number)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
        }
        assert_eq!(read(number), format!("{}\r\n", number - 1).as_bytes());
    }
    mailbox.expunge(&[uid(9)]).unwrap();
    assert!(matches!(mailbox.open_message(uid(9)), Err(crate::StoreError::MessageGone(_))));
}
