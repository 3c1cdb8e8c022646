//! The commands of an operator, and that running servers obey them at once.

use anyhow::Result;
use e2e::{Client, HOST, Installation, Mail, Site, messages_in, program};
use serde_json::{Value, json};

/// curl's exit code for a login that was refused.
const LOGIN_DENIED: i32 = 67;

/// The exit code of a login by each protocol.
fn log_in(site: &Site, user: &str, password: &str) -> Result<[Option<i32>; 3]> {
    let attempt = |url: String| -> Result<Option<i32>> {
        let client = Client::new("curl").args(["--silent", "--cacert"]).args([&site.ca_file]).args([
            "--url",
            &url,
            "--user",
            &format!("{user}:{password}"),
        ]);
        Ok(client.run_to_code()?.0)
    };
    Ok([
        attempt(format!("imaps://{HOST}:{}", site.port("imaps")))?,
        attempt(format!("pop3s://{HOST}:{}", site.port("pop3s")))?,
        attempt(format!("smtps://{HOST}:{}", site.port("submissions")))?,
    ])
}

const LOGGED_IN: [Option<i32>; 3] = [Some(0); 3];
const REFUSED: [Option<i32>; 3] = [Some(LOGIN_DENIED); 3];

/// What a command prints as JSON.
fn listed(installation: &Installation, args: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&installation.mailstead(args).run()?.output)?)
}

/// The addresses of all accounts.
fn accounts(installation: &Installation) -> Result<Vec<String>> {
    let listed = listed(installation, &["account", "list", "--json"])?;
    let address = |account: &Value| Some(account.get("address")?.as_str()?.to_owned());
    Ok(listed.as_array().into_iter().flatten().filter_map(address).collect())
}

/// Runs a command that must fail with 1 and say this.
#[track_caller]
fn refused(installation: &Installation, args: &[&str], input: &str, said: &str) {
    let (code, finished) = installation.mailstead(args).input(input).run_to_code().unwrap();
    assert_eq!(code, Some(1), "{args:?}: {finished:?}");
    assert!(finished.errors.contains(said), "{args:?}: {finished:?}");
}

#[test]
fn init_makes_a_domain_that_holds_and_never_overwrites_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let init = || {
        Client::new(program("mailstead")).home(folder.path()).args([
            "init",
            "example.test",
            "--data-dir",
            "data",
        ])
    };
    let said = init().run()?.output;
    for told in [
        "MX",
        "10 mail.example.test.",
        "v=spf1",
        "_imaps._tcp.example.test.",
        "account add",
        "config check",
        "serve",
    ] {
        assert!(said.contains(told), "{told} is missing:\n{said}");
    }
    let config = folder.path().join("data/mailstead.toml");
    let text = std::fs::read_to_string(&config)?;
    Client::new(program("mailstead")).args(["config", "check", "--config"]).args([&config]).run()?;
    let (code, again) = init().run_to_code()?;
    assert!(code == Some(1) && again.errors.contains("exists already"), "{again:?}");
    assert_eq!(std::fs::read_to_string(&config)?, text);
    Ok(())
}

#[test]
fn an_account_can_log_in_from_its_addition_to_its_removal() -> Result<()> {
    let mut installation = Installation::new("people.test", &["alice"], "")?;
    let _servers = installation.serve()?;
    assert_eq!(log_in(installation.site(), "carol@people.test", "secret-carol")?, REFUSED);
    installation.add("carol")?;
    let site = installation.site();
    assert_eq!(log_in(site, "carol@people.test", "secret-carol")?, LOGGED_IN);
    assert_eq!(accounts(&installation)?, ["alice@people.test", "carol@people.test"]);
    installation.mailstead(&["account", "password", "carol@people.test"]).input("new words\n").run()?;
    assert_eq!(
        log_in(site, "carol@people.test", "secret-carol")?,
        REFUSED,
        "the old password is forgotten at once"
    );
    assert_eq!(log_in(site, "carol@people.test", "new words")?, LOGGED_IN);
    assert_eq!(
        log_in(site, "CAROL@People.Test", "new words")?,
        LOGGED_IN,
        "the case of the name does not matter"
    );
    let mail = Mail::new("stranger@elsewhere.test", "carol@people.test", "to be kept", "text");
    site.deliver("carol", &mail)?;

    installation.mailstead(&["account", "remove", "carol@people.test"]).run()?;
    assert_eq!(log_in(site, "carol@people.test", "new words")?, REFUSED);
    assert!(site.deliver("carol", &mail).unwrap_err().to_string().contains("550"));
    assert_eq!(messages_in(&site.person("carol").maildir)?.len(), 1, "the mail stays on disk");
    assert_eq!(accounts(&installation)?, ["alice@people.test"]);
    assert!(!installation.mailstead(&["account", "list"]).run()?.output.contains("carol"));
    Ok(())
}

