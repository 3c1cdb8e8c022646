//! `mailstead serve`: binds the listening sockets, runs each server as a child process, and keeps them running.

mod backoff;
mod control;
mod disks;
mod fleet;
mod lock;
mod metrics;
mod process;
mod run_dir;
mod scrape;
mod setup;
mod signals;
mod sockets;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use server_core::program::start_logging;
use tokio::net::UnixListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Interval};
use tracing::{error, info, warn};

pub(crate) use self::control::status;
use self::control::{Report, answer};
use self::fleet::{Fleet, LOOK_EVERY};
pub(crate) use self::lock::Lock;
use self::process::Event;
use self::run_dir::RunDir;
pub(crate) use self::scrape::serve_metrics;
pub(crate) use self::setup::{ConfigCopy, Setup};
use self::signals::{Signal, Signals};
pub(crate) use self::sockets::Sockets;
use crate::data_dir;
use crate::owner::other_owner;

/// Runs the servers of a config until told to stop.
pub(crate) fn serve(path: &Path) -> anyhow::Result<()> {
    let copy = ConfigCopy::read(path)?;
    start_logging(&copy.config.log.filter);
    data_dir::prepare(&copy.config)?;
    let owner = other_owner(copy.config.user.as_deref())?;
    let lock = Lock::take(&copy.config.data_dir, owner.as_ref())?;
    let setup = Setup::check(copy)?;
    run(setup, lock, Manner::Service)
}

/// How the supervisor behaves where a service and a demo differ.
pub(crate) enum Manner {
    /// Goes on trying to start what fails; SIGHUP reloads the config.
    Service,
    /// Gives up when the servers are not there in time; SIGHUP, the end of the terminal, stops.
    Demo {
        /// Called once, when every server accepts connections.
        ready: Box<dyn FnOnce() -> anyhow::Result<()>>,
        /// The time that the servers have to get ready.
        patience: Duration,
    },
}

/// Runs the servers of `setup` until told to stop. The lock is held until then.
pub(crate) fn run(setup: Setup, lock: Lock, manner: Manner) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async { Supervisor::new(setup, manner)?.run().await });
    drop(lock);
    result
}

struct Supervisor {
    /// `None` while stopping: with it the listening sockets are closed, and a client is refused rather than left waiting.
    setup: Option<Arc<Setup>>,
    config: PathBuf,
    fleet: Fleet,
    events: UnboundedReceiver<Event>,
    control: UnixListener,
    started: Instant,
    phase: Phase,
    /// SIGHUP reloads.
    reloads: bool,
}

enum Phase {
    /// Not every server has been ready yet.
    Starting { ready: Box<dyn FnOnce() -> anyhow::Result<()>>, deadline: Option<Instant> },
    /// Every server has been ready.
    Running,
    /// Servers finish what is in flight; then the supervisor ends with this result.
    Stopping(anyhow::Result<()>),
}

impl Supervisor {
    fn new(setup: Setup, manner: Manner) -> anyhow::Result<Self> {
        let run_dir = RunDir::make(&setup.config)?;
        let control = control::listen(&setup.config)?;
        let (fleet, events) = Fleet::new(run_dir);
        let started = Instant::now();
        let (phase, reloads) = match manner {
            Manner::Service => (Phase::Starting { ready: Box::new(|| Ok(())), deadline: None }, true),
            Manner::Demo { ready, patience } => {
                (Phase::Starting { ready, deadline: Some(started + patience) }, false)
            }
        };
        let config = setup.config.file.clone();
        Ok(Self { setup: Some(Arc::new(setup)), config, fleet, events, control, started, phase, reloads })
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let mut signals = Signals::new().context("can't listen to signals")?;
        let mut watchdog = watchdog();
        let mut look = tokio::time::interval(LOOK_EVERY);
        info!(config = %self.config.display(), "starting the servers");
        if let Some(setup) = &self.setup {
            self.fleet.replace(setup);
        }
        loop {
            self.fleet.tick(Instant::now());
            self.advance();
            if let Phase::Stopping(result) = &mut self.phase
                && self.fleet.is_empty()
            {
                info!("stopped");
                return std::mem::replace(result, Ok(()));
            }
            let deadline = self.next_deadline();
            tokio::select! {
                Some(event) = self.events.recv() => self.fleet.handle(event),
                signal = signals.next() => self.signalled(signal),
                Ok((stream, _)) = self.control.accept() => {
                    answer(stream, self.report(), self.setup.as_ref().map(|setup| Arc::clone(&setup.config)));
                }
                () = tokio::time::sleep_until(deadline) => {}
                _ = look.tick() => self.fleet.kill_the_hung(Instant::now()),
                _ = watchdog.tick() => tell(&[NotifyState::Watchdog]),
            }
        }
    }

