use mail_types::{MailboxName, Rights};

use super::*;
use crate::{Acl, Asker, Identifier};

fn ana() -> Address {
    "ana@example.org".parse().unwrap()
}

fn rights(acl: &Acl, address: &Address) -> String {
    let owner = bob();
    acl.rights_of(&Asker { address, owner: &owner, is_member: &|_| false }).letters()
}

fn name(text: &str) -> MailboxName {
    text.parse().unwrap()
}

fn owners(store: &Store) -> Vec<Address> {
    let asks_for = |owner: &Address, it: &Identifier| {
        it.applies_to(&Asker { address: &ana(), owner, is_member: &|_| false })
    };
    store.owners_sharing(asks_for).unwrap()
}

fn grant(account: &crate::Account, mailbox: &str, who: &str, rights: &str) {
    let rights: Rights = rights.parse().unwrap();
    account.change_acl(&name(mailbox), |acl| acl.set(Identifier::from(who), rights)).unwrap();
}

#[test]
fn rights_go_with_their_mailbox_and_are_inherited_by_new_ones_below() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    account.create(&name("Team"), None).unwrap();
    grant(&account, "Team", "ana@example.org", "lrs");
    account.create(&name("Team/Plans"), None).unwrap();
    assert_eq!(rights(&account.acl(&name("Team/Plans")).unwrap(), &ana()), "lrs");
    assert_eq!(rights(&account.acl(&name("Sent")).unwrap(), &ana()), "");
    account.rename(&name("Team"), &name("Group")).unwrap();
    assert_eq!(rights(&account.acl(&name("Group")).unwrap(), &ana()), "lrs");
    account.delete(&name("Group")).unwrap();
    account.create(&name("Group"), None).unwrap();
    assert_eq!(rights(&account.acl(&name("Group")).unwrap(), &ana()), "");
    let missing =
        account.change_acl(&name("Nowhere"), |acl| acl.set(Identifier::from("anyone"), Rights::ALL));
    assert!(matches!(missing, Err(crate::StoreError::NoSuchMailbox(_))));
}

#[test]
fn who_shares_something_is_known_whatever_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    assert_eq!(owners(&store), []);
    grant(&account, "Sent", "owner", "lrs");
    assert_eq!(owners(&store), []);
    grant(&account, "Sent", "ana@example.org", "l");
    assert_eq!(owners(&store), [bob()]);
    // Who writes notes beside the work may just be at it.
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = std::fs::remove_dir_all(dir.path().join(".shares")) {
        assert!(Instant::now() < deadline, "{error}");
    }
    assert_eq!(owners(&store), [bob()]);
    account
        .change_acl(&name("Sent"), |acl| acl.set(Identifier::from("ana@example.org"), Rights::NONE))
        .unwrap();
    assert_eq!(owners(&store), []);
}

/// A Maildir of Dovecot's that was put into the place of an account.
#[test]
fn rights_that_dovecot_gave_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let maildir = dir.path().join("example.org/bob/Maildir");
    for folder in ["cur", "new", "tmp", ".Team/cur", ".Team/new", ".Team/tmp"] {
        std::fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    std::fs::write(maildir.join(".Team/dovecot-acl"), "user=ana lrwst\nuser=bob lrws\n").unwrap();
    let account = store.account(&bob()).unwrap();
    let acl = account.acl(&name("Team")).unwrap();
    assert_eq!((rights(&acl, &ana()), rights(&acl, &bob())), ("lrswt".to_owned(), "lrswa".to_owned()));
    assert_eq!(owners(&store), [bob()]);
}

/// What can't be read gives no rights and takes none: the command fails.
#[test]
fn a_list_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    std::fs::create_dir(dir.path().join("example.org/bob/Maildir/.Sent/dovecot-acl")).unwrap();
    assert!(matches!(account.acl(&name("Sent")), Err(crate::StoreError::Io { .. })));
}

#[test]
fn who_shares_something_is_noted_by_a_session_and_beside_it_at_once() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    let home = dir.path().join("example.org/bob");
    std::thread::scope(|scope| {
        scope.spawn(|| (0..1000).for_each(|_| crate::shares::note(&home).unwrap()));
        for _ in 0..300 {
            grant(&account, "INBOX", "ana@example.org", "lrs");
            grant(&account, "INBOX", "ana@example.org", "");
        }
    });
}
