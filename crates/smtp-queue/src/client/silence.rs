//! Whether the network lets connections to mail hosts out: many providers block the port. Pure, the time is an argument.
//!
//! A host may be down, a whole domain or a network may be: none of that says anything about us. What does is that hosts in many networks are
//! silent, one of them in a network where one has answered before (if any ever has), and that for a while none has answered.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mail_types::Domain;

/// Hosts of so many domains in as many networks must be silent, with none that answers between, before it is more than their fault.
const HOSTS: usize = 5;
/// How long no host may have answered.
const WHILE: Duration = Duration::from_secs(600);
/// Networks that are remembered because a host in one has answered.
const MAX_KNOWN: usize = 10_000;

/// What is known of the port of mail hosts.
#[derive(Debug)]
pub(super) struct Silence {
    port: u16,
    /// Hosts that did not answer since one did, each of another domain and in another network; no more than it takes.
    silent: Vec<(Domain, Network)>,
    /// One of them has answered before.
    is_known_silent: bool,
    /// Where hosts have answered.
    known: HashSet<Network>,
    answered: Option<Instant>,
    is_total: bool,
}

/// What is likely to be in one hand: 16 bits of an IPv4 address, 32 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(bool, [u8; 4]);

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [one, two, ..] = address.octets();
                Self(false, [one, two, 0, 0])
            }
            IpAddr::V6(address) => {
                let [one, two, ..] = address.segments();
                let ([one, two], [three, four]) = (one.to_be_bytes(), two.to_be_bytes());
                Self(true, [one, two, three, four])
            }
        }
    }
}

impl Silence {
    /// Nothing is known yet.
    pub(super) fn at(port: u16) -> Self {
        Self {
            port,
            silent: Vec::new(),
            is_known_silent: false,
            known: HashSet::new(),
            answered: None,
            is_total: false,
        }
    }

    /// A host of `domain` did not answer in time. True if by that it is known that none does.
    pub(super) fn timed_out(&mut self, domain: &Domain, address: IpAddr, now: Instant) -> bool {
        let network = Network::of(address);
        self.is_known_silent |= self.known.contains(&network);
        let is_new = self.silent.iter().all(|known| known.0 != *domain && known.1 != network);
        if is_new && self.silent.len() < HOSTS {
            self.silent.push((domain.clone(), network));
        }
        let is_long = self.answered.is_none_or(|answered| now.duration_since(answered) >= WHILE);
        let is_certain = self.known.is_empty() || self.is_known_silent;
        let is_total = self.silent.len() >= HOSTS && is_long && is_certain;
        is_total && !std::mem::replace(&mut self.is_total, true)
    }

    /// A host took a connection. True if it was thought that none does.
    pub(super) fn answered(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(Network::of(address));
        self.answered = Some(now);
        self.silent.clear();
        self.is_known_silent = false;
        std::mem::replace(&mut self.is_total, false)
    }

    /// What it means that nothing answers, if that is so, and what to do.
    pub(super) fn advice(&self) -> Option<String> {
        let port = self.port;
        self.is_total.then(|| {
            format!(
                "no mail host of any domain answers on port {port}: the network's provider may block outgoing port {port}; \
                 have it opened, or set [relay] smarthost"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A host of the domain of this number, in the network of that.
    fn is_silent(silence: &mut Silence, domain: u8, network: u8, now: Instant) -> bool {
        let domain = format!("d{domain}.test").parse().unwrap();
        silence.timed_out(&domain, [10, network, getrandom::u32().unwrap().to_be_bytes()[0], 1].into(), now)
    }

    #[test]
    fn dead_domains_and_dead_networks_are_their_own_fault() {
        let (mut silence, now) = (Silence::at(25), Instant::now());
        // A hundred domains on one dead provider, one domain with hosts everywhere.
        assert!(!(0..100).any(|domain| is_silent(&mut silence, domain, 1, now)));
        assert!(!(0..100).any(|network| is_silent(&mut silence, 1, network, now)));
        assert!(silence.advice().is_none());
        let address = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.99.99"));
        assert_eq!(address("2001:db8:1::1"), address("2001:db8:2::2"));
        assert_ne!(address("2001:db8::1"), address("2001:db9::1"));
    }

    #[test]
    fn the_port_is_blocked_once_hosts_in_many_networks_and_none_between_are_silent() {
        let (mut silence, now) = (Silence::at(25), Instant::now());
        let count = (0..10).take_while(|number| !is_silent(&mut silence, *number, *number, now)).count();
        assert_eq!(count, HOSTS - 1);
        assert!(!is_silent(&mut silence, 20, 20, now), "it is told once");
        assert!(silence.advice().unwrap().contains("port 25"));
        assert!(silence.answered([10, 99, 0, 1].into(), now) && silence.advice().is_none());
        assert!(!silence.answered([10, 99, 0, 1].into(), now));
    }

    #[test]
    fn where_hosts_have_answered_it_takes_a_while_and_one_of_these() {
        let (mut silence, now) = (Silence::at(25), Instant::now());
        silence.answered([10, 99, 0, 1].into(), now);
        assert!(!(0..50).any(|number| is_silent(&mut silence, number, number, now + 11 * MINUTE)));
        assert!(is_silent(&mut silence, 60, 99, now + 11 * MINUTE), "where one has answered none does now");
        silence.answered([10, 99, 0, 1].into(), now + 12 * MINUTE);
        let again = |silence: &mut Silence, now| (90..100).any(|it| is_silent(silence, it, it, now));
        assert!(!again(&mut silence, now + 21 * MINUTE), "one has answered a moment ago");
        assert!(again(&mut silence, now + 22 * MINUTE));
    }
}
