//! Debian's Postfix as the smarthost, and as the mail host of a domain.

use std::path::Path;

use anyhow::{Context, Result};
use e2e::{Installation, Mail, NOBODY, Postfix, free_port, messages_in};
use testkit::TestDns;

use crate::relay::{bounce, is_empty, submit, wait};

/// One that takes mail for eve@elsewhere.test, and for nobody else there, over TLS.
fn smarthost(port: u16, certificates: &Path) -> Result<Postfix> {
    Postfix::start(port, |folder| {
        Postfix::furnish(folder, certificates)?;
        let shown = folder.display();
        Ok(format!(
            "myhostname = smarthost.test\nvirtual_mailbox_domains = elsewhere.test\nvirtual_mailbox_base = {shown}/mail\n\
             virtual_mailbox_maps = inline:{{ {{ eve@elsewhere.test = eve/ }} }}\n\
             virtual_uid_maps = static:{NOBODY}\nvirtual_gid_maps = static:{NOBODY}\n\
             smtpd_tls_security_level = encrypt\nsmtpd_tls_chain_files = {shown}/etc/key.pem, {shown}/etc/cert.pem\n"
        ))
    })
}

fn eve(postfix: &Postfix) -> Result<Vec<String>> {
    messages_in(&postfix.folder().join("mail/eve"))
}

#[test]
fn postfix_is_found_by_mx_and_gets_mail_over_tls_that_nobody_verifies() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // Postfix starts as root only. CI is root.
        return Ok(());
    }
    // The preferred host is down.
    let zone = "elsewhere.test. MX 10 down.elsewhere.test.\nelsewhere.test. MX 20 mx.elsewhere.test.\n\
                down.elsewhere.test. A 127.0.0.66\nmx.elsewhere.test. A 127.0.0.1\nnull.test. MX 0 .\n";
    let (dns, port) = (TestDns::start(zone)?, free_port());
    let more = format!("[dns]\nservers = [\"{}\"]\n[relay]\nport = {port}\n", dns.address);
    let installation = Installation::new("relay.test", &["alice", "bob"], &more)?;
    let _servers = installation.serve()?;
    let postfix = smarthost(port, &installation.data().join("tls"))?;
    let mail = Mail::new("alice@relay.test", "eve@elsewhere.test", "by MX", ".first\n..second\nGrüße");
    submit(&installation, &mail, &["eve@elsewhere.test"])?;
    let there = wait(|| eve(&postfix)?.pop().context("Eve has no mail"))?;
    assert!(there.contains("Return-Path: <alice@relay.test>") && there.contains("with ESMTPS"), "{there}");
    is_empty(&installation)?;
    submit(&installation, &mail, &["eve@null.test"])?;
    let bounce = bounce(&installation)?;
    assert!(bounce.contains("Status: 5.1.10") && bounce.contains("null MX"), "{bounce}");
    is_empty(&installation)?;
    assert_eq!(eve(&postfix)?.len(), 1);
    Ok(())
}

#[test]
fn postfix_takes_mail_over_verified_tls_and_whom_it_does_not_know_comes_back() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // Postfix starts as root only. CI is root.
        return Ok(());
    }
    let port = free_port();
    let more =
        format!("[relay]\nsmarthost = \"localhost:{port}\"\ntls = \"required\"\nca_file = \"tls/ca.pem\"\n");
    let installation = Installation::new("relay.test", &["alice", "bob"], &more)?;
    let _servers = installation.serve()?;
    let postfix = smarthost(port, &installation.data().join("tls"))?;
    let mail = Mail::new(
        "alice@relay.test",
        "eve@elsewhere.test",
        "to Postfix",
        ".first\n..second\nGrüße\nFrom here",
    );
    submit(&installation, &mail, &["eve@elsewhere.test", "nobody@elsewhere.test"])?;
    let there = wait(|| eve(&postfix)?.pop().context("Eve has no mail"))?;
    let (_, body) = mail.as_str().split_once("\r\n\r\n").context("no body")?;
    assert!(there.ends_with(&format!("\n\n{}", body.replace("\r\n", "\n"))), "{there}");
    assert!(there.contains("Return-Path: <alice@relay.test>") && there.contains("with ESMTPS"), "{there}");
    let bounce = bounce(&installation)?;
    for part in [
        "Final-Recipient: rfc822; nobody@elsewhere.test",
        "Status: 5.1.1",
        "unknown in virtual mailbox table",
    ] {
        assert!(bounce.contains(part), "{part} is missing:\n{bounce}");
    }
    assert!(!bounce.contains("Final-Recipient: rfc822; eve@elsewhere.test"), "{bounce}");
    is_empty(&installation)?;
    assert_eq!(eve(&postfix)?.len(), 1);
    Ok(())
}
