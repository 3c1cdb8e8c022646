use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server or a supervisor with its servers, stopped when dropped. A panic in its log fails the test.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Arc<Log>,
}

/// What a process has written to its standard error so far.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    text: String,
    /// No process holds the other end any more.
    ended: bool,
}

impl Log {
    /// Reads on a thread of its own, so that a full pipe never stops a server.
    fn read(reader: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                writer.change(|state| state.text += &String::from_utf8_lossy(&line));
                line.clear();
            }
            writer.change(|state| state.ended = true);
        });
        log
    }

    fn change(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// The text once `done` holds; an error with it when that takes too long.
    fn wait(&self, what: &str, done: impl Fn(&LogState) -> bool) -> Result<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, waited) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !done(state) && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.timed_out() && done(&state), "{what}; its log:\n{}", state.text);
        Ok(state.text.clone())
    }

    fn text(&self) -> String {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }
}

impl Process {
    /// Starts it; its standard output is the second value.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(command: &mut Command) -> Result<(Self, ChildStdout)> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {command:?} (is it built? tests/run builds it)"))?;
        let log = Log::read(child.stderr.take().context("no standard error")?);
        let stdout = child.stdout.take().context("no standard output")?;
        Ok((Self { child, log }, stdout))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.id(), signal)?)
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until `count` lines of its log contain `text`.
    ///
    /// # Errors
    /// If that doesn't happen.
    pub fn wait_for_log(&self, text: &str, count: usize) -> Result<()> {
        let enough = |state: &LogState| state.text.matches(text).count() >= count;
        self.log.wait(&format!("it never wrote {text:?} {count} times"), enough).map(drop)
    }

    /// Waits until something accepts connections on `port`.
    ///
    /// # Errors
    /// If the process ends, or takes too long.
    pub fn wait_for_port(&mut self, port: u16) -> Result<()> {
        self.wait_for(([127, 0, 0, 1], port).into())
    }

    /// Waits until something accepts connections at `address`.
    ///
    /// # Errors
    /// If the process ends, or takes too long.
    pub fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}; its log:\n{}", self.whole_log()?);
            }
            ensure!(started.elapsed() < PATIENCE, "nothing listens on {address}; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The log to its end: no process that it started is left then.
    fn whole_log(&self) -> Result<String> {
        self.log.wait("a process that it started outlives it", |state| state.ended)
    }

    /// Waits for its end by itself.
    ///
    /// # Errors
    /// If a process that it started outlives it.
    pub fn wait(&mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait()?;
        Ok((status, self.whole_log()?))
    }

    /// Ends it by `signal` and returns its log.
    ///
    /// # Errors
    /// If it ended with another code than 0, or leaves a process behind.
    pub fn stop(mut self, signal: Signal) -> Result<String> {
        self.signal(signal)?;
        let (status, log) = self.wait()?;
        ensure!(status.success(), "it ended with {status}; its log:\n{log}");
        Ok(log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.signal(Signal::SIGTERM);
            let _ = self.child.wait();
        }
        let log = self.whole_log();
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
            return;
        }
        match log {
            Ok(log) => assert!(!log.contains("panicked"), "a server panicked; its log:\n{log}"),
            Err(error) => panic!("{error}"),
        }
    }
}
