//! Whatever is cut short, at whatever step: what was acknowledged is there once, with its UID, and nothing is there by half.

mod far;
mod taken_back;

use std::collections::BTreeMap;

use super::*;
use crate::disk::fault::{self, Strike};
use crate::{Account, StoreError};

/// A message as a client sees it: UID, content, flags.
type Seen = (u32, String, String);

/// Mailboxes by account and name: UIDVALIDITY, UIDNEXT, messages.
type State = BTreeMap<String, (u32, u32, Vec<Seen>)>;

fn alice() -> Address {
    "alice@example.org".parse().unwrap()
}

fn name(text: &str) -> MailboxName {
    text.parse().unwrap()
}

fn account(store: &Arc<Store>) -> Arc<Account> {
    store.account(&bob()).unwrap()
}

fn put(mailbox: &Arc<Mailbox>, text: &str, flags: Flags) -> Result<Uid, StoreError> {
    let mut append = mailbox.append(flags, None)?;
    append.write_all(text.as_bytes()).map_err(|source| StoreError::Io {
        context: "writing",
        path: PathBuf::new(),
        source,
    })?;
    append.commit()
}

fn send(store: &Arc<Store>, to: &[Address], text: &str) -> Result<crate::Delivery, StoreError> {
    let to: Vec<_> = to.iter().cloned().map(Into::into).collect();
    let mut delivery = store.deliver(&to)?;
    delivery.write_all(text.as_bytes()).unwrap();
    Ok(delivery)
}

/// What each run begins with: INBOX with four messages of which one has a keyword and two lie still in `new/`, and others.
fn begin(dir: &Path) {
    let store = Store::open(dir).unwrap();
    store.create_account(&alice()).unwrap();
    let account = account(&store);
    let inbox = account.open(&name("INBOX")).unwrap();
    put(&inbox, "one", keyword(&[Flag::Seen], "Work")).unwrap();
    put(&inbox, "two", Flags::new()).unwrap();
    account.create(&name("Work/Sub"), None).unwrap();
    put(&account.open(&name("Trash")).unwrap(), "old", Flags::new()).unwrap();
    put(&account.open(&name("Work/Sub")).unwrap(), "sub", keyword(&[], "Deep")).unwrap();
    for text in ["three", "four"] {
        send(&store, &[bob()], text).unwrap().commit_all().unwrap();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to)
        } else {
            assert!(std::fs::copy(entry.path(), to).is_ok())
        }
    }
}

fn state(dir: &Path) -> State {
    let store = Store::open(dir).unwrap();
    let mut state = State::new();
    for owner in [bob(), alice()] {
        let account = store.account(&owner).unwrap();
        for entry in account.mailboxes().unwrap().into_iter().filter(|it| it.selectable) {
            let mailbox = account.open(&entry.name).unwrap();
            let now = mailbox.snapshot();
            let messages = (0..now.len()).map(|at| now.get(at).unwrap()).map(|message| {
                let content = mailbox.open_message(message.uid).unwrap().read().unwrap();
                assert_eq!(content.len() as u64, message.size);
                (message.uid.value(), String::from_utf8(content).unwrap(), message.flags.to_string())
            });
            let figures = (mailbox.uid_validity().value(), now.uid_next().value(), messages.collect());
            state.insert(format!("{}/{}", owner.local_part(), entry.name), figures);
        }
    }
    state
}

/// The state to begin with. What lies in `new/` has been shown to nobody, so that its UIDs are still open.
fn before(dir: &Path) -> State {
    let mut before = state(dir);
    let inbox = before.get_mut("bob/INBOX").unwrap();
    let unshown = inbox.2.split_off(2);
    inbox.1 = 3;
    before.insert("unshown".to_owned(), (1, 1, unshown));
    before
}

fn texts(state: &State) -> Vec<&str> {
    let mut all: Vec<&str> = state.values().flat_map(|it| it.2.iter().map(|it| it.1.as_str())).collect();
    all.sort_unstable();
    all
}

fn has(state: &State, mailbox: &str, text: &str) -> bool {
    state.get(mailbox).is_some_and(|it| it.2.iter().any(|it| it.1 == text))
}

