//! Whose UID the one in a file's name is, and what a mailbox is known by when its own file is lost.

use super::*;

/// UIDVALIDITY, and UID, content and flags of each message.
type Shown = (u32, Vec<(u32, String, String)>);

fn shown(store: &Arc<Store>, name: &str) -> Shown {
    let mailbox = store.account(&bob()).unwrap().open(&name.parse().unwrap()).unwrap();
    let now = mailbox.sync().unwrap();
    let messages = (0..now.len()).map(|at| now.get(at).unwrap()).map(|message| {
        let content = mailbox.open_message(message.uid).unwrap().read().unwrap();
        (message.uid.value(), String::from_utf8(content).unwrap(), message.flags.to_string())
    });
    (mailbox.uid_validity().value(), messages.collect())
}

fn maildir(dir: &Path) -> PathBuf {
    dir.join("example.org/bob/Maildir")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn remove_index(dir: &Path) {
    std::fs::remove_file(dir.join("example.org/bob/index.sqlite")).unwrap();
}

/// INBOX with the UIDs 1, 3 and 4, and Trash with 1 to 4 of which 3 has a keyword.
fn begin(dir: &Path) -> Arc<Store> {
    let store = Store::open(dir).unwrap();
    let put = |name: &str, number: u32| {
        let mailbox = store.account(&bob()).unwrap().open(&name.parse().unwrap()).unwrap();
        let flags = if number == 3 { keyword(&[Flag::Seen], "Work") } else { Flags::new() };
        let mut append = mailbox.append(flags, None).unwrap();
        append.write_all(format!("{name} {number}").as_bytes()).unwrap();
        append.commit().unwrap();
        mailbox
    };
    (1..=4).for_each(|number| drop(put("Trash", number)));
    (1..=4).for_each(|number| drop(put("INBOX", number)));
    let inbox = inbox(&store);
    inbox.expunge(&[uid(2)]).unwrap();
    store
}

#[test]
fn a_uid_that_another_mailbox_gave_is_not_taken_for_ones_own_even_without_an_index() {
    let dir = fast_dir();
    let before = shown(&begin(dir.path()), "INBOX");
    // One of them has the name of a message here, but for its UID.
    let cur = maildir(dir.path()).join("cur");
    for file in files(&maildir(dir.path()).join(".Trash/cur")) {
        std::fs::rename(&file, cur.join(file.file_name().unwrap())).unwrap();
    }
    std::fs::write(cur.join("by-mbsync,U=1:2,S"), "another program gives UIDs as well").unwrap();
    remove_index(dir.path());
    let (validity, messages) = shown(&Store::open(dir.path()).unwrap(), "INBOX");
    assert_eq!((validity, &messages[..3]), (before.0, &before.1[..]));
    assert_eq!(messages.len(), 8);
    assert!(messages[3..].iter().all(|it| it.0 > 4), "{messages:?}");
}

#[test]
fn names_of_an_earlier_version_keep_their_uids_and_get_the_mark() {
    for has_index in [true, false] {
        let dir = fast_dir();
        let before = shown(&begin(dir.path()), "INBOX");
        let folder = maildir(dir.path());
        let mark_text = format!(",V={}", mark(&folder));
        for file in files(&folder.join("cur")) {
            std::fs::rename(&file, file.to_str().unwrap().replace(&mark_text, "")).unwrap();
        }
        let text = std::fs::read_to_string(folder.join("mailstead-mailbox")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("id "));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        std::fs::write(folder.join("mailstead-mailbox"), text).unwrap();
        if !has_index {
            remove_index(dir.path());
        }
        assert_eq!(shown(&Store::open(dir.path()).unwrap(), "INBOX"), before);
        let mark_text = format!(",V={}:2,", mark(&folder));
        assert!(files(&folder.join("cur")).iter().all(|it| it.to_str().unwrap().contains(&mark_text)));
        // From then on a UID without the mark is no more one of ours.
        std::fs::write(folder.join("cur/x,U=2:2,"), "x").unwrap();
        remove_index(dir.path());
        let now = shown(&Store::open(dir.path()).unwrap(), "INBOX");
        assert_eq!(&now.1[..3], &before.1[..]);
        assert!(now.1[3].0 > 4, "{now:?}");
    }
}

#[test]
fn a_mailbox_whose_file_is_lost_or_damaged_is_opened_with_the_same_uidvalidity_and_uids() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::write(path, "").unwrap(),
        |path| std::fs::write(path, vec![0xff; 300]).unwrap(),
        |path| std::fs::File::options().write(true).open(path).unwrap().set_len(40).unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        for (name, folder) in [("INBOX", ""), ("Trash", ".Trash")] {
            for [is_running, has_index] in [[true, true], [true, false], [false, true], [false, false]] {
                let case = format!("{number} {name} {is_running} {has_index}");
                let dir = fast_dir();
                let mut store = begin(dir.path());
                let before = shown(&store, name);
                damage(&maildir(dir.path()).join(folder).join("mailstead-mailbox"));
                if !has_index {
                    remove_index(dir.path());
                }
                if !is_running {
                    store = Store::open(dir.path()).unwrap();
                }
                let uids = |shown: &Shown| -> (u32, Vec<(u32, String)>) {
                    (shown.0, shown.1.iter().map(|it| (it.0, it.1.clone())).collect())
                };
                let after = shown(&store, name);
                assert_eq!(uids(&after), uids(&before), "{case}");
                assert!(after.1.iter().any(|it| it.2.starts_with("\\Seen ")), "{case}: {after:?}");
                // What comes next has a UID above all that were ever given.
                let mailbox = store.account(&bob()).unwrap().open(&name.parse().unwrap()).unwrap();
                let next = mailbox.append(Flags::new(), None).unwrap().commit().unwrap();
                assert!(next.value() > 4, "{case}");
                assert_eq!(shown(&Store::open(dir.path()).unwrap(), name).0, before.0, "{case}");
            }
        }
    }
}

