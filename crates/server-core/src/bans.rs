//! Failed logins by address, and what comes of them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses whose failed logins are remembered at one time.
const REMEMBERED: usize = 10_000;

/// When an address that guesses passwords is turned away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Failed logins after which it is.
    pub(crate) failures: u32,
    /// For how long after the last of them.
    pub(crate) time: Duration,
}

/// Who may try to log in from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The one who asks.
    Open,
    /// The one who asks, if it is known there.
    Ajar,
    /// Not the one who asks.
    Closed,
}

/// The failed logins of all addresses. Those of an account from where it is known count for themselves.
#[derive(Debug)]
pub(crate) struct Bans {
    rule: Rule,
    failed: HashMap<IpAddr, Failed>,
    /// Names are kept as their hashes: one has eight octets, however long it is.
    hashes: RandomState,
}

/// The failed logins of one address.
#[derive(Debug, Default)]
struct Failed {
    /// For names that are not known there.
    strangers: Count,
    /// Of these, those that a login may take back. No more names than failures that lead to a ban.
    names: Vec<(u64, u32)>,
    /// For names that are known there, each.
    known: Vec<(u64, Count)>,
    /// Some account is known there, and so the address is not turned away as a whole.
    is_spared: bool,
}

/// Failures of which none came much later than the one before.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    failures: u32,
    last: Option<Instant>,
}

impl Count {
    fn is_recent(self, rule: Rule) -> bool {
        self.last.is_some_and(|last| last.elapsed() < rule.time)
    }

    fn is_ban(self, rule: Rule) -> bool {
        self.failures >= rule.failures && self.is_recent(rule)
    }

    fn add(&mut self, rule: Rule) {
        self.failures = if self.is_recent(rule) { self.failures.saturating_add(1) } else { 1 };
        self.last = Some(Instant::now());
    }
}

impl Failed {
    fn is_recent(&self, rule: Rule) -> bool {
        self.strangers.is_recent(rule) || self.known.iter().any(|(_, count)| count.is_recent(rule))
    }

    fn is_ban(&self, rule: Rule) -> bool {
        self.strangers.is_ban(rule) || self.known.iter().any(|(_, count)| count.is_ban(rule))
    }

    fn add_known(&mut self, name: u64, rule: Rule) {
        self.known.retain(|(_, count)| count.is_recent(rule));
        match self.known.iter_mut().find(|(other, _)| *other == name) {
            Some((_, count)) => count.add(rule),
            None => {
                let mut count = Count::default();
                count.add(rule);
                self.known.push((name, count));
            }
        }
    }

    fn add_stranger(&mut self, name: u64, rule: Rule) {
        if !self.strangers.is_recent(rule) {
            self.names.clear();
            self.is_spared = false;
        }
        self.strangers.add(rule);
        match self.names.iter_mut().find(|(other, _)| *other == name) {
            Some((_, count)) => *count = count.saturating_add(1),
            None if self.strangers.failures <= rule.failures => self.names.push((name, 1)),
            None => {}
        }
    }

    /// Takes back the failures of a name. What has led to a ban stays.
    fn forget(&mut self, name: u64, rule: Rule) {
        self.known.retain(|(other, _)| *other != name);
        if self.strangers.is_ban(rule) {
            return;
        }
        let of_name = self.names.iter().filter(|(other, _)| *other == name).map(|(_, count)| count).sum();
        self.strangers.failures = self.strangers.failures.saturating_sub(of_name);
        self.names.retain(|(other, _)| *other != name);
    }
}

