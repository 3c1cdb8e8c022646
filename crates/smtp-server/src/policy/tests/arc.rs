//! RFC 8617: chains that dkimpy has made, and what the operator believes of them; and those that go on from here.

use std::path::Path;
use std::process::Command;

use jiff::civil::date;
use mail_dkim::{Keys, Signers};

use super::dkim::run;
use super::{Lab, client, crlf};
use crate::policy::judge::Outcome;

/// The zone of a list that changes what it passes on, of the domain that a message is from, and of the list's host.
fn zone(key: &str) -> String {
    format!(
        "s._domainkey.list.test. TXT \"v=DKIM1; p={key}\"\n_dmarc.author.test. TXT \"v=DMARC1; p=reject\"\n\
         author.test. TXT \"v=spf1 -all\"\nlist.test. TXT \"v=spf1 ip4:192.0.2.1 -all\"\n"
    )
}

const MESSAGE: &str = "Authentication-Results: mx.list.test; spf=pass smtp.mailfrom=a@author.test; dmarc=pass header.from=author.test
From: a@author.test
To: all@list.test
Subject: [list] hello
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <1@author.test>

Hello.
--
the list
";

/// The public part of the key that is made at `path`.
fn make_key(path: &Path) -> String {
    let mut command = Command::new("openssl");
    command.args(["genrsa", "-traditional", "-out"]).arg(path).arg("2048");
    run(command, "");
    let mut command = Command::new("openssl");
    command.args(["rsa", "-pubout", "-in"]).arg(path);
    run(command, "").lines().filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().join("\" \"")
}

fn seal(key: &Path, message: &str) -> String {
    seal_as("list.test", key, message)
}

fn seal_as(domain: &str, key: &Path, message: &str) -> String {
    let mut command = Command::new("/usr/bin/arcsign");
    command.args(["s", domain]).arg(key).arg("mx.list.test");
    run(command, message)
}

#[tokio::test]
async fn a_chain_passes_until_what_it_covers_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let mut lab = Lab::new(&zone(&make_key(&key)));
    let sealed = seal(&key, &crlf(MESSAGE));
    let arc = lab.message(&crlf(&sealed)).await.arc;
    assert_eq!((arc.result, arc.sealer.as_deref(), arc.sets), ("pass", Some("list.test"), 1), "{arc:?}");
    for changed in [
        sealed.replace("Hello.", "Hallo."),
        sealed.replace("[list] hello", "[list] hallo"),
        sealed.replacen("spf=pass", "spf=fail", 1),
        sealed.replacen("cv=none", "cv=pass", 1),
    ] {
        assert_eq!(lab.message(&crlf(&changed)).await.arc.result, "fail", "{changed}");
    }
    assert_eq!(lab.message(&crlf(MESSAGE)).await.arc.result, "none");

    let list = client("192.0.2.1", "list.test", Some("bounces@list.test"));
    let outcome = lab.verdict(&list, &crlf(&sealed)).await.outcome;
    assert!(matches!(outcome, Outcome::Refuse(_)), "anybody can seal: {outcome:?}");
    lab.verdicts.config.arc_sealers = vec!["list.test".to_owned()];
    let verdict = lab.verdict(&list, &crlf(&sealed)).await;
    assert_eq!(verdict.outcome, Outcome::Accept, "{verdict:?}");
    assert!(!verdict.summary.contains("dmarc_fail"), "it is not held against the list: {verdict:?}");
    assert!(
        verdict.fields.contains("\tarc=pass (i=1 sealed by list.test) smtp.remote-ip=192.0.2.1;"),
        "{verdict:?}"
    );
    let forged = lab.verdict(&list, &crlf(&sealed.replace("Hello.", "Hallo."))).await;
    assert!(matches!(forged.outcome, Outcome::Refuse(_)), "{forged:?}");
}

/// RFC 8617 §5.2 (3).
#[tokio::test]
async fn a_set_that_lacks_a_field_fails() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let lab = Lab::new(&zone(&make_key(&key)));
    let sealed = crlf(&seal(&key, &crlf(MESSAGE)));
    for name in ["ARC-Seal: ", "ARC-Message-Signature: ", "ARC-Authentication-Results: "] {
        let without = sealed.replacen(name, "X-Other: ", 1);
        assert_ne!(without, sealed);
        let arc = lab.message(&without).await.arc;
        assert_eq!(arc.result, "fail", "without {name}: {arc:?}");
    }
}

#[tokio::test]
async fn a_refusal_waits_for_the_key_of_a_sealer_who_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let mut lab = Lab::new(&zone(&make_key(&key)));
    let sealed = crlf(&seal_as("list.broken", &key, &crlf(MESSAGE)));
    let list = client("192.0.2.1", "list.test", Some("bounces@list.test"));
    let code = |outcome: Outcome| match outcome {
        Outcome::Refuse(reply) => reply.code(),
        Outcome::Accept | Outcome::Junk => panic!("{outcome:?}"),
    };
    assert_eq!(code(lab.verdict(&list, &sealed).await.outcome), 550, "nobody believes it");
    lab.verdicts.config.arc_sealers = vec!["list.broken".to_owned()];
    assert_eq!(code(lab.verdict(&list, &sealed).await.outcome), 451);
}

