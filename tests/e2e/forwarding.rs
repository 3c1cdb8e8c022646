//! What goes on to other domains, through a smarthost, and comes back; lists; what an account sends. With swaks and Python's smtplib.

use anyhow::{Result, ensure};
use e2e::{Client, HOST, Installation, Process, Site, free_port, messages_in, python};
use serde_json::json;

use crate::relay::{Sink, installation, wait};

/// swaks' exit code for a refused RCPT.
const RCPT_REFUSED: i32 = 24;

fn setup() -> Result<(Sink, Installation, Process)> {
    let port = free_port();
    let sink = Sink::start(port, &[])?;
    let (installation, servers) = installation(port)?;
    Ok((sink, installation, servers))
}

fn swaks(site: &Site, from: &str, to: &str) -> Client {
    let port = site.port("smtp").to_string();
    Client::new("swaks").args(["--server", HOST, "--port", &port, "--helo", "client.e2e.test"]).args([
        "--from",
        from,
        "--to",
        to,
        "--body",
        "hello",
        "--header",
        "Subject: forwarded",
    ])
}

/// What smtp-sink notes of the envelope, such as `X-Mail-Args`.
fn noted(message: &str, field: &str) -> Option<String> {
    let line = message.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))?;
    Some(line.split(['<', '>']).nth(1)?.to_owned())
}

#[test]
fn what_is_forwarded_comes_from_a_return_address_of_ours_whose_bounce_finds_back() -> Result<()> {
    let (sink, installation, _servers) = setup()?;
    let site = installation.site();
    let alice = &site.person("alice").address;
    installation.mailstead(&["account", "forward", alice, "alice@elsewhere.test"]).run()?;
    swaks(site, "eve@stranger.test", alice).run()?;
    let forwarded = sink.messages(1)?.remove(0);
    let back = noted(&forwarded, "X-Mail-Args").unwrap_or_default();
    ensure!(back.starts_with("SRS0=") && back.ends_with("=stranger.test=eve@relay.test"), "{forwarded}");
    ensure!(forwarded.contains(&format!("Delivered-To: {alice}")), "{forwarded}");
    ensure!(messages_in(&site.person("alice").maildir)?.len() == 1, "she keeps a copy");

    swaks(site, "<>", &back).run()?;
    let all = sink.messages(2)?;
    ensure!(all.iter().any(|it| noted(it, "X-Rcpt-Args").as_deref() == Some("eve@stranger.test")), "{all:?}");
    for (from, to) in [("<>", back.replace("eve@", "adam@")), ("eve@stranger.test", back.clone())] {
        let (code, said) = swaks(site, from, &to).run_to_code()?;
        ensure!(code == Some(RCPT_REFUSED) && said.output.contains("550 5.7.1"), "{said:?}");
    }
    Ok(())
}

#[test]
fn a_list_and_the_rights_of_those_who_send_are_kept_by_the_running_servers() -> Result<()> {
    let (sink, installation, _servers) = setup()?;
    let site = installation.site();
    let (alice, bob) = (&site.person("alice").address, &site.person("bob").address);
    let mailstead = |args: &[&str]| installation.mailstead(args).run();
    mailstead(&["list", "add", "staff@relay.test", bob, "eve@elsewhere.test", "--owner", alice])?;
    mailstead(&["account", "sent-copy", bob, "on"])?;
    mailstead(&["account", "send-as", bob, "office@relay.test"])?;
    let lists = mailstead(&["list", "list", "--json"])?;
    ensure!(lists.output.contains(r#""list":"staff@relay.test""#), "{lists:?}");
    python("forwarding.py", site, json!({}))?;
    let posted = sink.messages(1)?.remove(0);
    ensure!(noted(&posted, "X-Mail-Args").as_deref() == Some("staff-bounces@relay.test"), "{posted}");
    ensure!(posted.contains("List-Id: <staff.relay.test>"), "{posted}");
    // His own copy as a member, by way of the queue.
    wait(|| {
        let inbox = messages_in(&site.person("bob").maildir)?;
        ensure!(inbox.iter().any(|it| it.contains("Delivered-To: staff@relay.test")), "{inbox:?}");
        Ok(())
    })
}
