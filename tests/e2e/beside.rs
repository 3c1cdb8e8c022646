//! One of our servers beside one of another make, set up as README says it.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::{Client, Installation, Mail, NOBODY, Postfix, python};
use nix::sys::signal::Signal;
use serde_json::json;

const README: &str = include_str!("../../README.md");

/// The block of text that follows the paragraph which begins so, for this installation.
fn recipe(paragraph: &str, installation: &Installation) -> Result<String> {
    let (_, rest) = README.split_once(paragraph).context("README has no such paragraph")?;
    let (_, rest) = rest.split_once("```text\n").context("no block follows")?;
    let (block, _) = rest.split_once("```").context("the block has no end")?;
    Ok(block.replace("/var/lib/mailstead", &installation.data().display().to_string()))
}

/// A domain whose servers run as the user nobody.
fn of_nobody(domain: &str) -> Result<Installation> {
    let installation = Installation::new(domain, &["alice", "bob"], "")?;
    let config = std::fs::read_to_string(installation.config())?;
    std::fs::write(installation.config(), format!("user = \"nobody\"\n{config}"))?;
    std::fs::set_permissions(installation.folder(), PermissionsExt::from_mode(0o755))?;
    Client::new("chown").args(["-R", "nobody:nogroup"]).args([installation.data()]).run()?;
    Ok(installation)
}

/// What main.cf says, with the map that its comment describes.
fn beside_mailstead(folder: &Path, recipe: &str, domain: &str) -> Result<String> {
    let line = recipe.lines().find_map(|line| line.strip_prefix("#   ")).context("no line of the map")?;
    let line = line.replace("example.org", domain);
    let mailboxes = folder.join("etc/mailboxes");
    std::fs::write(&mailboxes, format!("{line}\n{}\n", line.replace("alice", "bob")))?;
    let map = format!("hash:{}", mailboxes.display());
    Client::new("/usr/sbin/postmap").args([&map]).run()?;
    let main = recipe.replace("hash:/etc/postfix/mailboxes", &map).replace("example.org", domain);
    let id = NOBODY.to_string();
    Ok(main.replace("UID-OF-MAILSTEAD", &id).replace("GID-OF-MAILSTEAD", &id))
}

#[test]
fn imap_beside_postfix_tells_at_once_what_postfix_delivers() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // Postfix starts as root only. CI is root.
        return Ok(());
    }
    let installation = of_nobody("postfix.test")?;
    let recipe = recipe("**IMAP beside Postfix.**", &installation)?;
    let site = installation.site();
    let _postfix =
        Postfix::start(site.port("smtp"), |folder| beside_mailstead(folder, &recipe, &site.domain))?;
    let server = installation.alone(&["mailstead", "imap"], "imap")?;
    python("idle.py", site, json!(null))?;
    server.stop(Signal::SIGTERM).map(drop)
}

#[test]
fn dovecot_reads_what_smtp_before_it_delivers() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // The server becomes another user, and Dovecot reads no mail of root's.
        return Ok(());
    }
    let installation = of_nobody("dovecot.test")?;
    let server = installation.alone(&["mailstead", "smtp"], "smtp")?;
    let mail = Mail::new("stranger@elsewhere.test", "alice@dovecot.test", "for Dovecot", "Grüße\n.and more");
    installation.site().deliver("alice", &mail)?;
    server.stop(Signal::SIGTERM)?;

    let home = tempfile::tempdir()?;
    chown(home.path(), Some(NOBODY), Some(NOBODY))?;
    let (shown, recipe) = (home.path().display(), recipe("**SMTP before Dovecot.**", &installation)?);
    let config = format!(
        "base_dir = {shown}/run\nlog_path = {shown}/log\nssl = no\nstats_writer_socket_path =\n{recipe}"
    );
    std::fs::write(home.path().join("dovecot.conf"), config)?;
    let said = Client::new("setpriv")
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "/usr/lib/dovecot/imap", "-c"])
        .args([home.path().join("dovecot.conf")])
        .env("USER", "alice@dovecot.test")
        .home(home.path())
        .input("1 SELECT INBOX\r\n2 FETCH 1 BODY[]\r\n3 LOGOUT\r\n")
        .run()?
        .output;
    ensure!(said.contains("* 1 EXISTS") && said.contains(mail.as_str()), "{said}");
    Ok(())
}