    /// Notices that all servers are ready, or that they are too late.
    fn advance(&mut self) {
        let Phase::Starting { deadline, .. } = &self.phase else { return };
        if self.fleet.all_running() {
            if let Phase::Starting { ready, .. } = std::mem::replace(&mut self.phase, Phase::Running) {
                info!("all servers are ready");
                tell(&[NotifyState::Ready, NotifyState::Status("all servers are ready")]);
                ready().unwrap_or_else(|error| self.stop(Err(error)));
            }
        } else if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.stop(Err(anyhow::anyhow!("the servers did not get ready in time; the lines above say why")));
        }
    }

    fn signalled(&mut self, signal: Signal) {
        match signal {
            Signal::HangUp if self.reloads => self.reload(),
            Signal::HangUp | Signal::Stop => match self.phase {
                Phase::Starting { .. } | Phase::Running => self.stop(Ok(())),
                Phase::Stopping(_) => self.fleet.kill_all(),
            },
        }
    }

    /// Takes no new client and lets the servers finish; a second signal ends them at once.
    fn stop(&mut self, result: anyhow::Result<()>) {
        info!("stopping; the servers finish what is in flight");
        tell(&[NotifyState::Stopping]);
        self.phase = Phase::Stopping(result);
        self.fleet.drain(Instant::now());
        self.setup = None;
    }

    /// Promise 7: a config that does not hold changes nothing.
    fn reload(&mut self) {
        let Some(setup) = &self.setup else { return };
        let now = NotifyState::monotonic_usec_now();
        tell(&now.map_or_else(|_| vec![NotifyState::Reloading], |now| vec![NotifyState::Reloading, now]));
        match setup.reload().map(Arc::new) {
            Ok(setup) => {
                info!("the config is read again; new servers take over, the old ones finish their sessions");
                self.fleet.replace(&setup);
                self.setup = Some(setup);
            }
            Err(failure) => {
                for line in format!("{failure:#}").lines() {
                    error!("{line}");
                }
                error!("the config does not hold; the servers go on with the old one");
            }
        }
        tell(&[NotifyState::Ready]);
    }

    fn next_deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        let own = match &self.phase {
            Phase::Starting { deadline, .. } => *deadline,
            Phase::Running | Phase::Stopping(_) => None,
        };
        [own, self.fleet.next_deadline()].into_iter().flatten().min().unwrap_or(far)
    }

    fn report(&self) -> Report {
        Report {
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            config: self.config.clone(),
            servers: self.fleet.report(),
            notices: Vec::new(),
            metrics: self.fleet.metrics(),
        }
    }
}

/// Ticks twice in the time that systemd's watchdog grants, or hardly ever where there is none.
fn watchdog() -> Interval {
    let period = sd_notify::watchdog_enabled().map_or(Duration::from_secs(3600), |period| period / 2);
    tokio::time::interval(period.max(Duration::from_millis(10)))
}

/// Tells systemd, where we run under it.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "can't tell the service manager");
    }
}
