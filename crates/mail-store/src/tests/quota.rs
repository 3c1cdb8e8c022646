//! What an account holds is counted right, whoever adds and removes, and no more is taken than it may hold.

use mail_types::{Quota, Rights, Usage};

use super::*;
use crate::disk::fault::{self, Strike};
use crate::quota::count_folder;
use crate::{Account, StoreError, View};

const WIDE: Quota = Quota { storage: Some(1 << 30), messages: Some(1000) };

fn usage(storage: u64, messages: u64) -> Usage {
    Usage { storage, messages }
}

fn at_most(storage: u64) -> Quota {
    Quota { storage: Some(storage), messages: None }
}

fn maildir(dir: &Path) -> PathBuf {
    dir.join("example.org/bob/Maildir")
}

fn account(store: &Arc<Store>, quota: Quota) -> Arc<Account> {
    let account = store.account(&bob()).unwrap();
    account.set_quota(quota);
    account
}

fn put(mailbox: &Arc<Mailbox>, text: &str) -> Result<Uid, StoreError> {
    let mut append = mailbox.append(Flags::new(), None)?;
    append.write_all(text.as_bytes()).unwrap();
    append.commit()
}

/// What lies in the folders.
fn truth(dir: &Path) -> Usage {
    let maildir = maildir(dir);
    let folders = std::fs::read_dir(&maildir).unwrap().map(|entry| entry.unwrap().path());
    let below = folders.filter(|path| path.join("cur").is_dir());
    below.chain([maildir.clone()]).map(|folder| count_folder(&folder).unwrap()).sum()
}

/// The sum of the lines that were written, whether they are believed or not; `None` if all is to be counted anew.
fn noted(dir: &Path) -> Option<(i64, i64)> {
    let text = std::fs::read_to_string(maildir(dir).join("maildirsize")).ok()?;
    let number = |text: &str| text.parse::<i64>().ok();
    let line = |line: &str| line.split_once(' ').and_then(|(one, two)| number(one).zip(number(two)));
    let lines = text.strip_suffix('\n')?.lines().skip(1).map(line);
    lines.collect::<Option<Vec<_>>>()?.into_iter().reduce(|sum, line| (sum.0 + line.0, sum.1 + line.1))
}

#[test]
fn every_operation_is_counted_and_no_folder_is_read_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, WIDE);
    let (inbox, trash) = (inbox(&store), account.open(&"Trash".parse().unwrap()).unwrap());
    assert_eq!(account.usage().unwrap(), usage(0, 0));
    // If the folders were read, what nobody counted would be found.
    std::fs::write(maildir(dir.path()).join(".Sent/cur/1.alien,S=1000:2,"), [b'x'; 1000]).unwrap();
    let check = |octets, messages| assert_eq!(account.usage().unwrap(), usage(octets, messages));
    deliver(&store, b"12345678\r\n");
    check(10, 1);
    put(&inbox, "12345\r\n").unwrap();
    check(17, 2);
    let uids = inbox.sync().unwrap().uids().to_vec();
    inbox.copy(&uids, &trash).unwrap();
    check(34, 4);
    inbox.move_to(&uids, &trash).unwrap();
    trash.store(&trash.snapshot().uids().to_vec(), &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    check(34, 4);
    trash.expunge(&[uid(1)]).unwrap();
    assert_eq!(account.usage().unwrap().messages, 3);
    account.rename(&"Trash".parse().unwrap(), &"Bin".parse().unwrap()).unwrap();
    assert_eq!(account.usage().unwrap().messages, 3);
    account.delete(&"Bin".parse().unwrap()).unwrap();
    check(0, 0);
}

