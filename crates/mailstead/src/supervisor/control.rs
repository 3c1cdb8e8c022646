//! The control socket: whoever connects gets one line of JSON that says how the servers are.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use mail_config::Config;
use mail_metrics::{Metric, Sample};
use serde::{Deserialize, Serialize};
use smtp_queue::Notice;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

use super::run_dir::with_short_path;
use super::{disks, metrics};
use crate::cli::StatusArguments;
use crate::command::operator::{become_operator, open_queue};
use crate::owner::other_owner;
use crate::server::Server;
use crate::{data_dir, output};

/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest report that is read, in octets.
const MAX_REPORT: u64 = 1 << 20;

/// How the supervisor and its servers are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) pid: u32,
    pub(super) uptime_seconds: u64,
    pub(super) config: PathBuf,
    pub(super) servers: Vec<ServerReport>,
    /// What they have counted since the supervisor was started.
    #[serde(default)]
    pub(super) metrics: Vec<Sample>,
    /// What keeps mail out, as the disk has it, and waiting, as the queue has it; who shows the report adds the latter.
    #[serde(default)]
    pub(super) notices: Vec<NoticeReport>,
}

/// What operators should know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NoticeReport {
    /// What it is about.
    pub(super) subject: String,
    pub(super) text: String,
    /// Since when, as RFC 3339 writes it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<String>,
}

/// How one server is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServerReport {
    pub(super) server: Server,
    pub(super) state: ServerState,
    pub(super) pid: Option<u32>,
    pub(super) uptime_seconds: Option<u64>,
    pub(super) restarts: u32,
    /// Open connections.
    pub(super) sessions: Option<usize>,
}

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ServerState {
    /// It is not ready yet.
    Starting,
    /// It serves.
    Running,
    /// It died and is about to be started again.
    Restarting,
    /// It finishes its sessions and takes no new ones.
    Draining,
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Draining => "draining",
        })
    }
}

/// Makes the control socket, in place of one that a dead supervisor left: we hold the lock, so it can't be a living one's.
pub(super) fn listen(config: &Config) -> anyhow::Result<UnixListener> {
    let path = config.control_socket();
    bind(config, &path).with_context(|| format!("can't make the control socket {}", path.display()))
}

fn bind(config: &Config, path: &Path) -> anyhow::Result<UnixListener> {
    // It gets its mode and owner before anybody can find it.
    let unfinished = path.with_extension("new");
    if unfinished.exists() {
        std::fs::remove_file(&unfinished)?;
    }
    let listener = with_short_path(&unfinished, |path| UnixListener::bind(path))?;
    std::fs::set_permissions(&unfinished, PermissionsExt::from_mode(0o600))?;
    data_dir::give_to(&unfinished, other_owner(config.user.as_deref())?.as_ref())?;
    std::fs::rename(&unfinished, path)?;
    Ok(listener)
}

/// Sends the report, with what there is to say of the disks of the config. Who does not read it in time goes without.
pub(super) fn answer(mut stream: tokio::net::UnixStream, mut report: Report, config: Option<Arc<Config>>) {
    tokio::spawn(async move {
        if let Some(config) = config
            && let Ok((samples, notices)) = tokio::task::spawn_blocking(move || disks::look(&config)).await
        {
            report.metrics.extend(samples);
            report.notices.extend(notices);
        }
        if let Ok(report) = serde_json::to_vec(&report) {
            let _ = tokio::time::timeout(TIMEOUT, stream.write_all(&report)).await;
        }
    });
}

/// `mailstead status`: shows the report, and fails if not every server runs.
pub(crate) fn status(config: &Path, arguments: &StatusArguments) -> anyhow::Result<ExitCode> {
    let path = Config::control_socket_of(config)?;
    if let Err(mistakes) = Config::load(config) {
        output::warn(&format!(
            "the config does not hold, servers that run go on with an earlier one:\n{mistakes}"
        ));
    }
    let mut report = fetch(&path)?;
    match notices(config) {
        Ok(notices) => report.notices.extend(notices),
        Err(error) => {
            let causes = output::with_causes(&error);
            output::warn(&format!("the queue can't be asked what keeps mail waiting: {causes}"));
        }
    }
    if arguments.json {
        output::json(&report)?;
    } else if arguments.metrics {
        output::text(&metrics::in_prometheus_format(&report)?)?;
    } else {
        show(&report)?;
    }
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks the supervisor at its control socket. Blocks.
pub(super) fn fetch(path: &Path) -> anyhow::Result<Report> {
    let report = with_short_path(path, ask).map_err(|error| {
        let not_running = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind());
        let socket = path.display();
        anyhow::Error::new(error).context(if not_running {
            format!("not running: nothing answers at {socket}; `mailstead serve` starts the servers")
        } else {
            format!("can't ask at {socket}")
        })
    })?;
    serde_json::from_slice(&report).context("can't read what the supervisor answers")
}

