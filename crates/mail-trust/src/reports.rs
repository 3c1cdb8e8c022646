//! Reports on TLS: what was seen of a domain's mail hosts in a day, as RFC 8460 §4 has it, and where it goes.

use std::net::IpAddr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mail_types::Address;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Characters of what is said to have gone wrong.
const MAX_REASON: usize = 200;
/// Addresses that one domain's reports go to.
const MAX_TARGETS: usize = 5;

/// By what mail hosts had to prove themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Applied {
    /// `tlsa`, `sts` or `no-policy-found`.
    pub policy_type: String,
    /// The records, or the lines of the policy.
    pub policy_string: Vec<String>,
    /// Whose policy: the domain's, or of TLSA records the host's.
    pub policy_domain: String,
    /// The patterns of an MTA-STS policy.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mx_host: Vec<String>,
}

/// One way in which sessions failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// See [`crate::Kind::as_str`].
    pub result_type: String,
    /// Our address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sending_mta_ip: Option<IpAddr>,
    /// The mail host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receiving_mx_hostname: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receiving_ip: Option<IpAddr>,
    /// In words.
    pub failure_reason_code: String,
}

impl Failed {
    /// A failure with a host, from and at these addresses.
    #[must_use]
    pub fn of(failure: &Failure, host: &str, from: Option<IpAddr>, at: Option<IpAddr>) -> Self {
        Self {
            result_type: failure.kind.as_str().to_owned(),
            sending_mta_ip: from,
            receiving_mx_hostname: Some(host.to_owned()),
            receiving_ip: at,
            failure_reason_code: failure.why.chars().take(MAX_REASON).collect(),
        }
    }
}

/// A session with a mail host, or what kept it from coming about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// Whose mail it would take, in A-labels.
    pub domain: String,
    /// What it had to prove.
    pub applied: Applied,
    /// `None` if TLS came about as it had to.
    pub failed: Option<Failed>,
}

/// Who reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reporter {
    /// The organization's name.
    pub organization: String,
    /// Whom to ask.
    pub contact: String,
    /// The domain in whose name it is sent.
    pub submitter: String,
}

/// What is to be reported to a domain on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayReport {
    /// Whose mail hosts.
    pub domain: String,
    /// The day in UTC.
    pub day: Date,
    /// What was seen, and how often.
    pub sessions: Vec<(Applied, Option<Failed>, u64)>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<'a> {
    organization_name: &'a str,
    date_range: Range,
    contact_info: &'a str,
    report_id: String,
    policies: Vec<PolicyResult<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Range {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyResult<'a> {
    policy: &'a Applied,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Detail<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Detail<'a> {
    #[serde(flatten)]
    failed: &'a Failed,
    failed_session_count: u64,
}

impl DayReport {
    /// The report's name, the same at each attempt to send it.
    #[must_use]
    pub fn id(&self, reporter: &Reporter) -> String {
        format!("{}.{}@{}", self.day, self.domain, reporter.submitter)
    }

    /// The name of the file: RFC 8460 §5.1.
    #[must_use]
    pub fn file_name(&self, reporter: &Reporter) -> String {
        let (start, end) = self.range();
        let (start, end) = (start.as_second(), end.as_second());
        format!("{}!{}!{start}!{end}.json.gz", reporter.submitter, self.domain)
    }

    /// The report: RFC 8460 §4.4.
    ///
    /// # Errors
    /// None that is known of.
    pub fn json(&self, reporter: &Reporter) -> Result<Vec<u8>, serde_json::Error> {
        let mut policies: Vec<PolicyResult<'_>> = Vec::new();
        for (applied, failed, count) in &self.sessions {
            let place = policies.iter().position(|it| it.policy == applied).unwrap_or_else(|| {
                policies.push(PolicyResult {
                    policy: applied,
                    summary: Summary::default(),
                    failure_details: Vec::new(),
                });
                policies.len() - 1
            });
            let Some(result) = policies.get_mut(place) else { continue };
            match failed {
                None => result.summary.total_successful_session_count += count,
                Some(failed) => {
                    result.summary.total_failure_session_count += count;
                    result.failure_details.push(Detail { failed, failed_session_count: *count });
                }
            }
        }
        let (start, end) = self.range();
        serde_json::to_vec(&Document {
            organization_name: &reporter.organization,
            date_range: Range { start_datetime: start.to_string(), end_datetime: end.to_string() },
            contact_info: &reporter.contact,
            report_id: self.id(reporter),
            policies,
        })
    }

    /// Its first second and its last.
    fn range(&self) -> (Timestamp, Timestamp) {
        let start = self.day.to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |it| it.timestamp());
        let end = start.saturating_add(SignedDuration::from_secs(24 * 3600 - 1)).unwrap_or(start);
        (start, end)
    }
}

