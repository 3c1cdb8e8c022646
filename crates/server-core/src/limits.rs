use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mail_config::LimitsConfig;
use mail_types::Address;
use tracing::warn;

/// Addresses whose failed logins are remembered at one time.
const REMEMBERED: usize = 10_000;

/// Counts the open connections of this process: in all, by address, by account; and the failed logins by address.
#[derive(Debug)]
pub struct Limits {
    max_connections: usize,
    max_per_address: usize,
    max_per_account: usize,
    bans: Bans,
    counts: Mutex<Counts>,
}

/// When an address that guesses passwords is turned away.
#[derive(Debug, Clone, Copy)]
struct Bans {
    /// Failed logins after which it is.
    failures: u32,
    /// For how long after the last of them.
    time: Duration,
}

impl Bans {
    fn apply(self, (failures, last): &(u32, Instant)) -> bool {
        *failures >= self.failures && last.elapsed() < self.time
    }
}

#[derive(Debug, Default)]
struct Counts {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    by_account: HashMap<Address, usize>,
    failures: HashMap<IpAddr, (u32, Instant)>,
}

impl Limits {
    /// None open yet.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Arc<Self> {
        Arc::new(Self {
            max_connections: config.max_connections,
            max_per_address: config.max_connections_per_address,
            max_per_account: config.max_connections_per_account,
            bans: Bans { failures: config.max_login_failures_per_address, time: config.ban_time },
            counts: Mutex::default(),
        })
    }

    /// Counts a connection from `peer`; `None` over a limit, or while `peer` is banned for its failed logins.
    #[must_use]
    pub fn connect(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionGuard> {
        let mut guard = self.connect_proxy()?;
        guard.reassign(peer).then_some(guard)
    }

    /// Counts a connection whose client's address is told later, by [`ConnectionGuard::reassign`]; `None` over the limit of all.
    #[must_use]
    pub fn connect_proxy(self: &Arc<Self>) -> Option<ConnectionGuard> {
        let mut counts = self.counts();
        if counts.open >= self.max_connections {
            return None;
        }
        counts.open += 1;
        Some(ConnectionGuard { limits: Arc::clone(self), peer: None })
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts().open
    }

    /// Holds a failed login against `peer`; loopback is exempt.
    pub fn login_failed(&self, peer: IpAddr) {
        let peer = one_peer(peer);
        if !peer.is_loopback() && self.counts().remember_failure(peer, self.bans) {
            warn!(%peer, seconds = self.bans.time.as_secs(), "too many failed logins: turned away for a while");
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// True if this failure is the one for which `peer` is banned.
    fn remember_failure(&mut self, peer: IpAddr, bans: Bans) -> bool {
        self.make_room(bans);
        let (failures, last) = self.failures.entry(peer).or_insert_with(|| (0, Instant::now()));
        *failures = if last.elapsed() < bans.time { failures.saturating_add(1) } else { 1 };
        *last = Instant::now();
        *failures == bans.failures
    }

    /// Forgets old failures, then those that are no reason for a ban yet, then all: memory stays bounded.
    fn make_room(&mut self, bans: Bans) {
        let is_full = |failures: &HashMap<_, _>| failures.len() >= REMEMBERED;
        if is_full(&self.failures) {
            self.failures.retain(|_, (_, last)| last.elapsed() < bans.time);
        }
        if is_full(&self.failures) {
            self.failures.retain(|_, failures| bans.apply(failures));
        }
        if is_full(&self.failures) {
            self.failures.clear();
        }
    }
}

/// The address by which a peer is counted. One host has a whole /64 of IPv6 addresses to choose from: RFC 6177 §2.
fn one_peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::from([a, b, c, d, 0, 0, 0, 0]).into()
        }
        address @ (IpAddr::V4(_) | IpAddr::V6(_)) => address,
    }
}

/// Adds one to the count of `key`, unless it is `most` already.
fn count<K: Hash + Eq + Clone>(counts: &mut HashMap<K, usize>, key: &K, most: usize) -> bool {
    let open = counts.entry(key.clone()).or_default();
    let below = *open < most;
    if below {
        *open += 1;
    }
    below
}

