//! Debian's Exim as another host that delivers to us.

use anyhow::Result;
use e2e::{Demo, Exim, Mail, messages_in};

#[test]
fn exim_delivers_over_verified_tls_and_its_queue_is_empty_then() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // Exim sends for root only. CI is root.
        return Ok(());
    }
    let demo = Demo::start()?;
    let site = demo.site();
    let (alice, bob) = (site.person("alice"), site.person("bob"));
    let exim = Exim::new(site.port("smtp"), &site.ca_file)?;
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\n";
    let big = line.repeat((3 << 20) / line.len());
    for (subject, body) in [("small", ".dots\n..are kept\nFrom here"), ("eight bit", "Grüße"), ("big", &big)]
    {
        let mail = Mail::new("eve@elsewhere.test", &bob.address, subject, body);
        exim.queue(&mail, "eve@elsewhere.test", &[&bob.address, &alice.address])?;
        let left = exim.deliver()?;
        assert_eq!(left.trim(), "", "{}", exim.log());
        let (_, body) = mail.as_str().split_once("\r\n\r\n").unwrap();
        for person in [alice, bob] {
            let stored = messages_in(&person.maildir)?;
            let found = stored.iter().filter(|stored| stored.ends_with(&format!("\r\n\r\n{body}")));
            let found: Vec<_> = found.collect();
            assert_eq!(found.len(), 1, "{subject}: {}", exim.log());
            assert!(found.iter().all(|it| it.contains("with ESMTPS")), "{found:?}");
        }
    }
    // It sends in chunks (K), and over TLS whose certificate it has verified.
    let log = exim.log();
    assert!(log.contains(" K ") && log.contains("CV=yes") && !log.contains("CV=no"), "{log}");
    // Whom we refuse comes back to its sender, and leaves nothing in its queue.
    let mail = Mail::new("eve@elsewhere.test", "nobody@demo.test", "unwanted", "text");
    exim.queue(&mail, &bob.address, &["nobody@demo.test"])?;
    exim.deliver()?;
    assert_eq!(exim.deliver()?.trim(), "", "{}", exim.log());
    let stored = messages_in(&bob.maildir)?;
    assert!(
        stored.iter().any(|it| it.contains("550 5.1.1") && it.contains("nobody@demo.test")),
        "{}",
        exim.log()
    );
    demo.stop()?;
    Ok(())
}
