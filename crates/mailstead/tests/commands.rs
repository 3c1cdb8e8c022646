//! The contract of each command: what it changes, what it prints, and its exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::Installation;
use serde_json::{Value, json};

fn json_of(installation: &Installation, arguments: &[&str]) -> Value {
    let done = installation.run(&[arguments, &["--json"]].concat());
    assert_eq!(done.succeeds().lines().count(), 1, "one line: {done:?}");
    serde_json::from_str(&done.out).unwrap()
}

#[test]
fn init_prints_the_dns_records_and_changes_nothing_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation { folder, address: common::address(), program: common::program() };
    let done =
        installation.run(&["init", "example.org", "--data-dir", "data", "--hostname", "mx.example.org"]);
    let fields = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let records: Vec<String> = done.succeeds().lines().map(fields).collect();
    for record in [
        "example.org. MX 10 mx.example.org.",
        "mx.example.org. A <this machine's IPv4 address>",
        "example.org. TXT \"v=spf1 mx -all\"",
        "_smtp._tls.example.org. TXT \"v=TLSRPTv1; rua=mailto:postmaster@example.org\"",
        "_dmarc.example.org. TXT \"v=DMARC1; p=none; rua=mailto:postmaster@example.org\"",
        "_imaps._tcp.example.org. SRV 0 1 993 mx.example.org.",
        "_submissions._tcp.example.org. SRV 0 1 465 mx.example.org.",
    ] {
        assert!(records.iter().any(|line| line == record), "{record:?} is not in {records:#?}");
    }
    assert!(done.out.contains("mx.example.org as the PTR record"), "{done:?}");
    assert!(done.out.contains("https://mta-sts.example.org/.well-known/mta-sts.txt"), "{done:?}");
    installation.run(&["config", "check"]).succeeds();
    assert_eq!(json_of(&installation, &["domain", "list"]), json!([{ "domain": "example.org" }]));
    let before = installation.read_config();
    installation
        .run(&["init", "example.com", "--data-dir", "data"])
        .fails(1, &["exists already; nothing is changed"]);
    assert_eq!(installation.read_config(), before);
}

#[test]
fn init_writes_the_config_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation { folder, address: common::address(), program: common::program() };
    let config = installation.folder.path().join("etc/mailstead.toml");
    let config = config.to_str().unwrap();
    installation.run(&["init", "example.org", "--data-dir", "data", "--config", config]).succeeds();
    assert!(!installation.config().exists());
    installation.run(&["--config", config, "account", "list"]).succeeds();
}

#[test]
fn the_config_is_looked_for_where_the_design_says() {
    let installation = Installation::new();
    let mut command = installation.command(&["config", "check"]);
    common::run(command.env("MAILSTEAD_CONFIG", "elsewhere.toml"), "").fails(2, &["elsewhere.toml"]);
    let config = installation.config();
    let named = ["--config", config.to_str().unwrap(), "config", "check"];
    common::run(installation.command(&named).env("MAILSTEAD_CONFIG", "elsewhere.toml"), "").succeeds();
    let mut command = installation.command(&["config", "check"]);
    let done = common::run(command.env_remove("MAILSTEAD_CONFIG"), "");
    assert!(done.err.contains("/etc/mailstead/mailstead.toml") || done.code == Some(0), "{done:?}");
}

#[test]
fn config_check_names_every_mistake_at_once() {
    let installation = Installation::new();
    assert!(installation.run(&["config", "check"]).succeeds().contains("no mistakes"));
    let line = installation.read_config().lines().count() + 2;
    installation.add_to_config("[smtp]\nmax_hops = \"many\"\n[log]\nfiltre = \"info\"\n");
    let mistakes = [
        format!("mailstead.toml:{}:12: smtp.max_hops = \"many\": expected", line + 1),
        format!("mailstead.toml:{}:1: log.filtre: there is no such key; did you mean filter?", line + 3),
    ];
    let mistakes: Vec<&str> = mistakes.iter().map(String::as_str).collect();
    for command in [&["config", "check"][..], &["serve"], &["imap"], &["account", "list"]] {
        installation.run(command).fails(2, &mistakes);
    }
}

