//! Bytes that no honest client sends.

use anyhow::Result;
use e2e::{Installation, program, python};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn any_bytes_on_any_port_cost_little_and_harm_nobody() -> Result<()> {
    let more = "[smtp]\nmax_recipients = 100\nmax_message_size = \"20 MiB\"\n";
    let installation = Installation::new("hostile.test", &["alice", "bob"], more)?;
    let servers = installation.serve()?;
    let more = json!({
        "mailstead": program("mailstead"),
        "config": installation.config(),
        "most_growth_mib": 64,
        // Two passwords are looked at in one moment on two processors, and what is given back is given back a moment later.
        "most_growth_by_logins_mib": 160,
    });
    let said = python("bad_input.py", installation.site(), more)?;
    println!("{}", said.output);
    servers.stop(Signal::SIGTERM)?;
    Ok(())
}
