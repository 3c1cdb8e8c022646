//! Mail from elsewhere, judged by the running program as its config says. swaks brings it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use e2e::{Client, HOST, Installation, Site, messages_in};
use testkit::TestDns;

const ZONE: &str = r#"
good.test. MX 10 mx.good.test.
good.test. TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.good.test. TXT "v=DMARC1; p=reject"
mx.good.test. A 127.0.0.1
plain.test. MX 10 mx.good.test.
"#;

const MESSAGE: &str =
    "From: Somebody <a@good.test>\r\nTo: bob@example.test\r\nSubject: hello\r\n\r\nHello.\r\n";

fn swaks(site: &Site, from: &str, message: &str) -> Client {
    let port = site.port("smtp").to_string();
    let to = &site.person("bob").address;
    Client::new("swaks")
        .args([
            "--server",
            HOST,
            "--port",
            &port,
            "--helo",
            "mx.good.test",
            "--from",
            from,
            "--to",
            to,
            "--data",
            "-",
        ])
        .input(message.strip_suffix("\r\n").unwrap_or(message))
}

/// The public part of a key made in `folder`.
pub(crate) fn make_key(folder: &Path) -> Result<String> {
    let run = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(folder).output()?;
        ensure!(output.status.success(), "{output:?}");
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    run(&["genrsa", "-traditional", "-out", "key", "2048"])?;
    let public = run(&["rsa", "-pubout", "-in", "key"])?;
    Ok(public.lines().filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().join("\" \""))
}

#[test]
fn strangers_are_judged_as_the_config_says() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let key = make_key(folder.path())?;
    let dns = TestDns::start(&format!("{ZONE}s._domainkey.good.test. TXT \"v=DKIM1; p={key}\"\n"))?;
    let config = format!(
        "[dns]\nservers = [\"{}\"]\n[smtp.verdicts]\ntrusted = []\ntarpit = \"0s\"\nhelp = \"see https://example.test/help\"\n",
        dns.address
    );
    let installation = Installation::new("example.test", &["bob"], &config)?;
    let server = installation.serve()?;
    let site = installation.site();
    let refused = |from: &str, message: &str, reply: &str| {
        let (code, said) = swaks(site, from, message).run_to_code()?;
        ensure!(code != Some(0) && said.output.contains(reply), "expected {reply}: {said:?}");
        ensure!(said.output.contains("; see https://example.test/help"), "{said:?}");
        anyhow::Ok(())
    };
    refused("a@there-is-none.test", MESSAGE, "550 5.1.8 The sender's domain there-is-none.test")?;
    refused("a@plain.test", MESSAGE, "550 5.7.1 good.test asks to refuse mail in its name")?;
    swaks(site, "a@good.test", MESSAGE).run()?;
    let signed = Client::new("/usr/bin/dkimsign")
        .args(["s", "good.test"])
        .args([folder.path().join("key")])
        .input(MESSAGE)
        .run()?;
    swaks(site, "a@plain.test", &signed.output).run()?;
    let stored = messages_in(&site.person("bob").maildir)?;
    let has = |text: &str| stored.iter().filter(|message| message.contains(text)).count();
    assert_eq!((stored.len(), has("\tdmarc=pass (p=reject) header.from=good.test")), (2, 2), "{stored:?}");
    assert_eq!(
        (has("\tspf=pass smtp.mailfrom=a@good.test"), has("\tdkim=pass header.d=good.test")),
        (1, 1),
        "{stored:?}"
    );
    let log = server.log();
    assert!(log.contains("verdict=\"accept; score="), "{log}");
    Ok(())
}
