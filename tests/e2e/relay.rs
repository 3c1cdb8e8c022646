//! Mail for elsewhere: queued durably, handed to a smarthost, bounced when that refuses. The smarthost is Postfix' smtp-sink.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    Client, HOST, Installation, Mail, PATIENCE, Process, Site, free_port, messages_in, program, python,
};
use serde_json::{Value, json};

const SINK: &str = "/usr/sbin/smtp-sink";

/// A domain whose smarthost is at `port`.
pub(crate) fn installation(port: u16) -> Result<(Installation, Process)> {
    let more = format!(
        "[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n[queue]\nretry_min = \"1h\"\nretry_max = \"1h\"\n"
    );
    let installation = Installation::new("relay.test", &["alice", "bob"], &more)?;
    let servers = installation.serve()?;
    Ok((installation, servers))
}

/// A smarthost that writes each message to a file in its folder, and refuses what `options` say.
pub(crate) struct Sink {
    process: Process,
    folder: tempfile::TempDir,
}

impl Sink {
    pub(crate) fn start(port: u16, options: &[&str]) -> Result<Self> {
        let mut sink = Self::listen(options, &|_| format!("127.0.0.1:{port}"))?;
        sink.process.wait_for_port(port)?;
        Ok(sink)
    }

    /// One that listens at an address in the folder that it is given.
    fn listen(options: &[&str], address: &dyn Fn(&str) -> String) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(SINK);
        command.current_dir(folder.path()).args(["-4", "-d", "mail."]).args(options);
        if nix::unistd::geteuid().is_root() {
            // It does not run as root without being told to.
            command.args(["-u", "root"]);
        }
        let address = address(&folder.path().display().to_string());
        let (process, _) = Process::start(command.args([&address, "100"]))?;
        Ok(Self { process, folder })
    }

    /// The messages that came in, once there are as many.
    pub(crate) fn messages(&self, count: usize) -> Result<Vec<String>> {
        wait(|| {
            let entries = std::fs::read_dir(self.folder.path())?;
            let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            // Its socket may lie beside them.
            let paths: Vec<_> = paths.into_iter().filter(|path| path.is_file()).collect();
            let texts =
                paths.iter().map(|path| Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned()));
            let texts = texts.collect::<Result<Vec<_>>>()?;
            ensure!(texts.len() == count && texts.iter().all(|text| text.ends_with("\n\n")), "{texts:?}");
            Ok(texts)
        })
    }
}

impl Drop for Sink {
    /// It knows no orderly end.
    fn drop(&mut self) {
        let _ = self.process.signal(nix::sys::signal::Signal::SIGKILL);
    }
}

/// Tries until it works out, or time is up.
pub(crate) fn wait<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(_) if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
}

/// Alice submits a message.
pub(crate) fn submit(installation: &Installation, mail: &Mail, to: &[&str]) -> Result<()> {
    submit_to(installation.site(), mail, to)
}

/// The same at any site.
pub(crate) fn submit_to(site: &Site, mail: &Mail, to: &[&str]) -> Result<()> {
    let alice = site.person("alice");
    let mut client = Client::new("curl")
        .args(["--silent", "--show-error", "--ssl-reqd", "--cacert"])
        .args([&site.ca_file])
        .args(["--url", &format!("smtp://{HOST}:{}/client.e2e.test", site.port("submission"))])
        .args(["--user", &format!("{}:{}", alice.address, alice.password), "--mail-from", &alice.address]);
    for recipient in to {
        client = client.args(["--mail-rcpt", recipient]);
    }
    client.args(["--upload-file", "-"]).input(mail.as_str()).run()?;
    Ok(())
}

/// What `queue list --json` shows.
fn queue(installation: &Installation) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&installation.mailstead(&["queue", "list", "--json"]).run()?.output)?)
}

pub(crate) fn is_empty(installation: &Installation) -> Result<()> {
    wait(|| {
        let queue = queue(installation)?;
        ensure!(queue.is_empty(), "{queue:?}");
        Ok(())
    })
}

/// The bounce in Alice's INBOX, once it is there.
pub(crate) fn bounce(installation: &Installation) -> Result<String> {
    wait(|| messages_in(&installation.site().person("alice").maildir)?.pop().context("no bounce"))
}

#[test]
fn mail_for_elsewhere_goes_by_the_smarthost_and_mail_for_here_does_not() -> Result<()> {
    let port = free_port();
    let sink = Sink::start(port, &[])?;
    let (installation, _servers) = installation(port)?;
    let bob = installation.site().person("bob");
    let mail = Mail::new("alice@relay.test", "eve@elsewhere.test", "far and near", ".first\n..second\nlast");
    submit(&installation, &mail, &["eve@elsewhere.test", "mallory@third.test", &bob.address])?;
    let [there] = sink.messages(1)?.try_into().map_err(|all| anyhow::anyhow!("{all:?}"))?;
    let text = mail.as_str().replace("\r\n", "\n");
    assert!(there.trim_end().ends_with(text.trim_end()), "{there}");
    assert!(
        there.contains("X-Rcpt-Args: <eve@elsewhere.test>")
            && there.contains("X-Rcpt-Args: <mallory@third.test>"),
        "{there}"
    );
    assert!(there.contains("X-Mail-Args: <alice@relay.test>") && !there.contains(&bob.address), "{there}");
    let here = messages_in(&bob.maildir)?;
    assert!(here.len() == 1 && here.iter().all(|message| message.ends_with(mail.as_str())), "{here:?}");
    is_empty(&installation)?;
    assert!(messages_in(&installation.site().person("alice").maildir)?.is_empty(), "no bounce");
    Ok(())
}

