//! A farm of mail hosts with all the faults that there are, on loopback addresses with a real DNS server.

use anyhow::Result;
use e2e::{Installation, free_port, program, python, python_of};
use serde_json::json;
use testkit::TestDns;

/// As `farm.py` has them, each at an address of its own.
const HOSTS: [&str; 12] = [
    "willing",
    "greylists",
    "defers",
    "refuses",
    "spam",
    "fills",
    "drops",
    "stalls",
    "lies",
    "lackstls",
    "spoilstls",
    "wrongcert",
];

#[test]
fn each_fault_of_a_mail_host_has_an_outcome_that_sender_and_operator_can_read() -> Result<()> {
    let addresses: Vec<String> = (1..=HOSTS.len()).map(|number| format!("127.0.3.{number}")).collect();
    let records = HOSTS
        .iter()
        .zip(&addresses)
        .map(|(name, address)| format!("{name}.test. MX 10 mx.{name}.test.\nmx.{name}.test. A {address}\n"));
    let (dns, port) = (TestDns::start(&records.collect::<String>())?, free_port());
    let more = format!(
        "[dns]\nservers = [\"{}\"]\n[relay]\nport = {port}\n[limits]\ndrain_timeout = \"1s\"\n\
         [queue]\nretry_min = \"1s\"\nretry_max = \"1s\"\nexpire_after = \"30s\"\nwarn_after = \"0s\"\n",
        dns.address
    );
    let installation = Installation::new("farm.test", &["alice"], &more)?;
    let servers = installation.serve()?;
    let told = json!({
        "port": port, "addresses": addresses, "mailstead": program("mailstead"), "config": installation.config(),
    });
    // Debian's Python has aiosmtpd.
    python_of("/usr/bin/python3", "farm.py", installation.site(), told)?;
    servers.stop(nix::sys::signal::Signal::SIGTERM)?;
    Ok(())
}

/// Twenty seconds here; by hand as long as `MAILSTEAD_SOAK_SECONDS` says, up to a minute and a half.
#[test]
fn killing_anything_at_any_moment_loses_no_message_and_doubles_only_what_was_in_flight() -> Result<()> {
    let port = free_port();
    let more = format!(
        "[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n[queue]\nretry_min = \"1s\"\nretry_max = \"1s\"\n"
    );
    let installation = Installation::new("farm.test", &["alice"], &more)?;
    let told = json!({
        "smarthost": port, "mailstead": program("mailstead"), "config": installation.config(), "seconds": 20,
        "data": installation.data(),
    });
    python("soak.py", installation.site(), told)?;
    Ok(())
}