/// No UIDVALIDITY changed, and no UID names another message than before.
#[track_caller]
fn check_uids(before: &State, after: &State, moves: bool) {
    for (name, (validity, uid_next, messages)) in after {
        let Some((was_validity, was_next, was)) = before.get(name) else { continue };
        assert_eq!((validity, uid_next >= was_next), (was_validity, true), "{name}");
        for (uid, text, _) in messages {
            let same = was.iter().any(|(was_uid, was_text, _)| (uid, text) == (was_uid, was_text));
            assert!(same || uid >= was_next, "{name}: UID {uid} is another's");
            let known = was.iter().any(|(_, was_text, _)| text == was_text);
            assert!(same || !known || moves, "{name}: {text} changed its UID");
        }
    }
}

/// An operation cut short at every step, in every way.
struct Operation {
    /// What happens to the ground before.
    prepare: fn(&Path),
    act: fn(&Arc<Store>) -> Result<(), StoreError>,
    /// What may be there more than before, and less, as often as it is named.
    more: &'static [&'static str],
    less: &'static [&'static str],
    /// True if the state is that of the operation done.
    done: fn(&State) -> bool,
    /// Messages may get a new UID in their own mailbox.
    moves: bool,
    /// As long as the process lives it is done as a whole or not at all.
    is_whole: bool,
    /// Where the process dies and the index is there, what was not acknowledged is taken back.
    is_taken_back: bool,
}

/// What happens, and whether the index is there afterwards.
const CASES: [(Strike, bool); 7] = [
    (Strike::Death, true),
    (Strike::Death, false),
    (Strike::Once, true),
    (Strike::ShortAndDeath, true),
    (Strike::ShortAndDeath, false),
    (Strike::ShortAndOnce, true),
    (Strike::Short, true),
];

/// The same where a journal keeps the order of content and names, and where none does.
#[track_caller]
fn check_in_each_order(operation: &Operation) {
    for is_kept in [false, true] {
        fault::claim_order(Some(is_kept));
        check(operation);
    }
}

#[track_caller]
fn check(operation: &Operation) {
    let template = fast_dir();
    begin(template.path());
    let untouched = fast_dir();
    copy_tree(template.path(), untouched.path());
    let before = before(untouched.path());
    for (strike, keeps_index) in CASES {
        for step in 0.. {
            let dir = fast_dir();
            copy_tree(template.path(), dir.path());
            (operation.prepare)(dir.path());
            fault::strike(strike, step);
            let result = Store::open(dir.path()).and_then(|store| (operation.act)(&store));
            let struck = fault::has_struck();
            fault::after(None);
            if !keeps_index {
                std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
            }
            let after = state(dir.path());
            check_uids(&before, &after, operation.moves);
            check_texts(operation, &before, &after);
            assert!(
                result.is_err() || (operation.done)(&after),
                "{strike:?} {step}: acknowledged and not done: {after:?}"
            );
            let lives = matches!(strike, Strike::Once | Strike::ShortAndOnce);
            assert!(
                !(lives && operation.is_whole) || result.is_ok() || texts(&after) == texts(&before),
                "{strike:?} {step}: done by half: {after:?}"
            );
            assert!(
                lives
                    || !keeps_index
                    || !operation.is_taken_back
                    || result.is_ok()
                    || texts(&after) == texts(&before),
                "{strike:?} {step}: left behind: {after:?}"
            );
            assert_eq!(state(dir.path()), after, "{strike:?} {step}: another look shows the same");
            if !struck {
                result.unwrap();
                break;
            }
        }
    }
}

#[track_caller]
fn check_texts(operation: &Operation, before: &State, after: &State) {
    let (was, now) = (texts(before), texts(after));
    for text in was.iter().chain(&now) {
        let count = |all: &[&str]| all.iter().filter(|it| *it == text).count();
        let (least, most) = (count(&was) - count(operation.less), count(&was) + count(operation.more));
        assert!((least..=most).contains(&count(&now)), "{text}: {after:?}");
    }
}

