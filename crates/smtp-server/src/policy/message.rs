//! What is found out of the message itself: DKIM (RFC 6376), ARC (RFC 8617), DMARC (RFC 9989).
//!
//! Deviates: a signature by a key that is being tested (`t=y`, RFC 6376 §3.6.1) counts as any other, as everybody has it: many domains
//! never take the flag away.

use std::time::Duration;

use mail_auth::common::crypto::Algorithm;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::to_a_label;
use mail_auth::common::verify::VerifySignature as _;
use mail_auth::dkim::{DkimError, Signature};
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::dmarc::{Dmarc, Policy};
use mail_auth::report::Record;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, DnsError, Error,
    Parameters, SpfOutput, SpfResult, Txt,
};
use mail_dns::LookupError;
use tokio::time::timeout;

use super::Verdicts;
use super::client::{Client, ClientFindings};
use super::known::Known;
use super::original::Digest;

/// The longest that all look-ups for one message take.
const LONGEST: Duration = Duration::from_secs(30);
/// Links of a chain that is followed, each of which costs a look-up. RFC 8617 §5.2 (1).
const MAX_ARC_SETS: usize = 50;
/// Octets of a signature that tell it from others. RFC 6008 §4.
const SHORT_SIGNATURE: usize = 8;

/// One signature, or one that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DkimFinding {
    /// As RFC 8601 §2.7.1 writes it.
    pub(crate) result: &'static str,
    pub(crate) comment: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) selector: String,
    pub(crate) algorithm: &'static str,
    /// How its value begins, in base64.
    pub(crate) signature: String,
}

/// The chain of those who passed the message on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArcFinding {
    pub(crate) result: &'static str,
    pub(crate) comment: Option<String>,
    /// Who sealed it last.
    pub(crate) sealer: Option<String>,
    pub(crate) sets: usize,
}

/// What the domain of From says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DmarcFinding {
    pub(crate) result: &'static str,
    /// Empty where there is no From field, or two.
    pub(crate) domain: String,
    pub(crate) policy: Policy,
    /// There is a record, and it was found.
    pub(crate) is_policy_known: bool,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageFindings {
    pub(crate) dkim: Vec<DkimFinding>,
    pub(crate) arc: ArcFinding,
    pub(crate) dmarc: DmarcFinding,
    /// There is one From field, and it names one domain. RFC 5322 §3.6.
    pub(crate) has_one_from: bool,
    /// For the report to the domain of From, where that asks for one.
    pub(crate) record: Option<Box<Record>>,
}

impl MessageFindings {
    /// The domain of the one From field, where the message is proven to be from there: by DMARC or, where that domain says nothing of DMARC, by
    /// its own signature.
    pub(crate) fn proven_author(&self) -> Option<String> {
        let DmarcFinding { result, domain, .. } = &self.dmarc;
        let is_signed = || *result == "none" && !domain.is_empty() && self.is_signed_by(domain);
        (self.has_one_from && (*result == "pass" || is_signed())).then(|| domain.clone())
    }

    /// True if the domain, or one above it, has signed the message.
    pub(crate) fn is_signed_by(&self, domain: &str) -> bool {
        let covers = |signer: &String| {
            let rest = domain.len().checked_sub(signer.len()).and_then(|at| domain.split_at_checked(at));
            rest.is_some_and(|(before, end)| {
                end.eq_ignore_ascii_case(signer) && (before.is_empty() || before.ends_with('.'))
            })
        };
        self.dkim.iter().any(|it| it.result == "pass" && it.domain.as_ref().is_some_and(covers))
    }
}

impl Verdicts {
    /// Looks the keys up that a message will need, so that they are known when it is whole.
    pub(crate) async fn prepare(&self, digest: &Digest) {
        let Some(message) = digest.message() else { return };
        let names = message.dkim_headers.iter().map(|header| header.header.domain_key());
        let policy = format!("_dmarc.{}", to_a_label(author(&message)));
        let names: Vec<String> = names.chain([policy]).collect();
        let ask = names.iter().map(|name| self.dns.texts(name));
        let _ = timeout(LONGEST, futures_util::future::join_all(ask)).await;
    }

    /// Verifies a message that is whole.
    pub(crate) async fn look_at_message(
        &self,
        digest: &Digest,
        client: &Client,
        findings: &ClientFindings,
    ) -> MessageFindings {
        let Some(message) = digest.message() else { return without_header() };
        let spf = findings.mail_spf.as_ref().unwrap_or(&findings.helo_spf);
        let identity = client.sender_domain().unwrap_or_else(|| client.helo.clone());
        match timeout(LONGEST, self.verify(&message, &spf.output, &identity, client)).await {
            Ok(found) => found,
            Err(_) => too_slow(&message),
        }
    }

