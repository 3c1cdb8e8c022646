//! Maildirs that Dovecot or Courier served before are taken over: no client downloads again.

use super::*;
use crate::disk::fault;

/// As Dovecot 2.3 leaves an account: INBOX with five messages of which one arrived since, a subfolder, subscriptions.
fn dovecot(dir: &Path) {
    let maildir = dir.join("example.org/bob/Maildir");
    for folder in [maildir.clone(), maildir.join(".Archive.2026"), maildir.join(".Sent")] {
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        std::fs::write(folder.join("maildirfolder"), "").unwrap();
    }
    let write = |path: &str, text: &str| std::fs::write(maildir.join(path), text).unwrap();
    write(
        "dovecot-uidlist",
        "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n\
         25006 :1276528487.M364837P9451.kurkku,S=10,W=12\n\
         25017 W12 S10 :1276533073.M242911P3632.kurkku:2,F\n\
         25019 P41d2c1a2 :1276533080.M1P2.kurkku,S=3\n\
         25021 :1276533090.V801I3f1M2.kurkku\n",
    );
    write("cur/1276528487.M364837P9451.kurkku,S=10,W=12:2,Sab", "one\n2\n345");
    write("cur/1276533073.M242911P3632.kurkku:2,", "two\r\n");
    write("cur/1276533080.M1P2.kurkku,S=3:2,FST", "a\nb");
    write("cur/1276533090.V801I3f1M2.kurkku:2,b", "x\r\n");
    write("new/1276533099.M7P8.kurkku,S=4,W=4", "new\n");
    std::fs::rename(
        maildir.join("cur/1276528487.M364837P9451.kurkku,S=10,W=12:2,Sab"),
        maildir.join("cur/1276528487.M364837P9451.kurkku,S=9,W=11:2,Sab"),
    )
    .unwrap();
    let list = std::fs::read_to_string(maildir.join("dovecot-uidlist")).unwrap();
    write("dovecot-uidlist", &list.replace("S=10,W=12", "S=9,W=11"));
    write("dovecot-keywords", "0 $Forwarded\n1 Work\n");
    write("subscriptions", "V\t2\n\nSent\nArchive\t2026\n");
    write(".Archive.2026/dovecot-uidlist", "3 V1300000001 N8 Gabc\n7 :1.M1P1.kurkku\n");
    write(".Archive.2026/cur/1.M1P1.kurkku:2,S", "kept\r\n");
    write(".Sent/dovecot-uidlist", "1 1300000002 4\n2 1.M5P1.kurkku:2,S\n3 1.M6P1.kurkku:2,\n");
    write(".Sent/cur/1.M5P1.kurkku:2,S", "sent\r\n");
    write(".Sent/cur/1.M6P1.kurkku:2,RS", "sent again\r\n");
}

type Seen = (u32, String, u64, Vec<u8>);

fn look(store: &Arc<Store>, name: &str) -> (u32, u32, Vec<Seen>) {
    let mailbox = store.account(&bob()).unwrap().open(&name.parse().unwrap()).unwrap();
    let now = mailbox.snapshot();
    let messages = (0..now.len()).map(|at| now.get(at).unwrap()).map(|message| {
        let content = mailbox.open_message(message.uid).unwrap().read().unwrap();
        (message.uid.value(), message.flags.to_string(), message.size, content)
    });
    (mailbox.uid_validity().value(), now.uid_next().value(), messages.collect())
}

fn check_dovecot(store: &Arc<Store>) {
    let (validity, uid_next, messages) = look(store, "INBOX");
    assert_eq!(validity, 1_275_660_208);
    let short: Vec<_> = messages.iter().map(|it| (it.0, it.1.as_str())).collect();
    let known = [
        (25006, "\\Seen $Forwarded Work"),
        (25017, ""),
        (25019, "\\Flagged \\Deleted \\Seen"),
        (25021, "Work"),
    ];
    assert_eq!(short[..4], known);
    assert!(short.len() == 5 && short[4].0 >= 25022 && uid_next > short[4].0, "{short:?}");
    // Lines that end in LF alone go over the wire with CRLF, whatever the name says of its size.
    assert!(messages.iter().all(|it| it.2 == it.3.len() as u64), "{messages:?}");
    assert_eq!(messages[2].3, b"a\r\nb");
    let (validity, _, messages) = look(store, "Archive/2026");
    assert_eq!((validity, messages[0].0, messages[0].1.as_str()), (1_300_000_001, 7, "\\Seen"));
    let (validity, _, messages) = look(store, "Sent");
    let uids: Vec<_> = messages.iter().map(|it| (it.0, it.1.as_str())).collect();
    assert_eq!((validity, uids), (1_300_000_002, vec![(2, "\\Seen"), (3, "\\Answered \\Seen")]));
}