#[test]
fn config_check_names_a_filter_that_can_not_be_read_and_a_host_without_certificate() {
    let installation = Installation::new();
    let good = installation.read_config();
    installation.add_to_config("[log]\nfilter = \"info,=\"\n");
    installation.run(&["config", "check"]).fails(2, &["log.filter"]);
    std::fs::write(installation.config(), good.replace("\"mail.example.org\"", "\"mx.example.org\""))
        .unwrap();
    let done = installation.run(&["config", "check"]);
    assert!(done.code == Some(0) && done.err.contains("no certificate is for mx.example.org"), "{done:?}");
}

#[test]
fn accounts_are_added_listed_and_removed() {
    let installation = Installation::new();
    installation.add_account("Alice@example.org");
    installation.add_account("bob@example.org");
    let table = "ADDRESS            STORAGE  OF  MESSAGES  OF\n\
                 alice@example.org  0 B      -   0         -\n\
                 bob@example.org    0 B      -   0         -\n";
    assert_eq!(installation.run(&["account", "list"]).succeeds(), table);
    let listed = json_of(&installation, &["account", "list"]);
    let line = |address| json!({ "address": address, "storage": 0, "storage_limit": null, "messages": 0, "messages_limit": null });
    assert_eq!(listed, json!([line("alice@example.org"), line("bob@example.org")]));
    let inbox = installation.data().join("mail/example.org/alice/Maildir/new");
    assert!(inbox.is_dir());
    let again = installation.run_with_input(&["account", "add", "ALICE@example.org"], "other\n");
    again.fails(1, &["alice@example.org exists already"]);
    installation
        .run_with_input(&["account", "add", "carol@example.com"], "x\n")
        .fails(1, &["example.com is no domain of this server", "mailstead domain add example.com"]);
    installation.run(&["account", "add", "carol"]).fails(2, &["local-part@domain"]);
    installation.run(&["account", "remove", "alice@example.org"]).succeeds();
    assert!(inbox.is_dir(), "the mail of a removed account stays");
    installation.run(&["account", "remove", "alice@example.org"]).fails(1, &["does not exist"]);
}

#[test]
fn a_quota_is_set_for_all_and_for_one_account() {
    let installation = Installation::new();
    installation.add_account("alice@example.org");
    installation.add_to_config("[quota]\nstorage = \"10 MiB\"\n");
    let quota = |arguments: &[&str]| {
        let all = [&["account", "quota", "alice@example.org", "--json"][..], arguments].concat();
        let shown: Value = serde_json::from_str(installation.run(&all).succeeds()).unwrap();
        (shown["storage_limit"].as_u64(), shown["messages_limit"].as_u64())
    };
    assert_eq!(quota(&[]), (Some(10 << 20), None));
    assert_eq!(quota(&["--messages", "100"]), (Some(10 << 20), Some(100)));
    assert_eq!(quota(&["--storage", "5GiB"]), (Some(5 << 30), Some(100)), "the other stays");
    assert_eq!(quota(&["--none"]), (None, None));
    assert_eq!(quota(&["--storage", "default"]), (Some(10 << 20), None));
    assert_eq!(quota(&["--default"]), (Some(10 << 20), None));
    let mail = installation.data().join("mail/example.org/alice/Maildir");
    std::fs::write(mail.join(".Sent/cur/1.x,S=1600:2,S"), [b'x'; 1600]).unwrap();
    std::fs::remove_file(mail.join("maildirsize")).unwrap();
    let table =
        "ADDRESS            STORAGE  OF      MESSAGES  OF\nalice@example.org  1.6 KiB  10 MiB  1         -\n";
    assert_eq!(installation.run(&["account", "list"]).succeeds(), table);
    for wrong in ["5 parsecs", "0", "-1"] {
        installation
            .run(&["account", "quota", "alice@example.org", &format!("--storage={wrong}")])
            .fails(2, &["a size such as 5GiB"]);
    }
    installation
        .run(&["account", "quota", "alice@example.org", "--none", "--default"])
        .fails(2, &["--default"]);
    installation
        .run(&["account", "quota", "bob@example.org", "--none"])
        .fails(1, &["bob@example.org", "account list"]);
}