#[test]
fn what_goes_to_another_account_counts_there_and_no_more_here() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let here = account(&store, WIDE);
    let ana: Address = "ana@example.org".parse().unwrap();
    let there = store.account(&ana).unwrap();
    there.set_quota(at_most(30));
    let (mine, hers) = (inbox(&store), there.open(&MailboxName::inbox()).unwrap());
    let (mine, hers) = (View::of_owner(mine), View::of_reader(hers, &bob()));
    for _ in 0..3 {
        put(mine.mailbox(), "12345678\r\n").unwrap();
    }
    let check = |octets, messages, octets_there, messages_there| {
        assert_eq!(here.usage().unwrap(), usage(octets, messages));
        assert_eq!(there.usage().unwrap(), usage(octets_there, messages_there));
        let lines = [(octets, messages)].map(|(one, two)| (one as i64, two as i64));
        assert_eq!((truth(dir.path()), noted(dir.path())), (usage(octets, messages), Some(lines[0])));
    };
    check(30, 3, 0, 0);
    mine.transfer(&[uid(1), uid(2)], &hers, Rights::ALL, true).unwrap();
    check(10, 1, 20, 2);
    mine.transfer(&[uid(3), uid(9)], &hers, Rights::ALL, false).unwrap();
    check(10, 1, 30, 3);
    for is_move in [false, true] {
        let more = mine.transfer(&[uid(3)], &hers, Rights::ALL, is_move);
        assert!(matches!(more, Err(StoreError::OverQuota)));
        check(10, 1, 30, 3);
    }
    hers.transfer(&[uid(1)], &mine, Rights::ALL, true).unwrap();
    check(20, 2, 20, 2);
}

#[test]
fn a_full_account_takes_no_more_and_lets_its_owner_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, at_most(20));
    let (inbox, trash) = (inbox(&store), account.open(&"Trash".parse().unwrap()).unwrap());
    put(&inbox, "12345678\r\n").unwrap();
    put(&inbox, "12345678\r\n").unwrap();
    assert!(matches!(put(&inbox, "1"), Err(StoreError::OverQuota)));
    assert!(matches!(inbox.copy(&[uid(1)], &trash), Err(StoreError::OverQuota)));
    assert_eq!((inbox.sync().unwrap().len(), trash.sync().unwrap().len()), (2, 0));
    let has_room = |more| store.has_room(&bob(), at_most(20), Usage::message(more)).unwrap();
    assert!(!has_room(1) && has_room(0));
    inbox.move_to(&[uid(1)], &trash).unwrap();
    inbox.store(&[uid(2)], &FlagChange::Add(flags(&[Flag::Deleted]))).unwrap();
    inbox.expunge(&[uid(2)]).unwrap();
    assert!(has_room(10) && !has_room(11));
    account.set_quota(Quota { storage: None, messages: Some(1) });
    assert!(matches!(put(&inbox, "1"), Err(StoreError::OverQuota)));
    account.set_quota(Quota::default());
    put(&inbox, "1").unwrap();
}

#[test]
fn of_many_appended_together_all_or_none_have_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, Quota { storage: None, messages: Some(2) });
    let inbox = account.open(&MailboxName::inbox()).unwrap();
    let begun = |count: usize| (0..count).map(|_| inbox.append(Flags::new(), None).unwrap()).collect();
    assert!(matches!(crate::Append::commit_all(begun(3)), Err(StoreError::OverQuota)));
    assert!(inbox.sync().unwrap().is_empty());
    assert_eq!(crate::Append::commit_all(begun(2)).unwrap().len(), 2);
}

#[test]
fn nobody_is_refused_for_what_another_program_has_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let quota = at_most(20);
    account(&store, quota);
    deliver(&store, b"12345678\r\n");
    let has_room = || store.has_room(&bob(), quota, Usage::message(15)).unwrap();
    assert!(!has_room());
    std::fs::remove_file(only_file(&maildir(dir.path()).join("new"))).unwrap();
    while !has_room() {
        std::thread::sleep(Duration::from_millis(1)); // how often all is counted depends on how long that takes
    }
}

#[test]
fn what_other_programs_add_and_remove_is_counted_once_a_session_has_found_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, WIDE);
    let inbox = inbox(&store);
    let counted = |wanted| {
        while account.usage().unwrap() != wanted {
            std::thread::sleep(Duration::from_millis(1));
            inbox.sync().unwrap();
        }
    };
    counted(usage(0, 0));
    let alien = maildir(dir.path()).join("new/1.alien");
    std::fs::write(&alien, "12345\r\n").unwrap();
    counted(usage(7, 1));
    std::fs::remove_file(only_file(&maildir(dir.path()).join("cur"))).unwrap();
    counted(usage(0, 0));
}

