//! From a message to the report in it.

use std::borrow::Cow;

use mail_auth::report::tlsrpt::{PolicyType, ResultType, TlsReport};
use mail_auth::report::{
    ActionDisposition, DmarcResult, Error, Feedback, FeedbackType, Record, Report as DmarcReport,
};
use mail_parser::MessageParser;

use crate::ReportError;

/// Octets of a message that is looked at.
pub(crate) const MAX_MESSAGE: u64 = 5 << 20;
/// Octets that are unpacked of one.
const MAX_UNPACKED: usize = 10 << 20;
/// Lines taken of one report.
const MAX_LINES: usize = 10_000;
/// Octets of a text that is kept.
const MAX_TEXT: usize = 255;

/// A report, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// Who reports.
    pub(crate) organization: String,
    /// By which the reporter knows it; empty for a complaint.
    pub(crate) report_id: String,
    /// Seconds since 1970, from and to; both 0 for a complaint that doesn't say.
    pub(crate) span: (i64, i64),
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Dmarc(Vec<DmarcRow>),
    Tls(Vec<TlsRow>),
    Complaint(Box<Complaint>),
}

/// Messages that an address sent in the name of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DmarcRow {
    /// That of the From field.
    pub(crate) domain: String,
    pub(crate) source: String,
    pub(crate) count: u32,
    /// What was done with them.
    pub(crate) disposition: &'static str,
    /// Whether they passed, by aligned DKIM and by aligned SPF.
    pub(crate) dkim: &'static str,
    pub(crate) spf: &'static str,
}

/// Sessions with mail hosts of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsRow {
    pub(crate) domain: String,
    /// `sts`, `tlsa` or `no-policy-found`.
    pub(crate) policy: &'static str,
    /// As RFC 8460 §4.3 names it; empty for sessions that succeeded, and for failures without a reason.
    pub(crate) result: String,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
}

/// Somebody calls a message of ours spam, or worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// `abuse`, `fraud` and the like. RFC 5965 §7.3.
    pub(crate) kind: &'static str,
    pub(crate) recipient: String,
    pub(crate) sender: String,
    pub(crate) source: String,
    pub(crate) domain: String,
    /// The message's Message-ID without its angle brackets, where the report holds it.
    pub(crate) message_id: Option<String>,
}

impl Received {
    /// Reads a whole message. Memory and time are bounded, whatever it holds.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, ReportError> {
        if let Ok(feedback) = Feedback::parse_rfc5322(message) {
            return Ok(Self::complaint(&feedback));
        }
        match TlsReport::parse_rfc5322(message, MAX_UNPACKED) {
            Ok(report) => return Ok(Self::tls(report)),
            Err(Error::ReportTooLarge) => return Err(no_report(&Error::ReportTooLarge)),
            Err(_) => {}
        }
        match DmarcReport::parse_rfc5322(message, MAX_UNPACKED) {
            Ok(report) => Ok(Self::dmarc(&report)),
            Err(error) => Err(no_report(&error)),
        }
    }

    fn dmarc(report: &DmarcReport) -> Self {
        let rows =
            report.records().iter().take(MAX_LINES).map(|record| DmarcRow::of(record, report.domain()));
        let seconds = |moment: u64| i64::try_from(moment).unwrap_or_default();
        Self {
            organization: short(report.org_name()),
            report_id: short(report.report_id()),
            span: (seconds(report.date_range_begin()), seconds(report.date_range_end())),
            content: Content::Dmarc(rows.collect()),
        }
    }

    fn tls(report: TlsReport) -> Self {
        let range = &report.date_range;
        let span = (range.start_datetime.to_timestamp(), range.end_datetime.to_timestamp());
        let mut rows = Vec::new();
        for policy in report.policies {
            let domain = short(&policy.policy.policy_domain.to_lowercase());
            let name = policy_name(&policy.policy.policy_type);
            let row = |result: &str, succeeded, failed| {
                let (domain, policy, result) = (domain.clone(), name, result.to_owned());
                TlsRow { domain, policy, result, succeeded, failed }
            };
            let told: u32 =
                policy.failure_details.iter().fold(0, |sum, it| sum.saturating_add(it.failed_session_count));
            // What has no details failed as well.
            rows.push(row(
                "",
                policy.summary.total_success,
                policy.summary.total_failure.saturating_sub(told),
            ));
            let details = policy.failure_details.iter();
            rows.extend(details.map(|it| row(result_name(&it.result_type), 0, it.failed_session_count)));
        }
        rows.truncate(MAX_LINES);
        Self {
            organization: short(report.organization_name.as_deref().unwrap_or_default()),
            report_id: short(&report.report_id),
            span,
            content: Content::Tls(rows),
        }
    }

    fn complaint(feedback: &Feedback<'_>) -> Self {
        let text = |it: &Option<Cow<'_, str>>| short(it.as_deref().unwrap_or_default());
        let address = |it| text(it).trim_matches(['<', '>', ' ']).to_owned();
        let at = feedback.arrival_date.unwrap_or_default();
        let reporter =
            if feedback.reporting_mta.is_some() { &feedback.reporting_mta } else { &feedback.user_agent };
        Self {
            organization: text(reporter).trim_start_matches("dns;").trim().to_owned(),
            report_id: String::new(),
            span: (at, at),
            content: Content::Complaint(Box::new(Complaint {
                kind: kind_name(feedback.feedback_type),
                recipient: address(&feedback.original_rcpt_to),
                sender: address(&feedback.original_mail_from),
                source: feedback.source_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                domain: short(feedback.reported_domain.first().map(AsRef::as_ref).unwrap_or_default()),
                message_id: feedback.message.as_deref().or(feedback.headers.as_deref()).and_then(message_id),
            })),
        }
    }
}

