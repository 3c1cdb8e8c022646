//! What addresses here send on to other domains is sealed (ARC). dkimpy makes earlier chains and verifies all; the next host is Postfix' smtp-sink.

use anyhow::{Context as _, Result, ensure};
use e2e::{Client, HOST, Installation, Mail, Process, free_port};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use testkit::TestDns;

use crate::relay::Sink;
use crate::verdicts::make_key;

const ZONE: &str = "good.test. MX 10 mx.good.test.\ngood.test. TXT \"v=spf1 ip4:127.0.0.1 -all\"\nmx.good.test. A 127.0.0.1\n";
const MESSAGE: &str = "Authentication-Results: mx.list.test; spf=pass smtp.mailfrom=a@author.test\r\nFrom: a@author.test\r\nTo: all@list.test\r\n\
     Subject: hello\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@author.test>\r\n\r\nHello.\r\n";

/// A domain some of whose addresses lead elsewhere, and a list elsewhere, `list.test`, that seals what it sends.
struct World {
    installation: Installation,
    port: u16,
    folder: TempDir,
    list_key: String,
    _dns: TestDns,
    _servers: Process,
}

impl World {
    fn new(relay: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let list_key = make_key(folder.path())?;
        let dns = TestDns::start(&format!("{ZONE}s._domainkey.list.test. TXT \"v=DKIM1; p={list_key}\"\n"))?;
        let port = free_port();
        let config = format!(
            "[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n{relay}\n[dns]\nservers = [\"{}\"]\n\
             [smtp.verdicts]\ntrusted = []\ntarpit = \"0s\"\n",
            dns.address
        );
        let installation = Installation::new("relay.test", &["alice"], &config)?;
        let mailstead = |args: &[&str]| installation.mailstead(args).run();
        mailstead(&["alias", "add", "away@relay.test", "eve@far.test"])?;
        mailstead(&[
            "list",
            "add",
            "staff@relay.test",
            "eve@far.test",
            "--owner",
            "alice@relay.test",
            "--post",
            "anyone",
        ])?;
        mailstead(&["account", "forward", "alice@relay.test", "eve@far.test"])?;
        let servers = installation.serve()?;
        Ok(Self { installation, port, folder, list_key, _dns: dns, _servers: servers })
    }

    /// A message as the next host gets it, in lines that end in CRLF, after it has come here for this address.
    fn passed_on(&self, to: &str, message: &str, sink: &[&str]) -> Result<String> {
        let sink = Sink::start(self.port, sink)?;
        let smtp = self.installation.site().port("smtp").to_string();
        Client::new("swaks")
            .args([
                "--server",
                HOST,
                "--port",
                &smtp,
                "--helo",
                "mx.good.test",
                "--from",
                "bounces@good.test",
            ])
            .args(["--to", to, "--data", "-"])
            .input(message.strip_suffix("\r\n").unwrap_or(message))
            .run()?;
        Ok(sink.messages(1)?.concat().replace('\n', "\r\n"))
    }

    fn sealed_by_list(&self, message: &str) -> Result<String> {
        let sealer = Client::new("/usr/bin/arcsign").args(["s", "list.test"]);
        Ok(sealer.args([self.folder.path().join("key")]).args(["mx.list.test"]).input(message).run()?.output)
    }

    /// What dkimpy finds of the chain.
    fn chain(&self, message: &str, options: &[&str]) -> Result<Value> {
        let listed = self.installation.mailstead(&["dkim", "list", "relay.test", "--json"]).run()?.output;
        let listed: Value = serde_json::from_str(&listed)?;
        let generations = listed.as_array().context("no list")?;
        let of = |it: &Value| Some((it["name"].as_str()?.to_owned(), it["value"].clone()));
        let records = generations.iter().filter_map(|it| it["records"].as_array()).flatten().filter_map(of);
        let mut records: Map<String, Value> = records.collect();
        let key = format!("v=DKIM1; p={}", self.list_key.replace("\" \"", ""));
        records.insert("s._domainkey.list.test".to_owned(), key.into());
        let file = self.folder.path().join("records");
        std::fs::write(&file, Value::from(records).to_string())?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/arc_chain.py");
        let verifier = Client::new("/usr/bin/python3").args([script]).args([&file]).args(options);
        Ok(serde_json::from_str(&verifier.input(message).run()?.output)?)
    }
}

fn is_whole(found: &Value, sets: &Value) -> Result<()> {
    ensure!(found["result"] == "pass" && found["sets"] == *sets, "{found}");
    Ok(())
}

#[test]
fn what_an_alias_a_list_and_an_account_send_on_is_sealed_with_what_was_found_out() -> Result<()> {
    let world = World::new("arc_seal = true")?;
    for to in ["away@relay.test", "staff@relay.test", "alice@relay.test"] {
        let there = world.passed_on(to, MESSAGE, &[])?;
        is_whole(&world.chain(&there, &[])?, &json!([[1, "none", true, true]]))?;
        let results = "\r\nARC-Authentication-Results: i=1; localhost;\r\n\tiprev=";
        ensure!(
            there.contains(results) && there.contains("\tspf=pass smtp.mailfrom=bounces@good.test"),
            "{there}"
        );
        ensure!(there.contains("d=relay.test; s=rsa-") && !there.contains("\r\nDKIM-Signature:"), "{there}");
    }
    // RFC 8617 §5.1 (1): as it goes, converted for a host without 8BITMIME.
    let eight_bit = MESSAGE.replace(
        "\r\n\r\nHello.",
        "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nCrème brûlée.",
    );
    let there = world.passed_on("away@relay.test", &eight_bit, &["-8"])?;
    ensure!(!there.contains("Crème"), "{there}");
    is_whole(&world.chain(&there, &[])?, &json!([[1, "none", true, true]]))
}

#[test]
fn a_chain_that_came_with_a_message_goes_on_or_ends() -> Result<()> {
    let world = World::new("arc_seal = true")?;
    let sealed = world.sealed_by_list(MESSAGE)?;
    let there = world.passed_on("away@relay.test", &sealed, &[])?;
    is_whole(&world.chain(&there, &[])?, &json!([[2, "pass", true, true], [1, "none", true, true]]))?;
    ensure!(there.contains("\tarc=pass (i=1 sealed by list.test)"), "{there}");

    let broken = sealed.replace("Hello.", "Hallo.");
    let there = world.passed_on("staff@relay.test", &broken, &[])?;
    let found = world.chain(&there, &[])?;
    ensure!(found["result"] == "ended" && found["sets"][0][1] == "fail", "{found}");
    // RFC 8617 §5.1.2: the seal is on its own set alone.
    let found = world.chain(&there, &["last"])?;
    ensure!(found["sets"] == json!([[2, "fail", true, true]]), "{found}");
    Ok(())
}

#[test]
fn nothing_is_sealed_unless_that_is_switched_on() -> Result<()> {
    let world = World::new("")?;
    let there = world.passed_on("away@relay.test", MESSAGE, &[])?;
    ensure!(there.contains("Delivered-To: away@relay.test") && !there.contains("ARC-"), "{there}");
    // Nor what our own users write, which is signed.
    let world = World::new("arc_seal = true")?;
    let sink = Sink::start(world.port, &[])?;
    crate::relay::submit(
        &world.installation,
        &Mail::of("From: alice@relay.test\r\n\r\nx\r\n"),
        &["staff@relay.test"],
    )?;
    let there = sink.messages(1)?.concat();
    ensure!(there.contains("\nDKIM-Signature:") && !there.contains("ARC-"), "{there}");
    Ok(())
}
