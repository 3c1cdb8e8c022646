//! `mailstead store export`, and back again: nothing is lost, added or changed on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Installation;
use common::mail::{Mail, Stored, file};
use mail_types::{Flags, InternalDate};
use serde_json::Value;

const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

/// Messages in which something could be taken for the format's own.
const ODD: [&str; 17] = [
    "Subject: plain\r\n\r\ntext\r\n",
    "Subject: no line end\r\n\r\ntext",
    "Subject: no body and no empty line\r\n",
    "Subject: not even a line end",
    "Subject: empty lines\r\n\r\n\r\n\r\n",
    "\r\n",
    "\r\nno header\r\n\r\n",
    "From a header that is none\r\n\r\n>From\r\nFrom x Fri Jul 14 02:40:00 2017\r\n>>From y\r\n",
    "Status: RO\r\nX-Status: F\r\nX-Keywords: own\r\nX-UID: 7\r\nContent-Length: 4\r\n\r\nown\r\n",
    "X-Mailstead-Unterminated: yes\r\n\r\nown\r\n",
    " begins with a blank\r\n\r\n",
    "Subject: carriage returns\r\n\r\na\rb\r\r\n\r\r\nc\r\r",
    "Subject: ends in them\r\n\r\nc\r",
    "Subject: \u{e9}\u{ff}\u{0}\r\n\r\noctets\u{0}\u{80}\r\n",
    "\r\n\r\nFrom \r\n\r\n",
    "X",
    "Subject: same\r\n\r\n",
];

fn installation() -> (Installation, PathBuf) {
    let installation = Installation::new();
    installation.add_account(ALICE);
    installation.add_account(BOB);
    let target = installation.folder.path().join("target");
    (installation, target)
}

fn append(mail: &Mail, mailbox: &str, text: &str, flags: &[&str], date: i64) {
    let mailbox = mail.account().open(&mailbox.parse().unwrap()).unwrap();
    let mut all = Flags::new();
    for flag in flags {
        match flag.parse() {
            Ok(flag) => all.insert(flag),
            Err(_) => all.insert_keyword(flag.parse().unwrap()),
        }
    }
    let mut append = mailbox.append(all, Some(InternalDate::from_unix(date))).unwrap();
    let octets: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    append.write_all(&octets).unwrap();
    append.commit().unwrap();
}

/// Fills an account with what is odd.
fn fill(mail: &Mail, home: &Path) {
    for name in ["Größe/a.b/c", "x.mbox", "x.sbd/y", "../up", "Größe/INBOX", "mbox", "cur", "Empty"] {
        mail.account().create(&name.parse().unwrap(), None).unwrap();
        mail.account().subscribe(&name.parse().unwrap(), name != "mbox").unwrap();
        if name != "Empty" {
            append(mail, name, &format!("Subject: in {}\r\n\r\n", name.len()), &["\\Seen"], 1);
        }
    }
    let flags: [&[&str]; 4] =
        [&[], &["\\Seen", "$Forwarded"], &["\\Answered", "\\Flagged", "work"], &["\\Draft", "\\Deleted"]];
    for (position, text) in ODD.iter().enumerate() {
        append(
            mail,
            "INBOX",
            text,
            flags[position % 4],
            1_500_000_000 - 1000 * i64::try_from(position).unwrap(),
        );
    }
    append(mail, "INBOX", "Subject: same\r\n\r\n", &["\\Seen"], 5);
    let long =
        format!("Subject: long\r\n\r\n{}\r\n{}\r\nFrom x\r\n", "x".repeat(65_518), "y".repeat(200_000));
    append(mail, "INBOX", &long, &[], -5);
    file(home, "Maildir/new/1.foreign", "Subject: foreign\n\nFrom an old program\n");
}

/// All that an account holds, keywords in one order.
fn everything(mail: &Mail) -> BTreeMap<String, Vec<Stored>> {
    let sorted = |mut message: Stored| {
        let mut flags: Vec<&str> = message.flags.split(' ').collect();
        flags.sort_unstable();
        message.flags = flags.join(" ");
        message
    };
    let of = |name: String| (name.clone(), mail.messages(&name).into_iter().map(sorted).collect());
    mail.mailboxes().into_iter().map(of).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn export(installation: &Installation, format: &str, target: &Path) -> Value {
    let done = installation.run(&["store", "export", ALICE, "--format", format, text(target), "--json"]);
    done.succeeds();
    serde_json::from_str(&done.out).unwrap()
}

#[track_caller]
fn bob_gets_all(installation: &Installation, source: &Path, with_subscriptions: bool) {
    installation.run(&["store", "import", BOB, text(source)]).succeeds();
    let (alice, bob) = (Mail::of(installation, ALICE), Mail::of(installation, BOB));
    let (before, after) = (everything(&alice), everything(&bob));
    for (name, messages) in &before {
        assert_eq!(after.get(name), Some(messages), "{name}");
    }
    assert_eq!(before.len(), after.len());
    if with_subscriptions {
        assert!(alice.subscriptions().iter().all(|name| bob.subscriptions().contains(name)));
    }
}

#[track_caller]
fn round_trip(format: &str, pack: Option<fn(&Path, &Path)>) {
    let (installation, target) = installation();
    fill(&Mail::of(&installation, ALICE), &installation.data().join("mail/example.org/alice"));
    let messages = ODD.len() + 3 + 7;
    let first = export(&installation, format, &target);
    assert_eq!((&first["exported"], &first["failed"]), (&messages.into(), &0.into()));
    let again = export(&installation, format, &target);
    assert_eq!((&again["exported"], &again["already_there"]), (&0.into(), &messages.into()));
    let packed = installation.folder.path().join("packed");
    if let Some(pack) = pack {
        pack(&target, &packed);
    }
    bob_gets_all(&installation, if pack.is_some() { &packed } else { &target }, format == "maildir");
}

fn tar(options: &str, folder: &Path, packed: &Path) {
    let done =
        Command::new("tar").args(["--sort=name", options, text(packed), "."]).current_dir(folder).output();
    assert!(done.as_ref().unwrap().status.success(), "{done:?}");
}

fn zip(folder: &Path, packed: &Path) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(packed).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        for entry in path.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            zip.start_file(text(entry.strip_prefix(folder).unwrap()), options).unwrap();
            zip.write_all(&std::fs::read(&entry).unwrap()).unwrap();
        }
    }
    zip.finish().unwrap();
}

