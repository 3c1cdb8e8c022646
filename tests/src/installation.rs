use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;

use crate::{Client, Person, Process, Site, program};

/// The ports that tests listen on, below the range from which the system takes ports by itself.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port that was free a moment ago, and that this process is given but once.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    static FIRST: OnceLock<u32> = OnceLock::new();
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Another test run beside this one begins elsewhere.
    let first = FIRST.get_or_init(|| getrandom::u32().unwrap_or_default() >> 1);
    let next = || {
        let position = (first + GIVEN.fetch_add(1, Ordering::Relaxed)) % u32::from(PORTS.end - PORTS.start);
        PORTS.start + u16::try_from(position).unwrap_or_default()
    };
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(next).take(1000).find(free).unwrap_or_else(|| panic!("no free port"))
}

/// A domain made by `mailstead init`, with its ports moved to free ones on loopback.
#[derive(Debug)]
pub struct Installation {
    folder: TempDir,
    site: Site,
}

/// The name, role and TLS mode of every listener, by server.
const LISTENERS: [(&str, &str, &str, &str); 7] = [
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
        let site = Site {
            domain: domain.to_owned(),
            ca_file: data.join("tls/ca.pem"),
            ports: LISTENERS.iter().map(|(_, name, ..)| ((*name).to_owned(), free_port())).collect(),
            people: Vec::new(),
        };
        let mut this = Self { folder, site };
        this.write_config(more)?;
        for account in accounts {
            this.add(account)?;
        }
        Ok(this)
    }

    /// Adds an account by the command line.
    ///
    /// # Errors
    /// If the command fails.
    pub fn add(&mut self, local_part: &str) -> Result<()> {
        let address = format!("{local_part}@{}", self.site.domain);
        let password = format!("secret-{local_part}");
        self.mailstead(&["account", "add", &address]).input(format!("{password}\n")).run()?;
        let maildir = self.data().join("mail").join(&self.site.domain).join(local_part).join("Maildir");
        self.site.people.push(Person { address, password, maildir });
        Ok(())
    }

    /// Writes the config anew, with its listeners on the same ports and `more` behind them. Unless that has `[relay]`, nothing goes
    /// out to the world.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write_config(&self, more: &str) -> Result<()> {
        let mut text = "hostname = \"localhost\"\ndata_dir = \".\"\n\n[[tls.certificate]]\n\
                        certificate = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\n\n"
            .to_owned();
        for (server, name, role, tls) in LISTENERS {
            let port = self.site.port(name);
            text += &format!(
                "[[{server}.listener]]\nname = \"{name}\"\ntls = \"{tls}\"\naddresses = [\"127.0.0.1:{port}\"]\n"
            );
            if !role.is_empty() {
                text += &format!("role = \"{role}\"\n");
            }
        }
        if !more.contains("[relay]") {
            text += "[relay]\ndirect = false\n";
        }
        Ok(std::fs::write(self.config(), format!("{text}\n{more}\n"))?)
    }

    /// What a client must know.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The folder that holds the data folder, and is the home of the clients that tests run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
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

    /// `mailstead` with these arguments over this configuration.
    #[must_use]
    pub fn mailstead(&self, args: &[&str]) -> Client {
        Client::new(program("mailstead"))
            .home(self.folder.path())
            .env("MAILSTEAD_CONFIG", self.config())
            .args(args)
    }

    /// Starts `mailstead serve` and waits until every listener accepts connections.
    ///
    /// # Errors
    /// If they don't.
    pub fn serve(&self) -> Result<Process> {
        let mut process = self.start(&["mailstead", "serve"])?;
        for (_, port) in &self.site.ports {
            process.wait_for_port(*port)?;
        }
        process.wait_for_log("all servers are ready", 1)?;
        Ok(process)
    }

    /// Starts one server by this command, as `["imap-server"]` or `["mailstead", "imap"]`, and waits until the listeners of `server`
    /// accept connections.
    ///
    /// # Errors
    /// If they don't.
    pub fn alone(&self, command: &[&str], server: &str) -> Result<Process> {
        let mut process = self.start(command)?;
        for (_, name, ..) in LISTENERS.iter().filter(|(known, ..)| *known == server) {
            process.wait_for_port(self.site.port(name))?;
        }
        Ok(process)
    }

    /// Starts one server with `sockets` handed down under `names`, as sd_listen_fds(3) has it.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn given(&self, command: &[&str], names: &[&str], sockets: Vec<TcpListener>) -> Result<Process> {
        let mut command = self.command(command);
        command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let mapping =
            |(socket, child_fd): (TcpListener, i32)| FdMapping { parent_fd: socket.into(), child_fd };
        command.fd_mappings(sockets.into_iter().zip(3..).map(mapping).collect())?;
        Ok(Process::start(&mut command)?.0)
    }

    fn start(&self, command: &[&str]) -> Result<Process> {
        Ok(Process::start(&mut self.command(command))?.0)
    }

    fn command(&self, command: &[&str]) -> Command {
        let (executable, args) = command.split_first().unwrap_or_else(|| panic!("no command"));
        let mut command = Command::new(program(executable));
        command.args(args).arg("--config").arg(self.config());
        command
    }
}
