//! What the operator of a sender sees, and does by hand.

use anyhow::{Context, Result, ensure};
use e2e::{Client, Installation, free_port};
use testkit::TestDns;

use crate::relay::wait;

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
    run(&["queue", "release", "--all"])?;
    assert_eq!(run(&scheduled)?.matches("@elsewhere.test").count(), 2);
    assert_eq!(run(&["queue", "remove", "--recipient", "eve@elsewhere.test"])?, "1 message removed\n");
    assert_eq!(run(&["queue", "release", "--early", "--state", "scheduled"])?, "1 message released\n");
    wait(|| {
        let listed = run(&["queue", "list", "--state", "deferred"])?;
        ensure!(listed.contains("bob@elsewhere.test"), "{listed}");
        Ok(())
    })
}
