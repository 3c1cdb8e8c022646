//! What becomes of a message, and why.

use mail_auth::SpfResult;
use mail_auth::dmarc::Policy;
use mail_config::{DmarcObedience, DnsList, ListKind};
use smtp_proto::Reply;

use super::Verdicts;
use super::client::{Answer, Client, ClientFindings, Helo, Reverse};
use super::message::{DmarcFinding, MessageFindings};
use super::results::AuthenticationResults;

/// Octets of a reply's text: a line has 512. RFC 5321 §4.5.3.1.5.
const MAX_REPLY: usize = 480;

/// What was found out, as it goes into the message's header, and what becomes of the message.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// Authentication-Results and X-Mailstead-Verdict.
    pub(crate) fields: String,
    /// For the log.
    pub(crate) summary: String,
    pub(crate) outcome: Outcome,
    /// Who would be told of failures has sent it.
    pub(crate) is_sender_proven: bool,
    /// The domain of From, in A-labels, where DMARC or its own signature says that the message is from there.
    pub(crate) author: Option<String>,
}

impl Verdict {
    /// Of a message of which nothing was found out.
    pub(crate) const fn unknown() -> Self {
        Self {
            fields: String::new(),
            summary: String::new(),
            outcome: Outcome::Accept,
            is_sender_proven: true,
            author: None,
        }
    }

    /// A milter finds the message to be what this word says, and it goes to Junk.
    pub(crate) fn add_junk(&mut self, milter: &str, word: &str) {
        const FIELD: &str = "X-Mailstead-Verdict: ";
        self.outcome = Outcome::Junk;
        let accepted = self.summary.strip_prefix("accept").map(|rest| format!("junk{rest}"));
        self.summary = accepted.unwrap_or_else(|| std::mem::take(&mut self.summary));
        if self.summary.is_empty() {
            "junk".clone_into(&mut self.summary);
        }
        self.summary.push_str(&format!("; {milter}={word}"));
        let field = self.fields.find(FIELD).unwrap_or(self.fields.len());
        self.fields.truncate(field);
        self.fields.push_str(&format!("{FIELD}{}\r\n", self.summary.replace("; ", ";\r\n\t")));
    }

    /// Has what would be refused go to Junk.
    pub(crate) fn take_anyway(&mut self) {
        if matches!(self.outcome, Outcome::Refuse(_)) {
            self.outcome = Outcome::Junk;
            self.fields =
                self.fields.replacen("X-Mailstead-Verdict: refuse;", "X-Mailstead-Verdict: junk;", 1);
            self.summary = self.summary.replacen("refuse;", "junk;", 1);
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accept,
    /// It goes to the mailbox for that.
    Junk,
    Refuse(Reply),
}

/// A test that counts for or against a message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Test {
    name: String,
    weight: i64,
    /// What the sender is told of it.
    reason: String,
}

/// True if SPF or a signature says that the message is from the domain of MAIL: reports go there. That it is from that of From says nothing of
/// it, since who signs as himself may name anybody in MAIL; but to `<>` nothing is reported. RFC 5321 §6.2.
fn is_sender_proven(client: &Client, findings: &ClientFindings, message: &MessageFindings) -> bool {
    let passes_spf = findings.mail_spf.as_ref().is_some_and(|spf| spf.result() == SpfResult::Pass);
    let is_signed = || match (client.sender_domain(), &client.from) {
        (Some(domain), _) => message.is_signed_by(&domain),
        (None, Some(_)) => false,
        (None, None) => message.dmarc.result == "pass",
    };
    passes_spf || is_signed()
}

impl Verdicts {
    /// Weighs all that was found.
    pub(crate) fn judge(
        &self,
        client: &Client,
        findings: &ClientFindings,
        message: &MessageFindings,
    ) -> Verdict {
        let tests = self.tests(client, findings, message);
        let score: i64 = tests.iter().map(|test| test.weight).sum();
        let outcome = match (self.by_dmarc(message), self.by_score(score, &tests, findings)) {
            (Some(refused @ Outcome::Refuse(_)), _) => refused,
            (Some(_), by_score @ Outcome::Refuse(_)) => by_score,
            (Some(by_dmarc), _) => by_dmarc,
            (None, by_score) => by_score,
        };
        let word = match &outcome {
            Outcome::Accept => "accept",
            Outcome::Junk => "junk",
            Outcome::Refuse(_) => "refuse",
        };
        let named = tests.iter().map(|test| format!("{}={}", test.name, test.weight));
        let summary = std::iter::once(format!("{word}; score={score}")).chain(named).collect::<Vec<_>>();
        let field = format!("X-Mailstead-Verdict: {}\r\n", summary.join(";\r\n\t"));
        let fields = self.results(client, findings, message) + &field;
        let is_sender_proven = is_sender_proven(client, findings, message);
        let author = message.proven_author();
        Verdict { fields, summary: summary.join("; "), outcome, is_sender_proven, author }
    }