    async fn verify(
        &self,
        message: &AuthenticatedMessage<'_>,
        spf: &SpfOutput,
        identity: &str,
        client: &Client,
    ) -> MessageFindings {
        let arc = async {
            if message.ams_headers.len() > MAX_ARC_SETS {
                return ArcFinding {
                    comment: Some("too many sets".to_owned()),
                    ..ArcFinding::of(&ArcOutput::default(), "fail")
                };
            }
            let is_torn = message.ams_headers.is_empty()
                && !(message.as_headers.is_empty() && message.aar_headers.is_empty());
            if is_torn {
                return ArcFinding {
                    comment: Some("sets without a signature".to_owned()),
                    ..ArcFinding::of(&ArcOutput::default(), "fail")
                };
            }
            let output = self.authenticator.verify_arc(message).await;
            let (result, comment) = match described(output.result()) {
                // RFC 8617 §4.4, §5.2.1: what is not good has failed. That the DNS did not answer is said here, since it may answer the next one.
                (result @ ("none" | "pass" | "temperror"), comment) => (result, comment),
                (_, comment) => ("fail", comment),
            };
            ArcFinding { comment, ..ArcFinding::of(&output, result) }
        };
        let (dkim, arc) = tokio::join!(self.authenticator.verify_dkim(message), arc);
        let parameters = DmarcParameters {
            message,
            dkim_output: &dkim,
            dkim2_output: None,
            rfc5321_mail_from_domain: identity,
            spf_output: spf,
        };
        let author = to_a_label(author(message));
        let name = format!("_dmarc.{author}");
        let known = Known::new(&name, dmarc_record(self.dns.texts(&name).await));
        let dmarc = self.authenticator.verify_dmarc(Parameters::new(parameters).with_txt_cache(&known)).await;
        let has_one_from = has_one_from(message);
        let record = self.record(client, &dkim, spf, &dmarc);
        MessageFindings {
            record,
            dmarc: DmarcFinding::of(&dmarc, message, &dkim, spf, identity),
            dkim: dkim.iter().map(DkimFinding::of).collect(),
            arc,
            has_one_from,
        }
    }
}

impl DkimFinding {
    fn of(output: &DkimOutput<'_>) -> Self {
        let (result, comment) = described(output.result());
        let signature = output.signature();
        let is_old = signature.is_some_and(|signature| signature.a == Algorithm::RsaSha1);
        // RFC 8301 §3.1.
        let (result, comment) = if is_old {
            ("policy", Some("rsa-sha1 is no longer accepted".to_owned()))
        } else {
            (result, comment)
        };
        Self {
            result,
            comment,
            domain: signature.map(|signature| signature.d.clone()),
            selector: signature.map(|signature| signature.s.clone()).unwrap_or_default(),
            algorithm: signature.map_or("", |signature| signature.a.name()),
            signature: signature.map(beginning).unwrap_or_default(),
        }
    }
}

fn beginning(signature: &Signature) -> String {
    use base64::Engine as _;
    let mut text = base64::engine::general_purpose::STANDARD.encode(&signature.b);
    text.truncate(SHORT_SIGNATURE);
    text
}

/// A result as RFC 8601 §2.7.1 names it, and why.
fn described(result: &DkimResult) -> (&'static str, Option<String>) {
    let (name, error) = match result {
        DkimResult::Pass => return ("pass", None),
        DkimResult::None => return ("none", None),
        DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch)) => {
            return ("fail", Some("the body has been changed".to_owned()));
        }
        DkimResult::Neutral(error @ Error::Dkim(DkimError::SignatureExpired)) => ("fail", error),
        DkimResult::Neutral(error @ Error::Dkim(DkimError::SignatureLength)) => ("policy", error),
        DkimResult::Neutral(error @ Error::Arc(_)) => ("fail", error),
        DkimResult::Neutral(error) => ("neutral", error),
        DkimResult::Fail(error) => ("fail", error),
        DkimResult::PermError(error) => ("permerror", error),
        DkimResult::TempError(error) => ("temperror", error),
    };
    (name, Some(error.to_string()))
}

impl ArcFinding {
    fn of(output: &ArcOutput<'_>, result: &'static str) -> Self {
        let sets = output.sets();
        let sealer = sets.last().map(|set| set.seal.header.d.clone());
        Self { result, comment: None, sealer, sets: sets.len() }
    }
}

