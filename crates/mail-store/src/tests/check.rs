//! What a check finds, and what a rebuild mends of it.

use std::os::unix::fs::symlink;

use super::*;
use crate::Problem;

/// An account with three messages in INBOX and one in Trash, all with UIDs.
struct Ground {
    dir: tempfile::TempDir,
    store: Arc<Store>,
}

impl Ground {
    fn new() -> Self {
        let dir = fast_dir();
        let store = Store::open(dir.path()).unwrap();
        for text in ["one\r\n", "two\n", "three\r\n"] {
            deliver(&store, text.as_bytes());
        }
        let (inbox, account) = (inbox(&store), store.account(&bob()).unwrap());
        inbox.store(&[uid(2)], &FlagChange::Add(keyword(&[Flag::Seen], "Work"))).unwrap();
        inbox.copy(&[uid(1)], &account.open(&"Trash".parse().unwrap()).unwrap()).unwrap();
        Self { dir, store }
    }

    /// As another process finds it after this one's end.
    fn restarted(self) -> Self {
        drop(self.store);
        let store = Store::open(self.dir.path()).unwrap();
        Self { dir: self.dir, store }
    }

    fn home(&self, path: &str) -> PathBuf {
        self.dir.path().join("example.org/bob").join(path)
    }

    fn maildir(&self, path: &str) -> PathBuf {
        self.home("Maildir").join(path)
    }

    fn file(&self, number: u32) -> PathBuf {
        let is_it = |path: &PathBuf| path.to_str().unwrap().contains(&format!(",U={number},V="));
        self.files("cur").into_iter().find(is_it).unwrap()
    }

    fn files(&self, part: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.maildir(part)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn check(&self, content: bool) -> Vec<(&'static str, PathBuf)> {
        let found = self.store.check(&bob(), content, &mut |_| ()).unwrap();
        found.into_iter().map(|it| (it.problem.code(), it.path)).collect()
    }

    fn codes(&self) -> Vec<&'static str> {
        let mut codes: Vec<_> = self.check(false).into_iter().map(|(code, _)| code).collect();
        codes.sort_unstable();
        codes
    }

    fn rebuild(&self) -> Vec<&'static str> {
        let left = self.store.rebuild(&bob(), &mut |_| ()).unwrap();
        left.into_iter().map(|it| it.problem.code()).collect()
    }

    /// What clients see.
    fn shown(&self) -> (u32, Vec<(u32, String, u64, i64)>) {
        let mailbox = inbox(&self.store);
        let now = mailbox.snapshot();
        let messages = (0..now.len()).map(|at| now.get(at).unwrap());
        let short = |it: crate::Message| {
            (it.uid.value(), it.flags.to_string(), it.size, it.internal_date.unix_seconds())
        };
        (mailbox.uid_validity().value(), messages.map(short).collect())
    }

    #[track_caller]
    fn is_found_and_mended(&self, codes: &[&str]) {
        assert_eq!(self.codes(), codes);
        assert_eq!(self.rebuild(), [""; 0]);
        assert_eq!(self.check(true), []);
    }

    /// Found, named by rebuild as what stays, and hiding nothing.
    #[track_caller]
    fn is_found_and_stays(&self, code: &'static str, path: &Path) {
        assert_eq!(self.check(false), [(code, path.to_owned())]);
        assert_eq!(self.rebuild(), [code]);
        let uids: Vec<u32> = self.shown().1.iter().map(|it| it.0).collect();
        assert!(uids.starts_with(&[1, 2, 3]), "{uids:?}");
    }
}

#[test]
fn a_sound_account_gives_no_finding_and_is_not_touched() {
    let ground = Ground::new();
    deliver(&ground.store, b"not yet looked at\r\n");
    let trees = || {
        let mut files = ["cur", "new", "tmp", "."].map(|part| ground.files(part));
        files.iter_mut().for_each(|it| it.sort());
        files
    };
    let before = trees();
    assert_eq!(ground.check(true), []);
    assert_eq!(trees(), before);
    let nobody: Address = "nobody@example.org".parse().unwrap();
    assert_eq!(ground.store.check(&nobody, true, &mut |_| ()).unwrap(), []);
    assert!(!ground.dir.path().join("example.org/nobody").exists());
}

