use std::num::NonZeroU32;
use std::time::Duration;

use mail_types::{AddressPattern, Domain, Language};

use crate::load::{SECOND, language};
use crate::reader::Reader;
use crate::{DAY, MINUTE, units};

/// `[queue]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// Started by `mailstead serve`.
    pub enabled: bool,
    /// Wait before the second attempt; doubled for each further one.
    pub retry_min: Duration,
    /// The longest wait between attempts.
    pub retry_max: Duration,
    /// Age at which the sender is told that a message is late; zero for never.
    pub warn_after: Duration,
    /// How long the report of a failure waits for the message's other recipients that are being tried, to tell of them too.
    pub gather_reports: Duration,
    /// Age at which a message is given up and bounced.
    pub expire_after: Duration,
    /// Of reports, where a message does not say in which language its sender reads.
    pub language: Language,
    /// Deliveries at one time.
    pub max_concurrent: usize,
    /// Of these, to one destination: a smarthost, or the mail hosts of a domain.
    pub max_per_destination: usize,
    /// Accounts all of whose mail is bulk mail, whatever its header says.
    pub bulk: Vec<AddressPattern>,
    /// Recipients elsewhere that an account has in an hour at most before its mail is bulk mail; 0 for any number.
    pub bulk_recipients: u32,
    /// Whose mail (reverse paths, in lower case) has a return address of its own for each recipient (VERP).
    pub verp: Vec<AddressPattern>,
    /// `[[queue.rates]]`
    pub rates: Vec<QueueRate>,
    /// `[queue.suppression]`
    pub suppression: SuppressionConfig,
}

/// `[queue.suppression]`: which addresses get no bulk mail any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionConfig {
    /// The list is kept and obeyed.
    pub enabled: bool,
    /// How often mail must come back because nobody is there.
    pub bounces: u32,
    /// How long an address is remembered, from its last bounce or complaint on.
    pub expire_after: Duration,
    /// Obeyed for all mail that is written here, not for bulk mail alone.
    pub all_mail: bool,
}

impl Default for SuppressionConfig {
    fn default() -> Self {
        Self { enabled: true, bounces: 2, expire_after: 180 * DAY, all_mail: false }
    }
}

/// `[[queue.rates]]`: how much of some mail goes in what time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRate {
    /// Whose mail: who has logged in, or the name of a relay client; everybody's together without one.
    pub account: Option<String>,
    /// To which domain; to all together without one.
    pub domain: Option<Domain>,
    /// So many messages, one to each recipient counted, `None` for any number.
    pub messages: Option<NonZeroU32>,
    /// In this time.
    pub per: Duration,
    /// So many deliveries at one time.
    pub connections: Option<usize>,
}

impl QueueRate {
    /// True if it is meant for mail of `account` to `domain`.
    #[must_use]
    pub fn is_of(&self, account: &str, domain: &Domain) -> bool {
        self.account.as_ref().is_none_or(|it| it.eq_ignore_ascii_case(account))
            && self.domain.as_ref().is_none_or(|it| it == domain)
    }

