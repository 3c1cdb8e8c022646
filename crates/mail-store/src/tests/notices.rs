//! Sessions that listen to an account hear of what others do anywhere in it, and hold no mailbox open for that.

use super::*;
use crate::watch::{News, Notices, Watcher};

/// Waits until something was heard that is wanted.
async fn until(notices: &Notices, what: &str, wanted: impl Fn(&News) -> bool) {
    let heard = async {
        while !wanted(&notices.take()) {
            notices.heard().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard)
        .await
        .unwrap_or_else(|_| panic!("{what} was not heard"));
}

fn has(name: &str) -> impl Fn(&News) -> bool {
    let name: MailboxName = name.parse().unwrap();
    move |news| news.mailboxes.contains(&name)
}

/// Waits until nothing is told of any more that happened before.
async fn settled(notices: &Notices) {
    tokio::time::timeout(Duration::from_secs(20), notices.settled()).await.expect("it never came to rest");
}

async fn hears_all(dir: &Path, mut notices: Notices) {
    let other = Store::open(dir).unwrap();
    let account = other.account(&bob()).unwrap();
    let inbox_name = MailboxName::inbox();
    notices.listen(&inbox_name, &account, &inbox_name).unwrap();
    let sent = "Sent".parse().unwrap();
    notices.listen(&sent, &account, &sent).unwrap();
    settled(&notices).await;

    deliver(&other, b"one\r\n");
    until(&notices, "a delivery", has("INBOX")).await;
    let inbox = account.open(&inbox_name).unwrap();
    settled(&notices).await;
    let uids = inbox.snapshot().uids().to_vec();
    inbox.store(&uids, &FlagChange::Add([Flag::Seen].into_iter().collect())).unwrap();
    until(&notices, "a flag", has("INBOX")).await;
    settled(&notices).await;
    std::fs::remove_file(only_file(&dir.join("example.org/bob/Maildir/cur"))).unwrap();
    until(&notices, "a foreign removal", has("INBOX")).await;

    let [a, b]: [MailboxName; 2] = ["a", "b"].map(|it| it.parse().unwrap());
    let is_named = |news: &News| news.names;
    settled(&notices).await;
    account.create(&a, None).unwrap();
    let is_there = |name: &MailboxName| account.mailboxes().unwrap().iter().any(|it| it.name == *name);
    until(&notices, "a new mailbox", |news| news.names && is_there(&a)).await;
    settled(&notices).await;
    account.rename(&a, &b).unwrap();
    until(&notices, "a new name", is_named).await;
    settled(&notices).await;
    account.subscribe(&b, true).unwrap();
    until(&notices, "a subscription", is_named).await;
    notices.listen(&b, &account, &b).unwrap();
    settled(&notices).await;
    account.delete(&b).unwrap();
    until(&notices, "a deletion", is_named).await;
    // One of the same name is listened to as soon as it is there.
    account.create(&b, None).unwrap();
    until(&notices, "the mailbox made anew", |news| news.names && is_there(&b)).await;
    let mut append = account.open(&b).unwrap().append(Flags::default(), None).unwrap();
    std::io::Write::write_all(&mut append, b"x\r\n").unwrap();
    settled(&notices).await;
    append.commit().unwrap();
    until(&notices, "a message in it", has("b")).await;
}

#[tokio::test]
async fn one_who_listens_hears_of_all_that_happens_in_the_account() {
    let dir = tempfile::tempdir().unwrap();
    let account = Store::open(dir.path()).unwrap().account(&bob()).unwrap();
    hears_all(dir.path(), account.listen()).await;
}

#[tokio::test]
async fn without_inotify_one_who_listens_hears_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let account = Store::open(dir.path()).unwrap().account(&bob()).unwrap();
    hears_all(dir.path(), account.listen_by(&Watcher::by_clock())).await;
}

/// `cur` comes after the folder around it, whoever makes it.
#[tokio::test]
async fn a_folder_is_heard_of_once_it_is_a_mailbox() {
    let dir = tempfile::tempdir().unwrap();
    let account = Store::open(dir.path()).unwrap().account(&bob()).unwrap();
    let notices = account.listen();
    settled(&notices).await;
    let folder = dir.path().join("example.org/bob/Maildir/.x");
    std::fs::create_dir(&folder).unwrap();
    until(&notices, "the folder", |news| news.names).await;
    for part in ["tmp", "new", "cur"] {
        std::fs::create_dir(folder.join(part)).unwrap();
    }
    let name: MailboxName = "x".parse().unwrap();
    let is_there = || account.mailboxes().unwrap().iter().any(|it| it.name == name);
    until(&notices, "the mailbox", |news| news.names && is_there()).await;
}

/// What came between the last look and the beginning of listening is not lost.
#[tokio::test]
async fn mail_that_came_before_one_listens_is_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    drop(account.open(&MailboxName::inbox()).unwrap());
    deliver(&store, b"one\r\n");
    let mut notices = account.listen();
    let inbox = MailboxName::inbox();
    let known = notices.listen(&inbox, &account, &inbox).unwrap().unwrap();
    assert_eq!(known.uid_next.value(), 1);
    until(&notices, "the delivery", has("INBOX")).await;
    assert_eq!(account.status(&inbox).unwrap().messages, 1);
}