#[test]
fn a_rebuild_changes_nothing_that_clients_see() {
    let ground = Ground::new();
    let date = mail_types::InternalDate::from_unix(1_000_000_000);
    let mut append = inbox(&ground.store).append(keyword(&[Flag::Flagged], "Later"), Some(date)).unwrap();
    append.write_all(b"four\r\n").unwrap();
    append.commit().unwrap();
    let (before, other) = (ground.shown(), Store::open(ground.dir.path()).unwrap());
    let session = inbox(&other);
    assert_eq!(ground.rebuild(), [""; 0]);
    assert_eq!(ground.shown(), before);
    // Another process that has the mailbox open goes on.
    session.store(&[uid(3)], &FlagChange::Add(flags(&[Flag::Draft]))).unwrap();
    assert_eq!(session.sync().unwrap().len(), 4);
    assert_eq!(ground.check(true), []);
}

#[test]
fn files_that_have_no_uid_or_another_ones_are_found_and_mended() {
    let ground = Ground::new();
    let name = ground.file(1);
    let name = name.file_name().unwrap().to_str().unwrap();
    std::fs::write(ground.maildir("cur/by-hand:2,S"), "x\r\n").unwrap();
    let mark = mark(&ground.maildir(""));
    std::fs::write(ground.maildir(&format!("cur/doubled,U=1,V={mark}:2,")), "x\r\n").unwrap();
    std::fs::write(ground.maildir(&format!("cur/above,U=4000000,V={mark}:2,")), "x\r\n").unwrap();
    std::fs::write(ground.maildir("cur/of-another-program,U=1:2,"), "x\r\n").unwrap();
    ground.is_found_and_mended(&[
        "no-uid",
        "no-uid",
        "not-indexed",
        "not-indexed",
        "not-indexed",
        "not-indexed",
        "uid-above-limit",
        "uid-doubled",
    ]);
    assert_eq!(ground.file(1).file_name().unwrap().to_str().unwrap(), name);
    assert_eq!(ground.shown().1.len(), 7);
}

#[test]
fn an_index_that_differs_from_the_folder_is_found_and_mended() {
    let ground = Ground::new();
    std::fs::remove_file(ground.file(1)).unwrap();
    let seen = ground.file(3);
    std::fs::rename(&seen, format!("{}F", seen.display())).unwrap();
    ground.is_found_and_mended(&["file-missing", "flags-differ"]);

    std::fs::remove_dir_all(ground.maildir(".Junk")).unwrap();
    ground.is_found_and_mended(&["indexed-mailbox-missing", "subscription-to-nowhere"]);
}

#[test]
fn an_index_that_is_missing_damaged_or_newer_is_found_and_mended() {
    let ground = Ground::new();
    let (before, index) = (ground.shown(), ground.home("index.sqlite"));
    std::fs::remove_file(&index).unwrap();
    ground.is_found_and_mended(&["index-missing"]);
    assert_eq!(ground.shown(), before);

    let ground = ground.restarted();
    std::fs::write(&index, vec![b'x'; 8192]).unwrap();
    ground.is_found_and_mended(&["index-damaged"]);
    assert_eq!(ground.shown(), before);

    let ground = ground.restarted();
    let newer = rusqlite::Connection::open(&index).unwrap();
    newer
        .execute_batch("DROP TABLE message; CREATE TABLE message (other); PRAGMA user_version = 9999")
        .unwrap();
    drop(newer);
    ground.is_found_and_mended(&["index-newer"]);
    assert_eq!(ground.shown(), before);
}

