//! Whatever lies in a Maildir hides no mail, and no mailbox name leads out of the account.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn maildir(dir: &Path) -> PathBuf {
    dir.join("example.org/bob/Maildir")
}

/// Flags and texts of all messages of INBOX.
fn shown(store: &Arc<Store>) -> Vec<(String, String)> {
    let mailbox = inbox(store);
    let now = mailbox.sync().unwrap();
    let text = |uid| String::from_utf8(mailbox.open_message(uid).unwrap().read().unwrap()).unwrap();
    let messages = (0..now.len()).map(|at| now.get(at).unwrap());
    let mut all: Vec<_> = messages.map(|it| (it.flags.to_string(), text(it.uid))).collect();
    all.sort();
    all
}

/// From now on this thread reads only what it may, also where the tests run as root.
fn be_nobody() {
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
    }
}

/// The lines that are logged meanwhile, without their times.
fn logged(act: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(data)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time();
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, act);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn each_kind_of_misfit_has_a_log_line_of_its_own_that_names_it_and_is_told_once() {
    be_nobody();
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"there all the time\r\n");
    let cur = maildir(dir.path()).join("cur");
    let at = |name: &[u8]| cur.join(OsStr::from_bytes(name));
    let unreadable = at(b"secret:2,");
    let kinds: [(&[u8], &str); 9] = [
        (b"\xfcmlaut:2,", "not UTF-8"),
        (b"bell\x07:2,", "control character"),
        (b"no-flags:1,x", "no list of flags"),
        (b"no-size,S=ten:2,", "no size"),
        (b"long-", "too long"),
        (b"link:2,", "a symbolic link"),
        (b"folder:2,", "a folder"),
        (b"pipe:2,", "a special file"),
        (b"empty:2,", "is empty"),
    ];
    for (name, _) in &kinds[..4] {
        std::fs::write(at(name), "x\r\n").unwrap();
    }
    std::fs::write(at(&[b"long-".as_slice(), &[b'x'; 240]].concat()), "x\r\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at(b"link:2,")).unwrap();
    std::fs::create_dir(at(b"folder:2,")).unwrap();
    nix::unistd::mkfifo(&at(b"pipe:2,"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    std::fs::write(at(b"empty:2,"), "").unwrap();
    std::fs::write(&unreadable, "x\r\n").unwrap();
    std::fs::set_permissions(&unreadable, std::fs::Permissions::from_mode(0o0)).unwrap();
    let lines = logged(|| drop(inbox(&store)));
    for (name, words) in kinds.iter().chain([(b"secret".as_slice(), "can't be read")].iter()) {
        let name = String::from_utf8_lossy(name);
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).find(|it| !it.is_empty()).unwrap();
        let told: Vec<_> = lines.iter().filter(|line| line.contains(words)).collect();
        assert!(told.len() == 1 && told[0].contains(name), "{name}, {words}: {lines:#?}");
    }
    // Five under another name, the empty one, the unreadable one, and the one of before.
    let inbox = inbox(&store);
    assert_eq!(inbox.snapshot().len(), 8);
    settle(&inbox);
    let more = logged(|| drop(inbox.sync().unwrap()));
    assert_eq!(more, [""; 0]);
    std::fs::write(at(b"later:2,"), "x\r\n").unwrap();
    until(&inbox, |now| now.len() == 9);
}

#[test]
fn an_index_of_a_newer_version_is_made_anew_with_a_word() {
    let dir = fast_dir();
    deliver(&Store::open(dir.path()).unwrap(), b"x\r\n");
    let uids = inbox(&Store::open(dir.path()).unwrap()).snapshot().uids().to_vec();
    let newer = rusqlite::Connection::open(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    newer.execute_batch("ALTER TABLE message RENAME TO letter; PRAGMA user_version = 9999").unwrap();
    drop(newer);
    let store = Store::open(dir.path()).unwrap();
    let lines = logged(|| assert_eq!(inbox(&store).snapshot().uids().to_vec(), uids));
    assert!(
        lines.iter().any(|line| line.contains("from a newer version") && line.contains("9999")),
        "{lines:?}"
    );
}

#[test]
fn a_file_name_that_cannot_be_kept_is_changed_and_its_mail_is_served() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"0\r\n");
    let long = "x".repeat(250);
    let names: [(&[u8], &str); 6] = [
        (b"cur/latin1-\xfc:2,FS", "1"),
        (b"new/latin1-\xfc", "2"),
        (b"cur/line\nend:2,S", "3"),
        (format!("cur/{long}:2,").leak().as_bytes(), "4"),
        (b"cur/no-size,S=ten,U=0:2,T", "5"),
        (b"cur/a:1,experimental", "6"),
    ];
    for (name, text) in names {
        std::fs::write(maildir(dir.path()).join(OsStr::from_bytes(name)), format!("{text}\r\n")).unwrap();
    }
    let expected = [
        ("", "0\r\n"),
        ("", "2\r\n"),
        ("", "4\r\n"),
        ("", "6\r\n"),
        ("\\Deleted", "5\r\n"),
        ("\\Flagged \\Seen", "1\r\n"),
        ("\\Seen", "3\r\n"),
    ];
    let expected = expected.map(|(flags, text)| (flags.to_owned(), text.to_owned()));
    assert_eq!(shown(&store), expected);
    store.rebuild(&bob(), &mut |_| ()).unwrap();
    assert_eq!(shown(&store), expected);
    assert_eq!(store.check(&bob(), true, &mut |_| ()).unwrap(), []);
}