#[test]
fn a_program_that_keeps_the_same_file_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, WIDE);
    account.usage().unwrap();
    let mut file =
        std::fs::File::options().append(true).open(maildir(dir.path()).join("maildirsize")).unwrap();
    file.write_all(b"1000 1\n").unwrap();
    assert_eq!(account.usage().unwrap(), usage(1000, 1));
}

#[test]
fn a_file_that_is_lost_spoilt_or_of_another_boot_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, WIDE);
    deliver(&store, b"12345\r\n");
    let spoil = |name: &str, text: &str| std::fs::write(maildir(dir.path()).join(name), text).unwrap();
    for (name, text) in [
        ("maildirsize", ""),
        ("maildirsize", "noise"),
        ("maildirsize", "1073741824S,1000C\n50"),
        ("maildirsize", "5S\n5 1\n"),
        ("mailstead-recounted", "another-boot 9999999999999999999 1\n"),
        ("mailstead-recounted", ""),
    ] {
        account.usage().unwrap();
        spoil("maildirsize", "1073741824S,1000C\n99 9\n");
        spoil(name, text);
        assert_eq!(account.usage().unwrap(), usage(7, 1), "{name}: {text:?}");
    }
}

#[test]
fn the_file_stays_short() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, WIDE);
    account.usage().unwrap();
    std::fs::write(maildir(dir.path()).join(".Sent/cur/1.alien,S=1000:2,"), [b'x'; 1000]).unwrap();
    (0..900).for_each(|_| deliver(&store, b"12345\r\n"));
    assert!(std::fs::metadata(maildir(dir.path()).join("maildirsize")).unwrap().len() < 5200);
    assert_eq!(account.usage().unwrap(), usage(6300, 900), "summed up, not counted anew");
}

#[test]
fn processes_at_work_at_once_count_right() {
    let dir = fast_dir();
    account(&Store::open(dir.path()).unwrap(), WIDE).usage().unwrap();
    let deliverer = || {
        let store = Store::open(dir.path()).unwrap();
        (0..200).for_each(|_| deliver(&store, b"12345\r\n"));
    };
    std::thread::scope(|scope| {
        scope.spawn(deliverer);
        scope.spawn(deliverer);
        scope.spawn(|| {
            let store = Store::open(dir.path()).unwrap();
            let account = account(&store, WIDE);
            let (inbox, trash) = (inbox(&store), account.open(&"Trash".parse().unwrap()).unwrap());
            for _ in 0..60 {
                let uids = inbox.sync().unwrap().uids().to_vec();
                trash.sync().unwrap();
                inbox.move_to(uids.get(..uids.len() / 2).unwrap(), &trash).unwrap();
                trash
                    .expunge(&trash.snapshot().uids().to_vec().iter().step_by(2).copied().collect::<Vec<_>>())
                    .unwrap();
            }
        });
        scope.spawn(|| {
            // Counted anew in the midst of it, again and again.
            for _ in 0..60 {
                std::fs::write(maildir(dir.path()).join("mailstead-recounted"), "").unwrap();
                account(&Store::open(dir.path()).unwrap(), WIDE).usage().unwrap();
            }
        });
    });
    let (octets, messages) = noted(dir.path()).unwrap();
    assert_eq!(usage(octets as u64, messages as u64), truth(dir.path()));
}

