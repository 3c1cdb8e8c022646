//! Annotations (RFC 5464) are as durable as mail, and whole.

use mail_types::SpecialUse;

use super::*;
use crate::disk::fault::{self, Strike};
use crate::{Account, MetadataChanges, StoreError};

fn name(text: &str) -> MailboxName {
    text.parse().unwrap()
}

fn account(dir: &Path) -> Arc<Account> {
    Store::open(dir).unwrap().account(&bob()).unwrap()
}

fn set(account: &Arc<Account>, of: Option<&str>, values: &[(&str, Option<&[u8]>)]) -> Result<(), StoreError> {
    let values: Vec<_> =
        values.iter().map(|(entry, value)| (entry.parse().unwrap(), value.map(<[u8]>::to_vec))).collect();
    let changes = MetadataChanges { values: &values, special_use: None, most: 10, reader: None };
    account.set_metadata(of.map(name).as_ref(), changes).map(|_| ())
}

fn all(account: &Account, of: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let metadata = account.metadata(of.map(name).as_ref(), None).unwrap();
    metadata.iter().map(|(entry, value)| (entry.to_string(), value.to_vec())).collect()
}

#[test]
fn annotations_outlive_the_index_and_a_rename() {
    let dir = fast_dir();
    let it = account(dir.path());
    it.create(&name("A/B"), None).unwrap();
    set(&it, Some("A/B"), &[("/private/comment", Some(b"\0 \r\n\xff%41")), ("/shared/comment", Some(b""))])
        .unwrap();
    set(&it, None, &[("/private/vendor/x/y", Some(b"z"))]).unwrap();
    let of_mailbox = all(&it, Some("A/B"));
    assert_eq!(of_mailbox.len(), 2);
    it.rename(&name("A"), &name("C")).unwrap();
    drop(it);
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    let again = account(dir.path());
    assert_eq!(all(&again, Some("C/B")), of_mailbox);
    assert_eq!(all(&again, None), [("/private/vendor/x/y".to_owned(), b"z".to_vec())]);
    assert!(matches!(again.metadata(Some(&name("A/B")), None), Err(StoreError::NoSuchMailbox(_))));
}

#[test]
fn a_change_that_is_cut_short_is_made_as_a_whole_or_not_at_all() {
    let old = [("/private/comment", Some(&b"old"[..])), ("/shared/comment", Some(&b"old"[..]))];
    let new = [("/private/comment", Some(&b"new and longer"[..])), ("/shared/comment", None)];
    for strike in Strike::ALL {
        for step in 0.. {
            let dir = fast_dir();
            let it = account(dir.path());
            set(&it, Some("Sent"), &old).unwrap();
            let before = all(&it, Some("Sent"));
            fault::strike(strike, step);
            let result = set(&it, Some("Sent"), &new);
            let struck = fault::has_struck();
            fault::after(None);
            let now = all(&account(dir.path()), Some("Sent"));
            let special_use = ("/private/specialuse".to_owned(), b"\\Sent".to_vec());
            let is_new = now == [("/private/comment".to_owned(), b"new and longer".to_vec()), special_use];
            assert!(is_new || (result.is_err() && now == before), "{strike:?} {step}: {now:?}");
            if !struck {
                result.unwrap();
                break;
            }
        }
    }
}

#[test]
fn a_mailbox_of_the_same_name_has_none_of_those_before() {
    let dir = fast_dir();
    let it = account(dir.path());
    it.create(&name("A"), None).unwrap();
    set(&it, Some("A"), &[("/shared/comment", Some(b"x"))]).unwrap();
    // Another program takes away the mailbox by half.
    for part in ["cur", "new", "tmp"] {
        std::fs::remove_dir(dir.path().join("example.org/bob/Maildir/.A").join(part)).unwrap();
    }
    it.create(&name("A"), None).unwrap();
    assert!(all(&it, Some("A")).is_empty());
}

