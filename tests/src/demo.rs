use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tempfile::TempDir;

use crate::client::drain;
use crate::program;

/// `mailstead demo --json`, running in a temporary folder.
#[derive(Debug)]
pub struct Demo {
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
    folder: Option<TempDir>,
    settings: Settings,
}

/// The object that `demo --json` prints.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    domain: String,
    ca_file: PathBuf,
    accounts: Vec<Account>,
    services: Vec<Service>,
}

/// An account of the demo.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its address, which is its user name too.
    pub address: String,
    /// Its password.
    pub password: String,
}

/// A port of the demo.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// `smtp`, `imap` or `pop3`.
    pub protocol: String,
    /// `mx`, `submission` or `access`.
    pub role: String,
    /// `none`, `starttls` or `implicit`.
    pub tls: String,
    /// A loopback host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Demo {
    /// Starts a new demo and waits until every server accepts connections.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start() -> Result<Self> {
        Self::start_in(tempfile::tempdir()?)
    }

    /// Starts the demo in `folder`, with the data that an earlier one left there.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_in(folder: TempDir) -> Result<Self> {
        let mut child = Command::new(program("mailstead"))
            .args(["demo", "--json"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting mailstead demo (is it built? tests/run builds it)")?;
        let log = child.stderr.take().map(drain);
        let mut line = String::new();
        let stdout = child.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            let _ = child.wait();
            anyhow::bail!(
                "the demo printed nothing; its log:\n{}",
                log.map(|log| log.join().unwrap_or_default()).unwrap_or_default()
            );
        }
        let settings =
            serde_json::from_str(&line).with_context(|| format!("what the demo printed: {line}"))?;
        Ok(Self { child, log, folder: Some(folder), settings })
    }

    /// The folder that the demo runs in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().map(TempDir::path).unwrap_or(Path::new("."))
    }

    /// The domain it hosts.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.settings.domain
    }

    /// The file with its certificate authority.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder().join(&self.settings.ca_file)
    }

    /// One of its accounts, from 0.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn account(&self, number: usize) -> &Account {
        self.settings
            .accounts
            .get(number)
            .unwrap_or_else(|| panic!("the demo has {:?}", self.settings.accounts))
    }

    /// The service with this protocol, role and TLS mode.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn service(&self, protocol: &str, role: &str, tls: &str) -> &Service {
        let fits = |service: &&Service| {
            (service.protocol.as_str(), service.role.as_str(), service.tls.as_str()) == (protocol, role, tls)
        };
        self.settings
            .services
            .iter()
            .find(fits)
            .unwrap_or_else(|| panic!("no {protocol} {role} {tls} in {:?}", self.settings.services))
    }

    /// All services.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.settings.services
    }

    /// The Maildir of an account's INBOX.
    #[must_use]
    pub fn maildir(&self, account: &Account) -> PathBuf {
        let local_part = account.address.split('@').next().unwrap_or_default();
        self.folder().join("mailstead-demo/mail").join(self.domain()).join(local_part).join("Maildir")
    }

    /// What the Python programs are told.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let port = |protocol: &str, role: &str, tls: &str| self.service(protocol, role, tls).port;
        let account = |number| {
            let account = self.account(number);
            serde_json::json!({"address": account.address, "password": account.password, "maildir": self.maildir(account)})
        };
        serde_json::json!({
            "domain": self.domain(),
            "ca_file": self.ca_file(),
            "host": "localhost",
            "alice": account(0),
            "bob": account(1),
            "mx": port("smtp", "mx", "starttls"),
            "submission": port("smtp", "submission", "starttls"),
            "submissions": port("smtp", "submission", "implicit"),
            "imap": port("imap", "access", "starttls"),
            "imaps": port("imap", "access", "implicit"),
            "pop3": port("pop3", "access", "starttls"),
            "pop3s": port("pop3", "access", "implicit"),
        })
    }

    /// Runs `mailstead` with these arguments over the demo's configuration.
    #[must_use]
    pub fn mailstead(&self, args: &[&str]) -> crate::Client {
        crate::Client::new(program("mailstead"))
            .home(self.folder())
            .env("MAILSTEAD_CONFIG", "mailstead-demo/mailstead.toml")
            .args(args)
    }

    /// The process id of one of the servers, as `mailstead status --json` tells it.
    ///
    /// # Errors
    /// If it does not tell.
    pub fn pid_of(&self, server: &str) -> Result<i32> {
        let status: serde_json::Value =
            serde_json::from_str(&self.mailstead(&["status", "--json"]).run()?.output)?;
        let servers = status
            .get("servers")
            .and_then(serde_json::Value::as_array)
            .context("no servers in the status")?;
        let entry = servers
            .iter()
            .find(|entry| entry.get("name").and_then(serde_json::Value::as_str) == Some(server));
        let pid = entry.and_then(|entry| entry.get("pid")).and_then(serde_json::Value::as_i64);
        Ok(i32::try_from(pid.with_context(|| format!("no pid of {server} in {status}"))?)?)
    }

    /// Ends it as Ctrl-C does, checks that it ended well, and returns its folder and its log.
    ///
    /// # Errors
    /// If it ended with another code than 0.
    pub fn stop(mut self) -> Result<(TempDir, String)> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        let status = self.child.wait()?;
        let log = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        ensure!(status.success(), "the demo ended with {status}; its log:\n{log}");
        Ok((self.folder.take().context("no folder")?, log))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = i32::try_from(self.child.id()).map(|pid| kill(Pid::from_raw(pid), Signal::SIGTERM));
            let _ = self.child.wait();
        }
        if std::thread::panicking()
            && let Some(log) = self.log.take().and_then(|log| log.join().ok())
        {
            eprintln!("--- the demo's log\n{log}");
        }
    }
}
