//! Other programs rename and remove files at the very moment we do.

use super::*;
use crate::mailbox::{MEANWHILE, Moment};

/// Does something in `cur/` behind our back: the folder's time stays as we know it, as in a race of some microseconds.
fn unseen(mailbox: &Mailbox, act: impl Fn(&Path)) {
    let cur = mailbox.folder().join("cur");
    let folder = std::fs::File::open(&cur).unwrap();
    let time = folder.metadata().unwrap().modified().unwrap();
    act(&cur);
    folder.set_modified(time).unwrap();
}

/// Another program adds flags to the only message.
fn flag_unseen(mailbox: &Mailbox, letters: &str) {
    unseen(mailbox, |cur| {
        let file = only_file(cur);
        std::fs::rename(&file, format!("{}{letters}", file.display())).unwrap();
    });
}

/// A message in INBOX that a session has changed last, so that the folder's time is ours.
fn one_message(dir: &Path) -> (Arc<Store>, Arc<Mailbox>) {
    let store = Store::open(dir).unwrap();
    deliver(&store, b"x\r\n");
    let mailbox = inbox(&store);
    mailbox.store(&[Uid::MIN], &FlagChange::Add(flags(&[Flag::Draft]))).unwrap();
    settle(&mailbox);
    (store, mailbox)
}

fn flags_of(mailbox: &Mailbox, position: usize) -> String {
    mailbox.snapshot().get(position).unwrap().flags.to_string()
}

#[test]
fn a_flag_set_by_another_program_at_the_same_moment_as_ours_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, mailbox) = one_message(dir.path());
    flag_unseen(&mailbox, "S");
    mailbox.store(&[Uid::MIN], &FlagChange::Add(flags(&[Flag::Flagged]))).unwrap();
    assert_eq!(flags_of(&mailbox, 0), "\\Flagged \\Seen \\Draft");
    assert!(only_file(&mailbox.folder().join("cur")).to_str().unwrap().ends_with(":2,DFS"));
}

#[test]
fn what_another_program_does_at_the_moment_of_a_store_of_many_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (0..300).for_each(|_| deliver(&store, b"x\r\n"));
    let mailbox = inbox(&store);
    let uids = mailbox.snapshot().uids().to_vec();
    mailbox.store(&uids, &FlagChange::Add(flags(&[Flag::Draft]))).unwrap();
    settle(&mailbox);
    let before = mailbox.snapshot();
    unseen(&mailbox, |cur| {
        for file in std::fs::read_dir(cur).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.to_str().unwrap();
            if name.contains(",U=7,") || name.contains(",U=290,") {
                std::fs::rename(&file, format!("{name}S")).unwrap();
            } else if name.contains(",U=100,") {
                std::fs::remove_file(&file).unwrap();
            }
        }
    });
    let after = mailbox.store(&uids, &FlagChange::Add(flags(&[Flag::Flagged]))).unwrap();
    assert_eq!(after.len(), 299);
    for (position, uid) in after.uids().iter().enumerate() {
        let seen = if [7, 290].contains(&uid.value()) { " \\Seen" } else { "" };
        let wanted = format!("\\Flagged{seen} \\Draft");
        assert_eq!(after.get(position).unwrap().flags.to_string(), wanted, "{uid}");
    }
    assert!((0..299).all(|at| after.get(at).unwrap().mod_seq > before.highest_mod_seq()));
    let letters = std::fs::read_dir(mailbox.folder().join("cur"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().rsplit(',').next().unwrap().to_owned());
    assert_eq!(letters.filter(|it| it == "DF" || it == "DFS").count(), 299);
}

#[test]
fn a_message_renamed_at_the_moment_of_its_expunge_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, mailbox) = one_message(dir.path());
    flag_unseen(&mailbox, "S");
    assert!(mailbox.expunge(&[Uid::MIN]).unwrap().is_empty());
    assert!(std::fs::read_dir(mailbox.folder().join("cur")).unwrap().next().is_none());
}

