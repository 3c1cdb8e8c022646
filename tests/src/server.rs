use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::client::{PATIENCE, drain};
use crate::{Client, program};

/// A port that was free a moment ago, below the range from which the system takes ports by itself.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let random = || 12_000 + u16::try_from(getrandom::u32().unwrap_or_default() % 20_000).unwrap_or_default();
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(random).take(1000).find(free).unwrap_or_else(|| panic!("no free port"))
}

/// A domain made by `mailstead init`, with its ports moved to free ones on loopback.
#[derive(Debug)]
pub struct Installation {
    folder: TempDir,
    domain: String,
    ports: Vec<(&'static str, u16)>,
}

const SERVICES: [(&str, &str, &str, &str); 7] = [
    ("smtp", "smtp", "mx", "starttls"),
    ("smtp", "submission", "submission", "starttls"),
    ("smtp", "submissions", "submission", "implicit"),
    ("imap", "imap", "", "starttls"),
    ("imap", "imaps", "", "implicit"),
    ("pop3", "pop3", "", "starttls"),
    ("pop3", "pop3s", "", "implicit"),
];

impl Installation {
    /// Makes the domain with these accounts, whose passwords are `secret-<local-part>`. `more` is added to the config.
    ///
    /// # Errors
    /// If a command fails.
    pub fn new(domain: &str, accounts: &[&str], more: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        Client::new(program("mailstead"))
            .home(folder.path())
            .args(["init", domain, "--data-dir"])
            .args([&data])
            .run()?;
        let mut this = Self { folder, domain: domain.to_owned(), ports: Vec::new() };
        this.write_config(more)?;
        for account in accounts {
            this.mailstead(&["account", "add", &format!("{account}@{domain}")])
                .input(format!("secret-{account}\n"))
                .run()?;
        }
        Ok(this)
    }

    /// Keeps what `init` wrote of TLS and the host's name, and replaces the listeners.
    fn write_config(&mut self, more: &str) -> Result<()> {
        let certificate = find(&self.data(), "certificate").context("init made no certificate")?;
        let key = find(&self.data(), "key").context("init made no key")?;
        let mut text = format!(
            "hostname = \"localhost\"\ndata_dir = \".\"\n\n[[tls.certificate]]\ncertificate = {certificate:?}\nkey = {key:?}\n\n"
        );
        for (server, name, role, tls) in SERVICES {
            let port = free_port();
            self.ports.push((name, port));
            text += &format!(
                "[[{server}.listener]]\nname = \"{name}\"\ntls = \"{tls}\"\naddresses = [\"127.0.0.1:{port}\"]\n"
            );
            if !role.is_empty() {
                text += &format!("role = \"{role}\"\n");
            }
        }
        std::fs::write(self.config(), format!("{text}\n{more}\n"))?;
        Ok(())
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The config file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.data().join("mailstead.toml")
    }

    /// The port of the listener `name`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn port(&self, name: &str) -> u16 {
        self.ports
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, port)| *port)
            .unwrap_or_else(|| panic!("no listener {name}"))
    }

    /// The Maildir of an account's INBOX.
    #[must_use]
    pub fn maildir(&self, local_part: &str) -> PathBuf {
        self.data().join("mail").join(&self.domain).join(local_part).join("Maildir")
    }

    /// `mailstead` with these arguments over this configuration.
    #[must_use]
    pub fn mailstead(&self, args: &[&str]) -> Client {
        Client::new(program("mailstead"))
            .home(self.folder.path())
            .env("MAILSTEAD_CONFIG", self.config())
            .args(args)
    }

    /// Starts `mailstead serve` and waits until these listeners accept connections.
    ///
    /// # Errors
    /// If they don't.
    pub fn serve(&self) -> Result<Serving> {
        let names: Vec<&str> = self.ports.iter().map(|(name, _)| *name).collect();
        self.start(&program("mailstead"), &["serve"], &names)
    }

    /// Starts one server by itself and waits until its listeners accept connections.
    ///
    /// # Errors
    /// If they don't.
    pub fn alone(&self, server: Alone) -> Result<Serving> {
        let (name, listeners): (_, &[&str]) = match server {
            Alone::Smtp => ("smtp-server", &["smtp", "submission", "submissions"]),
            Alone::Imap => ("imap-server", &["imap", "imaps"]),
            Alone::Pop3 => ("pop3-server", &["pop3", "pop3s"]),
        };
        self.start(&program(name), &[], listeners)
    }

    fn start(&self, executable: &Path, args: &[&str], listeners: &[&str]) -> Result<Serving> {
        let mut child = Command::new(executable)
            .args(args)
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", executable.display()))?;
        let log = child.stderr.take().map(drain);
        let mut serving = Serving { child, log };
        for name in listeners {
            serving.wait_for(self.port(name))?;
        }
        Ok(serving)
    }
}

/// A server that runs by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// `smtp-server`
    Smtp,
    /// `imap-server`
    Imap,
    /// `pop3-server`
    Pop3,
}

/// A running server process, stopped when dropped.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Serving {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default())
    }

    fn wait_for(&mut self, port: u16) -> Result<()> {
        let started = Instant::now();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let log = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
                bail!("the server ended with {status}; its log:\n{log}");
            }
            if started.elapsed() > PATIENCE {
                bail!("nothing listens on {address}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it by SIGTERM and returns whether it ended well, and its log.
    ///
    /// # Errors
    /// If it can't be signalled.
    pub fn stop(mut self) -> Result<(bool, String)> {
        kill(self.id(), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        Ok((status.success(), self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill(self.id(), Signal::SIGTERM);
            let _ = self.child.wait();
        }
        if std::thread::panicking()
            && let Some(log) = self.log.take().and_then(|log| log.join().ok())
        {
            eprintln!("--- the server's log\n{log}");
        }
    }
}

/// The file whose key in the config that `init` wrote is `key`.
fn find(data: &Path, key: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string(data.join("mailstead.toml")).ok()?;
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key} =")))?;
    let value = line.split_once('=')?.1.trim().trim_matches('"');
    Some(data.join(value))
}
