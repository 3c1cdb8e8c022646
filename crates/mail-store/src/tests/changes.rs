//! Mod-sequences, and what is known of the messages that went: whoever comes back with a mod-sequence misses nothing.

use super::*;

/// Mod-sequences by UID.
fn mod_seqs(now: &Snapshot) -> Vec<(u32, u64)> {
    (0..now.len()).map(|at| now.get(at).unwrap()).map(|it| (it.uid.value(), it.mod_seq.value())).collect()
}

fn highest(mailbox: &Mailbox) -> u64 {
    mailbox.sync().unwrap().highest_mod_seq().value()
}

fn index_of(dir: &Path) -> PathBuf {
    dir.join("example.org/bob/index.sqlite")
}

fn message_of(dir: &Path, uid: u32) -> PathBuf {
    let cur = std::fs::read_dir(dir.join("example.org/bob/Maildir/cur")).unwrap();
    let mut files = cur.map(|entry| entry.unwrap().path());
    files.find(|it| it.to_str().unwrap().contains(&format!(",U={uid},V="))).unwrap()
}

#[test]
fn every_change_raises_the_mod_sequence_of_what_it_changes_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (0..3).for_each(|_| deliver(&store, b"x\r\n"));
    let mailbox = inbox(&store);
    let first = mod_seqs(&mailbox.sync().unwrap());
    let seen = FlagChange::Add(flags(&[Flag::Seen]));
    let after = mailbox.store(&[uid(2)], &seen).unwrap();
    assert_eq!(mod_seqs(&after)[0], first[0]);
    assert_eq!(mod_seqs(&after)[1], (2, after.highest_mod_seq().value()));
    let again = mailbox.store(&[uid(2)], &seen).unwrap();
    assert_eq!(again.highest_mod_seq(), after.highest_mod_seq(), "what is set already changes nothing");
    // Another program's change, past the tick of our own.
    settle(&mailbox);
    let file = message_of(dir.path(), 3);
    std::fs::rename(&file, format!("{}FS", file.display())).unwrap();
    until(&mailbox, |now| now.get(2).unwrap().flags.contains(Flag::Flagged));
    let now = mailbox.snapshot();
    assert_eq!(mod_seqs(&now)[2], (3, now.highest_mod_seq().value()));
    assert_eq!(now.since(&after).changed, [2]);
    let before = highest(&mailbox);
    mailbox.expunge(&[uid(1)]).unwrap();
    assert_eq!(mailbox.expunged_since(before, &mailbox.snapshot()), Some(vec![uid(1)]));
    assert!(highest(&mailbox) > before);
}

#[test]
fn a_condition_is_checked_at_the_moment_of_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    (0..2).for_each(|_| deliver(&one, b"x\r\n"));
    let (a, b) = (inbox(&one), inbox(&two));
    let known = a.sync().unwrap().highest_mod_seq();
    b.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    let change = FlagChange::Add(flags(&[Flag::Flagged]));
    let stored = a.store_if(&[uid(1), uid(2), uid(9)], &change, |_, _, mod_seq| mod_seq <= known).unwrap();
    assert_eq!(stored.refused, [uid(1)]);
    let flagged = |at: usize| stored.after.get(at).unwrap().flags.contains(Flag::Flagged);
    assert_eq!((flagged(0), flagged(1)), (false, true));
}

