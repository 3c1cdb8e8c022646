//! Junk comes to the mailbox that each account has for it.

use mail_types::{Quota, SpecialUse};

use super::*;

fn deliver_junk(store: &Store, text: &[u8]) {
    let mut delivery = store.deliver_junk(&[bob()]).unwrap();
    delivery.write_all(text).unwrap();
    delivery.commit_all().unwrap();
}

fn messages(store: &Arc<Store>, mailbox: &str) -> usize {
    store.account(&bob()).unwrap().open(&mailbox.parse().unwrap()).unwrap().snapshot().len()
}

#[test]
fn junk_comes_to_the_mailbox_of_that_use_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // Before anybody has logged in.
    deliver_junk(&store, b"one\r\n");
    assert_eq!((messages(&store, "Junk"), messages(&store, "INBOX")), (1, 0));
    let account = store.account(&bob()).unwrap();
    account.delete(&"Junk".parse().unwrap()).unwrap();
    deliver_junk(&store, b"two\r\n");
    assert_eq!(messages(&store, "INBOX"), 1, "without such a mailbox it is not lost");
    account.create(&"Rubbish".parse().unwrap(), Some(SpecialUse::Junk)).unwrap();
    deliver_junk(&store, b"three\r\n");
    assert_eq!((messages(&store, "Rubbish"), messages(&store, "INBOX")), (1, 1));
}

#[test]
fn junk_counts_against_the_quota_of_the_account() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let quota = Quota { storage: Some(1 << 20), messages: None };
    store.create_account(&bob()).unwrap();
    assert_eq!(store.usage(&bob(), quota).unwrap().messages, 0);
    deliver_junk(&store, b"one\r\n");
    let usage = store.usage(&bob(), quota).unwrap();
    assert_eq!((usage.storage, usage.messages), (5, 1));
}
