//! The program as its users run it: real processes, real folders, an address of its own on loopback for each test.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod mail;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take, on a machine that does a lot besides.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What listens where, on the address of the test.
pub const LISTENERS: [(&str, &str, u16, &str); 5] = [
    ("smtp", "smtp", 12_025, "tls = \"starttls\"\nrole = \"mx\""),
    ("smtp", "submission", 12_587, "tls = \"starttls\"\nrole = \"submission\""),
    ("imap", "imap", 12_143, "tls = \"starttls\""),
    ("imap", "imaps", 12_993, "tls = \"implicit\""),
    ("pop3", "pop3", 12_110, "tls = \"starttls\""),
];

/// A domain made by `mailstead init`, its listeners moved to an address that no other test has.
pub struct Installation {
    pub folder: TempDir,
    pub address: Ipv4Addr,
    pub program: PathBuf,
}

/// The executable.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_mailstead").into()
}

/// An address of 127.0.0.0/8.
pub fn address() -> Ipv4Addr {
    let [a, b, c, _] = getrandom::u32().unwrap().to_be_bytes();
    Ipv4Addr::new(127, a, b, c | 1)
}

impl Installation {
    pub fn new() -> Self {
        Self::init(tempfile::tempdir().unwrap(), &[])
    }

    /// Runs `init` with these arguments too.
    pub fn init(folder: TempDir, more: &[&str]) -> Self {
        let this = Self { folder, address: address(), program: program() };
        let done = this
            .command(&["init", "example.org", "--data-dir"])
            .arg(this.data())
            .args(more)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        this.add_to_config(&this.listeners());
        this
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn config(&self) -> PathBuf {
        self.data().join("mailstead.toml")
    }

    pub fn read_config(&self) -> String {
        std::fs::read_to_string(self.config()).unwrap()
    }

    pub fn add_to_config(&self, text: &str) {
        std::fs::write(self.config(), format!("{}\n{text}", self.read_config())).unwrap();
    }

    /// The tables of all listeners.
    pub fn listeners(&self) -> String {
        let table = |(server, name, port, rest): &(&str, &str, u16, &str)| {
            format!(
                "[[{server}.listener]]\nname = \"{name}\"\naddresses = [\"{}:{port}\"]\n{rest}\n",
                self.address
            )
        };
        LISTENERS.iter().map(table).collect()
    }

    /// Where `name` listens.
    pub fn address_of(&self, name: &str) -> SocketAddr {
        let (_, _, port, _) = LISTENERS.iter().find(|(_, known, ..)| *known == name).unwrap();
        (self.address, *port).into()
    }

    /// `mailstead` with these arguments; the config is named for it unless it is being made.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("MAILSTEAD_CONFIG")
            .stdin(Stdio::null());
        if self.config().exists() {
            command.env("MAILSTEAD_CONFIG", self.config());
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Done {
        self.run_with_input(arguments, "")
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Done {
        run(&mut self.command(arguments), input)
    }

    /// Adds an account whose password is `secret`.
    pub fn add_account(&self, address: &str) {
        self.run_with_input(&["account", "add", address], "secret\n").succeeds();
    }

    /// `mailstead serve`, every server of which is ready.
    pub fn serve(&self) -> Running {
        let running = Running::start(&mut self.command(&["serve"]));
        running.wait_for_log("all servers are ready");
        running
    }

    /// What `mailstead status --json` says of `server`, of the newest process first.
    pub fn status_of(&self, server: &str) -> Option<Value> {
        let report: Value = serde_json::from_str(&self.run(&["status", "--json"]).out).ok()?;
        report["servers"].as_array()?.iter().find(|entry| entry["server"] == server).cloned()
    }

    /// The process id of a server that runs.
    pub fn pid_of(&self, server: &str) -> Pid {
        let pid = || self.status_of(server).filter(|status| status["state"] == "running")?["pid"].as_i64();
        let pid = wait_for(&format!("{server} to run"), pid);
        Pid::from_raw(i32::try_from(pid).unwrap())
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    #[track_caller]
    pub fn succeeds(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.out
    }

    /// It failed with this code, and told each of these.
    #[track_caller]
    pub fn fails(&self, code: i32, told: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in told {
            assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        }
    }
}

pub fn run(command: &mut Command, input: &str) -> Done {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    Done { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// A program that runs, and its log.
pub struct Running {
    pub child: Child,
    log: Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, log }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The log up to the line that holds `text`.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        let mut read = String::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => read = read + &line + "\n",
                Err(error) => panic!("{error} before {text:?} in the log:\n{read}"),
            }
            if read.lines().last().is_some_and(|line| line.contains(text)) {
                return read;
            }
        }
    }

    /// Its exit code, and the rest of the log.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("the program to end", || self.child.try_wait().unwrap());
        (status.code(), self.log.iter().map(|line| line + "\n").collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// Looks again and again until there is something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The greeting of the server at `address`, and the connection.
pub fn greeting(address: SocketAddr) -> (String, BufReader<TcpStream>) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    (line, stream)
}

/// Waits until nobody accepts connections at `address`.
pub fn wait_until_refused(address: SocketAddr) {
    wait_for(&format!("{address} to be closed"), || TcpStream::connect(address).err().map(drop));
}

/// True while the process exists and is no zombie.
pub fn is_alive(pid: Pid) -> bool {
    let mut status = String::new();
    let read = std::fs::File::open(format!("/proc/{pid}/stat"))
        .and_then(|mut file| file.read_to_string(&mut status));
    read.is_ok() && !status.contains(") Z")
}

/// The value of a line of `/proc/<pid>/status`.
pub fn proc_status(pid: Pid, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {status}")).trim().to_owned()
}

/// The owner of a file.
pub fn owner(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&path.symlink_metadata().unwrap())
}
