//! How much mail comes in an hour, by whom it comes from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mail_config::{RatesConfig, RelayClient};
use mail_types::Network;

const HOUR: Duration = Duration::from_secs(3600);
/// Senders remembered at one time. Those that have all of an hour's left are forgotten first, then all but our users: memory stays bounded.
const MAX_REMEMBERED: usize = 100_000;

/// Whose mail is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// One client; of an IPv6 address its /64 (RFC 6177 §2).
    Address(Network),
    /// A network: the /24 of an IPv4 address, the /48 of an IPv6 one.
    Network(Network),
    /// Recipients of one of our accounts, or of a machine that the config names.
    User(String),
    /// The same in messages.
    Messages(String),
    /// The sender's domain.
    Domain(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(network) => write!(f, "your address ({network})"),
            Self::Network(network) => write!(f, "your network ({network})"),
            // RFC 6531 §3.7.4.2: a reply is in ASCII.
            Self::User(user) | Self::Messages(user) if user.is_ascii() => f.write_str(user),
            Self::User(_) | Self::Messages(_) => f.write_str("your account"),
            Self::Domain(domain) => write!(f, "{domain}"),
        }
    }
}

/// Counts the recipients of each source, in this process.
#[derive(Debug)]
pub(crate) struct Rates {
    config: RatesConfig,
    /// When each would have sent all that it has, had it sent evenly (the theoretical arrival time of ITU-T I.371).
    due: Mutex<HashMap<Source, Instant>>,
}

impl Rates {
    pub(crate) fn new(config: &RatesConfig) -> Self {
        Self { config: config.clone(), due: Mutex::default() }
    }

    /// Counts a recipient of a stranger's; whose limit is exceeded, if one is.
    pub(crate) fn stranger(&self, ip: IpAddr, domain: Option<String>, now: Instant) -> Option<Source> {
        let (one, network) = if ip.is_ipv4() { (32, 24) } else { (64, 48) };
        let mut sources = vec![
            (Source::Address(Network::of(ip, one)), self.config.per_address),
            (Source::Network(Network::of(ip, network)), self.config.per_network),
        ];
        sources.extend(domain.map(|domain| (Source::Domain(domain), self.config.per_domain)));
        self.take(sources, now)
    }

    /// Counts a recipient of one of our users', who may have limits of its own; whose limit is exceeded, if one is.
    pub(crate) fn user(&self, user: &str, limits: Option<&RelayClient>, now: Instant) -> Option<Source> {
        let own = limits.and_then(|client| client.recipients_per_hour);
        self.take(vec![(Source::User(user.to_owned()), own.unwrap_or(self.config.per_account))], now)
    }

    /// Counts a message of one of our users' in the same way.
    pub(crate) fn message(&self, user: &str, limits: Option<&RelayClient>, now: Instant) -> Option<Source> {
        let own = limits.and_then(|client| client.messages_per_hour);
        let limit = own.unwrap_or(self.config.messages_per_account);
        self.take(vec![(Source::Messages(user.to_owned()), limit)], now)
    }

    /// Counts so many recipients of one of our users', of whom `limit` in an hour are not many; true if they are. 0 is no limit.
    pub(crate) fn are_many(&self, user: &str, recipients: u32, limit: u32, now: Instant) -> bool {
        if limit == 0 {
            return false;
        }
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        Self::make_room(&mut due, now);
        let known = due.entry(Source::User(user.to_owned())).or_insert(now);
        let next = (*known).max(now) + (HOUR / limit).saturating_mul(recipients);
        // Who has sent very many is not known for it longer than an hour.
        *known = next.min(now + HOUR);
        next.duration_since(now) > HOUR
    }

