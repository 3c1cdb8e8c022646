use std::net::Ipv4Addr;
use std::time::Duration;

use mail_types::{Domain, Network};

use crate::reader::{NETWORK, Reader};

/// `[smtp.verdicts]`: what is found out about mail from other servers, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictsConfig {
    /// Anything is looked up at all.
    pub enabled: bool,
    /// Of clients in these networks nothing is.
    pub trusted: Vec<Network>,
    /// Senders whose domain is not in the DNS, or takes no mail, are refused.
    pub sender_domain: bool,
    /// How far the policy of the domain in From is obeyed.
    pub dmarc: DmarcObedience,
    /// Who is believed, by its ARC seal, that a message passed DMARC before it was changed: domains in A-labels.
    pub arc_sealers: Vec<String>,
    /// The score from which on a message goes to Junk.
    pub junk_score: u32,
    /// The score from which on it is refused.
    pub refuse_score: u32,
    /// What is added to each refusal: where to find help.
    pub help: Option<String>,
    /// How long a refusal is held back.
    pub tarpit: Duration,
    /// What each test counts.
    pub weights: Weights,
    /// `[[smtp.verdicts.list]]`
    pub lists: Vec<DnsList>,
}

/// How far DMARC policies are obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmarcObedience {
    /// As the domain asks: refused, or to Junk.
    Obey,
    /// To Junk at most.
    Quarantine,
    /// Not at all: the result is recorded.
    Record,
}

/// `[smtp.verdicts.weights]`: what a message's score gets for each test that it fails; 0 for those that don't count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the keys, which config/mailstead.toml explains")]
pub struct Weights {
    pub spf_fail: u32,
    pub spf_softfail: u32,
    pub helo_spf_fail: u32,
    pub no_reverse_name: u32,
    pub helo_invalid: u32,
    pub helo_unknown: u32,
    pub helo_ours: u32,
    pub dmarc_fail: u32,
    pub no_single_from: u32,
}

/// `[[smtp.verdicts.list]]`: a list in the DNS (RFC 5782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsList {
    /// Below which name it is asked.
    pub zone: String,
    /// Whether an entry speaks against a message or for it.
    pub kind: ListKind,
    /// What is looked for in it.
    pub subject: ListSubject,
    /// The answers that count as an entry.
    pub answers: Vec<Network>,
    /// What an entry counts.
    pub weight: u32,
}

/// What an entry of a list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Its weight is added.
    Block,
    /// Its weight is taken off.
    Allow,
}

/// What a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListSubject {
    /// The client's address. RFC 5782 §2.
    Address,
    /// The domain of the sender. RFC 5782 §4.
    SenderDomain,
}

/// `[smtp.greylist]`: who comes for the first time is asked to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreylistConfig {
    /// It is done at all.
    pub enabled: bool,
    /// How long one has to wait.
    pub delay: Duration,
    /// How long after the first time one may come again.
    pub retry_within: Duration,
    /// How long who has come again is known, from the last time on.
    pub keep: Duration,
    /// Domains in A-labels whose mail, and that of the domains below them, is not delayed if it proves where it comes from: they send codes
    /// for logging in, which are of use for minutes.
    pub urgent_senders: Vec<String>,
}

/// Who is known to send such codes.
const URGENT_SENDERS: [&str; 24] = [
    "amazon.com",
    "apple.com",
    "atlassian.com",
    "auth0.com",
    "cloudflare.com",
    "discord.com",
    "dropbox.com",
    "duosecurity.com",
    "ebay.com",
    "facebookmail.com",
    "github.com",
    "gitlab.com",
    "google.com",
    "instagram.com",
    "linkedin.com",
    "microsoft.com",
    "okta.com",
    "paypal.com",
    "slack.com",
    "steampowered.com",
    "stripe.com",
    "twilio.com",
    "x.com",
    "zoom.us",
];

/// `[smtp.rates]`: recipients that a source may have in an hour; 0 for as many as it likes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RatesConfig {
    /// A client that is not logged in.
    pub per_address: u32,
    /// All such clients of a network.
    pub per_network: u32,
    /// A sender's domain, of such clients.
    pub per_domain: u32,
    /// An account of ours.
    pub per_account: u32,
    /// The same, in messages.
    pub messages_per_account: u32,
    /// Recipients of one message of an account, not of an hour; 0 for as many as others may have.
    pub per_message: usize,
}

impl Default for GreylistConfig {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            enabled: false,
            delay: Duration::from_secs(300),
            retry_within: hours(48),
            keep: hours(60 * 24),
            urgent_senders: URGENT_SENDERS.map(ToOwned::to_owned).to_vec(),
        }
    }
}

impl Default for VerdictsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            trusted: Network::local(),
            sender_domain: true,
            dmarc: DmarcObedience::Obey,
            arc_sealers: Vec::new(),
            junk_score: 5,
            refuse_score: 10,
            help: None,
            tarpit: Duration::from_secs(1),
            weights: Weights::default(),
            lists: Vec::new(),
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            spf_fail: 4,
            spf_softfail: 1,
            helo_spf_fail: 3,
            no_reverse_name: 2,
            helo_invalid: 2,
            helo_unknown: 1,
            helo_ours: 5,
            dmarc_fail: 1,
            no_single_from: 5,
        }
    }
}

const HELP: &str = "at most 200 characters of ASCII in one line";

/// What stands behind a reply's text, in one line with it: RFC 5321 §4.5.3.1.5.
fn help(text: &str) -> Option<String> {
    let is_plain = text.len() <= 200 && text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    is_plain.then(|| text.to_owned())
}