#[test]
fn a_message_renamed_at_the_moment_of_its_copy_or_move_comes_with_its_new_flags() {
    for moves in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (store, mailbox) = one_message(dir.path());
        let trash = store.account(&bob()).unwrap().open(&"Trash".parse().unwrap()).unwrap();
        flag_unseen(&mailbox, "S");
        let act = if moves { Mailbox::move_to } else { Mailbox::copy };
        let pairs = act(&mailbox, &[Uid::MIN], &trash).unwrap();
        assert_eq!(pairs, [(Uid::MIN, trash.snapshot().uids().to_vec()[0])]);
        assert_eq!(flags_of(&trash, 0), "\\Seen \\Draft");
        assert_eq!(mailbox.snapshot().len(), usize::from(!moves));
    }
}

#[test]
fn a_message_renamed_or_removed_at_the_moment_of_its_reading_is_read_or_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, mailbox) = one_message(dir.path());
    mailbox.open_message(Uid::MIN).unwrap();
    flag_unseen(&mailbox, "S");
    assert_eq!(mailbox.open_message(Uid::MIN).unwrap().read().unwrap(), b"x\r\n");
    unseen(&mailbox, |cur| std::fs::remove_file(only_file(cur)).unwrap());
    assert!(matches!(mailbox.open_message(Uid::MIN), Err(crate::StoreError::MessageGone(_))));
    assert!(mailbox.snapshot().is_empty());
}

#[test]
fn what_another_program_did_in_the_same_moment_as_we_is_found_before_long() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, mailbox) = one_message(dir.path());
    flag_unseen(&mailbox, "S");
    until(&mailbox, |snapshot| snapshot.get(0).unwrap().flags.contains(Flag::Seen));
}

#[test]
fn a_program_that_renames_without_end_never_makes_a_message_seem_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mailbox) = one_message(dir.path());
    for _ in 0..20 {
        deliver(&store, b"y\r\n");
    }
    mailbox.sync().unwrap();
    let cur = mailbox.folder().join("cur");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for file in std::fs::read_dir(&cur).unwrap().flatten().map(|it| it.path()) {
                    let name = file.to_str().unwrap();
                    let new = name.strip_suffix('T').map_or_else(|| format!("{name}T"), str::to_owned);
                    let _ = std::fs::rename(&file, new);
                }
            }
        });
        for round in 0..60 {
            let change = if round % 2 == 0 { FlagChange::Add } else { FlagChange::Remove };
            let now = mailbox.sync().unwrap();
            let uids = now.uids().to_vec();
            let stored = mailbox.store(&uids, &change(flags(&[Flag::Answered])));
            let read = mailbox.open_message(uid(1 + round % 21));
            // Against one who never rests we may give up for now, but nothing may be called gone.
            assert!(!matches!(read, Err(crate::StoreError::MessageGone(_))), "{read:?}");
            let now = stored.unwrap_or_else(|_| mailbox.snapshot());
            assert_eq!(now.uids().to_vec(), uids, "round {round}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let uids = mailbox.sync().unwrap().uids().to_vec();
    assert_eq!(uids, (1..=21).map(uid).collect::<Vec<_>>());
}

/// Works while another program does something at the beginning and at the end of each reading of a folder, which are counted from 0.
fn beside<T>(mut other: impl FnMut(usize, Moment) + 'static, work: impl FnOnce() -> T) -> T {
    let mut reading = 0;
    MEANWHILE.set(Some(Box::new(move |moment| {
        other(reading, moment);
        reading += usize::from(moment == Moment::Ended);
    })));
    let value = work();
    MEANWHILE.set(None);
    value
}

/// The file of a message.
fn file_of(cur: &Path, uid: u32) -> PathBuf {
    let files = std::fs::read_dir(cur).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|it| it.to_str().unwrap().contains(&format!(",U={uid},"))).unwrap()
}

/// INBOX with three messages, in a folder whose time can be relied on.
fn three_messages(dir: &Path) -> (Arc<Store>, Arc<Mailbox>) {
    let store = Store::open(dir).unwrap();
    (0..3).for_each(|_| deliver(&store, b"x\r\n"));
    let mailbox = inbox(&store);
    settle(&mailbox);
    (store, mailbox)
}

