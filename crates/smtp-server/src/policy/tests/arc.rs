//! RFC 8617: chains that dkimpy has made, and what the operator believes of them.

use std::path::Path;
use std::process::Command;

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
    let mut command = Command::new("/usr/bin/arcsign");
    command.args(["s", "list.test"]).arg(key).arg("mx.list.test");
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