#[test]
fn a_damaged_file_is_an_error_and_is_not_written_over() {
    let dir = fast_dir();
    let it = account(dir.path());
    let path = dir.path().join("example.org/bob/Maildir/mailstead-metadata");
    std::fs::write(&path, "noise").unwrap();
    assert!(matches!(it.metadata(Some(&name("INBOX")), None), Err(StoreError::Io { .. })));
    assert!(matches!(set(&it, Some("INBOX"), &[("/shared/comment", None)]), Err(StoreError::Io { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"noise");
}

#[test]
fn another_process_is_told_of_changes_each_once_also_after_the_index_was_lost() {
    let dir = fast_dir();
    let (one, other) = (account(dir.path()), account(dir.path()));
    let told = |since: i64| {
        let changes = other.metadata_changes_since(since, None).unwrap();
        let last = changes.iter().map(|it| it.number).max().unwrap_or(since);
        let told =
            changes.into_iter().map(|it| format!("{:?} {}", it.mailbox.map(|it| it.to_string()), it.entry));
        (last, told.collect::<Vec<_>>())
    };
    let since = other.last_metadata_change().unwrap();
    for value in [&b"1"[..], b"2", b"2"] {
        set(&one, Some("INBOX"), &[("/shared/comment", Some(value)), ("/private/comment", None)]).unwrap();
    }
    set(&one, None, &[("/private/vendor/x/y", Some(b"z"))]).unwrap();
    let (since, changes) = told(since);
    assert_eq!(changes, ["None /private/vendor/x/y", "Some(\"INBOX\") /shared/comment"]);
    assert!(told(since).1.is_empty());
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    set(&one, Some("Sent"), &[("/shared/comment", Some(b"x"))]).unwrap();
    assert_eq!(told(since).1, ["Some(\"Sent\") /shared/comment"]);
}

#[test]
fn one_mailbox_has_a_special_use_and_keeps_its_uids() {
    let dir = fast_dir();
    let it = account(dir.path());
    it.create(&name("Mine"), None).unwrap();
    let uid_validity = it.open(&name("Mine")).unwrap().uid_validity();
    let changes =
        MetadataChanges { values: &[], special_use: Some(Some(SpecialUse::Sent)), most: 10, reader: None };
    it.set_metadata(Some(&name("Mine")), changes).unwrap();
    let sent: Vec<_> =
        it.mailboxes().unwrap().into_iter().filter(|it| it.special_use == Some(SpecialUse::Sent)).collect();
    assert_eq!(sent.iter().map(|it| it.name.to_string()).collect::<Vec<_>>(), ["Mine"]);
    let mailbox = it.open(&name("Mine")).unwrap();
    let mut append = mailbox.append(Flags::new(), None).unwrap();
    append.write_all(b"x\r\n").unwrap();
    append.commit().unwrap();
    assert_eq!(account(dir.path()).open(&name("Mine")).unwrap().uid_validity(), uid_validity);
    assert_eq!(
        all(&account(dir.path()), Some("Mine")),
        [("/private/specialuse".to_owned(), b"\\Sent".to_vec())]
    );
}

fn set_as(
    account: &Arc<Account>,
    reader: &str,
    of: &str,
    values: &[(&str, &[u8])],
    most: usize,
) -> Result<(), StoreError> {
    let values: Vec<_> =
        values.iter().map(|(entry, value)| (entry.parse().unwrap(), Some(value.to_vec()))).collect();
    let reader = reader.parse().unwrap();
    let changes = MetadataChanges { values: &values, special_use: None, most, reader: Some(&reader) };
    account.set_metadata(Some(&name(of)), changes).map(|_| ())
}

fn seen_by(account: &Account, reader: &str, of: &str) -> Vec<(String, Vec<u8>)> {
    let metadata = account.metadata(Some(&name(of)), Some(&reader.parse().unwrap())).unwrap();
    metadata.iter().map(|(entry, value)| (entry.to_string(), value.to_vec())).collect()
}

#[test]
fn private_annotations_of_others_share_the_fate_of_the_mailbox() {
    let dir = fast_dir();
    let it = account(dir.path());
    it.create(&name("A"), None).unwrap();
    let private = |text: &str| vec![("/private/comment".to_owned(), text.as_bytes().to_vec())];
    for (reader, mailbox) in
        [("ana@example.org", "A"), ("ana@example.tmp", "A"), ("ana@example.org", "INBOX")]
    {
        set_as(&it, reader, mailbox, &[("/private/comment", reader.as_bytes())], 10).unwrap();
    }
    let count = |reader: Option<&str>| {
        let reader = reader.map(|reader| reader.parse().unwrap());
        it.metadata_changes_since(0, reader.as_ref()).unwrap().len()
    };
    let counts = [None, Some("ana@example.org"), Some("ana@example.tmp"), Some("eve@example.org")].map(count);
    assert_eq!(counts, [0, 2, 1, 0], "each hears of his own");
    it.rename(&name("A"), &name("B")).unwrap();
    it.rename(&name("INBOX"), &name("Old")).unwrap();
    drop(it);
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(100 * 24 * 3600);
    crate::housekeeping::sweep_mailbox(&dir.path().join("example.org/bob/Maildir/.B"), later);
    let it = account(dir.path());
    for reader in ["ana@example.org", "ana@example.tmp"] {
        assert_eq!(seen_by(&it, &reader.to_uppercase(), "B"), private(reader));
    }
    for mailbox in ["INBOX", "Old"] {
        assert_eq!(seen_by(&it, "ana@example.org", mailbox), private("ana@example.org"));
        assert!(all(&it, Some(mailbox)).is_empty());
    }
    it.delete(&name("B")).unwrap();
    it.create(&name("B"), None).unwrap();
    assert!(seen_by(&it, "ana@example.org", "B").is_empty());
}

#[test]
fn what_one_user_may_keep_privately_is_bounded_for_himself() {
    let dir = fast_dir();
    let it = account(dir.path());
    set(&it, Some("INBOX"), &[("/private/comment", Some(b"x")), ("/shared/comment", Some(b"x"))]).unwrap();
    set_as(
        &it,
        "ana@example.org",
        "INBOX",
        &[("/private/vendor/a/1", b"x"), ("/private/vendor/a/2", b"x")],
        2,
    )
    .unwrap();
    let more = set_as(
        &it,
        "ana@example.org",
        "INBOX",
        &[("/private/vendor/a/3", b"x"), ("/shared/comment", b"y")],
        2,
    );
    assert!(matches!(more, Err(StoreError::TooManyAnnotations)));
    assert_eq!(seen_by(&it, "ana@example.org", "INBOX")[2], ("/shared/comment".to_owned(), b"x".to_vec()));
    set_as(&it, "eve@example.org", "INBOX", &[("/private/vendor/a/3", b"x")], 2).unwrap();
}

/// Private and shared ones together, of which a failing disk leaves neither.
#[test]
fn what_a_reader_sets_is_set_as_a_whole_or_not_at_all() {
    let new: [(&str, &[u8]); 2] = [("/private/comment", b"new"), ("/shared/comment", b"new")];
    for strike in [Strike::Once, Strike::ShortAndOnce] {
        for step in 0.. {
            let dir = fast_dir();
            let it = account(dir.path());
            set(&it, Some("INBOX"), &[("/shared/comment", Some(b"old"))]).unwrap();
            let before = seen_by(&it, "ana@example.org", "INBOX");
            fault::strike(strike, step);
            let result = set_as(&it, "ana@example.org", "INBOX", &new, 10);
            let struck = fault::has_struck();
            fault::after(None);
            let now = seen_by(&account(dir.path()), "ana@example.org", "INBOX");
            let is_new = now.len() == 2 && now.iter().all(|(_, value)| value == b"new");
            assert!(is_new || (result.is_err() && now == before), "{strike:?} {step}: {now:?}");
            if !struck {
                result.unwrap();
                break;
            }
        }
    }
}
