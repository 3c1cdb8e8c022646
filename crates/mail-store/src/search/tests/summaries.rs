//! Messages of open mailboxes are summarized before anybody asks.

use disk_room::MinFree;
use mail_message::search::SearchedMessage;

use super::*;
use crate::{Summarizer, Summary};

const FORM: u32 = 7;

/// Has the first octets of a message for its preview.
#[derive(Debug)]
struct First;

impl Summarizer for First {
    fn form(&self) -> u32 {
        FORM
    }

    fn summarize(&self, message: &SearchedMessage) -> Summary {
        let first = message.octets().get(..12).unwrap().to_vec();
        Summary { preview: Some(first), digest: Some(vec![1]), ..Summary::default() }
    }
}

fn fixture() -> Fixture {
    let dir = fast_dir();
    let store = Store::open_with(dir.path(), MinFree::NOTHING, Some(Arc::new(First))).unwrap();
    Fixture { dir, store }
}

fn summarized(mailbox: &Mailbox) -> Vec<(u32, String)> {
    let all = mailbox.summaries(FORM, Uid::MIN, 1000).unwrap();
    all.into_iter()
        .map(|it| (it.uid.value(), String::from_utf8(it.summary.preview.unwrap()).unwrap()))
        .collect()
}

#[test]
fn messages_of_an_open_mailbox_are_summarized_beside_their_texts() {
    let all = fixture();
    (0..100).for_each(|number| all.deliver(&format!("Subject: {number:03}\r\n\r\nwords\r\n")));
    let (inbox, archive) = (all.open("INBOX"), all.open("Archive"));
    inbox.copy(&[Uid::MIN], &archive).unwrap();
    drop(archive);
    let expected: Vec<_> = (0..100).map(|it| (it + 1, format!("Subject: {it:03}"))).collect();
    all.index();
    assert_eq!(summarized(&inbox), expected);
    assert_eq!(all.holds("INBOX", "words"), [Some(true); 100]);
    // What comes then, too, and what was indexed before its mailbox was opened.
    all.deliver("Subject: new\r\n\r\nwords\r\n");
    inbox.sync().unwrap();
    all.index();
    assert_eq!(summarized(&inbox).last(), Some(&(101, "Subject: new".to_owned())));
    let again = Store::open_with(all.dir.path(), MinFree::NOTHING, Some(Arc::new(First))).unwrap();
    let all = Fixture { dir: all.dir, store: again };
    let archive = all.open("Archive");
    all.index();
    assert_eq!(summarized(&archive), [(1, "Subject: 000".to_owned())]);
}

#[test]
fn without_the_index_messages_are_summarized_again() {
    let all = fixture();
    (0..3).for_each(|number| all.deliver(&format!("Subject: {number:03}\r\n\r\nwords\r\n")));
    let inbox = all.open("INBOX");
    all.index();
    assert_eq!(summarized(&inbox).len(), 3);
    std::fs::remove_file(all.file().with_file_name("index.sqlite")).unwrap();
    inbox
        .store(&[Uid::MIN], &crate::FlagChange::Add([mail_types::Flag::Seen].into_iter().collect()))
        .unwrap();
    assert_eq!(summarized(&inbox), []);
    all.index();
    assert_eq!(summarized(&inbox).len(), 3);
}

#[test]
fn summaries_wait_for_nobody_at_work_on_the_account() {
    use rustix::fs::{FlockOperation, flock};
    let all = fixture();
    (0..3).for_each(|number| all.deliver(&format!("Subject: {number:03}\r\n\r\nwords\r\n")));
    let inbox = all.open("INBOX");
    let account = all.account();
    let path = all.file().with_file_name("lock");
    let lock = std::fs::File::options().write(true).open(path).unwrap();
    let (database, mut pass) = account.search().begin_pass(&account).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    // The database itself is not locked by the account's lock.
    for _ in 0..3 {
        assert!(pass.advance(&account, &database).unwrap(), "it is not done");
    }
    assert_eq!(summarized(&inbox), []);
    drop(lock);
    while pass.advance(&account, &database).unwrap() {}
    assert_eq!(summarized(&inbox).len(), 3);
}
