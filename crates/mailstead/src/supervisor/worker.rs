use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use mail_metrics::Sample;
use nix::sys::signal::Signal;
use server_core::program::METRICS;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::Setup;
use super::backoff::Backoff;
use super::control::{ServerReport, ServerState};
use super::process::{self, Event, Process, WorkerId};
use super::run_dir::RunDir;
use crate::server::Server;

/// What a server gets beyond its own deadline before it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// A server that has said nothing for this long hangs; they speak every half second.
const HUNG: Duration = Duration::from_secs(60);

/// One server under one config, through all its restarts.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) server: Server,
    /// A newer one is to take over.
    pub(super) superseded: bool,
    /// `None` once it drains: it must not hold sockets open that nobody accepts from.
    setup: Option<Arc<Setup>>,
    state: State,
    backoff: Backoff,
    restarts: u32,
    sessions: Option<usize>,
    /// What its process counts.
    pub(super) metrics: Vec<Sample>,
    heard: Instant,
}

enum State {
    /// To be started then.
    Due(Instant),
    /// Not ready yet.
    Starting(Process),
    /// Serves.
    Running(Process),
    /// Finishes its sessions until then.
    Draining(Process, Instant),
    /// To be forgotten.
    Gone,
}

impl State {
    const fn process(&self) -> Option<&Process> {
        match self {
            Self::Starting(process) | Self::Running(process) | Self::Draining(process, _) => Some(process),
            Self::Due(_) | Self::Gone => None,
        }
    }
}

impl Worker {
    pub(super) fn new(id: WorkerId, server: Server, setup: &Arc<Setup>, now: Instant) -> Self {
        Self {
            id,
            server,
            superseded: false,
            setup: Some(Arc::clone(setup)),
            state: State::Due(now),
            backoff: Backoff::default(),
            restarts: 0,
            sessions: None,
            metrics: Vec::new(),
            heard: now,
        }
    }

    /// The name of the socket on which its process tells how it is.
    pub(super) fn name(&self) -> String {
        process::name(self.server, self.id)
    }

    pub(super) const fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Due(at) if at <= now)
    }

    /// The server that no second process may run meanwhile.
    pub(super) fn occupies(&self) -> Option<Server> {
        (!self.server.may_overlap() && self.state.process().is_some()).then_some(self.server)
    }

    /// When it is to be started, or killed.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) | State::Draining(_, at) => Some(at),
            State::Starting(_) | State::Running(_) | State::Gone => None,
        }
    }

    pub(super) fn start(&mut self, run_dir: &RunDir, events: &UnboundedSender<Event>) {
        let Some(setup) = &self.setup else { return };
        self.heard = Instant::now();
        self.sessions = None;
        match process::start(self.id, self.server, setup, run_dir, events) {
            Ok(process) => {
                info!(server = %self.server, pid = process.pid, "started");
                self.state = State::Starting(process);
            }
            Err(failure) => {
                error!(server = %self.server, "{failure:#}");
                self.start_again(Duration::ZERO);
            }
        }
    }

    fn start_again(&mut self, ran: Duration) {
        let wait = self.backoff.next(ran);
        self.restarts = self.restarts.saturating_add(1);
        self.state = State::Due(Instant::now() + wait);
    }

    /// Takes what its process tells; true when it has just become ready.
    pub(super) fn told(&mut self, text: &str) -> bool {
        self.heard = Instant::now();
        let lines = || text.lines().filter_map(|line| line.split_once('='));
        if let Some((_, status)) = lines().find(|(key, _)| *key == "STATUS") {
            self.sessions = status.strip_prefix("sessions=").and_then(|count| count.parse().ok());
        }
        if let Some((_, metrics)) = lines().find(|(key, _)| *key == METRICS)
            && let Ok(metrics) = serde_json::from_str(metrics)
        {
            self.metrics = metrics;
        }
        lines().any(|line| line == ("READY", "1")) && self.became_ready()
    }

    fn became_ready(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Starting(process) => {
                self.state = State::Running(process);
                true
            }
            other @ (State::Due(_) | State::Running(_) | State::Draining(..) | State::Gone) => {
                self.state = other;
                false
            }
        }
    }

    /// Its process is no more.
    pub(super) fn ended(&mut self, status: &std::io::Result<ExitStatus>) {
        let how = status.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        let server = self.server;
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Starting(process) | State::Running(process) if !self.superseded => {
                self.start_again(process.started.elapsed());
                warn!(%server, pid = process.pid, restarts = self.restarts, "died ({how}); it is started again");
            }
            State::Starting(process) | State::Running(process) => {
                warn!(%server, pid = process.pid, "died ({how}); its successor is on the way");
            }
            State::Draining(process, _) => info!(%server, pid = process.pid, "stopped ({how})"),
            State::Due(_) | State::Gone => {}
        }
    }

    /// Lets it finish its sessions, for good.
    pub(super) fn drain(&mut self, now: Instant) {
        let timeout = self.setup.take().map_or(Duration::ZERO, |setup| setup.config.limits.drain_timeout);
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Starting(process) | State::Running(process) => {
                process.signal(Signal::SIGTERM);
                State::Draining(process, now + timeout + GRACE)
            }
            State::Draining(process, deadline) => State::Draining(process, deadline),
            State::Due(_) | State::Gone => State::Gone,
        };
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        if let Some(process) = self.state.process() {
            process.signal(Signal::SIGKILL);
        }
    }

    pub(super) fn kill_if_late(&mut self, now: Instant) {
        if let State::Draining(process, deadline) = &mut self.state
            && *deadline <= now
        {
            warn!(server = %self.server, pid = process.pid, "did not stop in time; killed");
            process.signal(Signal::SIGKILL);
            *deadline = now + GRACE;
        }
    }

    pub(super) fn kill_if_hung(&mut self, now: Instant, new_chance: bool) {
        if new_chance {
            self.heard = now;
        }
        if self.is_running() && now.duration_since(self.heard) > HUNG {
            error!(server = %self.server, "has said nothing for {} seconds; killed", HUNG.as_secs());
            self.kill();
        }
    }

    pub(super) fn report(&self) -> ServerReport {
        let state = match &self.state {
            State::Due(_) if self.restarts > 0 => ServerState::Restarting,
            State::Due(_) | State::Starting(_) => ServerState::Starting,
            State::Running(_) => ServerState::Running,
            State::Draining(..) | State::Gone => ServerState::Draining,
        };
        let process = self.state.process();
        ServerReport {
            server: self.server,
            state,
            pid: process.map(|process| process.pid),
            uptime_seconds: process.map(|process| process.started.elapsed().as_secs()),
            restarts: self.restarts,
            sessions: process.and(self.sessions),
        }
    }
}