/// What an operation cut short at any step leaves is never counted too low, and one that ends is counted right.
#[track_caller]
fn check_cut_short(act: impl Fn(&Arc<Store>) -> Result<(), StoreError>) {
    for strike in Strike::ALL {
        for step in 0.. {
            let dir = fast_dir();
            let store = Store::open(dir.path()).unwrap();
            (0..3).for_each(|_| deliver(&store, b"12345\r\n"));
            let account = account(&store, WIDE);
            put(&account.open(&"Trash".parse().unwrap()).unwrap(), "1\r\n").unwrap();
            account.open(&MailboxName::inbox()).unwrap();
            account.usage().unwrap();
            fault::strike(strike, step);
            let result = act(&store);
            let struck = fault::has_struck();
            fault::after(None);
            // Who comes next doesn't go on with half a line.
            deliver(&store, b"1\r\n");
            let truth = truth(dir.path());
            let known = noted(dir.path());
            if let Some((octets, messages)) = known {
                assert!(octets >= truth.storage as i64 && messages >= truth.messages as i64, "step {step}");
            }
            let narrow = Quota { storage: Some(truth.storage + 1), messages: None };
            while !store.has_room(&bob(), narrow, usage(1, 1)).unwrap() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !struck {
                result.unwrap();
                assert_eq!(known, Some((truth.storage as i64, truth.messages as i64)));
                break;
            }
        }
    }
}

#[test]
fn a_delivery_cut_short_is_counted() {
    check_cut_short(|store| {
        let mut delivery = store.deliver(&[bob().into()])?;
        delivery.write_all(b"123\r\n").unwrap();
        delivery.commit_all().map_err(|(_, error)| error)
    });
}

#[test]
fn an_append_cut_short_is_counted() {
    check_cut_short(|store| put(&store.account(&bob())?.open(&MailboxName::inbox())?, "123").map(drop));
}

#[test]
fn a_copy_cut_short_is_counted() {
    check_cut_short(|store| {
        let account = store.account(&bob())?;
        let inbox = account.open(&MailboxName::inbox())?;
        inbox.copy(&[uid(1), uid(2)], &account.open(&"Trash".parse().unwrap())?).map(drop)
    });
}

#[test]
fn a_move_cut_short_is_counted() {
    check_cut_short(|store| {
        let account = store.account(&bob())?;
        let inbox = account.open(&MailboxName::inbox())?;
        inbox.move_to(&[uid(1), uid(2)], &account.open(&"Trash".parse().unwrap())?).map(drop)
    });
}

#[test]
fn an_expunge_cut_short_is_counted() {
    check_cut_short(|store| {
        let inbox = store.account(&bob())?.open(&MailboxName::inbox())?;
        inbox.expunge(&[uid(1), uid(3)]).map(drop)
    });
}

#[test]
fn a_deleted_mailbox_cut_short_is_counted() {
    check_cut_short(|store| store.account(&bob())?.delete(&"Trash".parse().unwrap()));
}

/// What `/proc/locks` says of those who wait for a lock on a file.
fn is_waited_for(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&inode))
}

#[test]
fn nobody_counts_anew_while_a_message_is_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, WIDE);
    account.usage().unwrap();
    let maildir = maildir(dir.path());
    let mut count = crate::quota::Count::begin(&maildir);
    count.add(usage(7, 1));
    std::fs::write(maildir.join("mailstead-recounted"), "").unwrap(); // so that it is due
    std::thread::scope(|scope| {
        let counted = scope.spawn(|| account.usage().unwrap());
        while !is_waited_for(&maildir.join("maildirsize")) {
            assert!(!counted.is_finished(), "it was counted while the message was on its way");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::fs::write(maildir.join("new/1.M1P1.host,S=7"), "12345\r\n").unwrap();
        count.keep();
        drop(count);
        assert_eq!(counted.join().unwrap(), usage(7, 1));
    });
    assert_eq!(noted(dir.path()), Some((7, 1)));
}

#[test]
fn a_process_that_died_in_the_middle_of_a_line_spoils_no_figure() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let account = account(&store, WIDE);
    (0..3).for_each(|_| deliver(&store, b"12345678\r\n"));
    assert_eq!(account.usage().unwrap(), usage(30, 3));
    let path = maildir(dir.path()).join("maildirsize");
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    file.write_all(b"-1").unwrap(); // of "-10 -1"
    deliver(&store, b"1\r\n");
    assert_eq!(account.usage().unwrap(), usage(33, 4));
}