#[test]
fn content_that_the_disk_changed_is_found_and_nothing_else_is() {
    let ground = Ground::new();
    let file = ground.file(1);
    let mode = std::fs::metadata(&file).unwrap().modified().unwrap();
    std::fs::write(&file, "ome\r\n").unwrap(); // one bit
    std::fs::File::open(&file).unwrap().set_modified(mode).unwrap();
    assert_eq!(ground.check(false), []);
    // The copy in Trash is the same file.
    let trash = only_file(&ground.maildir(".Trash/cur"));
    assert_eq!(ground.check(true), [("content-differs", file), ("content-differs", trash)]);
    assert_eq!(ground.rebuild(), [""; 0]);
    assert_eq!(ground.check(true).len(), 2, "no rebuild hides it");
}

#[test]
fn a_message_of_another_program_has_its_hash_from_the_first_check_on() {
    let ground = Ground::new();
    std::fs::write(ground.maildir("new/by-procmail"), "x\r\n").unwrap();
    inbox(&ground.store);
    assert_eq!(ground.check(true), []);
    assert_eq!(ground.check(true), []);
    inbox(&ground.store).move_to(&[uid(4)], &inbox(&ground.store)).unwrap();
    let file = ground.file(5);
    std::fs::write(&file, "y\r\n").unwrap();
    assert_eq!(ground.check(true), [("content-differs", file.clone())]);
    assert_eq!(ground.check(true), [("content-differs", file)], "the first hash is kept");
}

#[test]
fn sizes_that_are_not_those_in_the_name_are_found_and_stay() {
    let ground = Ground::new();
    let file = ground.file(1);
    std::fs::remove_file(only_file(&ground.maildir(".Trash/cur"))).unwrap();
    inbox(&ground.store);
    ground.rebuild();
    std::fs::write(&file, "on").unwrap();
    ground.is_found_and_stays("size-differs", &file);
    std::fs::write(&file, "").unwrap();
    ground.is_found_and_stays("empty", &file);
}

#[test]
fn what_is_no_file_is_found_and_hides_no_mail() {
    let ground = Ground::new();
    let outside = ground.dir.path().join("secret");
    std::fs::write(&outside, "secret").unwrap();
    let link = ground.maildir("cur/link:2,");
    symlink(&outside, &link).unwrap();
    ground.is_found_and_stays("not-a-file", &link);
    assert_eq!(ground.shown().1.len(), 3, "a link is not followed");
    std::fs::remove_file(&link).unwrap();
    let folder = ground.maildir("new/folder");
    std::fs::create_dir(&folder).unwrap();
    ground.is_found_and_stays("not-a-file", &folder);
}

#[test]
fn a_damaged_or_missing_mailbox_file_is_found() {
    let ground = Ground::new();
    let file = ground.maildir(".Trash/mailstead-mailbox");
    let content = std::fs::read(&file).unwrap();
    std::fs::write(&file, &content[..content.len() / 2]).unwrap();
    assert_eq!(ground.check(false), [("mailbox-file-damaged", file.clone())]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ground.check(false), [("mailbox-file-missing", file)]);
}

#[test]
fn a_damaged_mailbox_file_is_made_anew_from_what_is_left_and_the_uids_stay() {
    type Damage = fn(&Path, &str);
    let cases: [Damage; 4] = [
        |path, text| std::fs::write(path, &text[..text.len() - 3]).unwrap(),
        |path, _| std::fs::write(path, "noise").unwrap(),
        |path, _| std::fs::remove_file(path).unwrap(),
        |path, text| {
            // Without the index too.
            std::fs::write(path, &text[..text.len() - 3]).unwrap();
            std::fs::remove_file(path.with_file_name("../index.sqlite")).unwrap();
        },
    ];
    for (case, damage) in cases.into_iter().enumerate() {
        let ground = Ground::new();
        let (file, before) = (ground.maildir("mailstead-mailbox"), ground.shown());
        damage(&file, &std::fs::read_to_string(&file).unwrap());
        let ground = ground.restarted();
        assert_eq!(ground.check(false).len(), if case == 3 { 2 } else { 1 }, "{case}");
        assert_eq!(ground.rebuild(), [""; 0], "{case}");
        assert_eq!(ground.check(true), [], "{case}");
        let after = ground.shown();
        let uids = |shown: &(u32, Vec<(u32, String, u64, i64)>)| {
            (shown.0, shown.1.iter().map(|it| it.0).collect::<Vec<_>>())
        };
        assert_eq!(uids(&after), uids(&before), "{case}");
        if case == 0 || case == 3 {
            assert_eq!(after, before, "keywords too");
        }
        deliver(&ground.store, b"new\r\n");
        assert!(inbox(&ground.store).sync().unwrap().uids().to_vec()[3] > uid(3));
    }
}

