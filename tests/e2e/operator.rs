//! What the operator of a sender sees, and does by hand.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Client, Installation, Mail, free_port, program};
use serde_json::Value;
use testkit::TestDns;

use crate::relay::{submit, wait};

#[test]
fn a_listing_of_our_own_address_shows_in_the_log_the_status_and_the_metrics() -> Result<()> {
    let dns =
        TestDns::start("1.2.0.192.bl.test. A 127.0.0.2\n1.2.0.192.bl.test. TXT \"spam came from here\"\n")?;
    let port = free_port();
    let more = format!(
        "[dns]\nservers = [\"{}\"]\n[reputation]\nlists = [\"bl.test\"]\naddresses = [\"192.0.2.1\"]\n\
         [metrics]\nlisten = [\"127.0.0.1:{port}\"]\n",
        dns.address
    );
    let installation = Installation::new("relay.test", &["alice"], &more)?;
    let servers = installation.serve()?;
    wait(|| {
        let status = installation.mailstead(&["status"]).run()?.output;
        let line = status.lines().find(|line| line.contains("192.0.2.1")).context(status.clone())?;
        ensure!(line.contains("bl.test"), "{status}");
        let url = format!("http://127.0.0.1:{port}/metrics");
        let metrics = Client::new("curl").args(["--silent", "--show-error", &url]).run()?.output;
        let listed = "mailstead_blocklist_listed{address=\"192.0.2.1\",list=\"bl.test\"} 1\n";
        ensure!(metrics.contains(listed), "{metrics}");
        ensure!(
            servers.log().contains("192.0.2.1") && servers.log().contains("spam came from here"),
            "{}",
            servers.log()
        );
        Ok(())
    })
}

/// RFC 4865: no standard lets a sender cancel what it holds back. The operator does, or lets it go.
#[test]
fn what_a_sender_holds_back_is_found_kept_and_cancelled_by_the_operator() -> Result<()> {
    let installation = Installation::new("relay.test", &["alice"], "")?;
    let _servers = installation.serve()?;
    let alice = installation.site().person("alice");
    for to in ["bob@elsewhere.test", "eve@elsewhere.test"] {
        let script = format!(
            "import smtplib, ssl\ns = smtplib.SMTP('localhost', {})\ns.starttls(context=ssl.create_default_context(cafile='{}'))\n\
             s.login('{sender}', '{}')\nassert s.sendmail('{sender}', ['{to}'], 'Subject: x\\r\\n\\r\\nx\\r\\n', ['HOLDFOR=3600']) == {{}}\n",
            installation.site().port("submission"),
            installation.site().ca_file.display(),
            alice.password,
            sender = alice.address,
        );
        Client::new("python3").args(["-c", &script]).run()?;
    }
    let run = |args: &[&str]| Ok::<_, anyhow::Error>(installation.mailstead(args).run()?.output);
    let sender = ["--sender", "alice@relay.test"];
    let scheduled = ["queue", "list", "--state", "scheduled"];
    assert_eq!(run(&[&scheduled[..], &sender].concat())?.matches("@elsewhere.test").count(), 2);
    // Neither a retry nor a release lets it go, unless that is meant.
    run(&["queue", "retry", "--all"])?;
    assert_eq!(run(&["queue", "release", "--all"])?, "0 messages released\n");
    assert_eq!(run(&scheduled)?.matches("@elsewhere.test").count(), 2);
    assert_eq!(run(&["queue", "remove", "--recipient", "eve@elsewhere.test"])?, "1 message removed\n");
    assert_eq!(run(&["queue", "release", "--early", "--state", "scheduled"])?, "1 message released\n");
    wait(|| {
        let listed = run(&["queue", "list", "--state", "deferred"])?;
        ensure!(listed.contains("bob@elsewhere.test"), "{listed}");
        Ok(())
    })
}

#[test]
fn what_is_said_is_done_to_every_message_that_is_named_and_what_is_not_there_or_held_is_told() -> Result<()> {
    let installation = Installation::new("relay.test", &["alice"], "")?;
    let _servers = installation.serve()?;
    let alice = installation.site().person("alice");
    for to in ["bob@elsewhere.test", "eve@elsewhere.test"] {
        submit(&installation, &Mail::new(&alice.address, to, "x", "x"), &[to])?;
    }
    let ask = |args: &[&str]| installation.mailstead(args).run_to_code();
    let listed: Value = serde_json::from_str(&ask(&["queue", "list", "--json"])?.1.output)?;
    let id = |place: usize| listed[place]["id"].as_str().context("a message");
    let (one, other) = (id(0)?, id(1)?);
    for told in ["2 messages held\n", "0 messages held\n"] {
        assert_eq!(ask(&["queue", "hold", one, other])?.1.output, told);
    }
    let (code, missing) = ask(&["queue", "release", one, "nonesuch"])?;
    assert_eq!((code, missing.output.as_str()), (Some(1), "1 message released\n"));
    assert!(missing.errors.contains("there is no message nonesuch in the queue"), "{missing:?}");
    let retried = ask(&["queue", "retry", other])?.1;
    assert!(retried.errors.contains("what is held stays so"), "{retried:?}");
    assert_eq!(ask(&["queue", "remove", one, other])?.1.output, "2 messages removed\n");
    // What changed nothing is no event.
    let trace = ask(&["trace", other])?.1.output;
    assert_eq!(trace.matches(&format!("{other}: an operator's hold")).count(), 1, "{trace}");
    let (code, said) = ask(&["queue", "reroute", other])?;
    assert!(code == Some(2) && said.errors.contains("--to <HOST[:PORT]>|--back"), "{said:?}");
    for wrong in [&["trace", "<>"][..], &["report", "--since", "1h", "--until", "2h"]] {
        assert_eq!(ask(wrong)?.0, Some(2), "{wrong:?}");
    }
    Ok(())
}

