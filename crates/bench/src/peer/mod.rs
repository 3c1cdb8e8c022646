//! The servers that are measured, each started afresh from its own config in its own folder.

mod dovecot;
mod mailstead;
mod postfix;

use std::net::TcpListener;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, User};
use smtp_queue::Queue;
use tempfile::TempDir;
use testkit::TestDns;

use crate::sink::Sink;

/// Accounts that every server has: `user0`, `user1`, …, all with [`PASSWORD`].
pub(crate) const USERS: usize = 100;
pub(crate) const DOMAIN: &str = "bench.test";
pub(crate) const PASSWORD: &str = "bench-secret";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Mailstead,
    /// Mailstead again, with its clients looked at as strangers.
    Judging,
    /// Mailstead again, with 20,000 messages in its queue for a host that is out of reach.
    Backlogged,
    Dovecot,
    Postfix,
    /// Postfix with the certificate that Debian makes for it.
    PostfixAsInstalled,
}

/// Where the servers keep their files, and our executable.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) mailstead: PathBuf,
}

/// Where a server listens; `None` for what it doesn't do.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    pub(crate) smtp: Option<SocketAddr>,
    /// Where mail for elsewhere is taken.
    pub(crate) submission: Option<SocketAddr>,
    pub(crate) imap: Option<SocketAddr>,
    pub(crate) imaps: Option<SocketAddr>,
    pub(crate) pop3: Option<SocketAddr>,
}

/// Starts a server in its folder, with its executable.
type Launch = fn(&Path, &Path) -> Result<Stop>;

/// How a server is stopped.
#[derive(Debug)]
enum Stop {
    Child(Child),
    /// A daemon, by its process id.
    Daemon(Pid),
}

/// A running server, stopped and its files removed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) ports: Ports,
    /// The process above all its others.
    pub(crate) pid: u32,
    /// When it was last started again.
    pub(crate) started: Instant,
    stop: Stop,
    /// Starts it again in its folder.
    launch: Launch,
    executable: PathBuf,
    folder: TempDir,
    /// Owner of the mail, where the server gives up root.
    owner: Option<(Uid, Gid)>,
    tls: Arc<rustls::ClientConfig>,
    mail: fn(&Path, usize) -> PathBuf,
    /// Where it sends mail for elsewhere.
    pub(crate) sink: Option<Sink>,
    /// What is asked of our clients.
    _dns: Option<TestDns>,
}

impl Peer {
    pub(crate) fn start(self, place: &Place) -> Result<Server> {
        match self {
            Self::Mailstead => mailstead::start(place),
            Self::Judging => mailstead::start_judging(place),
            Self::Backlogged => mailstead::start_backlogged(place),
            Self::Dovecot => dovecot::start(place),
            Self::Postfix => postfix::start(place),
            Self::PostfixAsInstalled => postfix::start_as_installed(place),
        }
    }
}

impl Server {
    /// Ends it and starts it anew, over the same files.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.restart_after(|_| Ok(()))
    }

    /// Ends it, and starts it anew when its files are changed.
    pub(crate) fn restart_after(&mut self, change: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.stop.stop();
        change(self)?;
        self.started = Instant::now();
        self.stop = (self.launch)(self.folder.path(), &self.executable)?;
        self.pid = self.stop.pid()?;
        self.wait()
    }

    /// The Maildir of an account's INBOX.
    pub(crate) fn maildir(&self, user: usize) -> PathBuf {
        (self.mail)(self.folder.path(), user)
    }

    pub(crate) fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// Where ours keeps its queue.
    pub(crate) fn queue(&self) -> Result<Arc<Queue>> {
        Ok(Queue::open(&self.folder.path().join("queue"))?)
    }

    /// Hands files that we made to the user under whom the server works.
    pub(crate) fn hand_over(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        chown_all(path, uid, gid)
    }

    fn wait(&self) -> Result<()> {
        let Ports { smtp, submission, imap, imaps, pop3 } = &self.ports;
        for address in [smtp, submission, imap, imaps, pop3].into_iter().flatten() {
            let began = Instant::now();
            while TcpStream::connect(address).is_err() {
                if began.elapsed() > Duration::from_secs(30) {
                    bail!("{} does not listen on {address}", self.name);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl Stop {
    fn pid(&self) -> Result<u32> {
        Ok(match self {
            Self::Child(child) => child.id(),
            Self::Daemon(pid) => u32::try_from(pid.as_raw())?,
        })
    }

    fn stop(&mut self) {
        match self {
            Self::Child(child) => {
                if let Ok(pid) = i32::try_from(child.id()) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                }
                let _ = child.wait();
            }
            Self::Daemon(pid) => {
                let _ = kill(*pid, Signal::SIGTERM);
                let began = Instant::now();
                while kill(*pid, None).is_ok() && began.elapsed() < Duration::from_secs(10) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

fn chown_all(path: &Path, uid: Uid, gid: Gid) -> Result<()> {
    nix::unistd::chown(path, Some(uid), Some(gid))
        .with_context(|| format!("giving away {}", path.display()))?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            chown_all(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// The user `mail`, whom every Debian has.
fn mail_user() -> Result<(Uid, Gid)> {
    let user = User::from_name("mail")?.context("there is no user mail")?;
    Ok((user.uid, user.gid))
}

/// A process id that a daemon writes down once it runs.
fn read_pid(file: &Path) -> Result<Pid> {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Ok(pid) = text.trim().parse() {
            return Ok(Pid::from_raw(pid));
        }
        if began.elapsed() > Duration::from_secs(30) {
            bail!("{} was not written", file.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Addresses that were all free at one time, below the ports that the system gives to clients.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let random = || 12_000 + u16::try_from(getrandom::u32().unwrap_or_default() % 20_000).unwrap_or_default();
    let bind = || TcpListener::bind(("127.0.0.1", random())).ok();
    let sockets: Vec<_> = std::iter::repeat_with(bind).take(100 * N).flatten().take(N).collect();
    let addresses = sockets.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    addresses.try_into().map_err(|_| anyhow!("too few free ports"))
}

/// A new folder that other users may enter.
fn folder(place: &Place, name: &str) -> Result<TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix(name).tempdir_in(&place.dir)?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Writes `cert.pem` and `key.pem`, and returns what a client needs to trust them.
fn certificate(folder: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join("cert.pem"), made.cert.pem())?;
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    Ok(Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}