#[test]
fn a_name_that_is_not_utf8_keeps_its_uid() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    (0..3).for_each(|_| deliver(&store, b"x\r\n"));
    inbox(&store).expunge(&[uid(2)]).unwrap();
    drop(store);
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    let name = [b"\xfc,U=2,V=", mark(&maildir(dir.path())).as_bytes(), b":2,S"].concat();
    std::fs::write(maildir(dir.path()).join("cur").join(OsStr::from_bytes(&name)), "back\r\n").unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(inbox(&store).sync().unwrap().uids().to_vec(), [uid(1), uid(2), uid(3)]);
}

#[test]
fn an_empty_file_is_an_empty_message_and_hides_no_other() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"x\r\n");
    std::fs::write(maildir(dir.path()).join("new/empty"), "").unwrap();
    assert_eq!(shown(&store), [(String::new(), String::new()), (String::new(), "x\r\n".to_owned())]);
}

#[test]
fn a_file_that_cannot_be_read_hides_no_other() {
    be_nobody();
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"x\r\n");
    let path = maildir(dir.path()).join("new/unreadable");
    std::fs::write(&path, "y\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
    let mailbox = inbox(&store);
    let uids = mailbox.sync().unwrap().uids().to_vec();
    assert_eq!(uids.len(), 2);
    let readable = uids.iter().filter(|uid| mailbox.open_message(**uid).is_ok());
    assert_eq!(readable.count(), 1);
    let found = store.check(&bob(), true, &mut |_| ()).unwrap();
    assert!(!found.is_empty() && found.iter().all(|it| it.problem.code() == "unreadable"), "{found:?}");
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error_that_says_so() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    deliver(&store, b"0123456789\r\n");
    let mailbox = inbox(&store);
    let message = mailbox.open_message(Uid::MIN).unwrap();
    let file =
        std::fs::File::options().write(true).open(only_file(&maildir(dir.path()).join("cur"))).unwrap();
    file.set_len(5).unwrap();
    assert!(message.read().unwrap_err().to_string().contains("shrank"));
}

#[test]
fn a_damaged_mailbox_hides_no_other_and_one_of_which_nothing_depends_on_the_damaged_file_opens() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    let before = account.mailboxes().unwrap().len();
    std::fs::write(maildir(dir.path()).join(".Sent/mailstead-mailbox"), "noise").unwrap();
    std::fs::create_dir_all(maildir(dir.path()).join(OsStr::from_bytes(b".\xfc")).join("cur")).unwrap();
    assert_eq!(account.mailboxes().unwrap().len(), before);
    assert!(account.open(&"Sent".parse().unwrap()).is_ok());
    assert!(account.open(&"Drafts".parse().unwrap()).is_ok());
}