#[test]
fn a_copy_of_a_mailbox_made_by_hand_is_another_mailbox() {
    let dir = fast_dir();
    let before = shown(&begin(dir.path()), "Trash");
    let copy = maildir(dir.path()).join(".Copy");
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(copy.join(part)).unwrap();
    }
    for file in files(&maildir(dir.path()).join(".Trash/cur")) {
        std::fs::copy(&file, copy.join("cur").join(file.file_name().unwrap())).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    let now = shown(&store, "Copy");
    assert!(now.0 > before.0, "it was never seen before");
    assert_eq!(now.1.len(), before.1.len());
    assert_eq!(shown(&store, "Trash"), before);
}

#[test]
fn a_damaged_file_that_nothing_else_knows_is_refused_while_uids_depend_on_it() {
    let dir = fast_dir();
    let store = begin(dir.path());
    let folder = maildir(dir.path()).join(".Trash");
    let mark_text = format!(",V={}", mark(&folder));
    for file in files(&folder.join("cur")) {
        std::fs::rename(&file, file.to_str().unwrap().replace(&mark_text, "")).unwrap();
    }
    std::fs::write(folder.join("mailstead-mailbox"), "noise").unwrap();
    drop(store);
    remove_index(dir.path());
    let account = Store::open(dir.path()).unwrap().account(&bob()).unwrap();
    let error = account.open(&"Trash".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("restore it from a backup"), "{error}");
    assert!(account.open(&MailboxName::inbox()).is_ok());
}

#[test]
fn a_message_whose_file_another_program_named_anew_but_for_its_uid_is_the_same_message() {
    let dir = fast_dir();
    let store = begin(dir.path());
    let before = shown(&store, "INBOX");
    for file in files(&maildir(dir.path()).join("cur")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (_, kept) = name.split_once(",U=").unwrap();
        std::fs::rename(&file, file.with_file_name(format!("{},U={kept}", crate::names::unique()))).unwrap();
    }
    assert_eq!(shown(&store, "INBOX"), before);
}

#[test]
fn a_file_brought_back_after_its_message_was_expunged_is_a_new_message() {
    let dir = fast_dir();
    let store = begin(dir.path());
    let inbox = inbox(&store);
    let file =
        files(&maildir(dir.path()).join("cur")).into_iter().find(|it| it.to_str().unwrap().contains(",U=3,"));
    let (file, content) = (file.clone().unwrap(), std::fs::read(file.unwrap()).unwrap());
    inbox.expunge(&[uid(3)]).unwrap();
    settle(&inbox);
    std::fs::write(&file, content).unwrap();
    until(&inbox, |now| now.len() == 3);
    assert_eq!(inbox.snapshot().uids().to_vec(), [uid(1), uid(4), uid(5)]);
}

#[test]
fn a_uid_that_was_shown_to_be_gone_never_comes_back_though_the_index_is_lost_meanwhile() {
    for is_rebuilt_by_another in [false, true] {
        let dir = fast_dir();
        let store = begin(dir.path());
        let inbox = inbox(&store);
        let is_third = |it: &PathBuf| it.to_str().unwrap().contains(",U=3,");
        let file = files(&maildir(dir.path()).join("cur")).into_iter().find(is_third).unwrap();
        let away = maildir(dir.path()).join(".Junk/cur").join(file.file_name().unwrap());
        std::fs::rename(&file, &away).unwrap();
        until(&inbox, |now| now.uids().to_vec() == [uid(1), uid(4)]);
        std::fs::rename(&away, &file).unwrap();
        remove_index(dir.path());
        if is_rebuilt_by_another {
            Store::open(dir.path()).unwrap().account(&bob()).unwrap().open(&MailboxName::inbox()).unwrap();
        }
        until(&inbox, |now| now.len() == 3);
        let uids = inbox.snapshot().uids().to_vec();
        assert_eq!(uids[..2], [uid(1), uid(4)]);
        assert!(uids[2] > uid(4), "{uids:?}");
        let again = Store::open(dir.path()).unwrap();
        assert_eq!(shown(&again, "INBOX").1.iter().map(|it| uid(it.0)).collect::<Vec<_>>(), uids);
    }
}

#[test]
fn an_index_that_lost_its_last_changes_under_a_running_server_gives_no_uid_again() {
    let dir = fast_dir();
    let store = begin(dir.path());
    let inbox = inbox(&store);
    let index = dir.path().join("example.org/bob/index.sqlite");
    let files = ["", "-wal", "-shm"].map(|suffix| index.with_file_name(format!("index.sqlite{suffix}")));
    let old = files.clone().map(|file| std::fs::read(file).unwrap());
    let put = || inbox.append(keyword(&[], "Work"), None).unwrap().commit().unwrap();
    let gone = put();
    inbox.expunge(&[gone]).unwrap();
    let kept = put();
    files.iter().zip(old).for_each(|(file, old)| std::fs::write(file, old).unwrap());
    let next = put();
    assert!(next > kept, "{next:?}");
    assert_eq!(inbox.sync().unwrap().uids().to_vec(), [uid(1), uid(3), uid(4), kept, next]);
    assert_eq!(shown(&store, "INBOX").1[3].2, "Work");
}