#[test]
fn a_maildir_that_was_never_opened_is_no_finding_and_a_missing_one_is() {
    let ground = Ground::new();
    let alice = ground.dir.path().join("example.org/alice");
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(alice.join("Maildir").join(part)).unwrap();
    }
    std::fs::write(alice.join("Maildir/cur/1.M1P1.host:2,S"), "x\r\n").unwrap();
    let check = || ground.store.check(&"alice@example.org".parse().unwrap(), true, &mut |_| ()).unwrap();
    assert_eq!(check(), []);
    std::fs::remove_dir_all(alice.join("Maildir/cur")).unwrap();
    assert_eq!(check().first().map(|it| it.problem.code()), Some("folder-missing"));
}

#[test]
fn keywords_and_names_that_mean_nothing_are_found() {
    let ground = Ground::new();
    let path = ground.maildir("mailstead-mailbox");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("end\n", "extra 77 30\nend\n")).unwrap();
    assert_eq!(ground.check(false), [("stray-keywords", path)]);

    let folder = ground.maildir(".a\u{1}b");
    std::fs::create_dir_all(folder.join("cur")).unwrap();
    assert!(ground.check(false).contains(&("not-a-mailbox-name", folder)));

    let subscriptions = ground.maildir("subscriptions");
    std::fs::write(&subscriptions, "Nowhere.At.All\n").unwrap();
    assert!(ground.check(false).contains(&("subscription-to-nowhere", subscriptions)));
}

#[test]
fn a_finding_names_the_file_and_says_what_is_wrong() {
    let ground = Ground::new();
    let path = ground.maildir("cur/empty,U=77:2,");
    std::fs::write(&path, "").unwrap();
    let found = ground.store.check(&bob(), false, &mut |_| ()).unwrap();
    let empty = found.iter().find(|it| it.problem == Problem::Empty).unwrap().to_string();
    assert!(empty.starts_with(path.to_str().unwrap()) && empty.contains("empty"), "{empty}");
}

#[test]
fn what_changes_while_it_is_looked_at_is_no_finding() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let ground = Ground::new();
    let is_over = AtomicBool::new(false);
    let (over, home) = (&is_over, ground.dir.path());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let store = Store::open(home).unwrap();
            let (inbox, account) = (inbox(&store), store.account(&bob()).unwrap());
            let trash = account.open(&"Trash".parse().unwrap()).unwrap();
            for _ in 0..5000 {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                deliver(&store, b"x\r\n");
                inbox.sync().unwrap();
                inbox.store(&[uid(1), uid(2)], &FlagChange::Add(flags(&[Flag::Seen]))).unwrap();
                inbox.store(&[uid(1), uid(2)], &FlagChange::Remove(flags(&[Flag::Seen]))).unwrap();
                let last = *inbox.snapshot().uids().to_vec().last().unwrap();
                inbox.copy(&[uid(3)], &trash).unwrap();
                inbox.move_to(&[last], &trash).unwrap();
                trash.expunge(&[*trash.snapshot().uids().to_vec().last().unwrap()]).unwrap();
            }
        });
        let found: Vec<_> = (0..40).map(|round| ground.check(round % 4 == 0)).collect();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(found.concat(), []);
    });
}
