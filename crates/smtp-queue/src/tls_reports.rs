//! Reports to other domains on the TLS of their mail hosts: RFC 8460 §5.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use mail_config::Config;
use mail_trust::{DayReport, Reporter, Target, Trust};
use mail_types::{Address, Domain};
use tokio::task::spawn_blocking;
use tracing::{debug, error, info, warn};

use crate::step::Step;
use crate::{Body, Envelope, Handling, Queue, QueueError, Requests, step};

/// In how many seconds after midnight reports go out, so that not all of the world's come at once. RFC 8460 §4.1.
const SPREAD: u64 = 4 * 3600;
/// How long it is tried to hand a report over.
const PATIENCE: SignedDuration = SignedDuration::from_hours(48);
/// Reports looked at in one go.
const AT_ONCE: usize = 500;
/// Octets of a line of base64, and how many make it.
const LINE: usize = 57;

/// In whose name reports go out.
#[derive(Debug)]
pub(crate) struct TlsReports {
    reporter: Reporter,
    hostname: Domain,
}

impl TlsReports {
    /// `None` if the config wants none.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let wanted = &config.relay.tls_reports;
        let hostname = config.hostname.clone();
        let from = wanted.from.clone().or_else(|| format!("postmaster@{hostname}").parse().ok())?;
        let reporter = Reporter {
            organization: wanted.organization.clone().unwrap_or_else(|| hostname.to_ascii()),
            contact: from.with_ascii_domain(),
            submitter: from.domain().to_ascii(),
        };
        wanted.enabled.then_some(Self { reporter, hostname })
    }

    /// Sends what is due `now`: puts it into the queue, or hands it to a web server.
    pub(crate) async fn send(&self, queue: &Arc<Queue>, trust: &Arc<Trust>, now: Timestamp) {
        let asked = Arc::clone(trust);
        let reports = match spawn_blocking(move || asked.reports(now, AT_ONCE)).await {
            Ok(Ok(reports)) => reports,
            Ok(Err(error)) => return error!(%error, "what is to be reported on TLS can't be read"),
            Err(error) => return error!(%error, "reading what is to be reported on TLS failed unexpectedly"),
        };
        for report in reports.into_iter().filter(|report| is_due(report, now)) {
            if self.is_done_with(&report, queue, trust, now).await {
                let asked = Arc::clone(trust);
                match spawn_blocking(move || asked.forget(&report)).await {
                    Ok(Ok(())) => step::reached(Step::ReportForgotten),
                    Ok(Err(error)) => error!(%error, "a report on TLS can't be forgotten"),
                    Err(error) => error!(%error, "forgetting a report on TLS failed unexpectedly"),
                }
            }
        }
    }

    /// False if it is to be tried again.
    async fn is_done_with(
        &self,
        report: &DayReport,
        queue: &Arc<Queue>,
        trust: &Trust,
        now: Timestamp,
    ) -> bool {
        let is_too_old = now.duration_since(end_of(report)) > PATIENCE;
        let targets = match trust.report_targets(&report.domain).await {
            Ok(targets) => targets,
            Err(error) => {
                debug!(domain = report.domain, %error, "it is not known who wants reports on TLS");
                return is_too_old;
            }
        };
        if targets.is_empty() {
            return true;
        }
        let packed = match report.json(&self.reporter).map_err(io::Error::other).and_then(|json| pack(&json))
        {
            Ok(packed) => packed,
            Err(error) => {
                error!(domain = report.domain, %error, "a report on TLS can't be written");
                return true;
            }
        };
        step::reached(Step::ReportMade);
        let mut is_out = false;
        for target in targets {
            is_out |= self.hand_over(report, &packed, target, queue, trust, now).await;
            step::reached(Step::ReportOut);
        }
        is_out || is_too_old
    }

    async fn hand_over(
        &self,
        report: &DayReport,
        packed: &[u8],
        target: Target,
        queue: &Arc<Queue>,
        trust: &Trust,
        now: Timestamp,
    ) -> bool {
        let domain = report.domain.as_str();
        match target {
            Target::Web(url) => match trust.post_report(&url, packed.to_vec()).await {
                Ok(()) => {
                    info!(domain, url, "a report on TLS was handed over");
                    true
                }
                Err(error) => {
                    warn!(domain, url, %error, "a report on TLS can't be handed over");
                    false
                }
            },
            Target::Mail(to) => {
                let text = self.compose(report, packed, &to, now);
                let (queue, recipient) = (Arc::clone(queue), to.clone());
                match spawn_blocking(move || enqueue(&queue, &text, recipient)).await {
                    Ok(Ok(())) => {
                        info!(domain, %to, "a report on TLS goes out");
                        true
                    }
                    Ok(Err(error)) => {
                        error!(domain, %error, "a report on TLS can't be queued");
                        false
                    }
                    Err(error) => {
                        error!(domain, %error, "queueing a report on TLS failed unexpectedly");
                        false
                    }
                }
            }
        }
    }

    /// RFC 8460 §5.3. It goes without TLS rather than not at all, since it may be the only way to say what is wrong.
    fn compose(&self, report: &DayReport, packed: &[u8], to: &Address, now: Timestamp) -> String {
        let Reporter { submitter, contact, .. } = &self.reporter;
        let (id, domain, day) = (report.id(&self.reporter), &report.domain, report.day);
        let file = report.file_name(&self.reporter);
        let boundary = format!("=_tls_{day}_{submitter}");
        let date = jiff::fmt::rfc2822::to_string(&now.to_zoned(TimeZone::UTC)).unwrap_or_default();
        let (to, host) = (to.with_ascii_domain(), self.hostname.to_ascii());
        let lines: String = packed.chunks(LINE).map(|chunk| BASE64_STANDARD.encode(chunk) + "\r\n").collect();
        format!(
            "From: <{contact}>\r\nTo: <{to}>\r\nDate: {date}\r\nMessage-ID: <tls.{day}.{domain}@{host}>\r\n\
             Subject: Report Domain: {domain}\r\n Submitter: {submitter}\r\n Report-ID: <{id}>\r\n\
             TLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {submitter}\r\nTLS-Required: No\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is an aggregate report on the TLS of the mail hosts of {domain}, as seen\r\n\
             by {submitter} on {day} (UTC).\r\n\r\n\
             --{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"{file}\"\r\n\r\n{lines}--{boundary}--\r\n",
        )
    }
}

/// True once its moment has come, another one for each domain.
fn is_due(report: &DayReport, now: Timestamp) -> bool {
    let mut hasher = DefaultHasher::new();
    report.domain.hash(&mut hasher);
    let wait = i64::try_from(hasher.finish() % SPREAD).unwrap_or_default();
    now.duration_since(end_of(report)).as_secs() >= wait
}

/// When the day was over.
fn end_of(report: &DayReport) -> Timestamp {
    let next = report.day.saturating_add(1.day());
    next.to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |it| it.timestamp())
}

fn pack(json: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(json)?;
    packer.finish()
}

/// From nobody: nothing is reported of a report. Blocks.
fn enqueue(queue: &Arc<Queue>, text: &str, to: Address) -> Result<(), QueueError> {
    let mut writer = queue.add()?;
    writer.write_message(text.as_bytes())?;
    let envelope = Envelope {
        sender: None,
        origin: String::new(),
        smtputf8: !to.local_part().is_ascii(),
        recipients: vec![to],
        body: if text.is_ascii() { Body::SevenBit } else { Body::EightBit },
        requests: Requests::default(),
        handling: Handling { is_ours: true, ..Handling::default() },
    };
    writer.commit(&envelope).map(drop)
}

#[cfg(test)]
mod tests;