    /// A refusal that a human can act on, in one line.
    pub(crate) fn reply(code: u16, status: &'static str, text: &str) -> Reply {
        let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
        let text: String = text.chars().map(plain).take(MAX_REPLY).collect();
        Reply::new(code, status, text)
    }

    /// What the domain of From asks for, as far as it is obeyed.
    fn by_dmarc(&self, message: &MessageFindings) -> Option<Outcome> {
        let dmarc = &message.dmarc;
        let domain = &dmarc.domain;
        let is_unknown = dmarc.result == "temperror"
            && self.config.dmarc == DmarcObedience::Obey
            && (!dmarc.is_policy_known || dmarc.policy != Policy::None);
        if is_unknown {
            let text = format!(
                "The DNS does not tell now what {domain} says of mail in its name (DMARC); try again later"
            );
            return Some(Outcome::Refuse(Self::reply(451, "4.4.3", &text)));
        }
        if dmarc.result != "fail" || self.is_vouched_for(message) {
            return None;
        }
        if self.config.dmarc == DmarcObedience::Obey
            && dmarc.policy == Policy::Reject
            && self.may_be_vouched_for(message)
        {
            let text = format!(
                "The DNS does not tell now whether who has passed this message on vouches for it, which passes neither SPF nor DKIM for {domain} (DMARC); try again later"
            );
            return Some(Outcome::Refuse(Self::reply(451, "4.4.3", &text)));
        }
        match (self.config.dmarc, dmarc.policy) {
            (DmarcObedience::Record, _) | (_, Policy::None | Policy::Unspecified) => None,
            (DmarcObedience::Obey, Policy::Reject) => {
                let text = format!(
                    "{domain} asks to refuse mail in its name that passes neither SPF nor DKIM for it (DMARC), as this message does not; \
                     send it by way of the mail servers of {domain}"
                );
                Some(Outcome::Refuse(Self::reply(550, "5.7.1", &text)))
            }
            (DmarcObedience::Obey | DmarcObedience::Quarantine, Policy::Quarantine)
            | (DmarcObedience::Quarantine, Policy::Reject) => Some(Outcome::Junk),
        }
    }

    /// True if somebody whom the operator believes has seen it pass, and nobody has changed it since. RFC 8617 §7.2.1.
    fn is_vouched_for(&self, message: &MessageFindings) -> bool {
        message.arc.result == "pass" && self.is_sealer_believed(message)
    }

    /// True if the DNS does not tell whether it is so.
    fn may_be_vouched_for(&self, message: &MessageFindings) -> bool {
        message.arc.result == "temperror" && self.is_sealer_believed(message)
    }

    fn is_sealer_believed(&self, message: &MessageFindings) -> bool {
        let is_believed =
            |sealer: &String| self.config.arc_sealers.iter().any(|known| known.eq_ignore_ascii_case(sealer));
        message.arc.sealer.as_ref().is_some_and(is_believed)
    }

    fn by_score(&self, score: i64, tests: &[Test], findings: &ClientFindings) -> Outcome {
        if score < i64::from(self.config.junk_score) {
            return Outcome::Accept;
        }
        if score < i64::from(self.config.refuse_score) {
            return Outcome::Junk;
        }
        // Lists that would speak for it and did not answer.
        let unheard = |(list, answer): &&(DnsList, Answer<()>)| {
            list.kind == ListKind::Allow && *answer == Answer::Unknown
        };
        let unheard: i64 =
            findings.listings.iter().filter(unheard).map(|(list, _)| i64::from(list.weight)).sum();
        let reasons: Vec<&str> =
            tests.iter().filter(|test| test.weight > 0).map(|test| test.reason.as_str()).collect();
        let reasons = reasons.join("; ");
        Outcome::Refuse(if score - unheard < i64::from(self.config.refuse_score) {
            Self::reply(
                451,
                "4.7.1",
                &format!(
                    "This message looks like spam, and who could speak for it does not answer now: {reasons}"
                ),
            )
        } else {
            Self::reply(550, "5.7.1", &format!("This message looks like spam: {reasons}"))
        })
    }