#[test]
fn passwords_come_from_standard_input_and_never_from_the_command_line() {
    let installation = Installation::new();
    installation
        .run_with_input(&["account", "add", "alice@example.org"], "\n")
        .fails(1, &["the password is empty"]);
    installation.run(&["account", "add", "alice@example.org"]).fails(1, &["the password is empty"]);
    installation.run(&["account", "add", "alice@example.org", "secret"]).fails(2, &["unexpected argument"]);
    assert_eq!(installation.run(&["account", "list"]).succeeds(), "");
    installation.add_account("alice@example.org");
    let running = installation.serve();
    assert!(logs_in(&installation, "secret"));
    installation.run_with_input(&["account", "password", "alice@example.org"], "two words\n").succeeds();
    assert!(logs_in(&installation, "two words") && !logs_in(&installation, "secret"), "seen at once");
    installation.run(&["account", "password", "bob@example.org"]).fails(1, &["bob@example.org"]);
    drop(running);
}

/// RFC 3501 §6.2.3.
fn logs_in(installation: &Installation, password: &str) -> bool {
    use std::io::{BufRead, Write};
    let (_, mut session) = common::greeting(installation.address_of("imap"));
    write!(session.get_mut(), "a LOGIN alice@example.org \"{password}\"\r\n").unwrap();
    let answer = session.lines().map_while(Result::ok).find(|line| line.starts_with("a ")).unwrap();
    answer.starts_with("a OK")
}

#[test]
fn domains_and_aliases_are_added_listed_and_removed() {
    let installation = Installation::new();
    installation.add_account("alice@example.org");
    let added = installation.run(&["domain", "add", "example.net"]);
    for part in ["_domainkey.example.net.", "_smtp._tls.example.net.", "_mta-sts.example.net."] {
        assert!(added.succeeds().contains(part), "{part}: {added:?}");
    }
    installation.run(&["domain", "add", "example.net"]).fails(1, &["example.net exists already"]);
    installation
        .run(&["alias", "add", "sales@example.net", "alice@example.org", "joe@example.com"])
        .succeeds();
    assert_eq!(
        installation.run(&["alias", "list"]).succeeds(),
        "sales@example.net -> alice@example.org, joe@example.com\n"
    );
    let listed = json_of(&installation, &["alias", "list"]);
    let targets = ["alice@example.org", "joe@example.com"];
    assert_eq!(listed, json!([{ "alias": "sales@example.net", "targets": targets }]));
    installation.run(&["alias", "add", "a@example.net", "a@example.net"]).fails(1, &["leads back"]);
    installation
        .run(&["domain", "remove", "example.net"])
        .fails(1, &["accounts, aliases or lists", "remove them first"]);
    installation.run(&["alias", "remove", "sales@example.net"]).succeeds();
    installation.run(&["alias", "remove", "sales@example.net"]).fails(1, &["does not exist"]);
    installation.run(&["domain", "remove", "example.net"]).succeeds();
    assert_eq!(json_of(&installation, &["domain", "list"]), json!([{ "domain": "example.org" }]));
}