/// Between the reading of the folder and the look at its file.
#[test]
fn a_message_flagged_by_another_program_while_a_lost_index_is_made_anew_keeps_its_uid() {
    let dir = fast_dir();
    let (_store, mailbox) = three_messages(dir.path());
    let cur = mailbox.folder().join("cur");
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    let flag = move |reading: usize, moment| {
        if reading < 3 && moment == Moment::Ended {
            let file = file_of(&cur, 2);
            std::fs::rename(&file, format!("{}{}", file.display(), ["D", "F", "S"][reading])).unwrap();
        }
    };
    let now = beside(flag, || mailbox.store(&[uid(3)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap());
    assert_eq!(now.uids().to_vec(), [uid(1), uid(2), uid(3)]);
    until(&mailbox, |now| now.get(1).unwrap().flags.to_string() == "\\Flagged \\Seen \\Draft");
    assert_eq!(mailbox.snapshot().uids().to_vec(), [uid(1), uid(2), uid(3)]);
}

/// A folder is read in parts: who is renamed from a part that is to come to one that was read is not seen.
#[test]
fn a_file_that_another_program_renames_at_each_reading_never_seems_gone() {
    for is_lost in [false, true] {
        let dir = fast_dir();
        let (_store, mailbox) = three_messages(dir.path());
        let (cur, away) = (mailbox.folder().join("cur"), dir.path().join("away"));
        let name = file_of(&cur, 2).file_name().unwrap().to_owned();
        if is_lost {
            std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
        }
        std::fs::write(cur.join("1.another:2,"), b"y\r\n").unwrap();
        let hide = move |reading, moment| {
            if reading < 5 {
                let (from, to) = (cur.join(&name), away.clone());
                let (from, to) = if moment == Moment::Begun { (from, to) } else { (to, from) };
                std::fs::rename(from, to).unwrap();
            }
        };
        let now = beside(hide, || mailbox.store(&[uid(3)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap());
        assert_eq!(now.uids().to_vec()[..3], [uid(1), uid(2), uid(3)], "lost: {is_lost}");
        assert_eq!(now.len(), 4, "lost: {is_lost}");
    }
}

#[test]
fn a_copy_that_fails_at_any_step_leaves_nothing_and_one_that_succeeds_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (0..5).for_each(|_| deliver(&store, b"x\r\n"));
    let (mailbox, account) = (inbox(&store), store.account(&bob()).unwrap());
    let trash = account.open(&"Trash".parse().unwrap()).unwrap();
    let uids = mailbox.snapshot().uids().to_vec();
    for step in 0.. {
        crate::disk::fault::once(step);
        let result = mailbox.copy(&uids, &trash);
        crate::disk::fault::after(None);
        let there = trash.sync().unwrap().len();
        assert_eq!(there, if result.is_ok() { 5 } else { 0 }, "step {step}");
        assert!(std::fs::read_dir(trash.folder().join("tmp")).unwrap().next().is_none());
        if result.is_ok() {
            break;
        }
    }
}

#[test]
fn a_file_copied_within_the_mailbox_is_another_message() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, mailbox) = one_message(dir.path());
    let cur = mailbox.folder().join("cur");
    let file = only_file(&cur);
    std::fs::copy(&file, format!("{}S", file.display())).unwrap();
    for _ in 0..3 {
        assert_eq!(mailbox.sync().unwrap().uids().to_vec(), [uid(1), uid(2)]);
        settle(&mailbox);
    }
    mailbox.expunge(&[uid(1)]).unwrap();
    assert_eq!(mailbox.open_message(uid(2)).unwrap().read().unwrap(), b"x\r\n");
}

#[test]
fn what_another_process_changes_in_the_same_tick_of_the_clock_is_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, mailbox) = one_message(dir.path());
    let other = inbox(&Store::open(dir.path()).unwrap());
    mailbox.store(&[Uid::MIN], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    unseen(&mailbox, |_| drop(other.store(&[Uid::MIN], &FlagChange::Add(flags(&[Flag::Flagged]))).unwrap()));
    mailbox.sync().unwrap();
    assert_eq!(flags_of(&mailbox, 0), "\\Flagged \\Seen \\Draft");
}