/// None of them holds what mail can't do without.
#[test]
fn databases_that_are_damaged_are_set_aside_and_named_and_mail_goes_on() -> Result<()> {
    let more = "[smtp.greylist]\nenabled = true\n[reports]\naddresses = [\"alice@relay.test\"]\n";
    let installation = Installation::new("relay.test", &["alice"], more)?;
    let names = ["suppression.sqlite", "greylist.sqlite", "places.sqlite", "reports.sqlite"];
    let paths = names.map(|name| installation.data().join(name));
    let queue = installation.data().join("queue/queue.sqlite");
    std::fs::create_dir_all(queue.parent().context("a folder")?)?;
    for path in paths.iter().chain([&queue]) {
        std::fs::write(path, "this is no database, whoever put it here")?;
    }
    let _servers = installation.serve()?;
    installation
        .site()
        .deliver("alice", &Mail::new("stranger@elsewhere.test", "alice@relay.test", "x", "x"))?;
    let alice = installation.site().person("alice");
    let script = format!(
        "import smtplib, ssl\ns = smtplib.SMTP('localhost', {})\ns.starttls(context=ssl.create_default_context(cafile='{}'))\n\
         s.login('{sender}', '{}')\nassert s.sendmail('{sender}', ['bob@elsewhere.test'], 'Subject: x\\r\\n\\r\\nx\\r\\n') == {{}}\n",
        installation.site().port("submission"),
        installation.site().ca_file.display(),
        alice.password,
        sender = alice.address,
    );
    Client::new("python3").args(["-c", &script]).run()?;
    wait(|| {
        let status = installation.mailstead(&["status"]).run()?.output;
        let is_named = |path: &std::path::PathBuf| status.contains(&format!("{}.damaged", path.display()));
        ensure!(paths.iter().all(is_named) && status.contains("damaged queue.sqlite"), "{status}");
        let queued = installation.mailstead(&["queue", "list"]).run()?.output;
        ensure!(queued.contains("bob@elsewhere.test"), "{queued}");
        Ok(())
    })
}

/// As a command that was stopped (Ctrl-Z) in the midst of a change keeps it.
#[test]
fn who_keeps_the_turn_to_write_to_the_queue_holds_up_no_look_at_it_and_is_named() -> Result<()> {
    let installation = Installation::new("relay.test", &["alice"], "")?;
    let servers = installation.serve()?;
    let alice = installation.site().person("alice");
    let script = format!(
        "import smtplib, ssl\ns = smtplib.SMTP('localhost', {})\ns.starttls(context=ssl.create_default_context(cafile='{}'))\n\
         s.login('{sender}', '{}')\nassert s.sendmail('{sender}', ['bob@elsewhere.test'], 'Subject: x\\r\\n\\r\\nx\\r\\n', ['HOLDFOR=3600']) == {{}}\n",
        installation.site().port("submission"),
        installation.site().ca_file.display(),
        alice.password,
        sender = alice.address,
    );
    Client::new("python3").args(["-c", &script]).run()?;
    let turn = File::options().write(true).open(installation.data().join("queue/queue.turn"))?;
    turn.lock()?;
    for look in [&["queue", "list"][..], &["queue", "list", "--json"], &["trace", "bob@elsewhere.test"]] {
        let finished = installation.mailstead(look).run()?;
        ensure!(finished.output.contains("bob@elsewhere.test") && finished.errors.is_empty(), "{finished:?}");
    }
    installation.mailstead(&["status"]).run()?;
    let mut holding = Command::new(program("mailstead"))
        .args(["queue", "hold", "--all"])
        .env("MAILSTEAD_CONFIG", installation.config())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(holding.stderr.take().context("its standard error")?).lines();
    let waits = said.next().context("it says nothing")??;
    let named = format!("process {} (`", std::process::id());
    ensure!(
        waits.contains("waiting for the turn to write to the queue") && waits.contains(&named),
        "{waits}"
    );
    turn.unlock()?;
    ensure!(holding.wait()?.success());
    let held = installation.mailstead(&["queue", "list", "--state", "held"]).run()?.output;
    ensure!(held.contains("bob@elsewhere.test"), "{held}\n{}", servers.log());
    Ok(())
}