const NOTHING: Operation = Operation {
    prepare: |_| (),
    act: |_| Ok(()),
    more: &[],
    less: &[],
    done: |_| true,
    moves: false,
    is_whole: false,
    is_taken_back: false,
};

#[test]
fn a_delivery_cut_short() {
    check_in_each_order(&Operation {
        act: |store| send(store, &[bob()], "new")?.commit_all().map_err(|(_, error)| error),
        more: &["new"],
        done: |after| has(after, "bob/INBOX", "new"),
        is_whole: true,
        is_taken_back: true,
        ..NOTHING
    });
}

#[test]
fn a_delivery_to_several_cut_short() {
    check_in_each_order(&Operation {
        act: |store| {
            let mut results = send(store, &[bob(), alice()], "new")?.commit().into_iter();
            let (bob, alice) = (results.next().unwrap(), results.next().unwrap());
            bob.and(alice)
        },
        more: &["new", "new"],
        done: |after| has(after, "bob/INBOX", "new") && has(after, "alice/INBOX", "new"),
        is_taken_back: true,
        ..NOTHING
    });
}

#[test]
fn an_append_cut_short() {
    check_in_each_order(&Operation {
        act: |store| {
            put(&account(store).open(&name("Trash"))?, "new", keyword(&[Flag::Draft], "Fresh")).map(|_| ())
        },
        more: &["new"],
        done: |after| after["bob/Trash"].2.iter().any(|it| it.1 == "new" && it.2 == "\\Draft Fresh"),
        is_whole: true,
        is_taken_back: true,
        ..NOTHING
    });
}

#[test]
fn an_append_of_several_cut_short() {
    check_in_each_order(&Operation {
        act: |store| {
            let trash = account(store).open(&name("Trash"))?;
            let begin = |text: &&str| {
                let mut append = trash.append(keyword(&[Flag::Draft], "Fresh"), None)?;
                append.write_all(text.as_bytes()).unwrap();
                Ok(append)
            };
            let appends =
                ["first", "second", "third"].iter().map(begin).collect::<Result<_, StoreError>>()?;
            crate::Append::commit_all(appends).map(|_| ())
        },
        more: &["first", "second", "third"],
        done: |after| ["first", "second", "third"].iter().all(|text| has(after, "bob/Trash", text)),
        is_whole: true,
        is_taken_back: true,
        ..NOTHING
    });
}

#[test]
fn a_message_larger_than_a_buffer_cut_short() {
    fn large() -> &'static str {
        static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        TEXT.get_or_init(|| "sixteen octets\r\n".repeat(20_000))
    }
    check_in_each_order(&Operation {
        act: |store| {
            put(&account(store).open(&name("Trash"))?, large(), Flags::new())?;
            let mut delivery = store.deliver(&[bob().into()])?;
            let written = delivery.write_all(large().as_bytes());
            written.map_err(|source| StoreError::Io { context: "writing", path: PathBuf::new(), source })?;
            delivery.commit_all().map_err(|(_, error)| error)
        },
        more: Box::leak(Box::new([large(), large()])),
        done: |after| has(after, "bob/Trash", large()) && has(after, "bob/INBOX", large()),
        ..NOTHING
    });
}

#[test]
fn a_draft_saved_anew_cut_short() {
    check_in_each_order(&Operation {
        act: |store| {
            let trash = account(store).open(&name("Trash"))?;
            let old = trash.snapshot().uids().to_vec();
            put(&trash, "new", flags(&[Flag::Draft]))?;
            trash.store(&old, &FlagChange::Add(flags(&[Flag::Deleted])))?;
            trash.expunge(&old).map(|_| ())
        },
        more: &["new"],
        less: &["old"],
        // The old one is not gone before the new one is there.
        done: |after| has(after, "bob/Trash", "new") && !has(after, "bob/Trash", "old"),
        ..NOTHING
    });
}

#[test]
fn a_rebuild_cut_short() {
    check(&Operation { act: |store| store.rebuild(&bob(), &mut |_| ()).map(|_| ()), ..NOTHING });
}