/// Two domains that seal what they send on, one after the other.
struct Hops {
    lab: Lab,
    signers: Signers,
    _folder: tempfile::TempDir,
}

impl Hops {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::new(folder.path().to_owned());
        let mut records = String::new();
        for name in ["one.test", "two.test"] {
            let domain = name.parse().unwrap();
            let generation = keys.generate(&domain, date(2026, 11, 28)).unwrap();
            for record in keys.records(&domain, &generation.name).unwrap() {
                records += &format!("{}. TXT {}\n", record.name, record.in_zone_file());
            }
        }
        Self { lab: Lab::new(&records), signers: Signers::new(keys), _folder: folder }
    }

    /// A message as it goes on through an address of this domain; `None` if it is not sealed.
    async fn pass(&self, domain: &str, message: &str) -> Option<String> {
        let stranger = client("192.0.2.1", "client.test", Some("a@author.test"));
        let fields = self.lab.verdict(&stranger, message).await.fields;
        let message = format!(
            "Delivered-To: all@{domain}\r\n{fields}Received: from client.test\r\n\tby mail.example.org; now\r\n{message}"
        );
        let set = self.signers.seal(message.as_bytes(), "mail.example.org").unwrap()?;
        Some(set + &message)
    }

    /// What is found of the chain, and how many sets it has.
    async fn found(&self, message: &str) -> (&'static str, usize) {
        let arc = self.lab.message(message).await.arc;
        (arc.result, arc.sets)
    }
}

#[tokio::test]
async fn a_set_of_ours_continues_a_chain_that_holds_and_ends_one_that_does_not() {
    let hops = Hops::new();
    let first = hops.pass("one.test", &crlf(MESSAGE)).await.unwrap();
    assert!(
        first.starts_with("ARC-Seal: i=1; a=rsa-sha256; cv=none;\r\n\td=one.test; s=rsa-20261128;"),
        "{first}"
    );
    assert_eq!(hops.found(&first).await, ("pass", 1), "{first}");

    let second = hops.pass("two.test", &first).await.unwrap();
    assert!(second.starts_with("ARC-Seal: i=2; a=rsa-sha256; cv=pass;\r\n\td=two.test;"), "{second}");
    assert!(
        second.contains("\r\nARC-Authentication-Results: i=2; mail.example.org;\r\n\tiprev="),
        "{second}"
    );
    assert_eq!(hops.found(&second).await, ("pass", 2), "{second}");
    for (known, other) in
        [("Subject: [list] hello", "Subject: hello"), ("the list", "The list"), ("From: a@", "From: b@")]
    {
        assert_eq!(hops.found(&second.replace(known, other)).await.0, "fail", "without {known}");
    }

    let broken = second.replace("Subject: [list] hello", "Subject: hello");
    let third = hops.pass("one.test", &broken).await.unwrap();
    assert!(third.starts_with("ARC-Seal: i=3; a=rsa-sha256; cv=fail;\r\n"), "{third}");
    assert_eq!(hops.found(&third).await.0, "fail");
    assert_eq!(hops.pass("two.test", &third).await, None, "it has ended");
}

/// RFC 8617 §5.1.2: what fails may be torn in any way.
#[tokio::test]
async fn a_chain_that_is_torn_is_ended_behind_its_last_set() {
    let hops = Hops::new();
    let first = hops.pass("one.test", &crlf(MESSAGE)).await.unwrap();
    let second = hops.pass("two.test", &first).await.unwrap();
    for torn in [
        second.replacen("ARC-Message-Signature: i=1", "X-Other: i=1", 1),
        second.replacen("ARC-Seal: i=2", "ARC-Seal: i=1", 1),
        second
            .replace("ARC-Message-Signature:", "X-Other:")
            .replace("ARC-Authentication-Results:", "X-Third:"),
        format!("ARC-Seal: i=2; cv=none\r\n{}", crlf(MESSAGE)),
    ] {
        let sealed = hops.pass("one.test", &torn).await.unwrap();
        assert!(sealed.starts_with("ARC-Seal: i=3; a=rsa-sha256; cv=fail;\r\n"), "{sealed}");
    }
}

#[tokio::test]
async fn every_hop_that_a_chain_has_room_for_is_sealed() {
    let hops = Hops::new();
    let mut message = crlf(MESSAGE);
    for number in 1..=50 {
        message = hops.pass(["one.test", "two.test"][number % 2], &message).await.unwrap();
    }
    assert_eq!(hops.found(&message).await, ("pass", 50));
    assert_eq!(hops.pass("one.test", &message).await, None);
}