    /// Counts one for all of them, or for none.
    fn take(&self, sources: Vec<(Source, u32)>, now: Instant) -> Option<Source> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = Vec::with_capacity(sources.len());
        for (source, limit) in sources.into_iter().filter(|(_, limit)| *limit > 0) {
            let next = due.get(&source).copied().unwrap_or(now).max(now) + HOUR / limit;
            if next.duration_since(now) > HOUR {
                return Some(source);
            }
            counted.push((source, next));
        }
        Self::make_room(&mut due, now);
        due.extend(counted);
        None
    }

    fn make_room(due: &mut HashMap<Source, Instant>, now: Instant) {
        if due.len() >= MAX_REMEMBERED {
            due.retain(|_, next| *next > now);
        }
        if due.len() >= MAX_REMEMBERED {
            // Strangers may be any number; what an account has sent is not forgotten for their sake.
            due.retain(|source, _| matches!(source, Source::User(_) | Source::Messages(_)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_address: u32, per_network: u32, per_domain: u32) -> Rates {
        Rates::new(&RatesConfig { per_address, per_network, per_domain, ..RatesConfig::default() })
    }

    #[test]
    fn so_many_come_at_once_and_then_so_many_in_an_hour() {
        let (rates, now) = (rates(4, 0, 0), Instant::now());
        let ip = "192.0.2.1".parse().unwrap();
        let taken = |now| (0..10).filter(|_| rates.stranger(ip, None, now).is_none()).count();
        assert_eq!(taken(now), 4);
        assert_eq!(taken(now + HOUR / 2), 2);
        assert_eq!(taken(now + HOUR * 3), 4);
    }

    #[test]
    fn addresses_networks_and_domains_are_counted_apart_and_refused_ones_not_at_all() {
        let (rates, now) = (rates(2, 3, 3), Instant::now());
        let take = |ip: &str, domain: &str| {
            let source = rates.stranger(ip.parse().unwrap(), Some(domain.to_owned()), now);
            source.map(|source| source.to_string()).unwrap_or_default()
        };
        assert_eq!([take("192.0.2.1", "a.test"), take("192.0.2.1", "a.test")], ["", ""]);
        assert_eq!(take("192.0.2.1", "b.test"), "your address (192.0.2.1/32)");
        assert_eq!(take("192.0.2.2", "b.test"), "");
        assert_eq!(take("192.0.2.3", "b.test"), "your network (192.0.2.0/24)");
        assert_eq!(take("2001:db8::1", "a.test"), "");
        assert_eq!(take("2001:db8:1::1", "a.test"), "a.test");
        assert_eq!(
            [take("2001:db8::2", "c.test"), take("2001:db8::3", "c.test")],
            ["", "your address (2001:db8::/64)"]
        );
    }

    #[test]
    fn who_sends_to_many_within_an_hour_is_known_for_it_until_it_is_over() {
        let (rates, now) = (rates(0, 0, 0), Instant::now());
        let many = |user: &str, recipients, now| rates.are_many(user, recipients, 10, now);
        assert!(!many("a", 9, now) && !many("a", 1, now) && many("a", 1, now) && !many("b", 10, now));
        assert!(many("a", 1_000_000, now));
        assert!(many("a", 1, now + HOUR / 20), "one in six minutes is no more than ten in an hour");
        assert!(!many("a", 1, now + HOUR) && !many("a", 10, now + HOUR * 3));
        assert!(many("c", 11, now), "in one message");
        assert!(!rates.are_many("c", u32::MAX, 0, now));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (rates, now) = (rates(10, 0, 0), Instant::now());
        for number in 0..=u32::try_from(MAX_REMEMBERED).unwrap() + 10 {
            assert_eq!(rates.stranger(std::net::Ipv4Addr::from_bits(number).into(), None, now), None);
        }
        assert!(rates.due.lock().unwrap().len() <= MAX_REMEMBERED);
    }

    #[test]
    fn strangers_don_t_make_an_account_s_mail_forgotten() {
        let config = RatesConfig { per_address: 10, per_account: 1, ..RatesConfig::default() };
        let (rates, now, alice) = (Rates::new(&config), Instant::now(), "alice@example.org");
        assert_eq!(rates.user(alice, None, now), None);
        for number in 0..=u32::try_from(MAX_REMEMBERED).unwrap() {
            assert_eq!(rates.stranger(std::net::Ipv4Addr::from_bits(number).into(), None, now), None);
        }
        assert_eq!(rates.user(alice, None, now), Some(Source::User(alice.to_owned())));
    }
}
