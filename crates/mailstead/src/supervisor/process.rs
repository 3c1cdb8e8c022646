use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server_core::program::{CONFIG_COPY, SUPERVISED};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::Setup;
use super::run_dir::{RunDir, path_below};
use crate::server::Server;

/// The first descriptor handed down. sd_listen_fds(3).
const FIRST_SOCKET: i32 = 3;
/// The longest message of a server to the supervisor, in octets; the rest is cut off.
const MESSAGE_SIZE: usize = 64 << 10;

/// Names one process of a server, among all that this supervisor ever starts.
pub(super) type WorkerId = u64;

/// What a child process tells, or what becomes of it.
#[derive(Debug)]
pub(super) enum Event {
    /// Lines as in sd_notify(3).
    Told(WorkerId, String),
    /// It is no more.
    Ended(WorkerId, std::io::Result<ExitStatus>),
}

/// A running child process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) started: Instant,
    signals: UnboundedSender<Signal>,
}

impl Process {
    /// Sends a signal, unless the process has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = self.signals.send(signal);
    }
}

/// The name of the socket on which a process tells how it is.
pub(super) fn name(server: Server, id: WorkerId) -> String {
    format!("{server}-{id}")
}

/// Starts a server. What becomes of it is told by `events`.
pub(super) fn start(
    id: WorkerId,
    server: Server,
    setup: &Setup,
    run_dir: &RunDir,
    events: &UnboundedSender<Event>,
) -> anyhow::Result<Process> {
    let name = name(server, id);
    let told = run_dir.bind(&name)?;
    let spawned = command(server, setup, run_dir, &name)
        .and_then(|mut command| command.spawn().with_context(|| format!("can't start the server {server}")));
    let child = spawned.inspect_err(|_| run_dir.remove(&name))?;
    let (signals, to_send) = unbounded_channel();
    let process = Process { pid: child.id().unwrap_or_default(), started: Instant::now(), signals };
    tokio::spawn(attend(id, child, told, to_send, events.clone()));
    Ok(process)
}

/// The sockets come first, as sd_listen_fds(3) has it, then the run folder, then the config.
fn command(server: Server, setup: &Setup, run_dir: &RunDir, told: &str) -> anyhow::Result<Command> {
    let sockets = setup.sockets.of(server, &setup.config);
    let names: Vec<&str> = sockets.iter().map(|bound| bound.listener.name.as_str()).collect();
    let mut descriptors = Vec::new();
    for bound in &sockets {
        descriptors.push(OwnedFd::from(bound.socket.try_clone()?));
    }
    descriptors.push(std::os::fd::AsFd::as_fd(run_dir).try_clone_to_owned()?);
    descriptors.push(setup.text().try_clone_to_owned()?);
    let run_dir_at = FIRST_SOCKET.saturating_add(i32::try_from(sockets.len())?);
    let config_at = run_dir_at.saturating_add(1);

    let mut command = std::process::Command::new(program());
    command.arg(server.name()).arg("--config").arg(&setup.config.file);
    command.env_remove("LISTEN_PID").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    command.env("NOTIFY_SOCKET", path_below(run_dir_at, told));
    command.env(CONFIG_COPY, format!("/proc/self/fd/{config_at}"));
    command.env(SUPERVISED, std::process::id().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mappings = descriptors.into_iter().zip(FIRST_SOCKET..);
    let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.fd_mappings(mappings)?;
    let mut command = Command::from(command);
    // Ctrl-C in a terminal goes to the whole group: only the supervisor is to hear it. It then tells the servers.
    command.process_group(0).kill_on_drop(true);
    Ok(command)
}

/// This very program, even after its file was replaced.
fn program() -> std::path::PathBuf {
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| "/proc/self/exe".into())
}

/// Passes signals on until the process ends. Only here is it known that its id is still its own.
async fn attend(
    id: WorkerId,
    mut child: Child,
    told: UnixDatagram,
    mut signals: UnboundedReceiver<Signal>,
    events: UnboundedSender<Event>,
) {
    let mut buffer = vec![0; MESSAGE_SIZE];
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            Some(signal) = signals.recv() => send(&child, signal),
            Ok(length) = told.recv(&mut buffer) => {
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                let _ = events.send(Event::Told(id, text));
            }
        }
    };
    let _ = events.send(Event::Ended(id, status));
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