/// Takes one off the count of `key`.
fn uncount<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(open) = counts.get_mut(key) {
        *open = open.saturating_sub(1);
        if *open == 0 {
            counts.remove(key);
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub struct ConnectionGuard {
    limits: Arc<Limits>,
    /// By whom it is counted, once that is known.
    peer: Option<IpAddr>,
}

impl ConnectionGuard {
    /// Counts the connection as one of `peer`, who came through a proxy, and of nobody else; false, and nothing is changed, over the limit
    /// of one address, or while `peer` is banned for its failed logins.
    #[must_use]
    pub fn reassign(&mut self, peer: IpAddr) -> bool {
        let peer = one_peer(peer);
        let limits = &self.limits;
        let mut counts = limits.counts();
        let most = if peer.is_loopback() { usize::MAX } else { limits.max_per_address };
        let is_banned = counts.failures.get(&peer).is_some_and(|failures| limits.bans.apply(failures));
        if is_banned || !count(&mut counts.by_address, &peer, most) {
            return false;
        }
        if let Some(before) = self.peer.replace(peer) {
            uncount(&mut counts.by_address, &before);
        }
        true
    }

    /// Counts the connection to `account` too, after login; `None` over the limit.
    ///
    /// The failed logins of the client's address are forgotten: behind one address may live a whole office, in which a
    /// single phone keeps an old password.
    #[must_use]
    pub fn login(&self, account: &Address) -> Option<AccountGuard> {
        let mut counts = self.limits.counts();
        if let Some(peer) = &self.peer {
            counts.failures.remove(peer);
        }
        let below = count(&mut counts.by_account, account, self.limits.max_per_account);
        drop(counts);
        below.then(|| AccountGuard { limits: Arc::clone(&self.limits), account: account.clone() })
    }

    /// Holds a failed login against the client's address.
    pub fn login_failed(&self) {
        if let Some(peer) = self.peer {
            self.limits.login_failed(peer);
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut counts = self.limits.counts();
        counts.open = counts.open.saturating_sub(1);
        if let Some(peer) = &self.peer {
            uncount(&mut counts.by_address, peer);
        }
    }
}

/// One open connection of an account.
#[derive(Debug)]
pub struct AccountGuard {
    limits: Arc<Limits>,
    account: Address,
}

impl Drop for AccountGuard {
    fn drop(&mut self) {
        uncount(&mut self.limits.counts().by_account, &self.account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_connections: usize, per_address: usize) -> Arc<Limits> {
        Limits::new(&LimitsConfig {
            max_connections,
            max_connections_per_address: per_address,
            max_connections_per_account: 1,
            max_login_failures: 3,
            max_login_failures_per_address: 4,
            ban_time: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(1),
            allow_plaintext_login: false,
        })
    }

    #[test]
    fn a_closed_connection_makes_room_for_the_next() {
        let limits = limits(2, 1);
        let [first, second, third] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| address.parse::<IpAddr>().unwrap());
        let guard = limits.connect(first).unwrap();
        assert!(limits.connect(first).is_none(), "one for each address");
        let _second = limits.connect(second).unwrap();
        assert!(limits.connect(third).is_none(), "two in all");
        drop(guard);
        assert!(limits.connect(third).is_some());
        assert_eq!(limits.open(), 1);
    }

    #[test]
    fn a_connection_through_a_proxy_counts_for_its_client() {
        let limits = limits(3, 1);
        let [client, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse::<IpAddr>().unwrap());
        let mut guard = limits.connect_proxy().unwrap();
        assert!(guard.reassign(client));
        assert!(limits.connect(client).is_none(), "one for each address");
        assert!(guard.reassign(other));
        let second = limits.connect(client).unwrap();
        assert!(!guard.reassign(client));
        assert!(limits.connect(other).is_none(), "it is still the other's");
        drop((guard, second));
        assert_eq!(limits.open(), 0);
        (0..4).for_each(|_| limits.login_failed(client));
        assert!(!limits.connect_proxy().unwrap().reassign(client), "banned, whoever brings it");
        let _three = [(); 3].map(|()| limits.connect_proxy().unwrap());
        assert!(limits.connect_proxy().is_none(), "three in all");
    }

    #[test]
    fn an_account_has_its_own_limit() {
        let limits = limits(9, 9);
        let guard = limits.connect("127.0.0.1".parse().unwrap()).unwrap();
        let bob = "bob@example.org".parse().unwrap();
        let login = guard.login(&bob).unwrap();
        assert!(guard.login(&bob).is_none());
        drop(login);
        assert!(guard.login(&bob).is_some());
    }

    #[test]
    fn an_address_that_guesses_passwords_is_turned_away_and_loopback_never() {
        let limits = limits(9, 9);
        let [guesser, own] = ["192.0.2.1", "127.0.0.1"].map(|address| address.parse::<IpAddr>().unwrap());
        for _ in 0..4 {
            limits.login_failed(guesser);
            limits.login_failed(own);
        }
        assert!(limits.connect(guesser).is_none());
        assert!(limits.connect(own).is_some());
    }

    #[test]
    fn a_flood_of_addresses_does_not_lift_a_ban_and_takes_bounded_memory() {
        let limits = limits(9, 9);
        let guesser = "192.0.2.1".parse::<IpAddr>().unwrap();
        (0..4).for_each(|_| limits.login_failed(guesser));
        for number in 0..u32::try_from(2 * REMEMBERED).unwrap() {
            limits.login_failed(std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
        }
        assert!(limits.connect(guesser).is_none());
        assert!(limits.counts().failures.len() <= REMEMBERED);
    }

    #[test]
    fn a_login_that_succeeds_clears_the_failures_of_its_address() {
        let limits = limits(9, 9);
        let office = "192.0.2.1".parse::<IpAddr>().unwrap();
        let bob = "bob@example.org".parse().unwrap();
        for _ in 0..2 {
            (1..4).for_each(|_| limits.login_failed(office));
            let guard = limits.connect(office).unwrap();
            assert!(guard.login(&bob).is_some());
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one_peer() {
        let limits = limits(9, 1);
        let [first, same, other] = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"]
            .map(|address| address.parse::<IpAddr>().unwrap());
        let _guard = limits.connect(first).unwrap();
        assert!(limits.connect(same).is_none());
        assert!(limits.connect(other).is_some());
    }
}