#[test]
fn a_store_of_many_changes_those_that_are_named_and_may_be_and_shows_what_a_new_look_shows() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (0..600).for_each(|_| deliver(&store, b"x\r\n"));
    let mailbox = inbox(&store);
    mailbox.expunge(&[uid(5), uid(300)]).unwrap();
    let (sparse, dense): (Vec<Uid>, _) = ((1..60).map(|n| uid(n * 10)).collect(), (1..=600).map(uid));
    let dense: Vec<Uid> = dense.collect();
    let work = |name: &str| FlagChange::Add(keyword(&[Flag::Seen], name));
    mailbox.store(&sparse, &work("Work")).unwrap();
    // The letters are used up, and what comes then stands in the mailbox's file.
    (0..26).for_each(|n| drop(mailbox.store(&[uid(1)], &work(&format!("k{n}"))).unwrap()));
    mailbox.store(&dense[100..200], &work("Beyond")).unwrap();
    let before = mailbox.snapshot();
    let remove = FlagChange::Remove(keyword(&[Flag::Seen], "Work"));
    let stored = mailbox.store_if(&dense, &remove, |uid, _, _| uid.value() % 20 != 0).unwrap();
    let refused: Vec<u32> = stored.refused.iter().map(|uid| uid.value()).collect();
    assert_eq!(refused, (1..=30).map(|n| n * 20).filter(|n| *n != 300).collect::<Vec<_>>());
    let all = |now: &Snapshot| (0..now.len()).map(|at| now.get(at).unwrap()).collect::<Vec<_>>();
    let changed = stored.after.since(&before).changed;
    for (old, new) in all(&before).iter().zip(all(&stored.after)) {
        let is_refused = stored.refused.contains(&old.uid);
        let wanted = if is_refused { old.flags.clone() } else { remove.applied_to(&old.flags) };
        assert_eq!(new.flags, wanted);
        assert_eq!(old.mod_seq != new.mod_seq, old.flags != new.flags);
    }
    assert_eq!(changed.len(), all(&before).iter().zip(all(&stored.after)).filter(|(a, b)| *a != b).count());
    assert_eq!(all(&inbox(&Store::open(dir.path()).unwrap()).snapshot()), all(&stored.after));
}

#[test]
fn what_went_is_known_to_a_session_with_an_old_snapshot_and_never_more_than_it_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    (0..6).for_each(|_| deliver(&one, b"x\r\n"));
    let (a, b) = (inbox(&one), inbox(&two));
    let start = highest(&a);
    a.expunge(&[uid(2), uid(4)]).unwrap();
    let seen = a.snapshot();
    b.expunge(&[uid(5)]).unwrap();
    assert_eq!(a.expunged_since(start, &seen), Some(vec![uid(2), uid(4)]), "UID 5 is in that snapshot");
    assert_eq!(a.expunged_since(start, &a.sync().unwrap()), Some(vec![uid(2), uid(4), uid(5)]));
    assert_eq!(a.expunged_since(highest(&a), &a.snapshot()), Some(Vec::new()));
    assert_eq!(a.expunged_since(0, &a.snapshot()), None);
    assert_eq!(a.expunged_since(highest(&a) + 1, &a.snapshot()), None, "nobody was told of that");
}

#[test]
fn after_the_loss_of_the_index_all_may_have_changed_and_anything_may_have_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (0..3).for_each(|_| deliver(&store, b"x\r\n"));
    let mailbox = inbox(&store);
    for _ in 0..3 {
        let before = mailbox.sync().unwrap();
        std::fs::remove_file(index_of(dir.path())).unwrap();
        // It is found at the next change.
        let now = mailbox.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
        assert_eq!(now.since(&before).changed, [0, 1, 2]);
        assert_eq!(mailbox.expunged_since(before.highest_mod_seq().value(), &now), None);
    }
    // What goes while the index is lost is missed by no session.
    let before = mailbox.sync().unwrap();
    std::fs::remove_file(index_of(dir.path())).unwrap();
    std::fs::remove_file(message_of(dir.path(), 2)).unwrap();
    until(&mailbox, |now| now.len() == 2);
    assert_eq!(mailbox.snapshot().since(&before).gone, [1]);
}

/// After the first loss nothing changes, so that no mod-sequence is given before the second.
#[test]
fn two_losses_of_the_index_in_a_row_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (0..2).for_each(|_| deliver(&store, b"x\r\n"));
    settle(&inbox(&store));
    drop(store);
    let connection = rusqlite::Connection::open(index_of(dir.path())).unwrap();
    connection.execute("UPDATE mailbox SET boot = 'another'", []).unwrap();
    drop(connection);
    let mailbox = inbox(&Store::open(dir.path()).unwrap());
    let told = mailbox.snapshot();
    std::fs::remove_file(index_of(dir.path())).unwrap();
    std::fs::remove_file(message_of(dir.path(), 2)).unwrap();
    until(&mailbox, |now| now.len() == 1);
    assert_eq!(mailbox.expunged_since(told.highest_mod_seq().value(), &mailbox.snapshot()), None);
}

