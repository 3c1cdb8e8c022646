//! RFC 8474: what ids promise, whatever is lost, renamed or copied.

use super::*;
use crate::{EmailId, MailboxObjectId, Summarized, Summary};

fn name(text: &str) -> MailboxName {
    text.parse().unwrap()
}

fn id_of(store: &Arc<Store>, mailbox: &str) -> MailboxObjectId {
    store.account(&bob()).unwrap().status(&name(mailbox)).unwrap().mailbox_id
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_mailbox_keeps_its_id_under_any_name_and_without_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    account.create(&name("A"), None).unwrap();
    let id = id_of(&store, "A");
    let others = ["INBOX", "Sent", "Trash"].map(|it| id_of(&store, it));
    assert!(!others.contains(&id) && others[0] != others[1] && others[1] != others[2]);
    account.rename(&name("A"), &name("B")).unwrap();
    account.create(&name("A"), None).unwrap();
    assert_eq!(id_of(&store, "B"), id);
    assert_ne!(id_of(&store, "A"), id, "another mailbox has the name");
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    let again = Store::open(dir.path()).unwrap();
    assert_eq!((id_of(&again, "B"), id_of(&again, "INBOX")), (id, others[0]));
    // Another program renames it.
    let maildir = dir.path().join("example.org/bob/Maildir");
    std::fs::rename(maildir.join(".B"), maildir.join(".C")).unwrap();
    assert_eq!(id_of(&Store::open(dir.path()).unwrap(), "C"), id);
    // The messages of INBOX move, INBOX itself stays (RFC 3501 §6.3.5).
    account.rename(&MailboxName::inbox(), &name("Old")).unwrap();
    assert_eq!(id_of(&store, "INBOX"), others[0]);
    assert!(!others.contains(&id_of(&store, "Old")));
}

#[test]
fn a_folder_that_was_copied_by_hand_gets_an_id_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = id_of(&store, "Sent");
    let maildir = dir.path().join("example.org/bob/Maildir");
    copy_folder(&maildir.join(".Sent"), &maildir.join(".Copy"));
    let copy = id_of(&store, "Copy");
    assert_ne!(copy, id);
    assert_eq!(id_of(&store, "Sent"), id);
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    let again = Store::open(dir.path()).unwrap();
    assert_eq!((id_of(&again, "Copy"), id_of(&again, "Sent")), (copy, id));
}

fn email_ids(mailbox: &Mailbox) -> Vec<Option<EmailId>> {
    mailbox.sync().unwrap();
    mailbox.email_ids(Uid::MIN, 100).unwrap().into_iter().map(|(_, id)| id).collect()
}

#[test]
fn a_message_has_one_id_wherever_it_is_copied_or_moved_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    let (inbox, trash) = (inbox(&store), account.open(&name("Trash")).unwrap());
    for (text, seconds) in [("one\r\n", 1), ("two\r\n", 1), ("two\r\n", 1), ("two\r\n", 2)] {
        let date = Some(mail_types::InternalDate::from_unix(seconds));
        let mut append = inbox.append(Flags::new(), date).unwrap();
        append.write_all(text.as_bytes()).unwrap();
        append.commit().unwrap();
    }
    let ids = email_ids(&inbox);
    assert!(ids.iter().all(Option::is_some));
    assert_eq!(ids[1], ids[2], "the same content of the same date");
    assert!(ids[0] != ids[1] && ids[2] != ids[3]);
    inbox.copy(&[uid(2)], &trash).unwrap();
    inbox.move_to(&[uid(1)], &trash).unwrap();
    assert_eq!(email_ids(&trash), [ids[1], ids[0]]);
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    assert_eq!(email_ids(&trash), [ids[1], ids[0]]);
    assert_eq!(email_ids(&inbox), ids[1..]);
}

#[test]
fn what_others_delivered_has_an_id_once_its_content_was_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (inbox, account) = (inbox(&store), store.account(&bob()).unwrap());
    let trash = account.open(&name("Trash")).unwrap();
    let new = dir.path().join("example.org/bob/Maildir/new");
    std::fs::write(new.join("1.M1P1.host"), "Subject: x\n\ny\n").unwrap();
    until(&inbox, |now| now.len() == 1);
    assert_eq!(email_ids(&inbox), [None]);
    let message = inbox.snapshot().get(0).unwrap();
    let content = inbox.open_message(message.uid).unwrap().content_hash().unwrap();
    let digest = Some(vec![0]);
    let summary = Summary { digest, content: Some(content), ..Summary::default() };
    summaries::keep(&inbox, 1, &[Summarized { uid: message.uid, size: message.size, summary }]);
    let id = Some(EmailId::new(content, message.internal_date.unix_seconds()));
    assert_eq!(email_ids(&inbox), [id]);
    inbox.copy(&[message.uid], &trash).unwrap();
    inbox.move_to(&[message.uid], &trash).unwrap();
    assert_eq!(email_ids(&trash), [id, id]);
}
