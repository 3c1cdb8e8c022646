//! The life of a server process: read the config, take the sockets, drop privileges, run until told to drain.
//!
//! `mailstead imap` and the executable `imap-server` are both one call of [`run`].

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use mail_config::{Config, Listener};
use mail_metrics::{Metrics, Sample};
use nix::sys::prctl::set_pdeathsig;
use nix::unistd::{Pid, getppid};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::memory::use_small_pages;
use crate::privileges::{give_up_privileges, raise_file_limit, restrict_new_files};
use crate::{BoundListener, Drain, Limits, ServerContext, TlsContext, become_user, bind};

/// Where the config is looked for when nothing is said.
pub const DEFAULT_CONFIG: &str = "/etc/mailstead/mailstead.toml";
/// Set by the supervisor for its children, to its process id: Ctrl-C is the supervisor's to handle, and its death ends them.
pub const SUPERVISED: &str = "MAILSTEAD_SUPERVISED";

/// Set by the supervisor: a copy of the config as it checked it. The file itself may hold something else by now, and a server that
/// is started again must not fail for that.
pub const CONFIG_COPY: &str = "MAILSTEAD_CONFIG_COPY";

/// By which a server tells the supervisor what it counts: JSON, a list of [`Sample`].
pub const METRICS: &str = "X_MAILSTEAD_METRICS";

/// The exit code for a config that does not hold.
const BAD_CONFIG: u8 = 2;
/// How often the state is told to the service manager and the parent is looked for.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The command line of an executable that is one server.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, env = "MAILSTEAD_CONFIG", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// The main function of the executables `smtp-server`, `imap-server` and `pop3-server`.
pub fn main<F, S>(name: &'static str, listeners: fn(&Config) -> &[Listener], server: F) -> ExitCode
where
    F: FnOnce(ServerContext, Vec<BoundListener>) -> S,
    S: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    run(name, &Arguments::parse().config, listeners, server)
}

/// Runs one server until SIGTERM or SIGINT: loads the config, sets up logging, binds or inherits the sockets, drops privileges,
/// starts the runtime, tells the service manager (`READY=1`, `STATUS=sessions=…`), and drains on a signal.
///
/// Returns 0 when it was told to stop, 2 for a bad config, 1 for anything else.
pub fn run<F, S>(
    name: &'static str,
    config: &Path,
    listeners: fn(&Config) -> &[Listener],
    server: F,
) -> ExitCode
where
    F: FnOnce(ServerContext, Vec<BoundListener>) -> S,
    S: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    let loaded = match std::env::var_os(CONFIG_COPY) {
        Some(copy) => Config::load_copy(Path::new(&copy), config),
        None => Config::load(config),
    };
    use_small_pages();
    restrict_new_files();
    let config = match loaded {
        Ok(config) => Arc::new(config),
        Err(errors) => return complain(&errors.to_string(), BAD_CONFIG),
    };
    start_logging(&config.log.filter);
    let sockets = match bind(listeners(&config)) {
        Ok(sockets) => sockets,
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return complain(&lines.join("\n"), 1);
        }
    };
    match start(name, config, sockets, server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{name}: {error}"), 1),
    }
}

/// Checks what `log.filter` says.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
}

/// Sends the log to standard error.
pub fn start_logging(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let under_journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let format =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // Another logger set up by a test is as good.
    let _ = if under_journald { format.without_time().try_init() } else { format.try_init() };
}

/// Tells the operator on standard error what is wrong.
#[expect(
    clippy::print_stderr,
    reason = "before the log is set up, and for people who started the program by hand"
)]
fn complain(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}

