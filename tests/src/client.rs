use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Site;

/// A mail client run once, with its input, output and a deadline.
#[derive(Debug)]
pub struct Client {
    command: Command,
    input: Vec<u8>,
}

/// What a client said.
#[derive(Debug)]
pub struct Finished {
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

impl Client {
    /// The program `name`, found on the PATH.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "180"]).arg(name).env("LC_ALL", "C.UTF-8");
        Self { command, input: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The folder it runs in, which is its HOME too, so that no file of the user's is read.
    #[must_use]
    pub fn home(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder).env("HOME", folder);
        self
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// With all it said, if it can't be started, takes longer than three minutes or ends with another code than 0.
    pub fn run(self) -> Result<Finished> {
        let shown = format!("{:?}", self.command);
        let (code, finished) = self.run_to_code()?;
        if code != Some(0) {
            bail!(
                "{shown} ended with {code:?}\n--- output\n{}\n--- errors\n{}",
                finished.output,
                finished.errors
            );
        }
        Ok(finished)
    }

    /// Runs it to its end and returns its exit code, `None` after a signal.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn run_to_code(mut self) -> Result<(Option<i32>, Finished)> {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().with_context(|| format!("starting {:?}", self.command))?;
        let mut stdin = child.stdin.take();
        let input = self.input;
        let feeder = std::thread::spawn(move || stdin.take().map(|mut pipe| pipe.write_all(&input)));
        let output = child.wait_with_output()?;
        let _ = feeder.join();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code(), Finished { output: text(&output.stdout), errors: text(&output.stderr) }))
    }
}

/// A Python program of `tests/python`, which is told of `site`, and of `more` under that name, as JSON on standard input.
///
/// # Errors
/// As [`Client::run`].
pub fn python(script: &str, site: &Site, more: Value) -> Result<Finished> {
    python_of("python3", script, site, more)
}

/// The same by another Python.
///
/// # Errors
/// As [`Client::run`].
pub fn python_of(program: &str, script: &str, site: &Site, more: Value) -> Result<Finished> {
    let mut told = site.to_json();
    told["more"] = more;
    let path = script_path("python", script);
    Client::new(program).args(["-u".as_ref(), path.as_os_str()]).input(told.to_string()).run()
}

/// A JavaScript program of `tests/node`, which is told of `site` as JSON on standard input.
///
/// # Errors
/// As [`Client::run`].
pub fn node(script: &str, site: &Site) -> Result<Finished> {
    Client::new("node").args([script_path("node", script)]).input(site.to_json().to_string()).run()
}

fn script_path(language: &str, script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(language).join(script)
}