impl DmarcRow {
    fn of(record: &Record, domain: &str) -> Self {
        let from = record.header_from();
        Self {
            domain: short(&if from.is_empty() { domain } else { from }.to_lowercase()),
            source: record.source_ip().map(|ip| ip.to_string()).unwrap_or_default(),
            count: record.count(),
            disposition: match record.action_disposition() {
                ActionDisposition::Pass => "pass",
                ActionDisposition::Quarantine => "quarantine",
                ActionDisposition::Reject => "reject",
                ActionDisposition::None | ActionDisposition::Unspecified => "none",
            },
            dkim: result(record.dmarc_dkim_result()),
            spf: result(record.dmarc_spf_result()),
        }
    }
}

const fn result(result: DmarcResult) -> &'static str {
    match result {
        DmarcResult::Pass => "pass",
        DmarcResult::Fail => "fail",
        DmarcResult::Unspecified => "none",
    }
}

const fn policy_name(policy: &PolicyType) -> &'static str {
    match policy {
        PolicyType::Tlsa => "tlsa",
        PolicyType::Sts => "sts",
        PolicyType::NoPolicyFound => "no-policy-found",
        PolicyType::Other => "other",
    }
}

/// RFC 8460 §4.3
const fn result_name(result: &ResultType) -> &'static str {
    match result {
        ResultType::StartTlsNotSupported => "starttls-not-supported",
        ResultType::CertificateHostMismatch => "certificate-host-mismatch",
        ResultType::CertificateExpired => "certificate-expired",
        ResultType::CertificateNotTrusted => "certificate-not-trusted",
        ResultType::ValidationFailure => "validation-failure",
        ResultType::TlsaInvalid => "tlsa-invalid",
        ResultType::DnssecInvalid => "dnssec-invalid",
        ResultType::DaneRequired => "dane-required",
        ResultType::StsPolicyFetchError => "sts-policy-fetch-error",
        ResultType::StsPolicyInvalid => "sts-policy-invalid",
        ResultType::StsWebpkiInvalid => "sts-webpki-invalid",
        ResultType::Other => "other",
    }
}

const fn kind_name(kind: FeedbackType) -> &'static str {
    match kind {
        FeedbackType::Abuse => "abuse",
        FeedbackType::AuthFailure => "auth-failure",
        FeedbackType::Fraud => "fraud",
        FeedbackType::NotSpam => "not-spam",
        FeedbackType::Other => "other",
        FeedbackType::Virus => "virus",
    }
}

/// Of a message, or of its header alone.
fn message_id(included: &str) -> Option<String> {
    let header = MessageParser::new().parse_headers(included.as_bytes())?;
    header.message_id().map(short).filter(|id| !id.is_empty())
}

/// One line, and not a long one.
fn short(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !c.is_control()).collect();
    visible.get(..visible.floor_char_boundary(MAX_TEXT)).unwrap_or_default().trim().to_owned()
}

fn no_report(error: &Error) -> ReportError {
    ReportError::NoReport(match error {
        Error::MailParseError => "the message can't be read".to_owned(),
        Error::ReportParseError(why) | Error::UncompressError(why) => short(why),
        Error::ReportTooLarge => format!("it unpacks to more than {} MiB", MAX_UNPACKED >> 20),
        Error::NoReportsFound => "the message has none".to_owned(),
    })
}

#[cfg(test)]
mod tests;