#[test]
fn a_maildir_of_dovecot_keeps_uids_flags_keywords_and_subscriptions() {
    let dir = tempfile::tempdir().unwrap();
    dovecot(dir.path());
    let store = Store::open(dir.path()).unwrap();
    check_dovecot(&store);
    let account = store.account(&bob()).unwrap();
    let subscribed: Vec<String> = account.subscriptions().unwrap().iter().map(ToString::to_string).collect();
    assert!(["Archive/2026", "Sent", "Drafts"].iter().all(|it| subscribed.contains(&(*it).to_owned())));
    let sent = account.mailboxes().unwrap().into_iter().find(|it| it.name.to_string() == "Sent").unwrap();
    assert_eq!(sent.special_use, Some(mail_types::SpecialUse::Sent));
    let inbox = inbox(&store);
    let recent = inbox.claim_recent().unwrap();
    assert_eq!(
        recent.map(|(first, _)| first.value()),
        Some(25022),
        "only what Dovecot had not seen is recent"
    );
    // A keyword that Dovecot had no letter for gets the next one.
    inbox.store(&[uid(25017)], &FlagChange::Add(keyword(&[], "Third"))).unwrap();
    let cur = dir.path().join("example.org/bob/Maildir/cur");
    let mark = mark(&dir.path().join("example.org/bob/Maildir"));
    assert!(cur.join(format!("1276533073.M242911P3632.kurkku,U=25017,V={mark}:2,c")).exists());
}

#[test]
fn a_takeover_cut_short_at_any_step_is_finished_with_the_same_uids() {
    for step in 0.. {
        let dir = fast_dir();
        dovecot(dir.path());
        fault::after(Some(step));
        let result = Store::open(dir.path()).and_then(|store| store.account(&bob())).map(drop);
        fault::after(None);
        let store = Store::open(dir.path()).unwrap();
        check_dovecot(&store);
        std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
        check_dovecot(&Store::open(dir.path()).unwrap());
        if result.is_ok() {
            break;
        }
    }
}

