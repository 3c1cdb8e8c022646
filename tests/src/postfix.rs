//! Debian's Postfix, with a configuration, a queue and a port of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{Client, NOBODY, Process};

const POSTFIX: &str = "/usr/sbin/postfix";

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
smtp       unix - - n - - smtp
anvil      unix - - n - 1 anvil
postlog    unix-dgram n - n - 1 postlogd
";

/// A Postfix that runs until dropped. Only root can start one.
#[derive(Debug)]
pub struct Postfix {
    process: Process,
    log: Arc<Mutex<String>>,
    folder: TempDir,
}

impl Postfix {
    /// What it needs in its folder for mail of its own, which NOBODY has, and for TLS.
    ///
    /// # Errors
    /// If a file can't be made.
    pub fn furnish(folder: &Path, certificates: &Path) -> Result<()> {
        std::fs::create_dir(folder.join("mail"))?;
        chown(folder.join("mail"), Some(NOBODY), Some(NOBODY))?;
        for name in ["cert.pem", "key.pem"] {
            std::fs::copy(certificates.join(name), folder.join("etc").join(name))?;
        }
        Ok(())
    }

    /// Starts it on a loopback port, with what `settings` writes into the folder that it is given and returns for main.cf.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(port: u16, settings: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        Self::start_at(([127, 0, 0, 1], port).into(), settings)
    }

    /// The same at any address of this machine.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start_at(address: SocketAddr, settings: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        // Its processes run as the user postfix.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        for name in ["etc", "queue", "lib"] {
            std::fs::create_dir(path(name))?;
        }
        let owner = nix::unistd::User::from_name("postfix")?.context("no user postfix")?;
        chown(path("lib"), Some(owner.uid.as_raw()), None)?;
        let shown = folder.path().display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {shown}/queue\ndata_directory = {shown}/lib\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmeta_directory = {shown}/etc\n\
             maillog_file = /dev/stdout\nmydestination =\ninet_interfaces = loopback-only\n\
             inet_protocols = ipv4\nalias_maps =\nlocal_recipient_maps =\nvirtual_minimum_uid = 1\n\
             smtpd_relay_restrictions = reject_unauth_destination\n"
        );
        std::fs::write(path("etc/main.cf"), main + &settings(folder.path())?)?;
        std::fs::write(path("etc/master.cf"), format!("{address} inet n - n - - smtpd\n{MASTER}"))?;
        for name in ["postfix-files", "dynamicmaps.cf"] {
            std::fs::copy(PathBuf::from("/etc/postfix").join(name), path("etc").join(name)).ok();
        }
        let mut command = Command::new(POSTFIX);
        let (mut process, said) = Process::start(command.arg("-c").arg(path("etc")).arg("start-fg"))?;
        let log = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                *lines.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{line}\n");
            }
        });
        process.wait_for(address)?;
        Ok(Self { process, log, folder })
    }

    /// What it has written down.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is in its queue, as it tells.
    ///
    /// # Errors
    /// If it can't be asked.
    pub fn queue(&self) -> Result<String> {
        Ok(Client::new("postqueue")
            .args(["-p".as_ref(), "-c".as_ref(), self.folder.path().join("etc").as_os_str()])
            .run()?
            .output)
    }

    /// What it has to itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
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