/// After a crash of the machine the index may be older than what clients were told.
#[test]
fn after_a_crash_of_the_machine_no_mod_sequence_is_one_that_was_told_before() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (index_of(dir.path()), dir.path().join("copy"));
    let store = Store::open(dir.path()).unwrap();
    (0..3).for_each(|_| deliver(&store, b"x\r\n"));
    let mailbox = inbox(&store);
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(FULL)").unwrap();
    std::fs::copy(&path, &copy).unwrap();
    let file = message_of(dir.path(), 2);
    mailbox.store(&[uid(2)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    mailbox.expunge(&[uid(3)]).unwrap();
    let told = highest(&mailbox);
    drop((mailbox, store));
    // Neither the index nor the rename came to the disk.
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::copy(&copy, &path).unwrap();
    std::fs::rename(message_of(dir.path(), 2), file).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE mailbox SET boot = 'another'", []).unwrap();
    let mailbox = inbox(&Store::open(dir.path()).unwrap());
    let now = mailbox.sync().unwrap();
    assert!(mod_seqs(&now).iter().all(|(_, mod_seq)| *mod_seq > told), "{:?} {told}", mod_seqs(&now));
    assert_eq!(now.len(), 2);
    assert_eq!(mailbox.expunged_since(told, &now), None);
    let change = FlagChange::Add(flags(&[Flag::Seen]));
    let stored = mailbox.store_if(&[uid(1)], &change, |_, _, mod_seq| mod_seq.value() <= told).unwrap();
    assert_eq!(stored.refused, [uid(1)], "a client that knows an old state changes nothing");
}

/// Puts an earlier index in place of the one there is.
fn put_back(copy: &Path, path: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::copy(copy, path).unwrap();
}

/// To it the mod-sequences and UIDs that were given since seem free.
#[test]
fn an_old_index_put_back_between_two_runs_gives_no_mod_sequence_and_no_uid_again() {
    for changes in [1, 2, 600] {
        let dir = fast_dir();
        let (path, copy) = (index_of(dir.path()), dir.path().join("copy"));
        let store = Store::open(dir.path()).unwrap();
        (0..2).for_each(|_| deliver(&store, b"x\r\n"));
        let mailbox = inbox(&store);
        rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(FULL)").unwrap();
        std::fs::copy(&path, &copy).unwrap();
        for number in 0..changes {
            let seen = flags(&[Flag::Seen]);
            let change = if number % 2 == 0 { FlagChange::Add(seen) } else { FlagChange::Remove(seen) };
            mailbox.store(&[uid(1)], &change).unwrap();
        }
        let gone = mailbox.append(Flags::new(), None).unwrap().commit().unwrap();
        mailbox.expunge(&[gone]).unwrap();
        let told = highest(&mailbox);
        drop((mailbox, store));
        put_back(&copy, &path);
        let mailbox = inbox(&Store::open(dir.path()).unwrap());
        let now = mailbox.sync().unwrap();
        assert!(mod_seqs(&now).iter().all(|(_, mod_seq)| *mod_seq > told), "{:?} {told}", mod_seqs(&now));
        assert_eq!(mailbox.expunged_since(told, &now), None);
        assert!(mailbox.append(Flags::new(), None).unwrap().commit().unwrap() > gone);
        // Once found, it is no longer an old one.
        let told = highest(&mailbox);
        drop(mailbox);
        assert_eq!(highest(&inbox(&Store::open(dir.path()).unwrap())), told);
    }
}

/// As if the machine had been started anew since.
fn reboot(dir: &Path) {
    let connection = rusqlite::Connection::open(index_of(dir)).unwrap();
    connection.execute("UPDATE mailbox SET boot = 'before'", []).unwrap();
    drop(connection);
    let lock = dir.join("example.org/bob/lock");
    let note = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, note.replace(crate::disk::boot_id(), "before")).unwrap();
}

fn note(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("example.org/bob/lock")).unwrap()
}