    /// The tests that count. Those that the DNS did not answer are not among them.
    fn tests(&self, client: &Client, findings: &ClientFindings, message: &MessageFindings) -> Vec<Test> {
        let weights = &self.config.weights;
        let ip = client.ip;
        let mut tests = Vec::new();
        let mut add = |name: &str, weight: i64, reason: String| {
            if weight != 0 {
                tests.push(Test { name: name.to_owned(), weight, reason });
            }
        };
        match findings.reverse {
            Reverse::Fail | Reverse::Nameless => {
                add(
                    "no_reverse_name",
                    weights.no_reverse_name.into(),
                    format!("{ip} has no name that leads back to it"),
                );
            }
            Reverse::Pass(_) | Reverse::Unknown => {}
        }
        let helo = &client.helo;
        match findings.helo {
            Helo::Invalid => {
                add("helo_invalid", weights.helo_invalid.into(), format!("EHLO {helo} names no host"))
            }
            Helo::NoSuchName => add(
                "helo_unknown",
                weights.helo_unknown.into(),
                format!("the DNS does not know {helo} of EHLO"),
            ),
            Helo::Ours => add("helo_ours", weights.helo_ours.into(), "EHLO gives our own name".to_owned()),
            Helo::Fine => {}
        }
        if findings.helo_spf.result() == SpfResult::Fail {
            add(
                "helo_spf_fail",
                weights.helo_spf_fail.into(),
                format!("{helo} does not let {ip} use its name (SPF)"),
            );
        }
        if let Some(spf) = &findings.mail_spf {
            let reason = format!("the sender's domain does not let {ip} send for it (SPF)");
            match spf.result() {
                SpfResult::Fail => add("spf_fail", weights.spf_fail.into(), reason),
                SpfResult::SoftFail => add("spf_softfail", weights.spf_softfail.into(), reason),
                SpfResult::Pass
                | SpfResult::Neutral
                | SpfResult::TempError
                | SpfResult::PermError
                | SpfResult::None => {}
            }
        }
        if !message.has_one_from {
            add(
                "no_single_from",
                weights.no_single_from.into(),
                "it must have one From field, of one domain".to_owned(),
            );
        }
        if message.dmarc.result == "fail" && !self.is_vouched_for(message) {
            let reason = format!("it passes neither SPF nor DKIM for {} (DMARC)", message.dmarc.domain);
            add("dmarc_fail", weights.dmarc_fail.into(), reason);
        }
        for (list, answer) in &findings.listings {
            let weight = match (answer, list.kind) {
                (Answer::Unknown, _) => continue,
                (Answer::Found(()), ListKind::Block) => i64::from(list.weight),
                (Answer::Found(()), ListKind::Allow) => -i64::from(list.weight),
            };
            add(&list.zone, weight, format!("{} lists it", list.zone));
        }
        tests
    }

    /// All results, in one field.
    fn results(&self, client: &Client, findings: &ClientFindings, message: &MessageFindings) -> String {
        let ip = client.ip.to_string();
        let mut results = AuthenticationResults::new(&self.hostname);
        let (reverse, name) = match &findings.reverse {
            Reverse::Pass(name) => ("pass", Some(name.as_str())),
            Reverse::Fail => ("fail", None),
            Reverse::Nameless => ("permerror", Some("no name")),
            Reverse::Unknown => ("temperror", None),
        };
        results.add("iprev", reverse, name, &[("policy.iprev", &ip)]);
        let spf = &findings.helo_spf;
        results.add("spf", spf.name(), None, &[("smtp.helo", &spf.identity)]);
        if let Some(spf) = &findings.mail_spf {
            results.add("spf", spf.name(), None, &[("smtp.mailfrom", &spf.identity)]);
        }
        if message.dkim.is_empty() {
            results.add("dkim", "none", None, &[]);
        }
        for dkim in &message.dkim {
            let domain = dkim.domain.as_ref().map(|domain| {
                [
                    ("header.d", domain.as_str()),
                    ("header.s", dkim.selector.as_str()),
                    ("header.a", dkim.algorithm),
                    ("header.b", dkim.signature.as_str()),
                ]
            });
            results.add(
                "dkim",
                dkim.result,
                dkim.comment.as_deref(),
                domain.as_ref().map_or(&[], |it| it.as_slice()),
            );
        }
        if message.arc.result != "none" {
            let sealer = message
                .arc
                .sealer
                .as_ref()
                .map(|sealer| format!("i={} sealed by {sealer}", message.arc.sets));
            let comment = message.arc.comment.as_deref().or(sealer.as_deref());
            results.add("arc", message.arc.result, comment, &[("smtp.remote-ip", &ip)]);
        }
        let DmarcFinding { result, domain, .. } = &message.dmarc;
        let policy = format!("p={}", message.dmarc.policy);
        let policy = message.dmarc.is_policy_known.then_some(policy.as_str());
        let property = [("header.from", domain.as_str())];
        results.add("dmarc", result, policy, if domain.is_empty() { &[] } else { &property });
        results.finish()
    }
}