/// A domain, in A-labels.
fn domain(text: &str) -> Option<String> {
    text.parse::<Domain>().ok().filter(|it| !it.is_literal()).map(|it| it.to_ascii().to_ascii_lowercase())
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> VerdictsConfig {
    let standard = VerdictsConfig::default();
    let dmarc = reader.parsed("dmarc", "\"obey\", \"quarantine\" or \"none\"", |text| match text {
        "obey" => Some(DmarcObedience::Obey),
        "quarantine" => Some(DmarcObedience::Quarantine),
        "none" => Some(DmarcObedience::Record),
        _ => None,
    });
    let verdicts = VerdictsConfig {
        enabled: reader.bool("enabled", standard.enabled),
        trusted: reader.list("trusted", NETWORK, |text| text.parse().ok()).unwrap_or(standard.trusted),
        sender_domain: reader.bool("sender_domain", standard.sender_domain),
        dmarc: dmarc.unwrap_or(standard.dmarc),
        arc_sealers: reader.list("arc_sealers", "a domain", domain).unwrap_or_default(),
        junk_score: reader.number("junk_score", 1, standard.junk_score),
        refuse_score: reader.number("refuse_score", 1, standard.refuse_score),
        help: reader.parsed("help", HELP, help).filter(|help| !help.is_empty()),
        tarpit: reader.duration("tarpit", Duration::ZERO, standard.tarpit),
        weights: reader.table("weights", weights),
        lists: reader.tables("list", list).unwrap_or_default(),
    };
    if verdicts.refuse_score < verdicts.junk_score {
        reader.wrong("refuse_score must not be less than junk_score");
    }
    verdicts
}

pub(crate) fn greylist(reader: &mut Reader<'_, '_>) -> GreylistConfig {
    let standard = GreylistConfig::default();
    let greylist = GreylistConfig {
        enabled: reader.bool("enabled", standard.enabled),
        delay: reader.duration("delay", Duration::from_secs(1), standard.delay),
        retry_within: reader.duration("retry_within", Duration::from_secs(3600), standard.retry_within),
        keep: reader.duration("keep", Duration::from_secs(3600), standard.keep),
        urgent_senders: reader.list("urgent_senders", "a domain", domain).unwrap_or(standard.urgent_senders),
    };
    if greylist.retry_within <= greylist.delay {
        reader.wrong("retry_within must be longer than delay");
    }
    greylist
}

pub(crate) fn rates(reader: &mut Reader<'_, '_>) -> RatesConfig {
    let standard = RatesConfig::default();
    RatesConfig {
        per_address: reader.number("per_address", 0, standard.per_address),
        per_network: reader.number("per_network", 0, standard.per_network),
        per_domain: reader.number("per_domain", 0, standard.per_domain),
        per_account: reader.number("per_account", 0, standard.per_account),
        messages_per_account: reader.number("messages_per_account", 0, standard.messages_per_account),
        per_message: reader.number("per_message", 0, standard.per_message),
    }
}

fn weights(reader: &mut Reader<'_, '_>) -> Weights {
    let standard = Weights::default();
    Weights {
        spf_fail: reader.number("spf_fail", 0, standard.spf_fail),
        spf_softfail: reader.number("spf_softfail", 0, standard.spf_softfail),
        helo_spf_fail: reader.number("helo_spf_fail", 0, standard.helo_spf_fail),
        no_reverse_name: reader.number("no_reverse_name", 0, standard.no_reverse_name),
        helo_invalid: reader.number("helo_invalid", 0, standard.helo_invalid),
        helo_unknown: reader.number("helo_unknown", 0, standard.helo_unknown),
        helo_ours: reader.number("helo_ours", 0, standard.helo_ours),
        dmarc_fail: reader.number("dmarc_fail", 0, standard.dmarc_fail),
        no_single_from: reader.number("no_single_from", 0, standard.no_single_from),
    }
}

fn list(reader: &mut Reader<'_, '_>) -> Option<DnsList> {
    let domain =
        |text: &str| text.parse::<Domain>().ok().filter(|it| !it.is_literal()).map(|it| it.to_ascii());
    let zone = reader.parsed("zone", "a domain such as \"zen.spamhaus.org\"", domain);
    let kind = reader.parsed("kind", "\"block\" or \"allow\"", |text| match text {
        "block" => Some(ListKind::Block),
        "allow" => Some(ListKind::Allow),
        _ => None,
    });
    let subject = reader.parsed("subject", "\"address\" or \"sender domain\"", |text| match text {
        "address" => Some(ListSubject::Address),
        "sender domain" => Some(ListSubject::SenderDomain),
        _ => None,
    });
    let answers = reader.list("answers", "a network such as \"127.0.0.0/24\"", |text| text.parse().ok());
    let weight = reader.number("weight", 1, 5);
    if zone.is_none() {
        reader.missing("zone", "say which list is to be asked");
    }
    Some(DnsList {
        zone: zone?,
        kind: kind.unwrap_or(ListKind::Block),
        subject: subject.unwrap_or(ListSubject::Address),
        answers: answers.unwrap_or_else(usual_answers),
        weight,
    })
}

/// 127.0.0.0/16. RFC 5782 §2.1 has entries in 127.0.0.0/8, of which lists take 127.255.255.0/24 to say that they don't answer us.
pub(crate) fn usual_answers() -> Vec<Network> {
    vec![Network::of(Ipv4Addr::new(127, 0, 0, 0).into(), 16)]
}
