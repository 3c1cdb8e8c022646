//! Of a sent message there is one copy, whoever brings it, and in whatever order.

use mail_types::SpecialUse;

use super::*;
use crate::Append;

const TEXT: &[u8] = b"Message-ID: <1@example.org>\r\nSubject: a\r\n\r\nbody\r\n";

fn append(mailbox: &Arc<Mailbox>, text: &[u8]) -> Append {
    let mut flags = Flags::new();
    flags.insert(Flag::Seen);
    let mut append = mailbox.append(flags, None).unwrap();
    append.write_all(text).unwrap();
    append
}

fn sent(dir: &tempfile::TempDir) -> Arc<Mailbox> {
    let store = Store::open(dir.path()).unwrap();
    store.create_account(&bob()).unwrap();
    let account = store.account(&bob()).unwrap();
    let name = account.special(SpecialUse::Sent).unwrap().unwrap();
    assert_eq!(name.to_string(), "Sent");
    account.open(&name).unwrap()
}

#[test]
fn a_clients_copy_takes_the_place_of_the_servers() {
    let dir = fast_dir();
    let sent = sent(&dir);
    let ours = append(&sent, TEXT).commit_saved().unwrap().unwrap();
    let mut theirs = append(&sent, &[TEXT, b"theirs\r\n"].concat());
    let found = theirs.saved_by_server();
    assert_eq!(found, Some(ours));
    let new = theirs.replace(&sent, ours).unwrap();
    assert_eq!(sent.sync().unwrap().uids().to_vec(), [new]);
    assert_eq!(append(&sent, TEXT).saved_by_server(), None, "it is replaced once");
}

#[test]
fn where_a_client_was_faster_the_server_saves_nothing() {
    let dir = fast_dir();
    let sent = sent(&dir);
    let theirs = append(&sent, TEXT).commit().unwrap();
    assert_eq!(append(&sent, TEXT).commit_saved().unwrap(), None);
    assert_eq!(sent.sync().unwrap().uids().to_vec(), [theirs]);
    assert_eq!(append(&sent, TEXT).saved_by_server(), None);
}

#[test]
fn another_message_or_mailbox_is_not_meant() {
    let dir = fast_dir();
    let sent = sent(&dir);
    let ours = append(&sent, TEXT).commit_saved().unwrap().unwrap();
    assert_eq!(append(&sent, b"Message-ID: <2@example.org>\r\n\r\n").saved_by_server(), None);
    assert_eq!(append(&sent, b"Subject: none\r\n\r\n").saved_by_server(), None);
    let drafts = Store::open(dir.path()).unwrap().account(&bob()).unwrap().open(&"Drafts".parse().unwrap());
    assert_eq!(append(&drafts.unwrap(), TEXT).saved_by_server(), None);
    sent.expunge(&[ours]).unwrap();
    assert_eq!(append(&sent, TEXT).saved_by_server(), None, "the user has removed it");
}
