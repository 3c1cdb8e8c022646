//! Greylisting: who comes for the first time is asked to come again. RFC 6647.

mod database;

use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use mail_config::GreylistConfig;
use mail_types::{Address, Network};
use rusqlite::Error;

use database::{Database, Pair};

/// Who sends: a network, since big senders try again from another address of it, and the domain of the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    network: String,
    /// Empty for `<>`.
    domain: String,
    /// The sender, as our users' mail would name it.
    sender: Option<String>,
}

/// What is known of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has come again, or one of our users has written to the sender.
    Known,
    /// The domain is known, from another network or as one that does not wait: if it proves by SPF or DKIM to be the domain, that will do.
    KnownDomain,
    /// It is to come again.
    New,
}

/// What is remembered of those who came.
#[derive(Debug)]
pub(crate) struct Greylist {
    config: GreylistConfig,
    database: Database,
}

impl Caller {
    pub(crate) fn new(ip: IpAddr, sender: Option<&Address>) -> Self {
        let network = Network::of(ip, if ip.is_ipv4() { 24 } else { 64 });
        Self {
            network: network.to_string(),
            domain: sender.map(|sender| sender.domain().to_ascii().to_ascii_lowercase()).unwrap_or_default(),
            sender: sender.map(|sender| sender.to_lowercase().to_string()),
        }
    }
}

impl Greylist {
    /// Blocks.
    pub(crate) fn open(path: &Path, config: &GreylistConfig) -> Result<Self, Error> {
        Ok(Self { config: config.clone(), database: Database::open(path)? })
    }

    /// Notes that a caller is here. Blocks.
    pub(crate) fn arrived(&self, caller: &Caller, now: Timestamp) -> Result<Standing, Error> {
        let now = now.as_second();
        let oldest = now - seconds(self.config.keep);
        if let Some(sender) = &caller.sender
            && self.database.correspondent(sender)?.is_some_and(|last| last > oldest)
        {
            return Ok(Standing::Known);
        }
        let pair = self.database.pair(&caller.network, &caller.domain)?;
        match pair {
            Some(pair) if pair.passed && pair.last > oldest => {
                self.database.passed(&caller.network, &caller.domain, now)?;
                return Ok(Standing::Known);
            }
            Some(pair) if self.has_waited(&pair, now) => {
                self.database.passed(&caller.network, &caller.domain, now)?;
                return Ok(Standing::Known);
            }
            Some(pair) if !pair.passed && now - pair.first <= seconds(self.config.retry_within) => {}
            Some(_) | None => self.database.begin(&caller.network, &caller.domain, now, oldest)?,
        }
        let is_known = !caller.domain.is_empty()
            && (self.is_urgent(&caller.domain) || self.database.knows_domain(&caller.domain, oldest)?);
        Ok(if is_known { Standing::KnownDomain } else { Standing::New })
    }