/// As Debian's Courier 5.0.13 leaves an account, word for word.
fn courier(dir: &Path) {
    let maildir = dir.join("example.org/bob/Maildir");
    for folder in [maildir.clone(), maildir.join(".Sent"), maildir.join(".Lists.rust")] {
        for part in ["cur", "new", "tmp", "courierimapkeywords"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        std::fs::write(folder.join("courierimapacl"), "owner aceilrstwx\n").unwrap();
    }
    let write = |path: &str, text: &str| std::fs::write(maildir.join(path), text).unwrap();
    write("courierimapuiddb", "1 795572829 4\n1 1100000001.M1P1.host\n2 1100000002.M2P1.host\n");
    write("cur/1100000001.M1P1.host:2,S", "Subject: message 1\n\nbody 1\n");
    write("cur/1100000002.M2P1.host:2,F", "Subject: message 2\n\nbody 2\n");
    write(
        "courierimapkeywords/:list",
        "Work\n$Forwarded\n\n1100000001.M1P1.host:1 0\n1100000002.M2P1.host:0\n",
    );
    write("courierimapkeywords/.5985243.1100000001.M1P1.host", "$Forwarded\nWork");
    let first = "1795572831.M930280P4818V000000000000FE00I0000000000994592_0.vm,S=27";
    let second = "1795572831.M930426P4818V000000000000FE00I00000000009945B2_1.vm,S=27";
    write(".Sent/courierimapuiddb", &format!("1 795572830 3\n1 {first}\n2 {second}\n"));
    write(&format!(".Sent/cur/{first}:2,S"), "Subject: message 1\n\nbody 1\n");
    write(&format!(".Sent/cur/{second}:2,F"), "Subject: message 2\n\nbody 2\n");
    write(".Sent/courierimapkeywords/:list", &format!("Work\n$Forwarded\n\n{first}:1 0\n{second}:0\n"));
    // What was changed since `:list` was written, the second one twice.
    write(&format!(".Sent/courierimapkeywords/.5985243.{second}"), "Later\nWork");
    write(&format!(".Sent/courierimapkeywords/{second}"), "Last");
    write("courierimapsubscribed", "INBOX\nINBOX.Sent\nINBOX.Lists.rust\n");
}

fn check_courier(store: &Arc<Store>) {
    let short = |name: &str| {
        let (validity, uid_next, messages) = look(store, name);
        assert!(messages.iter().all(|it| it.2 == it.3.len() as u64), "{messages:?}");
        (validity, uid_next, messages.into_iter().map(|it| (it.0, it.1)).collect::<Vec<_>>())
    };
    let with = |flags: [&str; 2]| vec![(1, flags[0].to_owned()), (2, flags[1].to_owned())];
    let (validity, uid_next, messages) = short("INBOX");
    assert_eq!((validity, messages), (795_572_829, with(["\\Seen $Forwarded Work", "\\Flagged Work"])));
    assert!(uid_next >= 4, "{uid_next}");
    let (validity, uid_next, messages) = short("Sent");
    assert_eq!((validity, messages), (795_572_830, with(["\\Seen $Forwarded Work", "\\Flagged Last"])));
    assert!(uid_next >= 3, "{uid_next}");
    let subscribed = store.account(&bob()).unwrap().subscriptions().unwrap();
    let names = ["INBOX", "Sent", "Lists/rust"].map(|name| name.parse().unwrap());
    assert!(names.iter().all(|name| subscribed.contains(name)), "{subscribed:?}");
}

#[test]
fn a_maildir_of_courier_keeps_uids_flags_keywords_and_subscriptions() {
    let dir = tempfile::tempdir().unwrap();
    courier(dir.path());
    check_courier(&Store::open(dir.path()).unwrap());
    std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    check_courier(&Store::open(dir.path()).unwrap());
}

#[test]
fn a_takeover_from_courier_cut_short_at_any_step_is_finished_with_the_same_uids_and_keywords() {
    for step in 0.. {
        let dir = fast_dir();
        courier(dir.path());
        fault::after(Some(step));
        let result = Store::open(dir.path()).and_then(|store| store.account(&bob())).map(drop);
        fault::after(None);
        check_courier(&Store::open(dir.path()).unwrap());
        if result.is_ok() {
            break;
        }
    }
}

/// To count its bare LFs takes the whole file.
#[test]
fn a_foreign_file_whose_name_has_its_size_is_read_once_only_and_again_when_its_size_changes() {
    let dir = fast_dir();
    dovecot(dir.path());
    let store = Store::open(dir.path()).unwrap();
    let sizes = || {
        let account = Store::open(dir.path()).unwrap().account(&bob()).unwrap();
        let now = account.open(&MailboxName::inbox()).unwrap().snapshot();
        (0..now.len()).map(|at| now.get(at).unwrap().size).collect::<Vec<_>>()
    };
    let before: Vec<u64> = look(&store, "INBOX").2.iter().map(|it| it.2).collect();
    let cur = dir.path().join("example.org/bob/Maildir/cur");
    let mut files = std::fs::read_dir(&cur).unwrap().map(|entry| entry.unwrap().path());
    let path = files.find(|path| path.to_str().unwrap().contains("1276533080.M1P2.kurkku,S=3,U=")).unwrap();
    assert!(path.to_str().unwrap().ends_with(",W=4:2,FST"), "{path:?}");
    let lose_index = || std::fs::remove_file(dir.path().join("example.org/bob/index.sqlite")).unwrap();
    // What is in it is not looked at.
    std::fs::write(&path, "\n\n\n").unwrap();
    lose_index();
    assert_eq!(sizes(), before);
    std::fs::write(&path, "\n\n\n\n").unwrap();
    lose_index();
    let position = before.iter().position(|size| *size == 4).unwrap();
    assert_eq!(sizes()[position], 8);
}
