//! What a process that died had placed without acknowledging it, and when it stays.

use super::*;

/// After a crash of the machine it can't be known whether a message was acknowledged.
#[test]
fn what_was_being_placed_stays_where_the_machine_crashed() {
    let dir = fast_dir();
    begin(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let trash = open_both(&store, "Trash").unwrap().1;
    fault::after(Some(0));
    let count = (0..)
        .take_while(|step| {
            fault::after(Some(*step));
            put(&trash, "new", Flags::new()).is_err() && only_file_count(dir.path()) == 1
        })
        .count();
    fault::after(None);
    assert!(count > 1);
    drop((trash, store));
    let index = dir.path().join("example.org/bob/index.sqlite");
    rusqlite::Connection::open(&index).unwrap().execute("UPDATE mailbox SET boot = 'another'", []).unwrap();
    assert!(has(&state(dir.path()), "bob/Trash", "new"));
}

fn only_file_count(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("example.org/bob/Maildir/.Trash/cur")).unwrap().count()
}

#[test]
fn what_a_process_that_lives_is_delivering_is_left_alone() {
    let dir = fast_dir();
    begin(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let delivery = send(&store, &[bob(), alice()], "new").unwrap();
    delivery.place_all(|| drop(Store::open(dir.path()).unwrap())).unwrap();
    // The same note serves again.
    send(&store, &[bob()], "another").unwrap().commit_all().unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join(".deliveries")).unwrap().count(), 1);
    let after = state(dir.path());
    assert!(["bob/INBOX", "alice/INBOX"].iter().all(|mailbox| has(&after, mailbox, "new")));
    assert!(has(&after, "bob/INBOX", "another"));
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join(".deliveries")).unwrap().count(), 0);
}

#[test]
fn a_delivery_cut_short_is_taken_back_also_from_one_who_has_seen_it_but_not_after_a_crash_of_the_machine() {
    for boot in [crate::disk::boot_id(), "another"] {
        let dir = fast_dir();
        begin(dir.path());
        let store = Store::open(dir.path()).unwrap();
        let delivery = send(&store, &[bob(), alice()], "new").unwrap();
        // Dead after the first.
        let placed = delivery.place_all(|| fault::after(Some(0)));
        assert!(placed.is_err());
        drop(store);
        fault::after(None);
        let note = only_file(&dir.path().join(".deliveries"));
        let text = std::fs::read_to_string(&note).unwrap();
        std::fs::write(&note, text.replace(crate::disk::boot_id(), boot)).unwrap();
        // A session that was open all the time has given it a UID.
        let aside = dir.path().join("aside");
        std::fs::rename(&note, &aside).unwrap();
        assert!(has(&state(dir.path()), "bob/INBOX", "new"));
        std::fs::rename(&aside, &note).unwrap();
        let after = state(dir.path());
        assert_eq!(has(&after, "bob/INBOX", "new"), boot == "another");
        assert!(!has(&after, "alice/INBOX", "new"));
    }
}

#[test]
fn names_for_many_are_flushed_at_once() {
    let steps = |count: usize| {
        let dir = fast_dir();
        let store = Store::open(dir.path()).unwrap();
        let names = (0..count).map(|number| format!("user{number}@example.org").parse().unwrap());
        let to: Vec<Address> = names.collect();
        to.iter().for_each(|account| drop(store.account(account).unwrap()));
        let is_cut_short = |step: &u32| {
            let delivery = send(&store, &to, "new").unwrap();
            fault::after(Some(*step));
            let placed = delivery.commit_all();
            fault::after(None);
            placed.is_err()
        };
        (0..).take_while(is_cut_short).count()
    };
    assert_eq!(steps(12) - steps(2), 10, "a link for each, and no flush");
}