    /// True for a domain whose mail is of use for minutes only, or one below it.
    fn is_urgent(&self, domain: &str) -> bool {
        let is_of = |urgent: &String| {
            let above = domain.strip_suffix(urgent.as_str());
            above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.config.urgent_senders.iter().any(is_of)
    }

    fn has_waited(&self, pair: &Pair, now: i64) -> bool {
        let waited = now - pair.first;
        !pair.passed && (seconds(self.config.delay)..=seconds(self.config.retry_within)).contains(&waited)
    }

    /// A caller has proved who it is: it needn't come again. Blocks.
    pub(crate) fn proved(&self, caller: &Caller, now: Timestamp) -> Result<(), Error> {
        self.database.passed(&caller.network, &caller.domain, now.as_second())
    }

    /// One of our users writes to `recipient`, whose answer is to come without delay. Blocks.
    pub(crate) fn written_to(&self, recipient: &Address, now: Timestamp) -> Result<(), Error> {
        self.database.note_correspondent(&recipient.to_lowercase().to_string(), now.as_second())
    }

    /// How long a caller has to wait, for people.
    pub(crate) fn delay(&self) -> String {
        match seconds(self.config.delay) {
            short @ ..120 => format!("{short} seconds"),
            long => format!("{} minutes", (long + 59) / 60),
        }
    }
}

fn seconds(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: i64 = 86_400;

    fn greylist(folder: &Path) -> Greylist {
        let config =
            GreylistConfig { enabled: true, delay: Duration::from_secs(300), ..GreylistConfig::default() };
        Greylist::open(&folder.join("greylist.sqlite"), &config).unwrap()
    }

    fn caller(ip: &str, sender: &str) -> Caller {
        let sender: Option<Address> = (!sender.is_empty()).then(|| sender.parse().unwrap());
        Caller::new(ip.parse().unwrap(), sender.as_ref())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn what_is_damaged_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("greylist.sqlite"), "this is no database").unwrap();
        let greylist = greylist(folder.path());
        assert_eq!(greylist.arrived(&caller("192.0.2.1", "a@a.test"), at(0)).unwrap(), Standing::New);
        assert_eq!(whole_file::set_aside_in(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn who_comes_again_in_time_is_known_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let greylist = greylist(folder.path());
        let (one, other) = (caller("192.0.2.1", "a@a.test"), caller("192.0.2.77", "b@A.test"));
        let arrived = |caller: &Caller, second| greylist.arrived(caller, at(second)).unwrap();
        assert_eq!(arrived(&one, 0), Standing::New);
        assert_eq!(arrived(&one, 299), Standing::New);
        assert_eq!(arrived(&other, 300), Standing::Known, "the network counts, and the domain");
        assert_eq!(arrived(&one, 301), Standing::Known);
        assert_eq!(arrived(&caller("198.51.100.1", "a@a.test"), 302), Standing::KnownDomain);
        assert_eq!(arrived(&caller("192.0.2.1", "a@b.test"), 303), Standing::New);
        assert_eq!(arrived(&caller("192.0.2.1", ""), 304), Standing::New);
        // In the next process.
        drop(greylist);
        let greylist = self::greylist(folder.path());
        assert_eq!(greylist.arrived(&one, at(59 * DAY)).unwrap(), Standing::Known);
        assert_eq!(
            greylist.arrived(&one, at(150 * DAY)).unwrap(),
            Standing::New,
            "it is forgotten in the end"
        );
    }

    #[test]
    fn who_sends_codes_for_logging_in_need_not_come_again_once_it_is_proven() {
        let folder = tempfile::tempdir().unwrap();
        let mut greylist = greylist(folder.path());
        let arrived =
            |greylist: &Greylist, sender| greylist.arrived(&caller("192.0.2.1", sender), at(0)).unwrap();
        assert_eq!(arrived(&greylist, "a@Accounts.Google.com"), Standing::KnownDomain, "by itself");
        greylist.config.urgent_senders = vec!["bank.test".to_owned()];
        for (sender, expected) in [
            ("code@bank.test", Standing::KnownDomain),
            ("code@login.bank.test", Standing::KnownDomain),
            ("code@otherbank.test", Standing::New),
            ("code@bank.test.evil.test", Standing::New),
            ("", Standing::New),
        ] {
            assert_eq!(arrived(&greylist, sender), expected, "{sender}");
        }
    }

    #[test]
    fn who_comes_again_too_late_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let greylist = greylist(folder.path());
        let one = caller("2001:db8::1", "a@a.test");
        assert_eq!(greylist.arrived(&one, at(0)).unwrap(), Standing::New);
        assert_eq!(greylist.arrived(&one, at(3 * DAY)).unwrap(), Standing::New);
        assert_eq!(greylist.arrived(&one, at(3 * DAY + 300)).unwrap(), Standing::Known);
    }

    #[test]
    fn correspondents_and_those_who_proved_themselves_do_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let greylist = greylist(folder.path());
        greylist.written_to(&"Carol@c.test".parse().unwrap(), at(0)).unwrap();
        assert_eq!(greylist.arrived(&caller("192.0.2.1", "carol@c.test"), at(1)).unwrap(), Standing::Known);
        assert_eq!(greylist.arrived(&caller("192.0.2.1", "dave@c.test"), at(1)).unwrap(), Standing::New);
        let one = caller("192.0.2.1", "a@a.test");
        greylist.proved(&one, at(0)).unwrap();
        assert_eq!(greylist.arrived(&one, at(1)).unwrap(), Standing::Known);
    }
}
