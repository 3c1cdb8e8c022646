//! `mailstead store check`, `rebuild` and `stats`: what the operator sees, and the exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::path::PathBuf;

use common::mail::file;
use common::{Done, Installation};
use serde_json::{Value, json};

const ALICE: &str = "alice@example.org";

/// Alice has one message in her INBOX, another account has none.
fn installation() -> (Installation, PathBuf) {
    let installation = Installation::new();
    installation.add_account(ALICE);
    installation.add_account("bob@example.org");
    let source = installation.folder.path().join("message.eml");
    file(installation.folder.path(), "message.eml", "Subject: a\r\n\r\ntext\r\n");
    installation.run(&["store", "import", ALICE, source.to_str().unwrap()]).succeeds();
    let cur = installation.data().join("mail/example.org/alice/Maildir/cur");
    (installation, cur)
}

fn store(installation: &Installation, arguments: &[&str]) -> Done {
    installation.run(&[&["store"], arguments].concat())
}

fn parsed(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"))
}

fn only_file(folder: &PathBuf) -> PathBuf {
    std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_check_of_sound_accounts_exits_with_0() {
    let (installation, _) = installation();
    let done = store(&installation, &["check", "--content"]);
    done.succeeds();
    assert_eq!(done.out.trim_end(), "2 accounts: nothing found");
    let done = store(&installation, &["check", "bob@example.org", "--json"]);
    assert_eq!(parsed(&done), json!({ "accounts": 1, "failed": 0, "findings": [] }));
    assert_ne!(store(&installation, &["check", "nobody@example.org"]).code, Some(0));
}

#[test]
fn what_is_found_is_named_and_exits_with_1_until_it_is_mended() {
    let (installation, cur) = installation();
    std::fs::write(cur.join("by-hand:2,"), "x\r\n").unwrap();
    let done = store(&installation, &["check", "--json"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    let found = parsed(&done)["findings"].as_array().unwrap().clone();
    let problems: Vec<_> = found.iter().map(|it| it["problem"].as_str().unwrap()).collect();
    assert_eq!(problems, ["no-uid", "not-indexed"]);
    assert!(
        found
            .iter()
            .all(|it| it["account"] == ALICE && it["path"] == cur.join("by-hand:2,").to_str().unwrap())
    );
    store(&installation, &["rebuild"]).succeeds();
    store(&installation, &["check", "--content"]).succeeds();
}

#[test]
fn corruption_is_named_and_a_rebuild_does_not_hide_it() {
    let (installation, cur) = installation();
    let message = only_file(&cur);
    std::fs::write(&message, "Subject: b\r\n\r\ntext\r\n").unwrap();
    store(&installation, &["check"]).succeeds();
    for _ in 0..2 {
        let done = store(&installation, &["check", ALICE, "--content"]);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(
            done.out.starts_with(&format!("{ALICE}: {}: its content is damaged", message.display())),
            "{done:?}"
        );
        store(&installation, &["rebuild", ALICE]).succeeds();
    }
}

#[test]
fn stats_tell_how_much_an_account_holds() {
    let (installation, _) = installation();
    let done = store(&installation, &["stats", ALICE, "--json"]);
    done.succeeds();
    let stats = parsed(&done);
    assert_eq!((&stats["messages"], &stats["octets"]), (&json!(1), &json!(20)));
    assert_eq!(stats["mailboxes"].as_array().unwrap().len(), 6);
    assert!(stats["index_octets"].as_u64().unwrap() > 0);
    let done = store(&installation, &["stats", ALICE]);
    assert!(done.out.contains("INBOX") && done.out.contains("total"), "{done:?}");
}