/// Every path below a folder.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| [vec![path.clone()], tree(&path)].concat()).collect()
}

#[test]
fn no_mailbox_name_leaves_the_account() {
    let dir = fast_dir();
    let store = Store::open(&dir.path().join("mail")).unwrap();
    let account = store.account(&bob()).unwrap();
    let mail = dir.path().join("mail");
    // What shares there are is noted beside the work.
    let shares = mail.join(".shares").display().to_string();
    let is_own = |path: &PathBuf| {
        path.starts_with(mail.join("example.org/bob/Maildir"))
            || path.display().to_string().starts_with(&shares)
    };
    let outside = |path: &PathBuf| !is_own(path);
    let before: Vec<_> = tree(dir.path()).into_iter().filter(outside).collect();
    let names = [
        "..",
        "../..",
        "../../alice",
        "a/../../b",
        ".",
        "a.b",
        "cur",
        "new/tmp",
        "~/x",
        "\u{2024}\u{2024}/x",
    ];
    let mutf7 = ["&AC4ALg-/&AC4ALg-/z", "&AC8-etc", "Entw&APw-rfe", "Entwürfe 2", "A&B", "&"];
    let parsed = names.iter().map(|name| name.parse::<MailboxName>());
    let decoded = mutf7.iter().map(|name| MailboxName::from_imap(name.as_bytes()));
    let mut made: Vec<MailboxName> = Vec::new();
    for name in parsed.chain(decoded).flatten() {
        account.create(&name, None).unwrap();
        let mut append = account.open(&name).unwrap().append(flags(&[]), None).unwrap();
        append.write_all(b"x\r\n").unwrap();
        append.commit().unwrap();
        made.push(name);
    }
    assert!(made.len() >= names.len());
    let listed: Vec<MailboxName> = account.mailboxes().unwrap().into_iter().map(|it| it.name).collect();
    assert!(made.iter().all(|name| listed.contains(name)), "{listed:?}");
    let after: Vec<_> = tree(dir.path()).into_iter().filter(outside).collect();
    assert_eq!(before.len(), after.len(), "{after:?}");
    for refused in ["", "/", "a//b", "/etc", "a\0b", "a\u{7f}b", "a\r\nb", &"x/".repeat(40), &"x".repeat(300)]
    {
        let reason = refused.parse::<MailboxName>().unwrap_err().to_string();
        assert!(reason.starts_with("a mailbox name") || reason.starts_with("the mailbox name"), "{reason}");
    }
}

#[test]
fn a_mailbox_ten_levels_deep_and_a_thousand_beside_each_other_work() {
    let dir = fast_dir();
    let store = Store::open(dir.path()).unwrap();
    let account = store.account(&bob()).unwrap();
    let deep: MailboxName = "1/2/3/4/5/6/7/8/9/10".parse().unwrap();
    account.create(&deep, None).unwrap();
    for number in 0..1000 {
        account.create(&format!("Lists/list-{number}").parse().unwrap(), None).unwrap();
    }
    let all = account.mailboxes().unwrap();
    assert!(all.iter().filter(|it| it.selectable).count() >= 1010);
    account.rename(&"Lists".parse().unwrap(), &"1/Lists".parse().unwrap()).unwrap();
    account.rename(&"1".parse().unwrap(), &"One".parse().unwrap()).unwrap();
    assert_eq!(account.status(&"One/2/3/4/5/6/7/8/9/10".parse().unwrap()).unwrap().messages, 0);
    assert_eq!(account.status(&"One/Lists/list-999".parse().unwrap()).unwrap().messages, 0);
    assert_eq!(account.mailboxes().unwrap().len(), all.len());
    assert_eq!(store.check(&bob(), false, &mut |_| ()).unwrap(), []);
}
