//! RFC 8514: when a mailbox got a message, which nothing changes that is done to the message there.

use super::*;

/// When another program delivered the message in [`begin`].
const DELIVERED: i64 = 1_276_528_487;

fn maildir(dir: &Path) -> PathBuf {
    dir.join("example.org/bob/Maildir")
}

fn open(store: &Arc<Store>, name: &str) -> Arc<Mailbox> {
    store.account(&bob()).unwrap().open(&name.parse().unwrap()).unwrap()
}

/// INBOX with one message that another program delivered long ago.
fn begin(dir: &Path) -> Arc<Store> {
    let store = Store::open(dir).unwrap();
    store.account(&bob()).unwrap();
    let name = format!("cur/{DELIVERED}.M364837P9451.kurkku,S=20,W=21:2,");
    std::fs::write(maildir(dir).join(name), "Subject: a\r\n\r\none, \n").unwrap();
    store
}

fn remove_index(dir: &Path) {
    std::fs::remove_file(dir.join("example.org/bob/index.sqlite")).unwrap();
}

/// The save dates of all messages, looked up in both ways.
fn save_dates(mailbox: &Mailbox) -> Vec<i64> {
    let uids = mailbox.sync().unwrap().uids().to_vec();
    let each: Vec<_> = uids.iter().map(|uid| mailbox.save_date(*uid).unwrap()).collect();
    let at_once = mailbox.save_dates(Uid::MIN, 1000).unwrap();
    assert_eq!(at_once.iter().map(|(_, date)| *date).collect::<Vec<_>>(), each);
    each
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

#[test]
fn a_message_is_saved_when_it_comes_however_it_comes() {
    let dir = fast_dir();
    let store = begin(dir.path());
    let began = now();
    let (inbox, trash) = (inbox(&store), open(&store, "Trash"));
    deliver(&store, b"two\r\n");
    let date = mail_types::InternalDate::from_unix(1_000_000_000);
    let mut append = inbox.append(Flags::new(), Some(date)).unwrap();
    append.write_all(b"three\r\n").unwrap();
    append.commit().unwrap();
    inbox.copy(&[uid(1)], &inbox).unwrap();
    inbox.copy(&[uid(1)], &trash).unwrap();
    let dates = save_dates(&inbox);
    assert_eq!((dates[0], dates.len()), (DELIVERED, 4), "one that is copied is as it was");
    assert!(dates[1..].iter().chain(&save_dates(&trash)).all(|date| *date >= began), "{dates:?}");
    inbox.move_to(&[uid(1)], &trash).unwrap();
    inbox.move_to(&[uid(2)], &inbox).unwrap();
    let moved = [save_dates(&inbox), save_dates(&trash)];
    assert!(moved.iter().flatten().all(|date| *date >= began), "{moved:?}");
    let mut append = inbox.append(Flags::new(), Some(date)).unwrap();
    append.write_all(b"four\r\n").unwrap();
    append.replace(&trash, uid(1)).unwrap();
    assert!(*save_dates(&inbox).last().unwrap() >= began);
}

#[test]
fn a_save_date_is_the_same_whatever_happens_to_the_message_and_without_the_index() {
    let dir = fast_dir();
    let store = begin(dir.path());
    let (inbox, trash) = (inbox(&store), open(&store, "Trash"));
    // Moved long ago.
    inbox.move_to(&[uid(1)], &trash).unwrap();
    let file = only_file(&maildir(dir.path()).join(".Trash/cur"));
    let (front, _) = file.to_str().unwrap().split_once(",D=").unwrap();
    std::fs::rename(&file, format!("{front},D=1300000000:2,")).unwrap();
    remove_index(dir.path());
    let all = |store: &Arc<Store>| save_dates(&open(store, "Trash"));
    assert_eq!(all(&store), [1_300_000_000]);
    trash.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    store.account(&bob()).unwrap().rename(&"Trash".parse().unwrap(), &"Old".parse().unwrap()).unwrap();
    assert_eq!(save_dates(&open(&store, "Old")), [1_300_000_000]);
    remove_index(dir.path());
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(save_dates(&open(&again, "Old")), [1_300_000_000]);
    let name = only_file(&maildir(dir.path()).join(".Old/cur"));
    assert!(name.to_str().unwrap().ends_with(",D=1300000000:2,S"), "{name:?}");
}

#[test]
fn a_message_that_is_moved_by_hand_is_saved_when_it_is_found() {
    for has_index in [true, false] {
        let dir = fast_dir();
        let store = begin(dir.path());
        assert_eq!(save_dates(&inbox(&store)), [DELIVERED]);
        let began = now();
        let file = only_file(&maildir(dir.path()).join("cur"));
        let target = maildir(dir.path()).join(".Trash/cur").join(file.file_name().unwrap());
        std::fs::rename(&file, target).unwrap();
        if !has_index {
            remove_index(dir.path());
        }
        let found = save_dates(&open(&store, "Trash"));
        assert!(found.iter().all(|date| *date >= began) && found.len() == 1, "{found:?}");
        remove_index(dir.path());
        assert_eq!(save_dates(&open(&Store::open(dir.path()).unwrap(), "Trash")), found);
    }
}

#[test]
fn of_a_file_whose_name_tells_no_time_the_internal_date_is_taken() {
    let dir = fast_dir();
    let store = begin(dir.path());
    let path = maildir(dir.path()).join("new/mail.eml");
    std::fs::write(&path, "x\r\n").unwrap();
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_400_000_000);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let mut dates = save_dates(&inbox(&store));
    dates.sort_unstable();
    assert_eq!(dates, [DELIVERED, 1_400_000_000]);
}