#[test]
fn what_goes_to_a_mailbox_that_another_process_has_deleted_finds_none() {
    let dir = fast_dir();
    let (store, other) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    deliver(&store, b"x\r\n");
    let (name, inbox) = ("Trash".parse().unwrap(), inbox(&store));
    let trash = store.account(&bob()).unwrap().open(&name).unwrap();
    other.account(&bob()).unwrap().delete(&name).unwrap();
    let is_missing = |error: &crate::StoreError| matches!(error, crate::StoreError::NoSuchMailbox(_));
    assert!(trash.append(Flags::default(), None).is_err_and(|error| is_missing(&error)));
    assert!(inbox.copy(&[Uid::MIN], &trash).is_err_and(|error| is_missing(&error)));
    assert!(inbox.move_to(&[Uid::MIN], &trash).is_err_and(|error| is_missing(&error)));
    assert_eq!(inbox.sync().unwrap().len(), 1);
    assert!(!dir.path().join("example.org/bob/Maildir/.Trash").exists());
}

#[test]
fn processes_that_find_the_index_removed_go_on_with_one_and_the_same() {
    let dir = fast_dir();
    let stores = [(); 2].map(|()| Store::open(dir.path()).unwrap());
    let boxes = [inbox(&stores[0]), inbox(&stores[1])];
    let add = |mailbox: &Arc<Mailbox>| {
        let mut append = mailbox.append(Flags::default(), None).unwrap();
        append.write_all(b"x\r\n").unwrap();
        append.commit().unwrap()
    };
    let mut uids = vec![add(&boxes[0]), add(&boxes[1])];
    for _ in 0..3 {
        std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
        for round in 0..6 {
            uids.push(add(&boxes[round % 2]));
        }
        assert!(uids.is_sorted_by(|one, two| one < two), "{uids:?}");
        for mailbox in &boxes {
            assert_eq!(mailbox.sync().unwrap().uids().to_vec(), uids);
        }
    }
}

#[test]
fn a_process_that_starts_when_the_index_was_just_removed_takes_nothing_from_its_log() {
    let dir = fast_dir();
    let stores = [(); 2].map(|()| Store::open(dir.path()).unwrap());
    deliver(&stores[0], b"x\r\n");
    let mailbox = inbox(&stores[0]);
    let index = dir.path().join("example.org/bob/index.sqlite");
    assert!(index.with_file_name("index.sqlite-wal").exists(), "the log is what this is about");
    std::fs::remove_file(&index).unwrap();
    let started = inbox(&stores[1]);
    for round in [&mailbox, &started, &mailbox] {
        deliver(&stores[0], b"y\r\n");
        assert_eq!(
            round.sync().unwrap().uids().to_vec().last(),
            started.sync().unwrap().uids().to_vec().last()
        );
    }
    assert_eq!(mailbox.sync().unwrap().uids().to_vec(), started.sync().unwrap().uids().to_vec());
    assert_eq!(mailbox.snapshot().len(), 4);
}

/// Another session may look at any moment while one finds a change, and takes what is shown for all there is once nothing seems to differ.
#[test]
fn what_another_process_changed_is_shown_before_the_mailbox_counts_as_quiet() {
    let dir = fast_dir();
    let (_store, mailbox) = three_messages(dir.path());
    let other = Store::open(dir.path()).unwrap();
    inbox(&other).store(&[uid(2)], &FlagChange::Add(flags(&[Flag::Flagged]))).unwrap();
    // Until the folder's time tells of every later change.
    std::thread::sleep(Duration::from_millis(50));
    let (looking, moments) = (Arc::clone(&mailbox), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let seen = Arc::clone(&moments);
    let look = move |_, moment| {
        if moment == Moment::Shown {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert!(!looking.is_quiet() || flags_of(&looking, 1) == "\\Flagged");
        }
    };
    beside(look, || mailbox.sync().unwrap());
    assert_eq!(
        (moments.load(std::sync::atomic::Ordering::Relaxed), flags_of(&mailbox, 1)),
        (1, "\\Flagged".into())
    );
}