#[test]
fn an_empty_queue_and_an_unknown_message_are_told() {
    let installation = Installation::new();
    assert_eq!(installation.run(&["queue", "list"]).succeeds(), "the queue is empty\n");
    assert_eq!(json_of(&installation, &["queue", "list"]), json!([]));
    for command in ["show", "retry", "hold", "release", "remove"] {
        installation.run(&["queue", command, "nothing"]).fails(1, &["nothing"]);
    }
    for command in ["retry", "hold", "release", "remove"] {
        installation.run(&["queue", command]).fails(2, &["ids, --all"]);
        installation.run(&["queue", command, "nothing", "--all"]).fails(2, &["one thing"]);
        installation.run(&["queue", command, "--all", "--domain", "example.net"]).fails(2, &["one thing"]);
        let of_domain = installation.run(&["queue", command, "--domain", "example.net"]);
        assert!(of_domain.succeeds().starts_with("0 messages"));
        assert!(installation.run(&["queue", command, "--all"]).succeeds().starts_with("0 messages"));
    }
}

#[test]
fn status_shows_every_server_and_fails_if_one_does_not_run() {
    let installation = Installation::new();
    installation.run(&["status"]).fails(1, &["not running", "mailstead serve"]);
    let running = installation.serve();
    let report = json_of(&installation, &["status"]);
    assert_eq!(report["pid"], u64::from(running.child.id()));
    let servers: Vec<&str> = report["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["server"].as_str().unwrap())
        .collect();
    assert_eq!(servers, ["smtp", "queue", "imap", "pop3"]);
    assert!(
        report["servers"].as_array().unwrap().iter().all(|server| server["state"] == "running"),
        "{report}"
    );
    let (_, session) = common::greeting(installation.address_of("imap"));
    let sessions = || installation.status_of("imap").filter(|imap| imap["sessions"] == 1);
    common::wait_for("the session to be counted", sessions);
    drop(session);
    let shown = installation.run(&["status"]);
    let heading = shown.succeeds().lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(heading, "server state pid uptime restarts sessions");
}

#[test]
fn what_is_no_command_is_told_with_exit_code_2() {
    let installation = Installation::new();
    installation.run(&[]).fails(2, &["Usage: mailstead"]);
    installation.run(&["acount", "list"]).fails(2, &["account"]);
    installation.run(&["account", "list", "--jsno"]).fails(2, &["--json"]);
    assert!(installation.run(&["--help"]).succeeds().contains("Exit codes: 0 done, 1 it failed"));
    assert!(installation.run(&["--version"]).succeeds().starts_with("mailstead "));
}

#[test]
fn rights_are_set_listed_and_removed() {
    let installation = Installation::new();
    for name in ["team@example.org", "ana@example.org"] {
        installation.add_account(name);
    }
    installation.run(&["alias", "add", "staff@example.org", "ana@example.org"]).succeeds();
    let set =
        |who: &str, rights: &str| installation.run(&["acl", "set", "team@example.org", "INBOX", who, rights]);
    assert_eq!(json_of(&installation, &["acl", "list", "team@example.org"]), json!([]));
    set("ana", "lrd").succeeds();
    set("staff@example.org", "lr").succeeds();
    set("-anyone", "x").succeeds();
    let entry = |who: &str, rights: &str| json!({ "mailbox": "INBOX", "identifier": who, "rights": rights });
    assert_eq!(
        json_of(&installation, &["acl", "list", "team@example.org"]),
        json!([entry("ana@example.org", "lrte"), entry("$staff@example.org", "lr"), entry("-anyone", "x")])
    );
    let table = installation.run(&["acl", "list", "team@example.org"]);
    assert_eq!(table.succeeds().lines().next(), Some("MAILBOX  WHO                 RIGHTS"));
    set("nobody", "lr").fails(1, &["nobody is no account and no alias"]);
    set("ana", "lrq").fails(2, &["no access right"]);
    installation
        .run(&["acl", "set", "team@example.org", "Nowhere", "ana", "lr"])
        .fails(1, &["Nowhere does not exist"]);
    let remove = |who: &str| installation.run(&["acl", "remove", "team@example.org", "INBOX", who]);
    remove("ana").succeeds();
    remove("$staff@example.org").succeeds();
    remove("-anyone").succeeds();
    remove("ana").fails(1, &["says nothing of ana"]);
    assert_eq!(json_of(&installation, &["acl", "list", "team@example.org"]), json!([]));
}