fn start<F, S>(
    name: &'static str,
    config: Arc<Config>,
    sockets: Vec<BoundListener>,
    server: F,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    F: FnOnce(ServerContext, Vec<BoundListener>) -> S,
    S: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    raise_file_limit();
    if let Some(user) = &config.user {
        become_user(user)?;
    }
    give_up_privileges()?;
    end_with_the_supervisor()?;
    // Only now: a key that this user can't read would be missed when the certificate is renewed, months from here.
    let tls = TlsContext::load(&config.tls)?;
    let hostname = config.hostname.to_ascii();
    // The supervisor has told them already.
    for warning in tls.iter().filter(|_| supervisor().is_none()).flat_map(|tls| tls.warnings(&hostname)) {
        warn!("{warning}");
    }
    let limits = Limits::open_for(&config);
    let context = ServerContext { config, tls, limits, drain: Drain::new(), metrics: Metrics::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        .max_blocking_threads(blocking_threads())
        .build()?;
    let result = runtime.block_on(supervise(name, context, sockets, server));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Threads for what blocks: enough to keep a disk busy with flushes while others compute. More of them would only wake each
/// other up, and each has memory of its own.
fn blocking_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    32.max(8 * processors)
}

/// Runs the server beside what listens to signals and tells the service manager how it goes.
async fn supervise<F, S>(
    name: &str,
    context: ServerContext,
    sockets: Vec<BoundListener>,
    server: F,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    F: FnOnce(ServerContext, Vec<BoundListener>) -> S,
    S: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    let mut signals = Signals::new()?;
    for socket in &sockets {
        info!(server = name, listener = socket.listener.name, address = %local_address(socket), "listening");
    }
    if sockets.is_empty() {
        tell_ready();
    }
    let server = server(context.clone(), sockets);
    tokio::pin!(server);
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut told = Told::default();
    loop {
        tokio::select! {
            result = &mut server => {
                told.tell_metrics(&context);
                return result;
            }
            _ = heartbeat.tick() => {
                told.tell(&context);
                if signals.is_orphan() && !context.drain.is_draining() {
                    warn!(server = name, "the supervisor is gone; stopping");
                    context.drain.begin();
                }
            }
            event = signals.next() => match event {
                Event::Reload => reload(&context),
                Event::Stop if context.drain.is_draining() => return Ok(()),
                Event::Stop => {
                    info!(server = name, "stopping");
                    notify(&[NotifyState::Stopping]);
                    context.drain.begin();
                }
            },
        }
    }
}

fn local_address(socket: &BoundListener) -> String {
    socket.socket.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
}

/// What the service manager knows of us.
#[derive(Debug, Default)]
struct Told {
    sessions: Option<usize>,
    metrics: Vec<Sample>,
}

impl Told {
    fn tell(&mut self, context: &ServerContext) {
        let open = context.limits.open();
        if self.sessions.replace(open) != Some(open) {
            notify(&[NotifyState::Status(&format!("sessions={open}"))]);
        }
        self.tell_metrics(context);
        notify(&[NotifyState::Watchdog]);
    }

    /// Only the supervisor has a use for them.
    fn tell_metrics(&mut self, context: &ServerContext) {
        if supervisor().is_none() {
            return;
        }
        let metrics = context.metrics.samples();
        if metrics != self.metrics
            && let Ok(text) = serde_json::to_string(&metrics)
        {
            notify(&[NotifyState::Custom(&format!("{METRICS}={text}"))]);
            self.metrics = metrics;
        }
    }
}

/// Tells the service manager that connections are accepted.
pub(crate) fn tell_ready() {
    notify(&[NotifyState::Ready]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "can't tell the service manager");
    }
}

fn reload(context: &ServerContext) {
    if let Some(tls) = context.tls.clone() {
        tokio::task::spawn_blocking(move || tls.refresh());
    }
    info!("certificates are looked at again; everything else in the config takes a restart");
}

/// The process that started us, if it is the supervisor.
fn supervisor() -> Option<Pid> {
    std::env::var(SUPERVISED).ok().and_then(|pid| pid.parse().ok()).map(Pid::from_raw)
}

/// Has the system send SIGTERM at once when the supervisor dies, so that a new one finds the ports free. One that died
/// before this is noticed by the heartbeat.
fn end_with_the_supervisor() -> nix::Result<()> {
    if supervisor().is_some() { set_pdeathsig(nix::sys::signal::Signal::SIGTERM) } else { Ok(()) }
}

/// What a signal asks for.
enum Event {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Ctrl-C reaches the whole process group, but is the supervisor's to handle.
    supervisor: Option<Pid>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            supervisor: supervisor(),
        })
    }

    /// True once the supervisor that started us is gone.
    fn is_orphan(&self) -> bool {
        self.supervisor.is_some_and(|supervisor| supervisor != getppid())
    }

    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Event::Stop,
                _ = self.interrupt.recv() => if self.supervisor.is_none() { return Event::Stop },
                _ = self.hang_up.recv() => return Event::Reload,
            }
        }
    }
}
