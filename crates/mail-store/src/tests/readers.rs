//! What users see who are not the owner.

use std::collections::BTreeMap;

use mail_types::{ModSeq, Rights};

use super::*;
use crate::View;

fn ana() -> Address {
    "ana@example.org".parse().unwrap()
}

fn view(store: &Arc<Store>) -> View {
    View::of_reader(inbox(store), &ana())
}

fn seen(snapshot: &Snapshot) -> Vec<bool> {
    (0..snapshot.len()).map(|at| snapshot.get(at).unwrap().flags.contains(Flag::Seen)).collect()
}

fn add(flag: Flag) -> FlagChange {
    FlagChange::Add(flags(&[flag]))
}

fn with_messages(count: usize) -> (tempfile::TempDir, Arc<Store>) {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    (0..count).for_each(|_| deliver(&store, b"x\r\n"));
    (dir, store)
}

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("example.org/bob/Maildir/mailstead-seen-ana%40example.org")
}

#[test]
fn each_user_has_seen_what_he_has_seen_and_all_else_is_shared() {
    let (_dir, store) = with_messages(3);
    let (view, owner) = (view(&store), inbox(&store));
    owner.store(&[uid(1)], &add(Flag::Seen)).unwrap();
    assert_eq!(seen(&view.sync().unwrap()), [false; 3]);
    let before = view.sync().unwrap();
    let both = FlagChange::Add(flags(&[Flag::Seen, Flag::Flagged]));
    let after = view.store(&[uid(2), uid(3)], &both).unwrap();
    assert_eq!(seen(&after), [false, true, true]);
    assert_eq!((after.rows.unseen(), after.first_unseen()), (1, Some(0)));
    assert_eq!(after.since(&before).changed, [1, 2]);
    assert_eq!(seen(&owner.sync().unwrap()), [true, false, false]);
    assert!(owner.snapshot().get(2).unwrap().flags.contains(Flag::Flagged));
    let other = View::of_reader(owner, &"chris@example.org".parse().unwrap());
    assert_eq!(seen(&other.sync().unwrap()), [false; 3]);
    view.store(&[uid(2)], &FlagChange::Replace(Flags::new())).unwrap();
    assert_eq!(seen(&view.sync().unwrap()), [false, false, true]);
    assert_eq!(seen(&other.mailbox().sync().unwrap()), [true, false, false], "the owner's stay");
}

#[test]
fn what_a_user_has_seen_outlives_the_index_and_keeps_its_place_in_time() {
    let (dir, store) = with_messages(2);
    let before = view(&store).store(&[uid(1)], &add(Flag::Seen)).unwrap();
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let after = view(&store).sync().unwrap();
    assert_eq!(seen(&after), [true, false]);
    assert!(after.highest_mod_seq() > before.highest_mod_seq());
    // Whoever knew all before is told all again.
    assert_eq!(after.changed_since(before.highest_mod_seq()), [0, 1]);
}

#[test]
fn a_lost_file_is_told_of() {
    let (dir, store) = with_messages(2);
    let view = view(&store);
    let before = view.store(&[uid(1)], &add(Flag::Seen)).unwrap();
    std::fs::remove_file(file(&dir)).unwrap();
    let after = view.sync().unwrap();
    assert_eq!(seen(&after), [false, false]);
    assert_eq!(after.since(&before).changed, [0, 1]);
}

#[test]
fn sessions_in_other_processes_are_told() {
    let (dir, one) = with_messages(2);
    let two = Store::open(dir.path()).unwrap();
    let (here, there) = (view(&one), view(&two));
    let before = there.sync().unwrap();
    here.store(&[uid(2)], &add(Flag::Seen)).unwrap();
    let after = there.sync().unwrap();
    assert_eq!(seen(&after), [false, true]);
    assert_eq!(after.since(&before).changed, [1]);
    assert_eq!(after.highest_mod_seq(), here.sync().unwrap().highest_mod_seq());
}

#[tokio::test]
async fn who_waits_is_woken_by_what_the_same_user_sees_elsewhere() {
    let (dir, one) = with_messages(1);
    let two = Store::open(dir.path()).unwrap();
    let (here, there) = (view(&one), view(&two));
    there.sync().unwrap();
    let mut changes = there.mailbox().watch();
    let waiting = tokio::task::spawn_blocking(move || here.store(&[uid(1)], &add(Flag::Seen)).map(|_| ()));
    tokio::time::timeout(Duration::from_secs(20), async {
        while seen(&there.sync().unwrap()) != [true] {
            changes.changed().await.unwrap();
        }
    })
    .await
    .unwrap();
    waiting.await.unwrap().unwrap();
}

