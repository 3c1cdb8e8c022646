//! Aggregate reports of DMARC to the domains that ask for them, one a day. RFC 7489 §7.2.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::dmarc::{Dmarc, URI};
use mail_auth::report::{PolicyPublished, Report};
use mail_config::Config;
use mail_dns::{Dns, DnsError, LookupError};
use mail_reports::{Observed, ReportError, Reports};
use mail_types::Address;
use smtp_proto::{Body, Notify, RcptParameters};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::step::Step;
use crate::{Envelope, Handling, Queue, QueueError, Requests, step};

/// How often it is looked whether a day is over.
const PERIOD: Duration = Duration::from_secs(1800);
/// Domains of one look.
const MAX_DOMAINS: usize = 1000;
/// Days after which a domain is no longer asked for that gives no answer.
const PATIENCE: i64 = 3;
/// Names that are asked for a record: RFC 9989 §4.10.
const MAX_NAMES: usize = 8;
/// Who gets a report at most.
const MAX_RECIPIENTS: usize = 5;

/// A report can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AggregateError {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error(transparent)]
    Reports(#[from] ReportError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("{0}")]
    Unexpected(#[from] tokio::task::JoinError),
    #[error("writing a report: {0}")]
    Io(#[from] std::io::Error),
}

/// What makes the reports.
#[derive(Debug)]
pub(crate) struct Aggregate {
    dns: Dns,
    queue: Arc<Queue>,
    reports: Arc<Reports>,
    from: Address,
    /// Ours, in A-labels.
    hostname: String,
}

/// Who wants to hear of a domain's mail, and what its record says.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    /// Where the record was found.
    domain: String,
    record: Dmarc,
    /// With the size that they take.
    recipients: Vec<(Address, usize)>,
}

impl Aggregate {
    /// `None` where the config wants no reports. Blocks.
    pub(crate) fn new(config: &Config, queue: &Arc<Queue>) -> Result<Option<Self>, AggregateError> {
        let Some(from) = config.reports.dmarc_from.clone() else { return Ok(None) };
        Ok(Some(Self {
            dns: Dns::new(&config.dns)?,
            queue: Arc::clone(queue),
            reports: Arc::new(Reports::open(&config.reports_file())?),
            from,
            hostname: config.hostname.to_ascii(),
        }))
    }

    /// Sends them until it is dropped.
    pub(crate) async fn watch(self) {
        let this = Arc::new(self);
        loop {
            if let Err(error) = this.send_due(Timestamp::now()).await {
                warn!(%error, "DMARC reports can't be sent");
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Sends what is to be told of days that are over at `now`.
    pub(crate) async fn send_due(self: &Arc<Self>, now: Timestamp) -> Result<(), AggregateError> {
        let reports = Arc::clone(&self.reports);
        let due = spawn_blocking(move || reports.observed(now, MAX_DOMAINS)).await??;
        for observed in due {
            match self.wish(&observed.domain).await {
                Ok(wish) => {
                    let this = Arc::clone(self);
                    spawn_blocking(move || this.send(&observed, wish)).await??;
                }
                Err(error) if observed.age(now) > PATIENCE => {
                    warn!(domain = observed.domain, %error, "no DMARC report: the domain's record can't be found");
                    let reports = Arc::clone(&self.reports);
                    spawn_blocking(move || reports.forget(&observed)).await??;
                }
                // It is asked again at the next look.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Queues the report, durably, and forgets what is in it. A crash between the two sends it again, under the same name. Blocks.
    fn send(&self, observed: &Observed, wish: Option<Wish>) -> Result<(), AggregateError> {
        let records = self.reports.records(observed)?;
        if let Some(wish) = wish.filter(|wish| !wish.recipients.is_empty() && !records.is_empty()) {
            let report = self.report(observed, &wish, records);
            let (message, recipients) = self.message(&report, &wish)?;
            if recipients.is_empty() {
                info!(domain = observed.domain, "the DMARC report is larger than anybody takes");
            } else {
                step::reached(Step::ReportMade);
                let mut writer = self.queue.add()?;
                writer.write_message(&message)?;
                let id = writer.commit(&envelope(&self.from, recipients))?;
                info!(%id, domain = observed.domain, "a DMARC report is queued");
                step::reached(Step::ReportOut);
            }
        }
        self.reports.forget(observed)?;
        step::reached(Step::ReportForgotten);
        Ok(())
    }

    fn report(&self, observed: &Observed, wish: &Wish, records: Vec<mail_auth::report::Record>) -> Report {
        let (begin, end) = observed.span();
        let mut report = Report::new()
            .with_version(1.0)
            .with_org_name(&self.hostname)
            .with_email(self.from.to_string())
            .with_report_id(format!("{begin}.{}@{}", observed.domain, self.hostname))
            .with_date_range_begin(begin)
            .with_date_range_end(end)
            .with_policy_published(PolicyPublished::from_record(&wish.domain, &wish.record));
        records.into_iter().for_each(|record| report.add_record(record));
        report
    }

    /// The message, and who takes one of its size.
    fn message(&self, report: &Report, wish: &Wish) -> Result<(Vec<u8>, Vec<Address>), std::io::Error> {
        let mut message = Vec::new();
        let named: Vec<String> = wish.recipients.iter().map(|(address, _)| address.to_string()).collect();
        let from = self.from.to_string();
        report.write_rfc5322(
            &self.hostname,
            from.as_str(),
            named.iter().map(String::as_str),
            &mut message,
        )?;
        let takes = |most: usize| most == 0 || message.len() <= most;
        let recipients = wish.recipients.iter().filter(|(_, most)| takes(*most));
        let recipients = recipients.map(|(address, _)| address.clone()).collect();
        Ok((message, recipients))
    }

    /// Who wants to hear of the domain's mail; `None` if it has no record any more.
    async fn wish(&self, domain: &str) -> Result<Option<Wish>, LookupError> {
        let Some((found, record)) = self.record(domain).await? else { return Ok(None) };
        let mut recipients = Vec::new();
        for URI { uri, max_size } in record.rua() {
            let Ok(address) = uri.parse::<Address>() else { continue };
            if recipients.len() < MAX_RECIPIENTS && self.may_tell(&found, &address).await? {
                recipients.push((address, *max_size));
            }
        }
        Ok(Some(Wish { domain: found, record, recipients }))
    }

    /// The record of the domain, or the nearest above it.
    async fn record(&self, domain: &str) -> Result<Option<(String, Dmarc)>, LookupError> {
        let mut name = domain;
        for _ in 0..MAX_NAMES {
            if let Some(record) = self.parsed(&format!("_dmarc.{name}")).await? {
                return Ok(Some((name.to_owned(), record)));
            }
            match name.split_once('.') {
                Some((_, above)) if above.contains('.') => name = above,
                Some(_) | None => break,
            }
        }
        Ok(None)
    }

    async fn parsed(&self, name: &str) -> Result<Option<Dmarc>, LookupError> {
        match self.dns.texts(name).await {
            Ok(texts) => Ok(texts.iter().find_map(|text| Dmarc::parse(text).ok())),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// True if the address is one of the domain, or its own domain says that it takes such reports. RFC 7489 §7.1.
    async fn may_tell(&self, domain: &str, address: &Address) -> Result<bool, LookupError> {
        let there = address.domain().to_ascii();
        let is_below = there.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if is_below {
            return Ok(true);
        }
        match self.dns.texts(&format!("{domain}._report._dmarc.{there}")).await {
            Ok(texts) => Ok(texts.iter().any(|text| text.trim_ascii_start().starts_with(b"v=DMARC1"))),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(false),
        }
    }
}

/// A report that can't be delivered is not reported.
fn envelope(from: &Address, recipients: Vec<Address>) -> Envelope {
    let parameters = RcptParameters { notify: Some(Notify::Never), ..RcptParameters::default() };
    let asked: BTreeMap<_, _> = recipients.iter().map(|it| (it.clone(), parameters.clone())).collect();
    Envelope {
        origin: String::new(),
        sender: Some(from.clone()),
        recipients,
        smtputf8: false,
        body: Body::SevenBit,
        requests: Requests { recipients: asked, ..Requests::default() },
        handling: Handling { is_ours: true, ..Handling::default() },
    }
}