/// Where a domain wants its reports. RFC 8460 §3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By mail.
    Mail(Address),
    /// By POST to this URL.
    Web(String),
}

/// The targets in the TXT records of `_smtp._tls.DOMAIN`; none if there is no record, more than one, or it is malformed.
#[must_use]
pub(crate) fn targets(texts: &[Vec<u8>]) -> Vec<Target> {
    let records = texts.iter().filter_map(|text| str::from_utf8(text).ok());
    let mut records =
        records.filter_map(|text| text.strip_prefix("v=TLSRPTv1")?.trim_start().strip_prefix(';'));
    let (Some(fields), None) = (records.next(), records.next()) else { return Vec::new() };
    let rua = fields.split(';').find_map(|field| field.trim().strip_prefix("rua="));
    rua.unwrap_or_default().split(',').filter_map(target).take(MAX_TARGETS).collect()
}

fn target(uri: &str) -> Option<Target> {
    let uri = uri.trim();
    let has_scheme = |scheme: &str| uri.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
    if has_scheme("mailto:") {
        let address = uri.get("mailto:".len()..)?.split('?').next()?;
        return address.parse().ok().map(Target::Mail);
    }
    has_scheme("https://").then(|| Target::Web(uri.to_owned()))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::Kind;

    #[track_caller]
    fn check(texts: &[&str], expected: &[&str]) {
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let shown = |target: &Target| match target {
            Target::Mail(address) => address.to_string(),
            Target::Web(url) => url.clone(),
        };
        assert_eq!(targets(&texts).iter().map(shown).collect::<Vec<_>>(), expected, "{texts:?}");
    }

    /// RFC 8460 §3.1
    #[test]
    fn the_record_says_where_reports_go() {
        check(&["v=TLSRPTv1; rua=mailto:tls@d.test"], &["tls@d.test"]);
        check(&["v=TLSRPTv1;rua=mailto:a@d.test, https://d.test/tls;"], &["a@d.test", "https://d.test/tls"]);
        check(&["other", "v=TLSRPTv1; rua=MAILTO:a@d.test?subject=x"], &["a@d.test"]);
        check(&["v=TLSRPTv1; rua=http://d.test/"], &[]);
        check(&["v=TLSRPTv1; x=y"], &[]);
        check(&["v=TLSRPTv2; rua=mailto:a@d.test"], &[]);
        check(&["v=TLSRPTv1; rua=mailto:a@d.test", "v=TLSRPTv1; rua=mailto:b@d.test"], &[]);
        check(&[], &[]);
    }

    /// RFC 8460 §4.4
    #[test]
    fn a_report_sums_up_by_policy_and_by_failure() {
        let applied = |kind: &str| Applied {
            policy_type: kind.to_owned(),
            policy_string: vec!["version: STSv1".to_owned()],
            policy_domain: "d.test".to_owned(),
            mx_host: vec!["*.d.test".to_owned()],
        };
        let failure = Failure::new(Kind::CertificateExpired, "x".repeat(1000));
        let at = "192.0.2.1".parse().ok();
        let failed = Failed::of(&failure, "mx.d.test", None, at);
        let sessions = vec![
            (applied("sts"), None, 5),
            (applied("sts"), Some(failed), 2),
            (applied("no-policy-found"), None, 1),
        ];
        let report = DayReport { domain: "d.test".to_owned(), day: date(2026, 11, 28), sessions };
        let reporter = Reporter {
            organization: "Us".to_owned(),
            contact: "postmaster@us.test".to_owned(),
            submitter: "us.test".to_owned(),
        };
        let json: serde_json::Value = serde_json::from_slice(&report.json(&reporter).unwrap()).unwrap();
        assert_eq!(json["date-range"]["start-datetime"], "2026-11-28T00:00:00Z");
        assert_eq!(json["date-range"]["end-datetime"], "2026-11-28T23:59:59Z");
        assert_eq!(json["report-id"], "2026-11-28.d.test@us.test");
        assert_eq!(json["policies"].as_array().unwrap().len(), 2);
        let sts = &json["policies"][0];
        assert_eq!(sts["policy"]["mx-host"][0], "*.d.test");
        assert_eq!(sts["summary"]["total-successful-session-count"], 5);
        assert_eq!(sts["summary"]["total-failure-session-count"], 2);
        let detail = &sts["failure-details"][0];
        assert_eq!(
            (&detail["result-type"], &detail["failed-session-count"]),
            (&"certificate-expired".into(), &2.into())
        );
        assert_eq!(detail["receiving-ip"], "192.0.2.1");
        assert_eq!(detail["failure-reason-code"].as_str().unwrap().len(), MAX_REASON);
        assert_eq!(report.file_name(&reporter), "us.test!d.test!1795824000!1795910399.json.gz");
    }
}
