//! `mailstead trace` tells what happened to a message, while the servers run and when they don't.

use anyhow::{Context as _, Result, ensure};
use e2e::{Client, HOST, Installation, Mail, Process};
use serde_json::Value;

use crate::relay::{Sink, bounce, is_empty, submit, wait};

fn trace(installation: &Installation, wanted: &str) -> Result<Value> {
    let client = installation.mailstead(&["trace", wanted, "--json"]);
    let (_, said) = client.run_to_code()?;
    Ok(serde_json::from_str(&said.output)?)
}

/// The kinds of the events of the only message, once there are as many.
fn kinds(installation: &Installation, wanted: &str, count: usize) -> Result<Vec<String>> {
    wait(|| {
        let found = trace(installation, wanted)?;
        ensure!(found.pointer("/messages/0").is_some() && found.pointer("/messages/1").is_none(), "{found}");
        let events = found.pointer("/messages/0").and_then(Value::as_array).context("no events")?;
        ensure!(events.len() == count, "{found}");
        let kind = |event: &Value| Some(event.get("event")?.as_str()?.to_owned());
        events.iter().map(|event| kind(event).context("no kind")).collect()
    })
}

fn domain(port: u16) -> Result<(Installation, Process)> {
    let more = format!("[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n");
    let installation = Installation::new("trace.test", &["alice", "bob"], &more)?;
    let servers = installation.serve()?;
    Ok((installation, servers))
}

#[test]
fn a_message_is_traced_from_its_client_to_the_mailbox_and_to_the_bounce() -> Result<()> {
    let port = e2e::free_port();
    let _sink = Sink::start(port, &["-f", "RCPT", "-B", "550 5.1.1 Nobody of that name"])?;
    let (installation, servers) = domain(port)?;
    let mail = Mail::new("alice@trace.test", "eve@elsewhere.test", "traced", "text");
    submit(&installation, &mail, &["eve@elsewhere.test", "bob@trace.test"])?;
    bounce(&installation)?;
    is_empty(&installation)?;
    // The message, its attempt, the report, and the report's way.
    let expected = ["message", "attempt", "queued", "attempt"];
    assert_eq!(kinds(&installation, "EVE@elsewhere.test", 4)?, expected);
    let found = trace(&installation, "eve@elsewhere.test")?;
    let message = found.pointer("/messages/0/0").unwrap();
    let (id, queue_id) = (message["message_id"].as_str().unwrap(), message["queue_id"].as_str().unwrap());
    for wanted in [id, id.trim_matches(['<', '>']), queue_id, message["id"].as_str().unwrap()] {
        assert_eq!(kinds(&installation, wanted, 4)?, expected, "{wanted}");
    }
    assert_eq!((&message["account"], &message["protocol"]), (&"alice@trace.test".into(), &"ESMTPSA".into()));
    assert_eq!(message["accounts"], serde_json::json!(["bob@trace.test"]));

    servers.stop(nix::sys::signal::Signal::SIGTERM)?;
    let told = installation.mailstead(&["trace", queue_id]).run()?.output;
    for part in [
        &format!("queued as {queue_id} for eve@elsewhere.test"),
        "delivered to INBOX of bob@trace.test",
        "logged in as alice@trace.test",
        "attempt 1 for eve@elsewhere.test: given up: ",
        "said: 550 5.1.1 Nobody of that name",
        "a report goes to alice@trace.test",
        "delivered: 2.1.5 delivered to the mailbox",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    Ok(())
}

/// What waits is shown with when it is tried next, and is found in the queue where the event log is gone.
#[test]
fn what_is_still_in_the_queue_is_told_too() -> Result<()> {
    let port = e2e::free_port();
    let _sink = Sink::start(port, &["-r", "RCPT"])?;
    let (installation, servers) = domain(port)?;
    let mail = Mail::new("alice@trace.test", "eve@elsewhere.test", "waits", "text");
    submit(&installation, &mail, &["eve@elsewhere.test"])?;
    assert_eq!(kinds(&installation, "eve@elsewhere.test", 2)?, ["message", "attempt"]);
    let found = trace(&installation, "eve@elsewhere.test")?;
    let recipient = found.pointer("/queue/0/recipients/0").context("not in the queue")?;
    assert_eq!((&recipient["address"], &recipient["attempts"]), (&"eve@elsewhere.test".into(), &1.into()));
    let queue_id = found.pointer("/messages/0/0/queue_id").and_then(Value::as_str).unwrap();
    let told = installation.mailstead(&["trace", "alice@trace.test"]).run()?.output;
    for part in
        [&format!("in the queue now: {queue_id}: from alice@trace.test"), "pending, 1 attempts, next 2"]
    {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    servers.stop(nix::sys::signal::Signal::SIGTERM)?;
    std::fs::remove_dir_all(installation.data().join("events"))?;
    let told = installation.mailstead(&["trace", "Alice@trace.test"]).run()?.output;
    assert!(told.starts_with("  in the queue now: "), "{told}");
    Ok(())
}

#[test]
fn what_was_refused_is_traced_too_and_a_kill_does_not_hurt() -> Result<()> {
    let (installation, servers) = domain(e2e::free_port())?;
    let swaks = |to: &str| {
        let port = installation.site().port("smtp").to_string();
        Client::new("swaks").args([
            "--server",
            HOST,
            "--port",
            &port,
            "--from",
            "eve@elsewhere.test",
            "--to",
            to,
        ])
    };
    let (code, _) = swaks("nobody@trace.test").run_to_code()?;
    assert_ne!(code, Some(0));
    assert_eq!(kinds(&installation, "nobody@trace.test", 1)?, ["refusal"]);
    servers.signal(nix::sys::signal::Signal::SIGKILL)?;
    drop(servers);
    assert_eq!(kinds(&installation, "nobody@trace.test", 1)?, ["refusal"]);
    let told = installation.mailstead(&["trace", "eve@elsewhere.test"]).run()?.output;
    assert!(
        told.contains("recipient nobody@trace.test refused, of a message from eve@elsewhere.test: 550 5.1.1"),
        "{told}"
    );
    let _servers = installation.serve()?;
    swaks("bob@trace.test").run()?;
    assert_eq!(kinds(&installation, "bob@trace.test", 1)?, ["message"]);
    let (code, _) = installation.mailstead(&["trace", "nobody@elsewhere.test"]).run_to_code()?;
    assert_eq!(code, Some(1), "nothing is known");
    Ok(())
}

#[test]
fn logins_that_failed_are_traced_by_account_and_by_address() -> Result<()> {
    let (installation, _servers) = domain(e2e::free_port())?;
    let bob = installation.site().person("bob");
    for (scheme, listener) in [("imap", "imap"), ("pop3", "pop3"), ("smtp", "submission")] {
        let url = format!("{scheme}://{HOST}:{}/", installation.site().port(listener));
        let user = format!("{}:wrong", bob.address);
        let (code, said) =
            Client::new("curl").args(["--silent", "--user", &user, &url, "-l"]).run_to_code()?;
        ensure!(code == Some(67), "{said:?}");
    }
    for wanted in [bob.address.as_str(), "127.0.0.1"] {
        wait(|| {
            let (_, said) = installation.mailstead(&["trace", wanted]).run_to_code()?;
            for listener in ["imap", "pop3", "submission"] {
                let line = format!("127.0.0.1 did not log in to {listener} as {}: ", bob.address);
                ensure!(said.output.contains(&line), "{line} is not in\n{}", said.output);
            }
            Ok(())
        })?;
    }
    Ok(())
}