#[test]
fn a_maildir_comes_back_as_it_was() {
    round_trip("maildir", None);
}

#[test]
fn mbox_files_come_back_as_they_were() {
    round_trip("mbox", None);
}

#[test]
fn a_packed_maildir_comes_back_as_it_was() {
    round_trip("maildir", Some(|folder, packed| tar("-czf", folder, packed)));
}

#[test]
fn packed_mbox_files_come_back_as_they_were() {
    round_trip("mbox", Some(|folder, packed| tar("-cf", folder, packed)));
}

#[test]
fn zipped_mbox_files_come_back_as_they_were() {
    round_trip("mbox", Some(zip));
}

#[test]
fn an_export_that_is_killed_goes_on_where_it_was() {
    for format in ["maildir", "mbox"] {
        let (installation, target) = installation();
        let alice = Mail::of(&installation, ALICE);
        for n in 0..150 {
            append(&alice, "INBOX", &format!("Subject: {n}\r\n\r\n{}\r\n", "x".repeat(10_000)), &[], n);
        }
        let cur = target.join("cur");
        let part = target.join("INBOX.mbox.part");
        let is_begun = || {
            cur.read_dir().is_ok_and(|names| names.count() > 20)
                || part.metadata().is_ok_and(|it| it.len() > 100_000)
        };
        for _ in 0..2 {
            let mut child = installation
                .command(&["store", "export", ALICE, "--format", format, text(&target)])
                .spawn()
                .unwrap();
            common::wait_for("files", || (is_begun() || child.try_wait().unwrap().is_some()).then_some(()));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        export(&installation, format, &target);
        assert!(!part.exists());
        bob_gets_all(&installation, &target, false);
    }
}

#[test]
fn the_maildir_crate_reads_what_is_exported() {
    let (installation, target) = installation();
    let alice = Mail::of(&installation, ALICE);
    append(&alice, "Archive", "Subject: a\r\n\r\ntext\r\n", &["\\Seen", "\\Flagged", "work"], 1_500_000_000);
    installation
        .run(&["store", "export", ALICE, "--mailbox", "Archive", "--format", "maildir", text(&target)])
        .succeeds();
    let tree = maildir::Maildir::from(target);
    assert_eq!(tree.list_cur().count() + tree.list_new().count(), 0);
    let folders: Vec<_> = tree.list_subdirs().map(Result::unwrap).collect();
    assert_eq!(folders.len(), 1);
    let message = folders[0].list_cur().next().unwrap().unwrap();
    assert_eq!(message.flags(), "FSa");
    assert_eq!(std::fs::read(message.path()).unwrap(), b"Subject: a\r\n\r\ntext\r\n");
    let keywords = std::fs::read_to_string(folders[0].path().join("dovecot-keywords")).unwrap();
    assert_eq!(keywords, "0 work\n");
}

#[test]
fn a_changed_flag_renames_the_exported_file() {
    let (installation, target) = installation();
    let alice = Mail::of(&installation, ALICE);
    append(&alice, "INBOX", "Subject: a\r\n\r\n", &[], 1);
    export(&installation, "maildir", &target);
    let inbox = alice.account().open(&"INBOX".parse().unwrap()).unwrap();
    let mut seen = Flags::new();
    seen.insert(mail_types::Flag::Seen);
    inbox.store(&inbox.snapshot().uids().to_vec(), &mail_store::FlagChange::Add(seen)).unwrap();
    export(&installation, "maildir", &target);
    let names: Vec<_> = target
        .join("cur")
        .read_dir()
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() == 1 && names[0].ends_with(":2,S"), "{names:?}");
}

#[test]
fn another_file_is_not_overwritten() {
    let (installation, target) = installation();
    append(&Mail::of(&installation, ALICE), "INBOX", "Subject: a\r\n\r\n", &[], 1);
    file(&target, "INBOX.mbox", "mine");
    installation
        .run(&["store", "export", ALICE, "--format", "mbox", text(&target)])
        .fails(1, &["INBOX.mbox", "holds something else"]);
    assert_eq!(std::fs::read_to_string(target.join("INBOX.mbox")).unwrap(), "mine");
}

#[test]
fn an_export_into_the_store_or_of_a_missing_mailbox_is_refused() {
    let (installation, target) = installation();
    let home = installation.data().join("mail/example.org/bob/Maildir");
    installation
        .run(&["store", "export", ALICE, "--format", "maildir", text(&home)])
        .fails(2, &["lies in the store"]);
    installation
        .run(&["store", "export", ALICE, "--mailbox", "None", "--format", "mbox", text(&target)])
        .fails(1, &["the mailbox None does not exist"]);
}
