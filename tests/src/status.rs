use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::{Client, PATIENCE};

/// What `mailstead status --json` tells.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// The supervisor's process id.
    pub pid: u32,
    /// Every server process.
    pub servers: Vec<ServerStatus>,
}

/// One server process.
#[derive(Debug, Clone, Deserialize)]
pub struct ServerStatus {
    /// `smtp`, `queue`, `imap` or `pop3`.
    pub server: String,
    /// `starting`, `running`, `restarting` or `draining`.
    pub state: String,
    /// Its process id, while there is a process.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
}

impl Status {
    /// Runs `status --json`; the command ends with 1 while a server is not running, which is no error here.
    ///
    /// # Errors
    /// If there is no report.
    pub fn ask(client: Client) -> Result<Self> {
        let (_, finished) = client.run_to_code()?;
        serde_json::from_str(&finished.output).with_context(|| format!("{finished:?}"))
    }

    /// Asks until `done` holds.
    ///
    /// # Errors
    /// If that takes too long.
    pub fn wait(ask: impl Fn() -> Client, done: impl Fn(&Self) -> bool) -> Result<Self> {
        let started = Instant::now();
        loop {
            let status = Self::ask(ask())?;
            if done(&status) {
                return Ok(status);
            }
            ensure!(started.elapsed() < PATIENCE, "{status:?}");
        }
    }

    /// The newest process of `server`.
    ///
    /// # Errors
    /// If there is none.
    pub fn server(&self, server: &str) -> Result<&ServerStatus> {
        let newest = self.servers.iter().find(|known| known.server == server);
        newest.with_context(|| format!("no {server} in {self:?}"))
    }

    /// The process id of `server`.
    ///
    /// # Errors
    /// If it has no process now.
    pub fn pid_of(&self, server: &str) -> Result<Pid> {
        Ok(Pid::from_raw(
            self.server(server)?.pid.with_context(|| format!("{server} has no process: {self:?}"))?,
        ))
    }
}