/// What a process has written that died before its commit holds, and at the latest the next look tells it.
#[test]
fn what_was_written_and_not_committed_is_told_once_it_is() {
    let (dir, store) = with_messages(2);
    let view = view(&store);
    let before = view.sync().unwrap();
    let next = before.highest_mod_seq().value() + 1;
    let mut text = std::fs::read_to_string(file(&dir)).unwrap();
    text.push_str(&format!("S {next} 2\nS {next}"));
    std::fs::write(file(&dir), text).unwrap();
    let after = view.sync().unwrap();
    assert_eq!((seen(&after), after.since(&before).changed), (vec![false, true], vec![1]));
    assert!(after.highest_mod_seq().value() >= next);
    // Behind half a line a new one is begun.
    view.store(&[uid(1)], &add(Flag::Seen)).unwrap();
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(seen(&View::of_reader(inbox(&again), &ana()).sync().unwrap()), [true, true]);
}

#[test]
fn a_file_that_has_grown_is_written_anew_and_says_the_same() {
    let (dir, store) = with_messages(3);
    let line = format!("S 1 {}\n", "1,".repeat(20_000) + "1");
    view(&store).sync().unwrap();
    let text = std::fs::read_to_string(file(&dir)).unwrap() + &line.repeat(2);
    std::fs::write(file(&dir), text).unwrap();
    let view = view(&store);
    view.sync().unwrap();
    let after = view.store(&[uid(3)], &add(Flag::Seen)).unwrap();
    assert_eq!(seen(&after), [true, false, true]);
    assert!(std::fs::metadata(file(&dir)).unwrap().len() < 200);
    assert_eq!(seen(&view.sync().unwrap()), [true, false, true]);
}

#[test]
fn a_mailbox_made_anew_under_the_name_was_seen_by_nobody() {
    let (_dir, store) = with_messages(0);
    let account = store.account(&bob()).unwrap();
    let team: MailboxName = "Team".parse().unwrap();
    let append = |flags: &Flags| {
        let view = View::of_reader(account.open(&team).unwrap(), &ana());
        let mut append = view.append(flags, None).unwrap();
        append.write_all(b"x\r\n").unwrap();
        append.commit().unwrap();
        let owners = seen(&view.mailbox().sync().unwrap());
        (seen(&view.sync().unwrap()), owners)
    };
    account.create(&team, None).unwrap();
    assert_eq!(append(&flags(&[Flag::Seen])), (vec![true], vec![false]));
    account.rename(&team, &"Old".parse().unwrap()).unwrap();
    account.create(&team, None).unwrap();
    assert_eq!(append(&Flags::new()), (vec![false], vec![false]));
    let old = View::of_reader(account.open(&"Old".parse().unwrap()).unwrap(), &ana());
    assert_eq!(seen(&old.sync().unwrap()), [true]);
}

#[test]
fn between_accounts_messages_go_with_the_flags_that_the_user_sees_and_may_set() {
    let (_dir, store) = with_messages(2);
    let (there, own) = (view(&store), store.account(&ana()).unwrap().open(&MailboxName::inbox()).unwrap());
    let own = View::of_owner(own);
    inbox(&store).store(&[uid(1)], &FlagChange::Add(flags(&[Flag::Seen, Flag::Deleted]))).unwrap();
    there.store(&[uid(2)], &FlagChange::Add(keyword(&[Flag::Seen], "k"))).unwrap();
    let pairs = there.transfer(&[uid(1), uid(2), uid(9)], &own, Rights::ALL, false).unwrap();
    assert_eq!(pairs, [(uid(1), uid(1)), (uid(2), uid(2))]);
    let shown = |view: &View| {
        let it = view.sync().unwrap();
        (0..it.len()).map(|at| it.get(at).unwrap().flags.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&own), ["\\Deleted", "\\Seen k"]);
    // Back, with the right to `\Seen` alone.
    let rights = "lris".parse().unwrap();
    assert_eq!(own.transfer(&[uid(1), uid(2)], &there, rights, true).unwrap().len(), 2);
    assert_eq!(shown(&own), Vec::<String>::new());
    assert_eq!(shown(&there), ["\\Deleted", "\\Seen k", "", "\\Seen"]);
    assert_eq!(seen(&inbox(&store).sync().unwrap()), [true, false, false, false]);
    assert_eq!(inbox(&store).open_message(uid(4)).unwrap().read().unwrap(), b"x\r\n");
}

