//! SPF (RFC 7208), for the names of EHLO and of MAIL.
//!
//! Deviates: look-ups that find nothing are counted with all others only, not against a limit of two (§4.6.4, a SHOULD); of a record
//! that another one includes the library takes the first that it understands.

mod syntax;

use std::time::Duration;

use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::spf::Spf as Record;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{DnsError, Error, Parameters, SpfOutput, SpfResult, Txt};
use mail_dns::LookupError;
use tokio::time::timeout;

use super::Verdicts;
use super::client::Client;
use super::known::Known;

/// The longest that one evaluation takes; RFC 7208 §4.6.4 asks for 20 s at least.
const LONGEST: Duration = Duration::from_secs(20);

/// What came of one identity.
#[derive(Debug, Clone)]
pub(crate) struct Spf {
    /// What was asked about: the name of EHLO, or the sender.
    pub(crate) identity: String,
    pub(crate) output: SpfOutput,
}

impl Spf {
    pub(crate) fn result(&self) -> SpfResult {
        self.output.result()
    }

    /// As RFC 8601 §2.7.2 writes it.
    pub(crate) fn name(&self) -> &'static str {
        match self.result() {
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::Neutral => "neutral",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
            SpfResult::None => "none",
        }
    }
}

impl Verdicts {
    pub(crate) async fn spf_of_helo(&self, client: &Client) -> Spf {
        let identity = SpfParameters::verify_ehlo(client.ip, &client.helo, &self.hostname);
        Spf { identity: client.helo.clone(), output: self.spf(identity, &client.helo).await }
    }

    pub(crate) async fn spf_of_sender(&self, client: &Client, sender: &str) -> Spf {
        let domain = sender.rsplit_once('@').map_or(sender, |(_, domain)| domain);
        let identity = SpfParameters::verify_mail_from(client.ip, &client.helo, &self.hostname, sender);
        Spf { identity: sender.to_owned(), output: self.spf(identity, domain).await }
    }

    async fn spf(&self, identity: SpfParameters<'_>, domain: &str) -> SpfOutput {
        let known = Known::new(domain, record(self.dns.texts(domain).await));
        let parameters = Parameters::new(identity).with_txt_cache(&known);
        let evaluated = timeout(LONGEST, self.authenticator.verify_spf(parameters)).await;
        evaluated.unwrap_or_else(|_| SpfOutput::new(domain.to_owned()).with_result(SpfResult::TempError))
    }
}

/// The record of a domain among its texts. RFC 7208 §4.5: two of them are a permanent error.
fn record(texts: Result<Vec<Vec<u8>>, LookupError>) -> Txt {
    let texts = match texts {
        Ok(texts) => texts,
        Err(error) if error.is_temporary() => {
            return Txt::Error(Error::Dns(DnsError::Resolver(error.to_string())));
        }
        Err(_) => Vec::new(),
    };
    let records: Vec<_> = texts.iter().filter(|text| is_spf(text)).collect();
    match records.as_slice() {
        [] => Txt::Error(Error::Dns(DnsError::InvalidRecordType)),
        [one] if syntax::is_valid(one) => Record::parse(one).into(),
        [_] => Txt::Error(Error::ParseError),
        [_, _, ..] => Txt::Error(Error::ParseError),
    }
}

/// `version = "v=spf1"`, behind which stands a blank or nothing.
fn is_spf(text: &[u8]) -> bool {
    let version = text.get(..6).is_some_and(|version| version.eq_ignore_ascii_case(b"v=spf1"));
    version && text.get(6).is_none_or(|next| *next == b' ')
}