fn notices(config: &Path) -> anyhow::Result<Vec<NoticeReport>> {
    let config = become_operator(config)?;
    let notices = open_queue(&config)?.notices()?.into_iter();
    let shown =
        |Notice { subject, text, since }| NoticeReport { subject, text, since: Some(since.to_string()) };
    let aside = [whole_file::set_aside_in(&config.data_dir)?, whole_file::set_aside_in(&config.queue_dir())?];
    let aside = aside.into_iter().flatten().map(|(path, since)| NoticeReport {
        subject: "damaged file".to_owned(),
        text: format!(
            "{} was damaged, and another one made in its place; remove it when you need it no more",
            path.display()
        ),
        since: Some(Timestamp::try_from(since).unwrap_or_default().to_string()),
    });
    Ok(notices.map(shown).chain(aside).collect())
}

fn ask(path: &Path) -> io::Result<Vec<u8>> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut report = Vec::new();
    stream.take(MAX_REPORT).read_to_end(&mut report)?;
    Ok(report)
}

impl Report {
    /// True if each server runs, whatever old processes still drain beside it.
    fn is_well(&self) -> bool {
        let runs = |server: Server| {
            self.servers.iter().any(|report| report.server == server && report.state == ServerState::Running)
        };
        !self.servers.is_empty() && self.servers.iter().all(|report| runs(report.server))
    }
}

fn show(report: &Report) -> anyhow::Result<()> {
    let Report { pid, uptime_seconds, config, servers, notices, .. } = report;
    output::line(&format!(
        "mailstead runs as process {pid}, up {}, config {}\n",
        span(*uptime_seconds),
        config.display()
    ))?;
    let dash = || "-".to_owned();
    let row = |server: &ServerReport| {
        vec![
            server.server.to_string(),
            server.state.to_string(),
            server.pid.map_or_else(dash, |pid| pid.to_string()),
            server.uptime_seconds.map_or_else(dash, span),
            server.restarts.to_string(),
            server.sessions.map_or_else(dash, |sessions| sessions.to_string()),
        ]
    };
    let heading =
        ["server", "state", "pid", "uptime", "restarts", "sessions"].map(ToOwned::to_owned).to_vec();
    output::table(&std::iter::once(heading).chain(servers.iter().map(row)).collect::<Vec<_>>())?;
    let since = |it: &NoticeReport| it.since.as_ref().map(|it| format!(", since {it}")).unwrap_or_default();
    let told = notices.iter().map(|it| format!("\n{}{}: {}", it.subject, since(it), it.text));
    let listings = report.metrics.iter().filter(|it| it.metric == Metric::Listings);
    let listings = listings.map(|it| {
        format!("\non a block list, so that others may refuse our mail: {}", it.labels.join(" is on "))
    });
    told.chain(listings).try_for_each(|line| Ok(output::line(&line)?))
}

/// Seconds as people read them: the two greatest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_shows_its_two_greatest_units() {
        let spans = [59, 61, 3_661, 90_061].map(span);
        assert_eq!(spans, ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_server_that_only_drains_or_restarts_is_not_well() {
        let server = |state| ServerReport {
            server: Server::Imap,
            state,
            pid: None,
            uptime_seconds: None,
            restarts: 0,
            sessions: None,
        };
        let well = |states: &[ServerState]| {
            let servers = states.iter().copied().map(server).collect();
            let (notices, metrics) = (Vec::new(), Vec::new());
            Report { pid: 1, uptime_seconds: 0, config: PathBuf::new(), servers, notices, metrics }.is_well()
        };
        assert!(well(&[ServerState::Running, ServerState::Draining]));
        assert!(!well(&[ServerState::Draining]));
        assert!(!well(&[ServerState::Restarting]));
        assert!(!well(&[]));
    }
}