/// RFC 2033, by Postfix' smtp-sink over a socket of this machine.
#[test]
fn a_route_leads_by_lmtp_to_another_store() -> Result<()> {
    let port = free_port();
    let (lmtp, smarthost) =
        (Sink::listen(&["-L"], &|folder| format!("unix:{folder}/lmtp"))?, Sink::start(port, &[])?);
    let more = format!(
        "[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n[[relay.route]]\ndomains = [\"store.test\"]\n\
         senders = [\"@relay.test\"]\nsmarthost = \"lmtp:unix:{}/lmtp\"\n",
        lmtp.folder.path().display()
    );
    let installation = Installation::new("relay.test", &["alice"], &more)?;
    let _servers = installation.serve()?;
    let mail = Mail::new("alice@relay.test", "eve@store.test", "into the store", "text");
    submit(&installation, &mail, &["eve@store.test", "mallory@store.test", "eve@elsewhere.test"])?;
    let [stored] = lmtp.messages(1)?.try_into().map_err(|all| anyhow::anyhow!("{all:?}"))?;
    for recipient in ["eve@store.test", "mallory@store.test"] {
        assert!(stored.contains(&format!("X-Rcpt-Args: <{recipient}>")), "{stored}");
    }
    assert!(!stored.contains("elsewhere.test>"), "{stored}");
    smarthost.messages(1)?;
    is_empty(&installation)
}

#[test]
fn what_the_smarthost_refuses_comes_back_as_a_report_that_says_why() -> Result<()> {
    for refused in ["RCPT", "."] {
        let port = free_port();
        let _sink = Sink::start(port, &["-f", refused, "-B", "550 5.1.1 Nobody of that name"])?;
        let (installation, _servers) = installation(port)?;
        let mail = Mail::new("alice@relay.test", "eve@elsewhere.test", "unwanted", "text");
        submit(&installation, &mail, &["eve@elsewhere.test"])?;
        let bounce = bounce(&installation)?;
        // RFC 3464, RFC 3834 §5.
        for part in [
            "Return-Path: <>\r\n",
            "multipart/report",
            "report-type=delivery-status",
            "Final-Recipient: rfc822; eve@elsewhere.test",
            "Action: failed",
            "Status: 5.1.1",
            "Nobody of that name",
            "Subject: unwanted",
            "Auto-Submitted: auto-replied",
        ] {
            assert!(bounce.contains(part), "{refused}: {part} is missing:\n{bounce}");
        }
        is_empty(&installation)?;
    }
    Ok(())
}

#[test]
fn what_the_smarthost_can_not_take_now_waits_in_the_queue_until_it_can() -> Result<()> {
    let port = free_port();
    let (installation, servers) = installation(port)?;
    let mail = Mail::new("alice@relay.test", "eve@elsewhere.test", "patience", "text");
    let attempted = || {
        wait(|| {
            let queue = queue(&installation)?;
            let attempts =
                queue.first().and_then(|message| message.pointer("/recipients/0/attempts")).cloned();
            ensure!(queue.len() == 1 && attempts.is_some_and(|attempts| attempts != 0), "{queue:?}");
            Ok(queue)
        })
    };
    // Nothing listens there.
    submit(&installation, &mail, &["eve@elsewhere.test"])?;
    let listed = attempted()?;
    let recipient =
        listed.first().and_then(|message| message.pointer("/recipients/0")).context("no recipient")?;
    assert_eq!(recipient.get("address"), Some(&json!("eve@elsewhere.test")));
    assert_eq!(recipient.get("state"), Some(&json!("pending")), "{recipient}");
    // It outlives the servers.
    servers.stop(nix::sys::signal::Signal::SIGTERM)?;
    let _servers = installation.serve()?;
    assert_eq!(queue(&installation)?.len(), 1);
    let busy = Sink::start(port, &["-r", "MAIL"])?;
    let said = installation.mailstead(&["queue", "retry", "--all"]).run()?.output;
    assert_eq!(said.trim(), "1 message tried at once");
    wait(|| {
        let diagnosis =
            queue(&installation)?.first().and_then(|it| it.pointer("/recipients/0/diagnosis")).cloned();
        ensure!(diagnosis.as_ref().is_some_and(|it| it.to_string().contains("450")), "{diagnosis:?}");
        Ok(())
    })?;
    drop(busy);
    let sink = Sink::start(port, &[])?;
    installation.mailstead(&["queue", "retry", "--all"]).run()?;
    assert!(sink.messages(1)?.concat().contains("Subject: patience"));
    is_empty(&installation)?;
    let shown = installation.mailstead(&["queue", "list"]).run()?.output;
    assert_eq!(shown.trim(), "the queue is empty");
    Ok(())
}

#[test]
fn killing_the_queue_loses_no_message_on_its_way_elsewhere() -> Result<()> {
    let port = free_port();
    let more = format!(
        "[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n[queue]\nretry_min = \"1s\"\nretry_max = \"1s\"\n"
    );
    let installation = Installation::new("relay.test", &["alice", "bob"], &more)?;
    let servers = installation.serve()?;
    let more = json!({"smarthost": port, "mailstead": program("mailstead"), "config": installation.config()});
    python("relay_storm.py", installation.site(), more)?;
    servers.stop(nix::sys::signal::Signal::SIGTERM)?;
    Ok(())
}