#[test]
fn what_can_not_be_done_to_an_account_is_refused_with_the_reason() -> Result<()> {
    let installation = Installation::new("people.test", &["alice"], "")?;
    refused(&installation, &["account", "add", "alice@people.test"], "x\n", "alice@people.test");
    refused(&installation, &["account", "add", "eve@elsewhere.test"], "x\n", "domain add elsewhere.test");
    refused(&installation, &["account", "add", "eve@people.test"], "", "password");
    refused(&installation, &["account", "remove", "eve@people.test"], "", "eve@people.test");
    refused(&installation, &["account", "password", "eve@people.test"], "x\n", "eve@people.test");
    let (code, _) = installation.mailstead(&["account", "add", "no address"]).run_to_code()?;
    assert_eq!(code, Some(2));
    assert_eq!(accounts(&installation)?, ["alice@people.test"]);
    Ok(())
}

#[test]
fn aliases_and_domains_hold_at_once() -> Result<()> {
    let installation = Installation::new("names.test", &["alice", "bob"], "")?;
    let _servers = installation.serve()?;
    // A person in name only, to deliver to.
    let mut site = installation.site().clone();
    let alice = site.person("alice").clone();
    site.people.push(e2e::Person { address: "sales@names.test".to_owned(), ..alice.clone() });
    let mail = Mail::new("stranger@elsewhere.test", "sales@names.test", "order", "text");
    assert!(site.deliver("sales", &mail).is_err());
    installation
        .mailstead(&["alias", "add", "sales@names.test", "alice@names.test", "bob@names.test"])
        .run()?;
    site.deliver("sales", &mail)?;
    for person in ["alice", "bob"] {
        assert_eq!(messages_in(&site.person(person).maildir)?.len(), 1, "{person}");
    }
    assert_eq!(
        listed(&installation, &["alias", "list", "--json"])?,
        json!([{"alias": "sales@names.test", "targets": ["alice@names.test", "bob@names.test"]}])
    );
    refused(
        &installation,
        &["alias", "remove", "sales@names.test", "carol@names.test"],
        "",
        "it goes to alice@names.test, bob@names.test",
    );
    installation.mailstead(&["alias", "remove", "sales@names.test", "bob@names.test"]).run()?;
    assert_eq!(
        listed(&installation, &["alias", "list", "--json"])?,
        json!([{"alias": "sales@names.test", "targets": ["alice@names.test"]}])
    );
    installation.mailstead(&["alias", "remove", "sales@names.test"]).run()?;
    assert!(site.deliver("sales", &mail).is_err());
    refused(&installation, &["alias", "remove", "sales@names.test"], "", "sales@names.test");

    installation.mailstead(&["domain", "add", "second.test"]).run()?;
    installation.mailstead(&["account", "add", "dave@second.test"]).input("secret-dave\n").run()?;
    assert_eq!(log_in(&site, "dave@second.test", "secret-dave")?, LOGGED_IN);
    assert_eq!(
        listed(&installation, &["domain", "list", "--json"])?,
        json!([{"domain": "names.test"}, {"domain": "second.test"}])
    );
    refused(&installation, &["domain", "remove", "second.test"], "", "second.test");
    installation.mailstead(&["account", "remove", "dave@second.test"]).run()?;
    installation.mailstead(&["domain", "remove", "second.test"]).run()?;
    Ok(())
}

#[test]
fn status_tells_of_every_server_and_that_none_runs() -> Result<()> {
    let installation = Installation::new("state.test", &[], "")?;
    refused(&installation, &["status"], "", "not running");
    let servers = installation.serve()?;
    let status = listed(&installation, &["status", "--json"])?;
    assert_eq!(status.get("pid"), Some(&json!(servers.id().as_raw())));
    let all = status.get("servers").and_then(Value::as_array).unwrap();
    let names: Vec<_> =
        all.iter().filter_map(|server| server.get("server").and_then(Value::as_str)).collect();
    assert_eq!(names, ["smtp", "queue", "imap", "pop3"]);
    assert!(all.iter().all(|server| server.get("state") == Some(&json!("running"))), "{status}");
    let shown = installation.mailstead(&["status"]).run()?.output;
    assert!(names.iter().all(|name| shown.contains(name)) && shown.contains("running"), "{shown}");
    refused(&installation, &["serve"], "", "data");
    Ok(())
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() -> Result<()> {
    let run = |args: &[&str]| Client::new(program("mailstead")).args(args).run_to_code();
    for args in [
        ["fly"].as_slice(),
        &["account"],
        &["account", "add"],
        &["init"],
        &["queue", "retry"],
        &["--no-such"],
    ] {
        let (code, said) = run(args)?;
        assert!(code == Some(2) && said.errors.contains("Usage"), "{args:?}: {said:?}");
    }
    let (code, said) = run(&["--help"])?;
    let commands = [
        "demo", "init", "serve", "smtp", "queue", "imap", "pop3", "status", "config", "account", "domain",
        "alias",
    ];
    assert!(code == Some(0) && commands.iter().all(|name| said.output.contains(name)), "{said:?}");
    let (code, said) = run(&["--version"])?;
    assert!(code == Some(0) && said.output.starts_with("mailstead "), "{said:?}");
    Ok(())
}