/// Until the account is closed: a thread that looks for texts may be the last that has it.
fn closed(dir: &Path) {
    let is_closed = || note(dir).contains(crate::disk::boot_id());
    let until = Instant::now() + Duration::from_secs(20);
    while !is_closed() {
        assert!(Instant::now() < until, "{}", note(dir));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn after_a_clean_restart_of_the_machine_nobody_is_told_anything_again() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    (0..3).for_each(|_| deliver(&store, b"x\r\n"));
    let mailbox = inbox(&store);
    mailbox.expunge(&[uid(2)]).unwrap();
    mailbox.store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    let told = mod_seqs(&mailbox.snapshot());
    drop((mailbox, store));
    for _ in 0..2 {
        closed(dir.path());
        reboot(dir.path());
        let mailbox = inbox(&Store::open(dir.path()).unwrap());
        let now = mailbox.snapshot();
        assert_eq!(mod_seqs(&now), told);
        assert_eq!(mailbox.expunged_since(told[0].1 - 1, &now), Some(Vec::new()));
    }
    // Before a change is committed that is no longer said: the change may be lost.
    closed(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let mailbox = inbox(&store);
    let mut notes = Vec::new();
    for step in 0.. {
        crate::disk::fault::after(Some(step));
        let stored = mailbox.store(&[uid(3)], &FlagChange::Add(flags(&[Flag::Flagged])));
        crate::disk::fault::after(None);
        if stored.is_ok() {
            break;
        }
        notes.push(note(dir.path()));
    }
    assert!(!notes.last().unwrap().contains(crate::disk::boot_id()), "{notes:?}");
    drop((mailbox, store));
    // A process that is killed leaves no word that all is on the disk.
    let store = Store::open(dir.path()).unwrap();
    let mailbox = inbox(&store);
    mailbox.store(&[uid(3)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
    let told = highest(&mailbox);
    std::mem::forget((mailbox, store));
    reboot(dir.path());
    let now = inbox(&Store::open(dir.path()).unwrap()).snapshot();
    assert!(mod_seqs(&now).iter().all(|(_, mod_seq)| *mod_seq > told), "{:?} {told}", mod_seqs(&now));
}

#[test]
fn when_the_high_water_mark_is_lost_with_the_index_mod_sequences_go_on_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("example.org/bob/Maildir/mailstead-mailbox");
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"x\r\n");
    settle(&inbox(&store));
    drop(store);
    // A mailbox of many years.
    let text = std::fs::read_to_string(&file).unwrap();
    let old = text.lines().find(|line| line.starts_with("modseq ")).unwrap();
    std::fs::write(&file, text.replace(old, "modseq 900000000")).unwrap();
    let lose_index = || std::fs::remove_file(index_of(dir.path())).unwrap();
    lose_index();
    let mailbox = inbox(&Store::open(dir.path()).unwrap());
    let (told, uid_validity) = (highest(&mailbox), mailbox.uid_validity());
    assert!(told >= 900_000_000);
    drop(mailbox);
    lose_index();
    std::fs::remove_file(&file).unwrap();
    let mailbox = inbox(&Store::open(dir.path()).unwrap());
    assert_eq!(mailbox.uid_validity(), uid_validity);
    assert!(highest(&mailbox) > told, "{} {told}", highest(&mailbox));
}

#[test]
fn the_log_of_what_went_is_cut_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let index = crate::index::Index::open(&dir.path().join("index.sqlite")).unwrap();
    for uid in 1..=30 {
        index.expunge("", uid, u64::from(uid / 3)).unwrap();
    }
    let left = |index: &crate::index::Index| index.expunged("", 0, 99).unwrap().len();
    assert_eq!(index.trim_log("", 40, 11).unwrap(), None);
    assert_eq!(index.trim_log("", 8, 11).unwrap(), Some(7));
    assert_eq!(index.expunged("", 7, 99).unwrap(), [24, 25, 26, 27, 28, 29, 30]);
    // However many go at once, who knew the moment before learns which.
    (31..=90).for_each(|uid| index.expunge("", uid, 12).unwrap());
    assert_eq!(index.trim_log("", 8, 12).unwrap(), Some(11));
    assert_eq!(left(&index), 60);
}
