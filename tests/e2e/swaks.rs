//! swaks, the way administrators try a mail server out.

use anyhow::Result;
use e2e::{Client, Demo, Finished, HOST, Mail, Person, Site, messages_in};

/// swaks' exit codes for a refused MAIL, a refused RCPT, and a refused login.
const MAIL_REFUSED: i32 = 23;
const RCPT_REFUSED: i32 = 24;
const AUTH_REFUSED: i32 = 28;

/// swaks on the listener `name`.
fn swaks(site: &Site, name: &str) -> Client {
    let tls = if name == "submissions" { "--tls-on-connect" } else { "--tls" };
    let port = site.port(name).to_string();
    Client::new("swaks")
        .args([
            "--server",
            HOST,
            "--port",
            &port,
            "--helo",
            "client.e2e.test",
            tls,
            "--tls-verify",
            "--tls-ca-path",
        ])
        .args([&site.ca_file])
}

fn login(client: Client, mechanism: &str, person: &Person) -> Client {
    client.args(["--auth", mechanism, "--auth-user", &person.address, "--auth-password", &person.password])
}

fn send(client: Client, mail: &Mail, from: &str, to: &str) -> Client {
    client.args(["--from", from, "--to", to, "--data", "-"]).input(unfinished(mail))
}

/// swaks ends the last line itself.
fn unfinished(mail: &Mail) -> &str {
    mail.as_str().strip_suffix("\r\n").unwrap_or(mail.as_str())
}

/// Runs it and checks with which code it ends and that the server said `reply`.
#[track_caller]
fn refused(client: Client, code: i32, reply: &str) -> Finished {
    let (ended, said) = client.run_to_code().unwrap();
    assert_eq!(ended, Some(code), "{said:?}");
    assert!(said.output.contains(reply), "expected {reply}: {said:?}");
    said
}

/// The messages of a person with this subject, below the fields that the server added.
fn bodies(person: &Person, mail: &Mail) -> Result<usize> {
    Ok(messages_in(&person.maildir)?.iter().filter(|stored| stored.ends_with(mail.as_str())).count())
}

#[test]
fn mail_from_elsewhere_comes_in_by_starttls() -> Result<()> {
    let demo = Demo::start()?;
    let alice = demo.site().person("alice");
    let mail = Mail::new("stranger@elsewhere.test", &alice.address, "hello", ".dots\n..are kept");
    let said = send(swaks(demo.site(), "smtp"), &mail, "stranger@elsewhere.test", &alice.address).run()?;
    assert!(said.output.contains("TLSv1.3"), "{said:?}");
    let stored = messages_in(&alice.maildir)?;
    let stored = stored.iter().find(|stored| stored.ends_with(mail.as_str())).unwrap();
    assert!(stored.starts_with("Return-Path: <stranger@elsewhere.test>\r\nReceived: "), "{stored}");
    assert!(stored.contains("with ESMTPS"), "RFC 3848 names the protocol: {stored}");
    Ok(())
}

#[test]
fn submission_takes_plain_and_login_over_starttls_and_implicit_tls() -> Result<()> {
    let demo = Demo::start()?;
    let (alice, bob) = (demo.site().person("alice"), demo.site().person("bob"));
    for listener in ["submission", "submissions"] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let mail = Mail::new(&alice.address, &bob.address, &format!("{listener} {mechanism}"), "text");
            let client = login(swaks(demo.site(), listener), mechanism, alice);
            send(client, &mail, &alice.address, &bob.address).run()?;
            assert_eq!(bodies(bob, &mail)?, 1, "{listener} {mechanism}");
        }
    }
    Ok(())
}

#[test]
fn an_unknown_user_is_550_at_rcpt() -> Result<()> {
    let demo = Demo::start()?;
    let client =
        swaks(demo.site(), "smtp").args(["--from", "stranger@elsewhere.test", "--to", "nobody@demo.test"]);
    refused(client, RCPT_REFUSED, "550 5.1.1");
    Ok(())
}

#[test]
fn nobody_relays_without_a_login() -> Result<()> {
    let demo = Demo::start()?;
    for from in ["stranger@elsewhere.test", "alice@demo.test", "<>"] {
        let to = "victim@third.test";
        let client = swaks(demo.site(), "smtp").args(["--from", from, "--to", to]);
        refused(client, RCPT_REFUSED, "550 5.7.1");
    }
    let client =
        swaks(demo.site(), "submission").args(["--from", "alice@demo.test", "--to", "bob@demo.test"]);
    refused(client, MAIL_REFUSED, "530 5.7.0");
    Ok(())
}

#[test]
fn a_wrong_password_is_535() -> Result<()> {
    let demo = Demo::start()?;
    let alice = Person { password: "guess".to_owned(), ..demo.site().person("alice").clone() };
    let nobody = Person { address: "nobody@demo.test".to_owned(), ..alice.clone() };
    for person in [&alice, &nobody] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let client = login(swaks(demo.site(), "submission"), mechanism, person);
            refused(client.args(["--to", "bob@demo.test"]), AUTH_REFUSED, "535 5.7.8");
        }
    }
    Ok(())
}

#[test]
fn nobody_sends_under_the_name_of_another() -> Result<()> {
    let demo = Demo::start()?;
    let (alice, bob) = (demo.site().person("alice"), demo.site().person("bob"));
    for from in [bob.address.as_str(), "ceo@elsewhere.test"] {
        let client = login(swaks(demo.site(), "submission"), "PLAIN", alice);
        refused(client.args(["--from", from, "--to", &bob.address]), MAIL_REFUSED, "553 5.7.1");
    }
    Ok(())
}

#[test]
fn a_message_to_two_accounts_and_an_alias_reaches_each_account_once() -> Result<()> {
    let demo = Demo::start()?;
    let (alice, bob) = (demo.site().person("alice"), demo.site().person("bob"));
    demo.mailstead(&["alias", "add", "all@demo.test", &alice.address, &bob.address]).run()?;
    let mail = Mail::new("stranger@elsewhere.test", "all@demo.test", "to everybody", "text");
    let to = format!("{},{},all@demo.test", alice.address, bob.address);
    send(swaks(demo.site(), "smtp"), &mail, "stranger@elsewhere.test", &to).run()?;
    assert_eq!((bodies(alice, &mail)?, bodies(bob, &mail)?), (1, 1));
    Ok(())
}

#[test]
fn an_attachment_of_20_mib_comes_in_whole() -> Result<()> {
    let demo = Demo::start()?;
    let bob = demo.site().person("bob");
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\n";
    let mail =
        Mail::new("stranger@elsewhere.test", &bob.address, "big", &line.repeat((20 << 20) / line.len()));
    let file = demo.folder().join("big.eml");
    std::fs::write(&file, unfinished(&mail))?;
    let data = format!("@{}", file.display());
    swaks(demo.site(), "smtp")
        .args(["--from", "stranger@elsewhere.test", "--to", &bob.address, "--suppress-data", "--data", &data])
        .run()?;
    assert_eq!(bodies(bob, &mail)?, 1);
    Ok(())
}
