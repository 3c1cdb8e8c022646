//! The demo as a newcomer meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{is_alive, program, run, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("demo").args(arguments).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// A demo that runs, and what it printed first.
struct Demo {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Demo {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = demo(folder, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn settings(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Ctrl-C, then what else it printed.
    fn stop(mut self) -> String {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        let status = wait_for("the demo to end", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        rest
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

fn ports(settings: &Value) -> Vec<u64> {
    settings["services"].as_array().unwrap().iter().map(|service| service["port"].as_u64().unwrap()).collect()
}

#[test]
fn one_line_of_json_says_everything_once_every_server_accepts_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(folder.path(), &["--json"]);
    let settings = demo.settings();
    let keys: Vec<&String> = settings.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["accounts", "ca_file", "domain", "services"]);
    let ca_file = settings["ca_file"].as_str().unwrap();
    assert!(Path::new(ca_file).is_relative() && folder.path().join(ca_file).is_file(), "{ca_file}");
    for port in ports(&settings) {
        TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    }
    let kinds: Vec<String> = settings["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| {
            assert_eq!(service.as_object().unwrap().len(), 5, "{service}");
            ["protocol", "role", "tls"].map(|key| service[key].as_str().unwrap().to_owned()).join(" ")
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "smtp mx starttls",
            "smtp submission starttls",
            "smtp submission implicit",
            "imap access starttls",
            "imap access implicit",
            "pop3 access starttls",
            "pop3 access implicit",
        ]
    );
    for account in settings["accounts"].as_array().unwrap() {
        let (local_part, domain) = account["address"].as_str().unwrap().split_once('@').unwrap();
        assert_eq!(settings["domain"], domain);
        let new = folder.path().join(format!("mailstead-demo/mail/{domain}/{local_part}/Maildir/new"));
        assert_eq!(new.read_dir().unwrap().count(), 1, "the welcome message");
    }
    assert_eq!(demo.stop(), "", "nothing else on standard output");
}

#[test]
fn people_get_a_table_with_what_must_be_typed() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(folder.path(), &[]);
    let mut text = String::new();
    while !text.contains("Ctrl-C stops everything") {
        assert!(demo.out.read_line(&mut text).unwrap() > 0, "{text}");
    }
    let accounts = std::fs::read_to_string(folder.path().join("mailstead-demo/accounts.json")).unwrap();
    let accounts: Value = serde_json::from_str(&accounts).unwrap();
    for account in accounts.as_array().unwrap() {
        let [address, password] = ["address", "password"].map(|key| account[key].as_str().unwrap());
        assert!(text.lines().any(|line| line.contains(address) && line.contains(password)), "{text}");
    }
    let ca_file = folder.path().canonicalize().unwrap().join("mailstead-demo/tls/ca.pem");
    assert!(text.contains(ca_file.to_str().unwrap()), "{text}");
    for (what, security) in
        [("IMAP", "SSL/TLS"), ("IMAP", "STARTTLS"), ("POP3", "SSL/TLS"), ("SMTP", "STARTTLS")]
    {
        let row = text.lines().find(|line| line.contains(what) && line.contains(security)).unwrap();
        assert!(
            row.contains("localhost") && row.contains("the whole address") && row.contains("normal password"),
            "{row}"
        );
    }
    drop(demo);
}

#[test]
fn ctrl_c_in_a_terminal_stops_every_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path(), &["--json"]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let config = folder.path().join("mailstead-demo/mailstead.toml");
    let status = run(Command::new(program()).args(["status", "--json", "--config"]).arg(config), "");
    let status: Value = serde_json::from_str(status.succeeds()).unwrap();
    let servers: Vec<Pid> = status["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| Pid::from_raw(server["pid"].as_i64().unwrap().try_into().unwrap()))
        .collect();
    // A terminal sends SIGINT to the whole group.
    nix::sys::signal::killpg(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ended = wait_for("the demo to end", || child.try_wait().unwrap());
    assert!(ended.success() && servers.len() == 4, "{ended} {servers:?}");
    assert!(servers.iter().all(|server| !is_alive(*server)));
}

#[test]
fn two_demos_at_one_time_have_ports_of_their_own_and_a_folder_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Demo::start(folder.path(), &["--json"]);
    let first_settings = first.settings();
    let mut second = Demo::start(folder.path(), &["--json", "--dir", "other"]);
    let second_settings = second.settings();
    assert!(ports(&first_settings).iter().all(|port| !ports(&second_settings).contains(port)));
    assert_eq!(second_settings["ca_file"], "other/tls/ca.pem");
    run(&mut demo(folder.path(), &["--json"]), "").fails(1, &["another mailstead runs over the data dir"]);
    first.stop();
    let mut again = Demo::start(folder.path(), &["--json"]);
    assert_eq!(again.settings()["accounts"], first_settings["accounts"], "found again");
    again.stop();
    second.stop();
}

#[test]
fn damage_and_a_folder_that_can_not_be_written_are_told_plainly() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let told = |arguments: &[&str], code: i32, text: &[&str]| {
        run(&mut demo(folder.path(), arguments), "").fails(code, text)
    };
    told(&["--dir", "file"], 1, &["file is not a folder", "--dir"]);
    told(&["--dir", "/proc/demo"], 1, &["can't make the folder /proc/demo", "start it where you may write"]);
    let demo = folder.path().join("mailstead-demo");
    std::fs::create_dir(&demo).unwrap();
    std::fs::write(demo.join("accounts.json"), "[{\"address\":").unwrap();
    told(&[], 1, &["accounts.json is damaged: remove it, and the accounts get new passwords"]);
    std::fs::remove_file(demo.join("accounts.json")).unwrap();
    let config = std::fs::read_to_string(demo.join("mailstead.toml")).unwrap();
    std::fs::write(demo.join("mailstead.toml"), config.replace("tls = \"starttls\"", "tls = \"startls\""))
        .unwrap();
    told(&[], 2, &["mailstead.toml:", "\"startls\": expected \"none\", \"starttls\" or \"implicit\""]);
}
