//! What newsletters need: a return address for each of very many recipients, and complaints (ARF) that are obeyed.

use anyhow::{Context as _, Result};
use e2e::{Installation, free_port, program, python_of};
use serde_json::json;
use testkit::{OnSmallDisk, SmallDisk, TestDns};

/// The domain that complains is proven by SPF, which is the same to DMARC here.
const ZONE: &str = "elsewhere.test. MX 10 mx.elsewhere.test.\nelsewhere.test. TXT \"v=spf1 ip4:127.0.0.1 -all\"\n\
                    _dmarc.elsewhere.test. TXT \"v=DMARC1; p=none\"\nmx.elsewhere.test. A 127.0.0.1\n";

/// Runs a program of `tests/python` over a domain that sends newsletters by a smarthost which the program is.
fn run(script: &str) -> Result<()> {
    let (dns, port) = (TestDns::start(ZONE)?, free_port());
    let more = format!(
        "[dns]\nservers = [\"{}\"]\n[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n\
         [queue]\nverp = [\"news@relay.test\"]\nbulk = [\"news@relay.test\"]\n\
         [reports]\naddresses = [\"feedback@relay.test\"]\n[smtp.verdicts]\ntrusted = []\ntarpit = \"0s\"\n",
        dns.address
    );
    let installation = Installation::new("relay.test", &["news", "feedback"], &more)?;
    let servers = installation.serve()?;
    let told =
        json!({ "smarthost": port, "mailstead": program("mailstead"), "config": installation.config() });
    // Debian's Python has aiosmtpd and dkimpy.
    python_of("/usr/bin/python3", script, installation.site(), told).with_context(|| servers.log())?;
    Ok(())
}

/// On a disk in memory, where one may be made: each of the thousand outcomes waits for the disk, which is not what is to be proved.
#[test]
fn a_newsletter_to_a_thousand_has_a_return_address_for_each_and_reaches_each_once() -> Result<()> {
    match SmallDisk::run("newsletter::reaches_a_thousand", "96m")? {
        OnSmallDisk::Passed => Ok(()),
        OnSmallDisk::NotHere(_) => run("newsletter.py"),
    }
}

#[test]
#[ignore = "what another test runs on a small disk"]
fn reaches_a_thousand() -> Result<()> {
    if SmallDisk::here().is_some() { run("newsletter.py") } else { Ok(()) }
}

/// RFC 5965
#[test]
fn who_complains_by_a_feedback_report_is_on_the_suppression_list_and_refused_at_rcpt() -> Result<()> {
    run("complaint.py")
}