#[test]
fn an_open_without_the_mailboxs_file_cut_short() {
    check(&Operation {
        prepare: |dir| {
            let maildir = dir.join("example.org/bob/Maildir");
            std::fs::remove_file(maildir.join("mailstead-mailbox")).unwrap();
            std::fs::write(maildir.join(".Trash/mailstead-mailbox"), "mailstead-mailbox 1\nuidv").unwrap();
        },
        act: |store| open_both(store, "Trash").map(|_| ()),
        ..NOTHING
    });
}

#[test]
fn an_open_of_what_an_earlier_version_left_cut_short() {
    check(&Operation {
        prepare: |dir| {
            let maildir = dir.join("example.org/bob/Maildir");
            let path = maildir.join("mailstead-mailbox");
            let mark = format!(",V={}", mark(&maildir));
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with("id "));
            std::fs::write(path, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
            for file in std::fs::read_dir(maildir.join("cur")).unwrap().map(|entry| entry.unwrap().path()) {
                std::fs::rename(&file, file.to_str().unwrap().replace(&mark, "")).unwrap();
            }
        },
        act: |store| open_both(store, "Trash").map(|_| ()),
        ..NOTHING
    });
}

fn replace(store: &Arc<Store>, target: &str) -> Result<(), StoreError> {
    let (inbox, target) = open_both(store, target)?;
    let mut append = target.append(keyword(&[Flag::Draft], "Fresh"), None)?;
    append.write_all(b"new").unwrap();
    append.replace(&inbox, uid(1)).map(|_| ())
}

#[test]
fn a_replace_cut_short() {
    check_in_each_order(&Operation {
        act: |store| replace(store, "INBOX"),
        more: &["new"],
        less: &["one"],
        done: |after| has(after, "bob/INBOX", "new") && !has(after, "bob/INBOX", "one"),
        ..NOTHING
    });
}

#[test]
fn a_replace_by_a_message_elsewhere_cut_short() {
    check_in_each_order(&Operation {
        act: |store| replace(store, "Trash"),
        more: &["new"],
        less: &["one"],
        done: |after| {
            let is_new = |it: &Seen| it.1 == "new" && it.2 == "\\Draft Fresh";
            after["bob/Trash"].2.iter().any(is_new) && !has(after, "bob/INBOX", "one")
        },
        ..NOTHING
    });
}

#[test]
fn at_no_step_of_a_replace_are_both_messages_gone() {
    for step in 0.. {
        let dir = fast_dir();
        begin(dir.path());
        fault::after(Some(step));
        let result = Store::open(dir.path()).and_then(|store| replace(&store, "INBOX"));
        let struck = fault::has_struck();
        fault::after(None);
        let after = state(dir.path());
        assert!(has(&after, "bob/INBOX", "one") || has(&after, "bob/INBOX", "new"), "step {step}");
        if !struck {
            result.unwrap();
            return;
        }
    }
}

fn open_both(store: &Arc<Store>, target: &str) -> Result<(Arc<Mailbox>, Arc<Mailbox>), StoreError> {
    let account = store.account(&bob())?;
    Ok((account.open(&name("INBOX"))?, account.open(&name(target))?))
}

#[test]
fn a_comparison_with_new_mail_cut_short() {
    check(&Operation { act: |store| open_both(store, "Trash").map(|_| ()), ..NOTHING });
}

#[test]
fn a_copy_cut_short() {
    check(&Operation {
        act: |store| {
            let (inbox, trash) = open_both(store, "Trash")?;
            inbox.copy(&inbox.snapshot().uids().to_vec(), &trash).map(|_| ())
        },
        more: &["one", "two", "three", "four"],
        done: |after| after["bob/Trash"].2.len() == 5 && after["bob/INBOX"].2.len() == 4,
        is_whole: true,
        is_taken_back: true,
        ..NOTHING
    });
}

#[test]
fn a_move_cut_short() {
    check(&Operation {
        act: |store| {
            let (inbox, trash) = open_both(store, "Trash")?;
            inbox.move_to(&inbox.snapshot().uids().to_vec(), &trash).map(|_| ())
        },
        done: |after| {
            let trash = &after["bob/Trash"].2;
            after["bob/INBOX"].2.is_empty() && trash.iter().any(|it| it.1 == "one" && it.2 == "\\Seen Work")
        },
        is_whole: true,
        ..NOTHING
    });
}

