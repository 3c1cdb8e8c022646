//! Debian's Exim, with a configuration, a spool and a log of its own.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{Client, HOST, Mail, Process};

/// Whom the program insists on.
const USER: &str = "Debian-exim";

/// The program, which can't be installed beside Postfix: `tests/run` unpacks it here.
fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("exim/usr/sbin/exim4")
}

/// An Exim that sends all mail to one host, over TLS that it verifies. Only root can run one.
#[derive(Debug)]
pub struct Exim {
    folder: TempDir,
}

impl Exim {
    /// One that sends to `port`, to a server whose certificate `ca_file` has signed.
    ///
    /// # Errors
    /// If its files can't be written.
    pub fn new(port: u16, ca_file: &Path) -> Result<Self> {
        Self::with(|folder| {
            std::fs::copy(ca_file, folder.join("ca.pem"))?;
            Ok(format!(
                "begin routers\nall:\n  driver = manualroute\n  transport = remote\n  route_list = * {HOST}::{port}\n  self = send\n\
                 begin transports\nremote:\n  driver = smtp\n  hosts_require_tls = *\n  tls_verify_certificates = {}/ca.pem\n  \
                 tls_verify_hosts = *\n  allow_localhost\n\
                 begin retry\n* * F,1h,1m\n",
                folder.display()
            ))
        })
    }

    /// One with what `settings` writes into the folder that it is given, which is Exim's own, and returns for its configuration.
    ///
    /// # Errors
    /// If its files can't be written.
    pub fn with(settings: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let settings = settings(folder.path())?;
        let (shown, program) = (folder.path().display(), program());
        let program = program.display();
        let config = format!(
            "primary_hostname = exim.test\nspool_directory = {shown}/spool\nlog_file_path = {shown}/log-%s\npid_file_path = {shown}/pid\n\
             exim_user = {USER}\nexim_group = {USER}\nexim_path = {program}\nkeep_environment =\ntrusted_users = root\n{settings}"
        );
        std::fs::write(folder.path().join("exim.conf"), config)?;
        // It works as this user, never as root.
        let owner = nix::unistd::User::from_name(USER)?.context("no user Debian-exim")?;
        for path in [folder.path().to_owned()].into_iter().chain(files_in(folder.path())?) {
            // Its configuration must be root's.
            let is_config = path.extension().is_some_and(|it| it == "conf");
            let (user, group) = (Some(owner.uid.as_raw()), Some(owner.gid.as_raw()));
            chown(&path, user.filter(|_| !is_config), group)?;
        }
        Ok(Self { folder })
    }

    /// Starts it as a server; its configuration says where. What it takes it delivers at once.
    ///
    /// # Errors
    /// If nothing listens at `address` then.
    pub fn serve(&self, address: SocketAddr) -> Result<Process> {
        let mut command = Command::new(program());
        let (mut process, _) =
            Process::start(command.arg("-C").arg(self.folder.path().join("exim.conf")).arg("-bdf"))?;
        process.wait_for(address)?;
        Ok(process)
    }

    /// What it has to itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What is in its queue, as it tells.
    ///
    /// # Errors
    /// If it can't be asked.
    pub fn queued(&self) -> Result<String> {
        Ok(self.client().args(["-bp"]).run()?.output)
    }

    fn client(&self) -> Client {
        Client::new(program()).args(["-C".as_ref(), self.folder.path().join("exim.conf").as_os_str()])
    }

    /// Puts a message into its queue.
    ///
    /// # Errors
    /// If it does not take it.
    pub fn queue(&self, mail: &Mail, from: &str, to: &[&str]) -> Result<()> {
        let text = mail.as_str().replace("\r\n", "\n");
        self.client().args(["-odq", "-oi", "-f", from]).args(to).input(text).run()?;
        Ok(())
    }

    /// Delivers what is queued, and tells what is left of it.
    ///
    /// # Errors
    /// If it can't be run.
    pub fn deliver(&self) -> Result<String> {
        self.client().args(["-qff"]).run()?;
        self.queued()
    }

    /// What it has written down.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log-main")).unwrap_or_default()
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    paths.collect::<std::io::Result<_>>().map_err(Into::into)
}
