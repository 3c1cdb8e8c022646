//! swaks as a proxy that speaks for its client.

use anyhow::{Result, ensure};
use e2e::{Client, HOST, Installation, Site, messages_in};

/// As bob, whose password a proxy need not know.
fn swaks(site: &Site) -> Client {
    let bob = &site.person("bob").address;
    Client::new("swaks")
        .args(["--server", HOST, "--port", &site.port("submission").to_string(), "--from", bob, "--to", bob])
        .args(["--xclient-addr", "192.0.2.9", "--xclient-name", "client.example.net", "--xclient-login", bob])
        .args(["--xclient-helo", "client.example.net"])
}

#[test]
fn a_proxy_that_the_config_names_speaks_for_its_client() -> Result<()> {
    let installation = Installation::new("example.test", &["bob"], "[smtp]\nxclient = [\"127.0.0.1\"]\n")?;
    let _server = installation.serve()?;
    let site = installation.site();
    swaks(site).run()?;
    let stored = messages_in(&site.person("bob").maildir)?;
    let from = "\r\nReceived: from client.example.net ([192.0.2.9])\r\n\tby ";
    ensure!(stored.len() == 1 && stored.iter().all(|message| message.contains(from)), "{stored:?}");
    Ok(())
}
