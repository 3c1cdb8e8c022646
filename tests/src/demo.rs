use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{Client, Person, Process, Site, Status, program};

/// `mailstead demo --json`, running in a temporary folder.
#[derive(Debug)]
pub struct Demo {
    process: Process,
    folder: TempDir,
    site: Site,
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

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    address: String,
    password: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    protocol: String,
    role: String,
    tls: String,
    host: String,
    port: u16,
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
        let mut command = Command::new(program("mailstead"));
        let (mut process, stdout) =
            Process::start(command.args(["demo", "--json"]).current_dir(folder.path()))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            anyhow::bail!("the demo printed nothing; its log:\n{}", process.wait()?.1);
        }
        let settings: Settings =
            serde_json::from_str(&line).with_context(|| format!("what the demo printed: {line}"))?;
        let site = settings.site(folder.path())?;
        Ok(Self { process, folder, site })
    }

    /// What a client must know.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The folder that the demo runs in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The supervisor.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Runs `mailstead` with these arguments over the demo's configuration.
    #[must_use]
    pub fn mailstead(&self, args: &[&str]) -> Client {
        Client::new(program("mailstead"))
            .home(self.folder())
            .env("MAILSTEAD_CONFIG", "mailstead-demo/mailstead.toml")
            .args(args)
    }

    /// How the servers are.
    ///
    /// # Errors
    /// If the supervisor does not answer.
    pub fn status(&self) -> Result<Status> {
        Status::ask(self.mailstead(&["status", "--json"]))
    }

    /// Waits for its end, and returns its folder and its log.
    ///
    /// # Errors
    /// If it ended with another code than 0, or leaves a process behind.
    pub fn wait(self) -> Result<(TempDir, String)> {
        let Self { mut process, folder, .. } = self;
        let (status, log) = process.wait()?;
        anyhow::ensure!(status.success(), "the demo ended with {status}; its log:\n{log}");
        Ok((folder, log))
    }

    /// Ends it as Ctrl-C does, and returns its folder and its log.
    ///
    /// # Errors
    /// If it ended with another code than 0, or leaves a process behind.
    pub fn stop(self) -> Result<(TempDir, String)> {
        self.process.signal(Signal::SIGINT)?;
        self.wait()
    }
}

impl Settings {
    fn site(self, folder: &Path) -> Result<Site> {
        let ports = self
            .services
            .iter()
            .map(|service| Ok((service.listener()?.to_owned(), service.port)))
            .collect::<Result<_>>()?;
        let mail = folder.join("mailstead-demo/mail").join(&self.domain);
        let person = |account: &Account| {
            let local_part = account.address.split('@').next().unwrap_or_default();
            let maildir = mail.join(local_part).join("Maildir");
            Person { address: account.address.clone(), password: account.password.clone(), maildir }
        };
        let people = self.accounts.iter().map(person).collect();
        Ok(Site { domain: self.domain, ca_file: folder.join(self.ca_file), ports, people })
    }
}

impl Service {
    /// The name that the reference config gives to such a listener.
    fn listener(&self) -> Result<&'static str> {
        anyhow::ensure!(self.host == crate::HOST, "the demo listens on {}", self.host);
        match (self.protocol.as_str(), self.role.as_str(), self.tls.as_str()) {
            ("smtp", "mx", "starttls") => Ok("smtp"),
            ("smtp", "submission", "starttls") => Ok("submission"),
            ("smtp", "submission", "implicit") => Ok("submissions"),
            ("imap", "access", "starttls") => Ok("imap"),
            ("imap", "access", "implicit") => Ok("imaps"),
            ("pop3", "access", "starttls") => Ok("pop3"),
            ("pop3", "access", "implicit") => Ok("pop3s"),
            other => anyhow::bail!("the demo has a service {other:?}"),
        }
    }
}