impl DmarcFinding {
    fn of(
        output: &DmarcOutput,
        message: &AuthenticatedMessage<'_>,
        dkim: &[DkimOutput<'_>],
        spf: &SpfOutput,
        identity: &str,
    ) -> Self {
        let mut result = match output.result() {
            DmarcResult::Pass => "pass",
            DmarcResult::Fail(_) => "fail",
            DmarcResult::TempError(_) => "temperror",
            DmarcResult::PermError(_) => "permerror",
            DmarcResult::None => "none",
        };
        // Whatever the record says that can't be had now, the domain itself has passed.
        if result == "temperror"
            && output.dmarc_record().is_none()
            && is_the_domain_itself(output, dkim, spf, identity)
        {
            result = "pass";
        }
        let domain = if message.from.is_empty() { String::new() } else { output.domain().to_owned() };
        Self { result, domain, policy: output.policy(), is_policy_known: output.dmarc_record().is_some() }
    }
}

/// True if SPF or DKIM has passed for the very domain of From, which every policy is content with.
fn is_the_domain_itself(
    output: &DmarcOutput,
    dkim: &[DkimOutput<'_>],
    spf: &SpfOutput,
    identity: &str,
) -> bool {
    let is_author = |domain: &str| domain.eq_ignore_ascii_case(output.domain());
    let signs = |it: &DkimOutput<'_>| {
        *it.result() == DkimResult::Pass && it.signature().is_some_and(|signature| is_author(&signature.d))
    };
    (spf.result() == SpfResult::Pass && is_author(identity)) || dkim.iter().any(signs)
}

/// The domain of the first address in From; empty if there is none.
fn author<'m>(message: &'m AuthenticatedMessage<'_>) -> &'m str {
    message.from().rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// The policy among the texts of a name. RFC 9989 §4.10: where there are two, neither counts.
fn dmarc_record(texts: Result<Vec<Vec<u8>>, LookupError>) -> Txt {
    let texts = match texts {
        Ok(texts) => texts,
        Err(error) if error.is_temporary() => {
            return Txt::Error(Error::Dns(DnsError::Resolver(error.to_string())));
        }
        Err(_) => Vec::new(),
    };
    let is_policy = |text: &&Vec<u8>| text.trim_ascii_start().starts_with(b"v=DMARC1");
    match texts.iter().filter(is_policy).collect::<Vec<_>>().as_slice() {
        [one] => Dmarc::parse(one).into(),
        [] | [_, _, ..] => Txt::Error(Error::Dns(DnsError::InvalidRecordType)),
    }
}

fn has_one_from(message: &AuthenticatedMessage<'_>) -> bool {
    let is_from = |(name, _): &&(&[u8], &[u8])| name.trim_ascii().eq_ignore_ascii_case(b"from");
    let mut domains = message.from.iter().map(|from| from.rsplit_once('@').map(|(_, domain)| domain));
    let first = domains.next();
    message.headers.iter().filter(is_from).count() == 1
        && first.is_some_and(|first| first.is_some() && domains.all(|domain| Some(domain) == Some(first)))
}

/// What is known of a message that has no field at all.
fn without_header() -> MessageFindings {
    MessageFindings {
        record: None,
        dkim: Vec::new(),
        arc: ArcFinding::of(&ArcOutput::default(), "none"),
        dmarc: DmarcFinding {
            result: "none",
            domain: String::new(),
            policy: Policy::None,
            is_policy_known: false,
        },
        has_one_from: false,
    }
}

/// What is known of a message of which the DNS told nothing in time.
fn too_slow(message: &AuthenticatedMessage<'_>) -> MessageFindings {
    let author = author(message).to_owned();
    let signature = |signature: &Signature| DkimFinding {
        result: "temperror",
        comment: Some("no answer in time".to_owned()),
        domain: Some(signature.d.clone()),
        selector: signature.s.clone(),
        algorithm: signature.a.name(),
        signature: beginning(signature),
    };
    MessageFindings {
        record: None,
        dkim: message.dkim_headers.iter().map(|header| signature(&header.header)).collect(),
        arc: ArcFinding::of(
            &ArcOutput::default(),
            if message.ams_headers.is_empty() { "none" } else { "temperror" },
        ),
        dmarc: DmarcFinding {
            result: "temperror",
            domain: author,
            policy: Policy::None,
            is_policy_known: false,
        },
        has_one_from: has_one_from(message),
    }
}