impl Bans {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, failed: HashMap::new(), hashes: RandomState::new() }
    }

    /// True if nobody may log in from `peer`.
    pub(crate) fn turns_away(&self, peer: &IpAddr) -> bool {
        self.failed.get(peer).is_some_and(|failed| failed.strangers.is_ban(self.rule) && !failed.is_spared)
    }

    /// Whether `name` may try a password from `peer`.
    pub(crate) fn door(&self, peer: &IpAddr, name: &str) -> Door {
        let Some(failed) = self.failed.get(peer) else { return Door::Open };
        let name = self.hashes.hash_one(name);
        if failed.known.iter().any(|(other, count)| *other == name && count.is_ban(self.rule)) {
            Door::Closed
        } else if failed.strangers.is_ban(self.rule) {
            Door::Ajar
        } else {
            Door::Open
        }
    }

    /// A login of `name` from `peer`, where the account is known or not, has failed; true if that is the failure for which strangers are
    /// banned there.
    pub(crate) fn failed(&mut self, peer: IpAddr, name: &str, is_known: bool) -> bool {
        self.make_room();
        let (rule, name) = (self.rule, self.hashes.hash_one(name));
        let failed = self.failed.entry(peer).or_default();
        if is_known {
            failed.add_known(name, rule);
            return false;
        }
        failed.add_stranger(name, rule);
        failed.strangers.failures == rule.failures
    }

    /// Accounts are known in the network of a banned address.
    pub(crate) fn spare(&mut self, peer: &IpAddr) {
        if let Some(failed) = self.failed.get_mut(peer) {
            failed.is_spared = true;
        }
    }

    /// Somebody who goes by these names has logged in from `peer`.
    pub(crate) fn succeeded(&mut self, peer: &IpAddr, names: &[&str]) {
        let Some(failed) = self.failed.get_mut(peer) else { return };
        for name in names {
            failed.forget(self.hashes.hash_one(*name), self.rule);
        }
        if failed.strangers.failures == 0 && failed.known.is_empty() {
            self.failed.remove(peer);
        }
    }

    /// Forgets old failures, then those that are no reason for a ban yet, then all: memory stays bounded.
    fn make_room(&mut self) {
        let rule = self.rule;
        if self.failed.len() >= REMEMBERED {
            self.failed.retain(|_, failed| failed.is_recent(rule));
        }
        if self.failed.len() >= REMEMBERED {
            self.failed.retain(|_, failed| failed.is_ban(rule));
        }
        if self.failed.len() >= REMEMBERED {
            self.failed.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { failures: 4, time: Duration::from_secs(600) };

    fn peer(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn what_strangers_do_closes_the_door_to_strangers_only() {
        let (mut bans, office) = (Bans::new(RULE), peer("192.0.2.1"));
        let failed: Vec<bool> = (0..4).map(|n| bans.failed(office, &format!("name{n}"), false)).collect();
        assert_eq!(failed, [false, false, false, true]);
        assert!(bans.turns_away(&office));
        bans.spare(&office);
        assert!(!bans.turns_away(&office), "some account is known there");
        assert_eq!(bans.door(&office, "bob"), Door::Ajar);
        bans.succeeded(&office, &["bob"]);
        assert_eq!(bans.door(&office, "eve"), Door::Ajar, "no login of one lifts the ban on others");
        assert_eq!(bans.door(&peer("192.0.2.2"), "bob"), Door::Open);
    }

    #[test]
    fn an_accounts_own_failures_close_the_door_to_it_alone() {
        let (mut bans, office) = (Bans::new(RULE), peer("192.0.2.1"));
        assert!((0..3).all(|_| !bans.failed(office, "bob", true)));
        assert_eq!(bans.door(&office, "bob"), Door::Open);
        bans.succeeded(&office, &["bob"]);
        assert!((0..3).all(|_| !bans.failed(office, "bob", true)));
        assert_eq!(bans.door(&office, "bob"), Door::Open, "a login takes back what came before");
        assert!(!bans.failed(office, "bob", true));
        assert_eq!(bans.door(&office, "bob"), Door::Closed);
        assert_eq!(bans.door(&office, "alice"), Door::Open);
        assert!(!bans.turns_away(&office));
    }

    #[test]
    fn a_flood_of_addresses_does_not_lift_a_ban_and_takes_bounded_memory() {
        let (mut bans, guesser) = (Bans::new(RULE), peer("192.0.2.1"));
        assert_eq!((0..4).filter(|_| bans.failed(guesser, "bob", false)).count(), 1);
        for number in 0..u32::try_from(2 * REMEMBERED).unwrap() {
            bans.failed(std::net::Ipv4Addr::from(0x0a00_0000 + number).into(), "bob", false);
        }
        assert!(bans.turns_away(&guesser));
        assert!(bans.failed.len() <= REMEMBERED);
        assert!((0..1000).all(|number| !bans.failed(guesser, &format!("name{number}"), false)));
        assert!(bans.failed[&guesser].names.len() <= 4);
    }
}
