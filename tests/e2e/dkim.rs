//! What is written here is signed where it leaves. dkimpy verifies it, and the next host is Postfix' smtp-sink.

use anyhow::Result;
use e2e::{Client, HOST, Installation, Mail, free_port};
use serde_json::Value;

use crate::relay::{Sink, installation, submit};

/// The signatures of a message that are good, each with algorithm, domain and selector.
fn signatures(installation: &Installation, message: &str) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let records = folder.path().join("records");
    std::fs::write(&records, installation.mailstead(&["dkim", "list", "--json"]).run()?.output)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/dkim_signatures.py");
    let verifier = Client::new("/usr/bin/python3").args([script]).args([&records]);
    let output = verifier.input(message.replace('\n', "\r\n")).run()?.output;
    Ok(output.lines().map(str::to_owned).collect())
}

/// The names of the domain's keys, the oldest first, and which are in use.
fn keys(installation: &Installation) -> Result<Vec<(String, bool)>> {
    let listed = installation.mailstead(&["dkim", "list", "relay.test", "--json"]).run()?.output;
    let listed: Vec<Value> = serde_json::from_str(&listed)?;
    let key = |it: &Value| Some((it["keys"].as_str()?.to_owned(), it["in_use"].as_bool()?));
    Ok(listed.iter().filter_map(key).collect())
}

fn by(name: &str) -> [String; 2] {
    ["rsa", "ed25519"].map(|kind| format!("{kind}-sha256 relay.test {kind}-{name}"))
}

#[test]
fn what_an_account_sends_is_signed_with_the_keys_in_use_until_there_are_none() -> Result<()> {
    let port = free_port();
    let (installation, _servers) = installation(port)?;
    let send = |subject: &str| {
        let sink = Sink::start(port, &[])?;
        submit(
            &installation,
            &Mail::new("alice@relay.test", "eve@far.test", subject, "Hello."),
            &["eve@far.test"],
        )?;
        Ok::<_, anyhow::Error>(sink.messages(1)?.concat())
    };
    let known = keys(&installation)?;
    let [(first, true)] = known.as_slice() else { panic!("{known:?}") };
    assert_eq!(signatures(&installation, &send("one")?)?, by(first));

    let made = installation.mailstead(&["dkim", "rotate", "relay.test"]).run()?.output;
    let known = keys(&installation)?;
    let [_, (second, false)] = known.as_slice() else { panic!("{known:?}") };
    assert!(made.contains(&format!("rsa-{second}._domainkey.relay.test.")), "{made}");
    assert!(made.contains(&format!("mailstead dkim use relay.test {second}")), "{made}");
    assert_eq!(signatures(&installation, &send("two")?)?, by(first), "its record may not be seen yet");

    installation.mailstead(&["dkim", "use", "relay.test", second]).run()?;
    assert_eq!(signatures(&installation, &send("three")?)?, by(second));
    installation.mailstead(&["dkim", "remove", "relay.test", first]).run()?;
    assert_eq!(keys(&installation)?, [(second.clone(), true)]);

    let (code, _) = installation.mailstead(&["dkim", "remove", "relay.test", second]).run_to_code()?;
    assert_ne!(code, Some(0), "in use");
    installation.mailstead(&["dkim", "remove", "relay.test", "--all"]).run()?;
    assert_eq!(signatures(&installation, &send("four")?)?, Vec::<String>::new());
    Ok(())
}

/// RFC 8058 §3.1, §4: the fields by which people leave a list go as they came, and whoever changes or adds one breaks the signature.
#[test]
fn one_click_unsubscription_goes_unchanged_under_the_signature() -> Result<()> {
    let port = free_port();
    let sink = Sink::start(port, &[])?;
    let (installation, _servers) = installation(port)?;
    let fields = "List-Unsubscribe: <mailto:leave@relay.test?subject=x>,\n <https://relay.test/u?opaque=AbC%20+=>\n\
        List-Unsubscribe-Post: List-Unsubscribe=One-Click\n";
    let message = format!(
        "From: alice@relay.test\r\nTo: eve@far.test\r\nSubject: news\r\n{}\r\nHello.\r\n",
        fields.replace('\n', "\r\n")
    );
    submit(&installation, &Mail::of(&message), &["eve@far.test"])?;
    let there = sink.messages(1)?.concat();
    assert!(there.contains(fields), "{there}");
    assert_eq!(signatures(&installation, &there)?.len(), 2);
    for changed in [
        there.replace("opaque=AbC", "opaque=AbD"),
        there.replace("One-Click", "Two-Click"),
        there.replace("Subject: news\n", "List-Unsubscribe: <https://evil.test>\nSubject: news\n"),
        there
            .replace("Subject: news\n", "List-Unsubscribe-Post: List-Unsubscribe=One-Click\nSubject: news\n"),
        there.replace("List-Unsubscribe-Post", "X-List-Unsubscribe-Post"),
    ] {
        assert!(changed != there && signatures(&installation, &changed).is_err(), "{changed}");
    }
    Ok(())
}

#[test]
fn what_is_converted_on_its_way_is_signed_as_it_goes() -> Result<()> {
    let port = free_port();
    let sink = Sink::start(port, &["-8"])?; // without 8BITMIME
    let (installation, _servers) = installation(port)?;
    let message = "From: alice@relay.test\r\nTo: eve@far.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nCrème brûlée\r\n";
    submit(&installation, &Mail::of(message), &["eve@far.test"])?;
    let there = sink.messages(1)?.concat();
    assert!(!there.contains("Crème"), "it was converted: {there}");
    assert_eq!(signatures(&installation, &there)?.len(), 2);
    Ok(())
}

#[test]
fn what_others_have_written_goes_on_without_a_signature_of_ours() -> Result<()> {
    let port = free_port();
    let sink = Sink::start(port, &[])?;
    let (installation, _servers) = installation(port)?;
    installation.mailstead(&["alias", "add", "away@relay.test", "eve@far.test"]).run()?;
    let smtp = installation.site().port("smtp").to_string();
    Client::new("swaks")
        .args(["--server", HOST, "--port", &smtp, "--from", "x@other.test", "--to", "away@relay.test"])
        .args(["--header", "From: alice@relay.test"])
        .run()?;
    let there = sink.messages(1)?.concat();
    assert!(there.contains("From: alice@relay.test") && !there.contains("DKIM-Signature"), "{there}");
    Ok(())
}

#[test]
fn a_report_of_ours_is_signed_with_the_keys_of_its_host() -> Result<()> {
    let port = free_port();
    let sink = Sink::start(port, &[])?;
    let (installation, _servers) = installation(port)?;
    installation.mailstead(&["dkim", "rotate", "localhost"]).run()?; // its hostname here
    let script = format!(
        "import smtplib; smtplib.SMTP('{HOST}', {}).sendmail('x@far.test', 'alice@relay.test', 'Subject: x\\r\\n\\r\\nx\\r\\n', \
         rcpt_options=['NOTIFY=SUCCESS'])",
        installation.site().port("smtp")
    );
    Client::new("python3").args(["-c", &script]).run()?;
    let report = sink.messages(1)?.concat();
    let known = keys(&installation)?;
    let [(name, _)] = known.as_slice() else { panic!("{known:?}") };
    let expected = by(name).map(|signature| signature.replace("relay.test", "localhost"));
    assert_eq!(signatures(&installation, &report)?, expected, "{report}");
    Ok(())
}
