//! `mailstead serve`: what happens when servers die, when the supervisor is told to stop, and when the config changes.

use anyhow::Result;
use e2e::{Installation, Process, Site, Status, messages_in, program, python};
use nix::sys::signal::Signal;
use serde_json::json;

fn installation() -> Result<(Installation, Process)> {
    let installation = Installation::new("supervised.test", &["alice", "bob"], "")?;
    let servers = installation.serve()?;
    Ok((installation, servers))
}

/// Kills one server again and again while mail comes in.
fn storm(server: &str) -> Result<()> {
    let (installation, servers) = installation()?;
    let more = json!({"server": server, "mailstead": program("mailstead"), "config": installation.config()});
    python("storm.py", installation.site(), more)?;
    servers.stop(Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn killing_smtp_in_a_storm_loses_no_acknowledged_message() -> Result<()> {
    storm("smtp")
}

#[test]
fn killing_imap_in_a_storm_loses_no_acknowledged_message() -> Result<()> {
    storm("imap")
}

#[test]
fn killing_pop3_in_a_storm_is_noticed_by_nobody_else() -> Result<()> {
    storm("pop3")
}

#[test]
fn killing_the_queue_in_a_storm_is_noticed_by_nobody_else() -> Result<()> {
    storm("queue")
}

#[test]
fn sigterm_takes_no_new_client_and_finishes_what_is_in_flight() -> Result<()> {
    let (installation, mut servers) = installation()?;
    python("drain.py", installation.site(), servers.id().as_raw().into())?;
    let (status, log) = servers.wait()?;
    assert!(status.success(), "{status}; {log}");
    let stored = messages_in(&installation.site().person("bob").maildir)?;
    for subject in ["in flight", "appended in flight"] {
        let found = stored.iter().filter(|message| message.contains(&format!("Subject: {subject}\r\n")));
        assert_eq!(found.count(), 1, "{subject}: {stored:?}");
    }
    Ok(())
}

#[test]
fn a_reload_with_a_bad_config_keeps_the_old_one_and_says_why() -> Result<()> {
    let (installation, servers) = installation()?;
    let status = || installation.mailstead(&["status", "--json"]);
    let pids = |status: &Status| status.servers.iter().map(|server| server.pid).collect::<Vec<_>>();
    let before = Status::ask(status())?;
    installation.write_config("[smtp]\nmax_errors = \"many\"\n[limits]\nmax_conections = 5\n")?;
    servers.signal(Signal::SIGHUP)?;
    servers.wait_for_log("the servers go on with the old one", 1)?;
    let log = servers.log();
    for told in ["smtp.max_errors = \"many\"", "max_conections", "did you mean", "mailstead.toml:"] {
        assert!(log.contains(told), "{told} is missing:\n{log}");
    }
    installation.write_config("")?;
    assert_eq!(pids(&Status::ask(status())?), pids(&before));
    assert_eq!(greeting(installation.site(), "smtp")?.get(..3), Some("220"));
    Ok(())
}

#[test]
fn a_reload_with_a_good_config_takes_over_without_refusing_a_client() -> Result<()> {
    let (installation, servers) = installation()?;
    installation.write_config("[smtp]\nmax_message_size = \"70000 B\"\n")?;
    let more = json!({"pid": servers.id().as_raw(), "mailstead": program("mailstead"), "config": installation.config()});
    python("reload.py", installation.site(), more)?;
    let features = ehlo(installation.site())?;
    assert!(features.contains("SIZE 70000\r\n"), "the new config is in force: {features}");
    Ok(())
}

fn greeting(site: &Site, name: &str) -> Result<String> {
    let stream = std::net::TcpStream::connect((e2e::HOST, site.port(name)))?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line)?;
    Ok(line)
}

fn ehlo(site: &Site) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((e2e::HOST, site.port("smtp")))?;
    stream.write_all(b"EHLO client.e2e.test\r\nQUIT\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

#[test]
fn a_supervisor_that_is_killed_leaves_no_server_behind() -> Result<()> {
    let (_installation, mut servers) = installation()?;
    servers.signal(Signal::SIGKILL)?;
    // Its log ends once the last server is gone.
    let (status, _) = servers.wait()?;
    assert!(!status.success());
    Ok(())
}