#[test]
fn a_move_within_a_mailbox_cut_short() {
    check(&Operation {
        act: |store| {
            let (inbox, same) = open_both(store, "INBOX")?;
            inbox.move_to(&inbox.snapshot().uids().to_vec(), &same).map(|_| ())
        },
        done: |after| after["bob/INBOX"].2.iter().all(|it| it.0 > 4),
        moves: true,
        ..NOTHING
    });
}

#[test]
fn a_store_cut_short() {
    check(&Operation {
        act: |store| {
            let (inbox, _) = open_both(store, "INBOX")?;
            inbox
                .store(
                    &inbox.snapshot().uids().to_vec(),
                    &FlagChange::Add(keyword(&[Flag::Flagged], "Fresh")),
                )
                .map(|_| ())
        },
        done: |after| {
            after["bob/INBOX"].2.iter().all(|it| it.2.contains("\\Flagged") && it.2.contains("Fresh"))
        },
        ..NOTHING
    });
}

#[test]
fn an_expunge_cut_short() {
    check(&Operation {
        act: |store| open_both(store, "INBOX")?.0.expunge(&[uid(1), uid(3)]).map(|_| ()),
        less: &["one", "three"],
        done: |after| after["bob/INBOX"].2.len() == 2,
        ..NOTHING
    });
}

#[test]
fn a_create_cut_short() {
    check(&Operation {
        act: |store| store.account(&bob())?.create(&name("Above/Below"), None),
        done: |after| after.contains_key("bob/Above/Below"),
        ..NOTHING
    });
}

#[test]
fn a_rename_cut_short() {
    check(&Operation {
        act: |store| store.account(&bob())?.rename(&name("Work"), &name("Job")),
        done: |after| has(after, "bob/Job/Sub", "sub") && after["bob/Job/Sub"].2[0].2 == "Deep",
        ..NOTHING
    });
}

#[test]
fn a_delete_cut_short() {
    check(&Operation {
        act: |store| store.account(&bob())?.delete(&name("Trash")),
        less: &["old"],
        done: |after| !after.contains_key("bob/Trash"),
        ..NOTHING
    });
}

#[test]
fn a_rename_of_inbox_cut_short() {
    check(&Operation {
        act: |store| store.account(&bob())?.rename(&name("INBOX"), &name("Kept")),
        done: |after| after["bob/INBOX"].2.is_empty() && after["bob/Kept"].2.len() == 4,
        ..NOTHING
    });
}

#[test]
fn an_index_from_an_older_backup_changes_no_uid() {
    let dir = fast_dir();
    begin(dir.path());
    let index = dir.path().join("example.org/bob/index.sqlite");
    let old = std::fs::read(&index).unwrap();
    let inbox = inbox(&Store::open(dir.path()).unwrap());
    inbox.expunge(&[uid(3)]).unwrap();
    drop(inbox);
    let shown = state(dir.path());
    assert_eq!(shown["bob/INBOX"].2.last().unwrap().0, 4);
    std::fs::write(&index, old).unwrap();
    assert_eq!(state(dir.path())["bob/INBOX"].2, shown["bob/INBOX"].2);
}

#[test]
fn what_a_process_left_half_done_within_one_tick_of_the_clock_is_found_at_the_next_open() {
    let dir = fast_dir();
    begin(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let mailbox = inbox(&store);
    let shown = mailbox.snapshot().len();
    settle(&mailbox);
    drop((mailbox, store));
    let home = dir.path().join("example.org/bob");
    let cur = home.join("Maildir/cur");
    // It removed a file and died before it told the index, and the folder's time is the one that the index knows.
    let time = std::fs::metadata(&cur).unwrap().modified().unwrap();
    std::fs::remove_file(only_file(&cur)).unwrap();
    std::fs::File::open(&cur).unwrap().set_modified(time).unwrap();
    std::fs::write(home.join("lock"), "1").unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(inbox(&store).snapshot().len(), shown - 1);
    assert!(std::fs::read(home.join("lock")).unwrap().starts_with(b"0 "));
}
