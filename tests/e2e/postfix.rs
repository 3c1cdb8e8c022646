//! Debian's Postfix as the smarthost, with a configuration, a queue and a port of its own.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use e2e::{Installation, Mail, Process, free_port, messages_in};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::relay::{bounce, is_empty, submit, wait};

const POSTFIX: &str = "/usr/sbin/postfix";
/// Debian's `nobody`, whose the delivered mail is.
const NOBODY: u32 = 65_534;

const MASTER: &str = "
pickup     unix n - n 60 1 pickup
cleanup    unix n - n - 0 cleanup
qmgr       unix n - n 300 1 qmgr
tlsmgr     unix - - n 1000? 1 tlsmgr
rewrite    unix - - n - - trivial-rewrite
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
trace      unix - - n - 0 bounce
proxymap   unix - - n - - proxymap
error      unix - - n - - error
retry      unix - - n - - error
virtual    unix - n n - - virtual
anvil      unix - - n - 1 anvil
postlog    unix-dgram n - n - 1 postlogd
";

/// A Postfix that takes mail for eve@elsewhere.test, and for nobody else there, over TLS.
struct Postfix {
    process: Process,
    folder: TempDir,
}

impl Postfix {
    fn start(port: u16, certificates: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        // Its processes run as the user postfix.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        for name in ["etc", "queue", "lib", "mail"] {
            std::fs::create_dir(path(name))?;
        }
        chown(path("mail"), Some(NOBODY), Some(NOBODY))?;
        let owner = nix::unistd::User::from_name("postfix")?.context("no user postfix")?;
        chown(path("lib"), Some(owner.uid.as_raw()), None)?;
        for name in ["cert.pem", "key.pem"] {
            std::fs::copy(certificates.join(name), path("etc").join(name))?;
        }
        let shown = folder.path().display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {shown}/queue\ndata_directory = {shown}/lib\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmeta_directory = {shown}/etc\n\
             maillog_file = /dev/stdout\nmyhostname = smarthost.test\nmydestination =\ninet_interfaces = loopback-only\n\
             inet_protocols = ipv4\nalias_maps =\nlocal_recipient_maps =\n\
             virtual_mailbox_domains = elsewhere.test\nvirtual_mailbox_base = {shown}/mail\n\
             virtual_mailbox_maps = inline:{{ {{ eve@elsewhere.test = eve/ }} }}\nvirtual_minimum_uid = 1\n\
             virtual_uid_maps = static:{NOBODY}\nvirtual_gid_maps = static:{NOBODY}\n\
             smtpd_relay_restrictions = reject_unauth_destination\nsmtpd_tls_security_level = encrypt\n\
             smtpd_tls_chain_files = {shown}/etc/key.pem, {shown}/etc/cert.pem\n"
        );
        std::fs::write(path("etc/main.cf"), main)?;
        std::fs::write(path("etc/master.cf"), format!("127.0.0.1:{port} inet n - n - - smtpd\n{MASTER}"))?;
        for name in ["postfix-files", "dynamicmaps.cf"] {
            std::fs::copy(PathBuf::from("/etc/postfix").join(name), path("etc").join(name)).ok();
        }
        let mut command = Command::new(POSTFIX);
        let (mut process, mut log) = Process::start(command.arg("-c").arg(path("etc")).arg("start-fg"))?;
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        process.wait_for_port(port)?;
        Ok(Self { process, folder })
    }

    fn eve(&self) -> Result<Vec<String>> {
        messages_in(&self.folder.path().join("mail/eve"))
    }
}

impl Drop for Postfix {
    /// The command waits for the master, but would leave it behind if it were told to stop itself.
    fn drop(&mut self) {
        let file = self.folder.path().join("queue/pid/master.pid");
        let master = std::fs::read_to_string(file).ok().and_then(|pid| pid.trim().parse().ok());
        if master.is_some_and(|master| kill(Pid::from_raw(master), Signal::SIGTERM).is_ok()) {
            let _ = self.process.wait();
        }
    }
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
    let postfix = Postfix::start(port, &installation.data().join("tls"))?;
    let mail = Mail::new(
        "alice@relay.test",
        "eve@elsewhere.test",
        "to Postfix",
        ".first\n..second\nGrüße\nFrom here",
    );
    submit(&installation, &mail, &["eve@elsewhere.test", "nobody@elsewhere.test"])?;
    let there = wait(|| postfix.eve()?.pop().context("Eve has no mail"))?;
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
    assert_eq!(postfix.eve()?.len(), 1);
    Ok(())
}
