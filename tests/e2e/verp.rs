//! Newsletters whose recipients have return addresses of their own (VERP), to a real Postfix that takes them first and sends them back later.

use anyhow::{Context, Result};
use e2e::{Installation, Postfix, free_port, program, python};
use serde_json::json;
use testkit::TestDns;

/// Only root can start Postfix; CI is root.
#[test]
fn what_comes_back_later_under_another_name_is_counted_for_the_right_recipient() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let dns = TestDns::start("elsewhere.test. MX 10 mx.elsewhere.test.\nmx.elsewhere.test. A 127.0.0.1\n")?;
    let port = free_port();
    let more = format!(
        "[dns]\nservers = [\"{}\"]\n[relay]\nport = {port}\n\
         [queue]\nverp = [\"news@relay.test\"]\nbulk = [\"news@relay.test\"]\n[queue.suppression]\nbounces = 2\n",
        dns.address
    );
    let installation = Installation::new("relay.test", &["news"], &more)?;
    let servers = installation.serve()?;
    let reports = installation.site().port("smtp");
    // Whoever left is an alias for somebody who does not exist: known at RCPT, and sent back later in the other's name.
    let postfix = Postfix::start(port, |folder| {
        Ok(format!(
            "myhostname = mx.elsewhere.test\nvirtual_mailbox_domains = elsewhere.test\nvirtual_mailbox_base = {}\n\
             virtual_mailbox_maps = inline:{{ {{ eve@elsewhere.test = eve/ }} }}\nvirtual_uid_maps = static:65534\n\
             virtual_gid_maps = static:65534\nvirtual_alias_maps = inline:{{ {{ gone@elsewhere.test = x1234@elsewhere.test }} }}\n\
             relayhost = [127.0.0.1]:{reports}\n",
            folder.display()
        ))
    })?;
    let told = json!({ "mailstead": program("mailstead"), "config": installation.config() });
    python("verp.py", installation.site(), told)
        .with_context(|| format!("{}\n{}", postfix.log(), servers.log()))?;
    Ok(())
}