    /// Under which name operators are told of it.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("rate {}", self.whose(" to "))
    }

    /// What operators are told of it.
    #[must_use]
    pub fn told(&self) -> String {
        let whose = match (&self.account, &self.domain) {
            (Some(account), Some(domain)) => format!("of {account} to {domain}"),
            (Some(account), None) => format!("of {account}"),
            (None, Some(domain)) => format!("to {domain}"),
            (None, None) => String::from("to elsewhere"),
        };
        match (self.messages, self.connections) {
            (Some(messages), _) => {
                format!("mail {whose} goes out evenly, {messages} messages in {}", units::show(self.per))
            }
            (None, Some(connections)) => format!("mail {whose} goes over {connections} connections at most"),
            (None, None) => format!("mail {whose} is not bounded"),
        }
    }

    fn whose(&self, between: &str) -> String {
        let domain = self.domain.as_ref().map(ToString::to_string);
        let named: Vec<String> = self.account.iter().cloned().chain(domain).collect();
        if named.is_empty() { "all".to_owned() } else { named.join(between) }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            retry_min: 5 * MINUTE,
            retry_max: 240 * MINUTE,
            warn_after: 240 * MINUTE,
            gather_reports: Duration::from_secs(30),
            expire_after: 5 * DAY,
            language: Language::English,
            max_concurrent: 200,
            max_per_destination: 20,
            bulk: Vec::new(),
            bulk_recipients: 500,
            verp: Vec::new(),
            rates: Vec::new(),
            suppression: SuppressionConfig::default(),
        }
    }
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> QueueConfig {
    let standard = QueueConfig::default();
    // Who shortens expire_after alone needs no warning before.
    let says_when_to_warn = reader.has("warn_after");
    let queue = QueueConfig {
        enabled: reader.bool("enabled", standard.enabled),
        retry_min: reader.duration("retry_min", SECOND, standard.retry_min),
        retry_max: reader.duration("retry_max", SECOND, standard.retry_max),
        warn_after: reader.duration("warn_after", Duration::ZERO, standard.warn_after),
        gather_reports: reader.duration("gather_reports", Duration::ZERO, standard.gather_reports),
        expire_after: reader.duration("expire_after", SECOND, standard.expire_after),
        language: language(reader, standard.language),
        max_concurrent: reader.number("max_concurrent", 1, standard.max_concurrent),
        max_per_destination: reader.number("max_per_destination", 1, standard.max_per_destination),
        bulk: patterns(reader, "bulk"),
        bulk_recipients: reader.number("bulk_recipients", 0, standard.bulk_recipients),
        verp: patterns(reader, "verp"),
        rates: reader.tables("rates", rate).unwrap_or_default(),
        suppression: reader.table("suppression", suppression),
    };
    if queue.retry_max < queue.retry_min {
        reader.wrong("retry_max must not be shorter than retry_min");
    }
    if says_when_to_warn && queue.warn_after >= queue.expire_after {
        reader.wrong(format!(
            "warn_after = \"{}\" must be shorter than expire_after = \"{}\": nobody is warned of a message that is given up by then; \"0s\" warns \
             nobody at all",
            units::show(queue.warn_after),
            units::show(queue.expire_after)
        ));
    }
    queue
}

fn suppression(reader: &mut Reader<'_, '_>) -> SuppressionConfig {
    let standard = SuppressionConfig::default();
    SuppressionConfig {
        enabled: reader.bool("enabled", standard.enabled),
        bounces: reader.number("bounces", 1, standard.bounces),
        expire_after: reader.duration("expire_after", DAY, standard.expire_after),
        all_mail: reader.bool("all_mail", standard.all_mail),
    }
}

fn patterns(reader: &mut Reader<'_, '_>, key: &'static str) -> Vec<AddressPattern> {
    let expected = "an address such as \"news@example.org\", or \"@example.org\" for all of a domain";
    let pattern = |text: &str| text.parse::<AddressPattern>().ok().map(|it| it.to_lowercase());
    reader.list(key, expected, pattern).unwrap_or_default()
}

fn rate(reader: &mut Reader<'_, '_>) -> Option<QueueRate> {
    if !reader.has("account") && !reader.has("domain") {
        reader.missing(
            "domain",
            "say which mail is meant, by domain = \"example.net\" or account = \"news@example.org\"; how much goes at one time of all mail, max_concurrent in [queue] says",
        );
    }
    let account = reader.string("account").map(|text| text.to_lowercase());
    let domain = reader.parsed("domain", "a domain such as \"example.net\"", |text| text.parse().ok());
    let messages =
        reader.has("messages").then(|| reader.number("messages", 1, 0_u32)).and_then(NonZeroU32::new);
    let per = reader.duration("per", SECOND, 60 * MINUTE);
    let connections = reader.has("connections").then(|| reader.number("connections", 1, 1_usize));
    if messages.is_none() && connections.is_none() {
        reader.missing("messages", "say how many go in a time (messages = 100, per = \"1h\"), or how many at one time (connections = 5)");
        return None;
    }
    Some(QueueRate { account, domain, messages, per, connections })
}
