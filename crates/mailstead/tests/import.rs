//! `mailstead store import`: what is taken, how exactly, and that it is taken once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::mail::{Mail, file, set_modified};
use common::{Done, Installation};
use serde_json::{Value, json};

const ALICE: &str = "alice@example.org";

fn installation() -> (Installation, PathBuf) {
    let installation = Installation::new();
    installation.add_account(ALICE);
    let source = installation.folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    (installation, source)
}

fn import(installation: &Installation, arguments: &[&str]) -> Done {
    installation.run(&[&["store", "import", ALICE], arguments].concat())
}

/// The counts that an import prints.
fn counts(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A Maildir++ tree with two mailboxes, flags, a keyword and dates.
fn make_maildir(folder: &Path) {
    for part in
        ["cur", "new", "tmp", ".Archive.2026/cur", ".Archive.2026/new", ".Archive.2026/tmp", ".Empty/cur"]
    {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    file(folder, "dovecot-keywords", "0 $Forwarded\n1 work\n");
    file(folder, ".Archive.2026/maildirfolder", "");
    file(folder, "subscriptions", "INBOX\nArchive.2026\n");
    file(folder, "cur/999999999.M1.host:2,FSab", "Subject: first\n\nbare line ends\n");
    file(folder, "cur/1000000000.M1.host,S=30:2,RT", "Subject: second\r\n\r\ntext\r\n");
    file(folder, "new/1000000001.M1.host", "Subject: third\n\nno end");
    file(folder, "tmp/1000000002.M1.host", "Subject: half");
    file(folder, ".Archive.2026/cur/1000000003.M1.host:2,D", "Subject: fourth\n\n");
    set_modified(&folder.join("cur/999999999.M1.host:2,FSab"), 1_500_000_000);
}

/// What [`make_maildir`] makes, in an account.
#[track_caller]
fn holds_maildir(mail: &Mail) {
    let mut inbox = mail.messages("INBOX");
    inbox.sort(); // an archive has an order of its own
    let shown: Vec<_> = inbox.iter().map(|it| (it.text.as_str(), it.flags.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("Subject: first\r\n\r\nbare line ends\r\n", "\\Flagged \\Seen $Forwarded work"),
            ("Subject: second\r\n\r\ntext\r\n", "\\Answered \\Deleted"),
            ("Subject: third\r\n\r\nno end", ""),
        ]
    );
    assert_eq!(inbox[0].date, 1_500_000_000);
    let archive = mail.messages("Archive/2026");
    assert_eq!((archive[0].text.as_str(), archive[0].flags.as_str()), ("Subject: fourth\r\n\r\n", "\\Draft"));
    assert_eq!(mail.messages("Empty").len(), 0);
}

#[test]
fn a_maildir_keeps_its_mailboxes_flags_keywords_dates_and_subscriptions() {
    let (installation, source) = installation();
    make_maildir(&source);
    let done = import(&installation, &[text(&source), "--json"]);
    done.succeeds();
    assert_eq!(
        counts(&done),
        json!({ "dry_run": false, "imported": 4, "octets": 102, "already_there": 0, "failed": 0,
                "files_without_mail": 0, "mailboxes": { "INBOX": 3, "Archive/2026": 1 } })
    );
    let mail = Mail::of(&installation, ALICE);
    holds_maildir(&mail);
    let order: Vec<String> = mail.messages("INBOX").iter().map(|it| it.text[9..12].to_owned()).collect();
    assert_eq!(order, ["fir", "sec", "thi"], "not in the order of arrival");
    assert!(mail.subscriptions().contains(&"Archive/2026".to_owned()));
}

#[test]
fn archives_are_read_without_being_unpacked() {
    for pack in [
        &["tar", "--sort=name", "-cf", "../mail.archive", "."][..],
        &["tar", "--sort=name", "-czf", "../mail.archive", "../source"],
    ] {
        let (installation, source) = installation();
        make_maildir(&source);
        let packed = Command::new(pack[0]).args(&pack[1..]).current_dir(&source).output().unwrap();
        assert!(packed.status.success(), "{packed:?}");
        std::fs::remove_dir_all(&source).unwrap();
        let archive = installation.folder.path().join("mail.archive");
        import(&installation, &[text(&archive)]).succeeds();
        holds_maildir(&Mail::of(&installation, ALICE));
    }
}

#[test]
fn a_zip_is_read_without_being_unpacked_and_its_names_lead_nowhere() {
    use std::io::Write as _;
    let (installation, source) = installation();
    let archive = source.join("mail.zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&archive).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, content) in [
        ("../../../outside.eml", "Subject: outside\n\n"),
        ("/Lists/rust.mbox", "From a Fri Jul 14 02:40:00 2017\nSubject: list\n\n\n"),
        ("notes.txt", "no mail"),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    let done = import(&installation, &[text(&archive), "--json"]);
    done.succeeds();
    assert_eq!(counts(&done)["files_without_mail"], 1);
    let mail = Mail::of(&installation, ALICE);
    assert_eq!(mail.messages("INBOX")[0].text, "Subject: outside\r\n\r\n");
    let list = &mail.messages("Lists/rust")[0];
    assert_eq!((list.text.as_str(), list.date), ("Subject: list\r\n\r\n", 1_500_000_000));
    assert!(!installation.folder.path().join("outside.eml").exists());
}

/// Imports an mbox, and gives what its mailbox holds then.
#[track_caller]
fn mbox(content: &str, expected: &[&str]) {
    let (installation, source) = installation();
    file(&source, "odd.mbox", content);
    import(&installation, &[text(&source.join("odd.mbox"))]).succeeds();
    let texts: Vec<String> =
        Mail::of(&installation, ALICE).messages("odd").into_iter().map(|it| it.text).collect();
    assert_eq!(texts, expected, "{content:?}");
}

const FROM: &str = "From a@example.org Fri Jul 14 02:40:00 2017";

#[test]
fn an_mbox_is_split_where_its_messages_end_and_unquoted() {
    mbox("", &[]);
    mbox(&format!("{FROM}\nA: 1\n\none\n\n{FROM}\nA: 2\n\ntwo"), &["A: 1\r\n\r\none\r\n", "A: 2\r\n\r\ntwo"]);
    let crlf = format!("{FROM}\nA: 1\n\none\n\n\n{FROM}\nA: 2\n\n\n").replace('\n', "\r\n");
    mbox(&crlf, &["A: 1\r\n\r\none\r\n\r\n", "A: 2\r\n\r\n"]);
    mbox(
        &format!("{FROM}\nA: 1\n\n>From me\n>>From you\n> From\n\nFrom here on, at 10:30\n"),
        &["A: 1\r\n\r\nFrom me\r\n>From you\r\n> From\r\n\r\nFrom here on, at 10:30\r\n"],
    );
    mbox(
        "From \nA: 1\n\n\nFrom - \nA: 2\n\nx\nFrom \nA: 3\n\n\n",
        &["A: 1\r\n\r\n", "A: 2\r\n\r\nx\r\nFrom \r\nA: 3\r\n\r\n"],
    );
}

#[test]
fn a_content_length_is_followed_where_it_holds() {
    let body = format!("one\n>From\n\n{FROM}\nnot a header\n");
    let length = body.len();
    mbox(
        &format!("{FROM}\nContent-Length: {length}\n\n{body}\n{FROM}\nA: 2\n\n"),
        &[&format!("Content-Length: {length}\n\n{body}").replace('\n', "\r\n"), "A: 2\r\n\r\n"],
    );
    mbox(
        &format!("{FROM}\nContent-Length: 11\n\n>From a\n\n{FROM}\nA: 2\n\n"),
        &["Content-Length: 11\r\n\r\nFrom a\r\n", "A: 2\r\n\r\n"],
    );
}

#[test]
fn a_thunderbird_tree_becomes_mailboxes_with_their_flags() {
    let (installation, source) = installation();
    file(
        &source,
        "Inbox",
        "From - Fri Jul 14 02:40:00 2017\nX-Mozilla-Status: 0003\nX-Mozilla-Keys: $label1  \nA: 1\n\n\n",
    );
    file(&source, "Inbox.msf", "// no mail");
    file(&source, "Lists", "");
    file(&source, "Lists.sbd/Größe", "From \nDate: Fri, 14 Jul 2017 02:40:00 +0000\n\n\n");
    file(&source, "Old.mbox/mbox", &format!("{FROM}\nStatus: RO\nX-Status: F\nA: 2\n\n"));
    let done = import(&installation, &[text(&source), "--json"]);
    done.succeeds();
    assert_eq!(counts(&done)["files_without_mail"], 1);
    let mail = Mail::of(&installation, ALICE);
    let inbox = &mail.messages("INBOX")[0];
    assert_eq!((inbox.text.as_str(), inbox.flags.as_str()), ("A: 1\r\n\r\n", "\\Answered \\Seen $label1"));
    assert_eq!(mail.messages("Lists").len(), 0);
    assert_eq!(mail.messages("Lists/Größe")[0].date, 1_500_000_000);
    assert_eq!(mail.messages("Old")[0].flags, "\\Flagged \\Seen");
}

#[test]
fn single_messages_go_to_the_mailbox_asked_for_and_are_dated_by_their_date_field() {
    let (installation, source) = installation();
    file(&source, "a.eml", "Date: Fri, 14 Jul 2017 04:40:00 +0200 (CEST)\n\nText\n");
    file(&source, "._a.eml", "macOS: no message\n");
    file(&source, "Sub/b.EML", "Subject: b\n\n");
    set_modified(&source.join("Sub/b.EML"), 1_400_000_000);
    import(&installation, &[text(&source), "--mailbox", "From/elsewhere"]).succeeds();
    let mail = Mail::of(&installation, ALICE);
    let a = &mail.messages("From/elsewhere")[0];
    assert_eq!(
        (a.text.as_str(), a.date),
        ("Date: Fri, 14 Jul 2017 04:40:00 +0200 (CEST)\r\n\r\nText\r\n", 1_500_000_000)
    );
    assert_eq!(mail.messages("From/elsewhere/Sub")[0].date, 1_400_000_000);
    assert!(mail.subscriptions().contains(&"From/elsewhere/Sub".to_owned()));
}

#[test]
fn what_is_there_is_not_imported_twice_and_copies_of_the_source_are_kept() {
    let (installation, source) = installation();
    let message = |n: u32| format!("{FROM}\nSubject: {n}\n\ntext\n\n");
    file(&source, "list", &[message(1), message(2), message(2)].concat());
    let list = source.join("list");
    let run =
        |arguments: &[&str]| counts(&import(&installation, &[&[text(&list), "--json"], arguments].concat()));
    let dry = run(&["--dry-run"]);
    assert_eq!((&dry["imported"], &dry["dry_run"]), (&json!(3), &json!(true)));
    assert!(!Mail::of(&installation, ALICE).has("list"), "--dry-run made a mailbox");
    assert_eq!(run(&[])["imported"], 3);
    file(&source, "list", &[message(1), message(2), message(2), message(3), message(2)].concat());
    let again = run(&[]);
    assert_eq!((&again["imported"], &again["already_there"]), (&json!(2), &json!(3)));
    assert_eq!(Mail::of(&installation, ALICE).messages("list").len(), 5);
    assert_eq!(run(&[])["imported"], 0);
}

#[test]
fn what_can_not_be_read_is_named_and_the_rest_goes_on() {
    let (installation, source) = installation();
    make_maildir(&source);
    file(&source, "cur/1.empty:2,S", "");
    std::fs::remove_file(source.join("new/1000000001.M1.host")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", source.join("new/1000000001.M1.host")).unwrap();
    let done = import(&installation, &[text(&source)]);
    done.fails(1, &["cur/1.empty:2,S: it is empty", "new/1000000001.M1.host: it is a symbolic link"]);
    assert!(done.out.contains("imported 3 messages"), "{done:?}");
}

#[test]
fn what_is_no_mail_and_who_is_unknown_is_told() {
    let (installation, source) = installation();
    file(&source, "notes.txt", "no mail\n");
    let notes = source.join("notes.txt");
    import(&installation, &[text(&notes)]).fails(1, &["notes.txt: it is no message, mbox, zip or tar"]);
    import(&installation, &[text(&source.join("missing"))]).fails(1, &["can't open", "missing"]);
    let stranger = ["store", "import", "eve@example.org", text(&notes)];
    installation.run(&stranger).fails(1, &["there is no account eve@example.org"]);
}

#[test]
fn a_cut_archive_gives_what_it_holds_and_is_named() {
    let (installation, source) = installation();
    make_maildir(&source);
    let archive = installation.folder.path().join("mail.tar");
    assert!(
        Command::new("tar")
            .args(["--sort=name", "-cf", text(&archive), "."])
            .current_dir(&source)
            .status()
            .unwrap()
            .success()
    );
    let octets = std::fs::read(&archive).unwrap();
    let end = octets.windows(7).position(|it| it == b"no end\0").unwrap();
    std::fs::write(&archive, &octets[..end]).unwrap();
    let done = import(&installation, &[text(&archive)]);
    done.fails(1, &["mail.tar: new/1000000001.M1.host: the archive ends within it"]);
    assert!(done.out.contains("imported 3 messages"), "{done:?}");
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_was() {
    let (installation, source) = installation();
    let message = |n: u32| format!("{FROM}\nSubject: {}\n\ntext {n}\n\n", n / 2 * 2);
    file(&source, "list", &(0..400).map(message).collect::<String>());
    let list = source.join("list");
    let arguments = ["store", "import", ALICE, text(&list)];
    import(&installation, &[text(&list), "--dry-run"]).succeeds();
    let folder = installation.data().join("mail/example.org/alice/Maildir/.list/cur");
    let count = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    for kill_at in [1, 90, 200] {
        let mut child = installation.command(&arguments).spawn().unwrap();
        common::wait_for("messages to come in", || {
            (count() >= kill_at || child.try_wait().unwrap().is_some()).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    import(&installation, &[text(&list)]).succeeds();
    let mut texts: Vec<String> =
        Mail::of(&installation, ALICE).messages("list").into_iter().map(|it| it.text).collect();
    let mut expected: Vec<String> =
        (0..400).map(|n| format!("Subject: {}\r\n\r\ntext {n}\r\n", n / 2 * 2)).collect();
    texts.sort();
    expected.sort();
    assert_eq!(texts, expected);
}