fn inode(mailbox: &Mailbox, maildir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    mailbox.sync().unwrap();
    let data = only_file(&maildir.join("cur")).metadata().unwrap();
    (data.ino(), data.nlink())
}

#[test]
fn between_accounts_a_move_renames_the_file_and_a_copy_links_it() {
    let (dir, store) = with_messages(1);
    let there = view(&store);
    let own = View::of_owner(store.account(&ana()).unwrap().open(&MailboxName::inbox()).unwrap());
    let maildirs = ["bob", "ana"].map(|user| dir.path().join("example.org").join(user).join("Maildir"));
    let before = inode(there.mailbox(), &maildirs[0]);
    assert_eq!(there.transfer(&[uid(1)], &own, Rights::ALL, true).unwrap(), [(uid(1), uid(1))]);
    assert_eq!(inode(own.mailbox(), &maildirs[1]), before);
    assert!(there.sync().unwrap().is_empty());
    assert_eq!(own.transfer(&[uid(1)], &there, Rights::ALL, false).unwrap(), [(uid(1), uid(2))]);
    assert_eq!(inode(there.mailbox(), &maildirs[0]), (before.0, 2));
    for maildir in maildirs {
        assert_eq!(std::fs::read_dir(maildir.join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn to_another_file_system_messages_are_copied_and_removed() {
    use std::os::unix::fs::MetadataExt as _;
    let (dir, store) = with_messages(2);
    let elsewhere = tempfile::tempdir().unwrap();
    let device = |path: &Path| path.metadata().unwrap().dev();
    if device(dir.path()) == device(elsewhere.path()) {
        return; // the system has only one
    }
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("example.org/ana")).unwrap();
    let own = View::of_owner(store.account(&ana()).unwrap().open(&MailboxName::inbox()).unwrap());
    let there = view(&store);
    let both = [(uid(1), uid(1)), (uid(2), uid(2))];
    assert_eq!(there.transfer(&[uid(1), uid(2)], &own, Rights::ALL, true).unwrap(), both);
    assert!(there.sync().unwrap().is_empty());
    assert_eq!(own.mailbox().open_message(uid(2)).unwrap().read().unwrap(), b"x\r\n");
    assert_eq!(std::fs::read_dir(elsewhere.path().join("Maildir/tmp")).unwrap().count(), 0);
}

/// Two who move in opposite directions don't wait for each other, and no message is lost or doubled, in one process or two.
#[test]
fn moves_between_accounts_in_both_directions_lose_and_double_nothing() {
    let (dir, one) = with_messages(12);
    let own = |store: &Arc<Store>| {
        View::of_owner(store.account(&ana()).unwrap().open(&MailboxName::inbox()).unwrap())
    };
    let two = Store::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for (number, store) in [&one, &one, &two, &two].into_iter().enumerate() {
            scope.spawn(move || {
                let (there, own) = (view(store), own(store));
                let (from, to) = if number % 2 == 0 { (&there, &own) } else { (&own, &there) };
                for _ in 0..15 {
                    let uids: Vec<Uid> =
                        from.sync().unwrap().uids().to_vec().into_iter().step_by(2).collect();
                    from.transfer(&uids, to, Rights::ALL, true).unwrap();
                }
            });
        }
    });
    let left = view(&one).sync().unwrap().len() + own(&one).sync().unwrap().len();
    assert_eq!(left, 12);
}

#[test]
fn within_the_others_account_a_move_keeps_what_both_have_seen() {
    let (_dir, store) = with_messages(2);
    let account = store.account(&bob()).unwrap();
    let there = view(&store);
    let archive = View::of_reader(account.open(&"Archive".parse().unwrap()).unwrap(), &ana());
    inbox(&store).store(&[uid(1)], &add(Flag::Seen)).unwrap();
    there.store(&[uid(2)], &FlagChange::Add(flags(&[Flag::Seen, Flag::Flagged]))).unwrap();
    there.transfer(&[uid(1), uid(2)], &archive, "lrist".parse().unwrap(), true).unwrap();
    assert_eq!(seen(&archive.sync().unwrap()), [false, true]);
    assert_eq!(seen(&archive.mailbox().sync().unwrap()), [true, false]);
    assert!(
        !archive.sync().unwrap().get(1).unwrap().flags.contains(Flag::Flagged),
        "without the right to it"
    );
}

/// Clients that hear of differences only, in the session or by mod-sequences after it, know all, whoever changes what, and in
/// whichever process.
#[test]
fn clients_that_are_told_differences_know_all() {
    type Known = BTreeMap<Uid, String>;
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (dir, one) = with_messages(6);
        let stores = [Arc::clone(&one), Store::open(dir.path()).unwrap()];
        let views: Vec<View> = stores.iter().map(view).collect();
        let truth = |now: &Snapshot| -> Known {
            (0..now.len()).map(|at| now.get(at).unwrap()).map(|it| (it.uid, it.flags.to_string())).collect()
        };
        let mut last: Vec<Arc<Snapshot>> = views.iter().map(|it| it.sync().unwrap()).collect();
        let mut told: Vec<Known> = last.iter().map(|it| truth(it)).collect();
        let mut offline: (ModSeq, Known) = (last[0].highest_mod_seq(), told[0].clone());
        for step in 0..40 {
            let uids: Vec<Uid> = (1..=12).filter(|_| random.u8(..4) == 0).map(uid).collect();
            let change = match random.u8(..3) {
                0 => FlagChange::Add(flags(&[Flag::Seen])),
                1 => FlagChange::Remove(flags(&[Flag::Seen])),
                _ => FlagChange::Replace(keyword(&[Flag::Flagged], ["a", "b"][random.usize(..2)])),
            };
            let which = random.usize(..2);
            match random.u8(..9) {
                0 => deliver(&stores[which], b"y\r\n"),
                1 => drop(inbox(&stores[which]).expunge(uids.get(..1).unwrap_or_default()).unwrap()),
                2 | 3 => drop(inbox(&stores[which]).store(&uids, &change).unwrap()),
                4 => drop(std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite"))),
                _ => drop(views[which].store(&uids, &change).unwrap()),
            }
            let which = random.usize(..2);
            let now = views[which].sync().unwrap();
            let difference = now.since(&last[which]);
            for at in difference.gone {
                told[which].remove(&last[which].uids().get(at).unwrap());
            }
            for at in difference.changed {
                let message = now.get(at).unwrap();
                told[which].insert(message.uid, message.flags.to_string());
            }
            assert_eq!(told[which], truth(&now), "seed {seed}, step {step}");
            assert_eq!(now.rows.unseen(), truth(&now).values().filter(|it| !it.contains("Seen")).count());
            assert!(now.highest_mod_seq() >= last[which].highest_mod_seq());
            last[which] = Arc::clone(&now);
            if random.u8(..4) == 0 {
                let (since, mut known) = offline;
                known.retain(|uid, _| now.position(*uid).is_some());
                for at in now.changed_since(since) {
                    let message = now.get(at).unwrap();
                    known.insert(message.uid, message.flags.to_string());
                }
                assert_eq!(known, truth(&now), "seed {seed}, step {step}");
                offline = (now.highest_mod_seq(), known);
            }
        }
    }
}

/// While others write at the same moment nothing is shown of which a later difference would say nothing.
#[test]
fn what_is_written_meanwhile_is_in_one_difference_or_the_next() {
    let (dir, store) = with_messages(20);
    let watching = view(&store);
    let mut last = watching.sync().unwrap();
    let mut told = seen(&last);
    let ended = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (path, ended) = (dir.path(), &ended);
            scope.spawn(move || {
                let store = Store::open(path).unwrap();
                let (view, mut random) = (view(&store), fastrand::Rng::with_seed(seed));
                for _ in 0..60 {
                    let uids: Vec<Uid> = (1..=20).filter(|_| random.u8(..5) == 0).map(uid).collect();
                    let named = flags(&[[Flag::Seen, Flag::Flagged][random.usize(..2)]]);
                    let change =
                        if random.bool() { FlagChange::Add(named) } else { FlagChange::Remove(named) };
                    view.store(&uids, &change).unwrap();
                }
                ended.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        loop {
            let is_last = ended.load(std::sync::atomic::Ordering::SeqCst) == 3;
            let now = watching.sync().unwrap();
            for at in now.since(&last).changed {
                told[at] = now.get(at).unwrap().flags.contains(Flag::Seen);
            }
            assert_eq!(told, seen(&now));
            last = now;
            if is_last {
                break;
            }
        }
    });
}
