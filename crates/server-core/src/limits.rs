use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mail_config::{Config, LimitsConfig};
use mail_types::{Address, Network};
use tokio::sync::watch;
use tracing::{error, warn};

use crate::bans::{Bans, Door, Rule};
use crate::places::{Places, canonical, place};

/// Counts the open connections of this process: in all, by address, those of strangers by network, by account; and the failed logins by
/// address.
#[derive(Debug)]
pub struct Limits {
    max_connections: usize,
    max_per_address: usize,
    max_per_network: usize,
    max_per_account: usize,
    /// Of these networks there may be any number.
    exempt: Vec<Network>,
    ban_time: Duration,
    /// From where accounts have logged in.
    places: Arc<Places>,
    counts: Mutex<Counts>,
    /// So many are open that who does nothing has to make room.
    crowd: watch::Sender<bool>,
}

/// Why nothing is taken from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    /// There are as many connections as may be, in all.
    #[error("too many connections")]
    TooMany,
    /// There are as many as may be of its address, or of strangers of its network.
    #[error("too many connections of its address or network")]
    TooManyThere,
    /// Too many logins from its address have failed.
    #[error("too many failed logins")]
    Banned,
}

#[derive(Debug)]
struct Counts {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    by_network: HashMap<Network, usize>,
    by_account: HashMap<Address, usize>,
    bans: Bans,
}

impl Counts {
    /// A connection of these is closed, or another's.
    fn forget(&mut self, peer: Option<IpAddr>, network: Option<Network>) {
        if let Some(peer) = peer {
            uncount(&mut self.by_address, &peer);
        }
        if let Some(network) = network {
            uncount(&mut self.by_network, &network);
        }
    }
}

impl Limits {
    /// None open yet. Nobody is known anywhere, and no network exempt but this machine.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Arc<Self> {
        Arc::new(Self::with_places(config, Places::default()))
    }

    /// The same, but exempts networks that are trusted or have mail sent by us from the limit of one network, and knows from a database that the servers of `config` share from
    /// where accounts have logged in. That it can't be opened is told to the operator, and what is known ends with the process then. Blocks.
    #[must_use]
    pub fn open_for(config: &Config) -> Arc<Self> {
        let file = config.places_file();
        let places = Places::open(&file).inspect_err(|error| {
            error!(file = %file.display(), %error, "from where accounts have logged in can't be kept");
        });
        let exempt = config.smtp.networks_of_ours();
        Arc::new(Self { exempt, ..Self::with_places(&config.limits, places.unwrap_or_default()) })
    }

    fn with_places(config: &LimitsConfig, places: Places) -> Self {
        let rule = Rule { failures: config.max_login_failures_per_address, time: config.ban_time };
        let counts = Counts {
            open: 0,
            by_address: HashMap::new(),
            by_network: HashMap::new(),
            by_account: HashMap::new(),
            bans: Bans::new(rule),
        };
        Self {
            max_connections: config.max_connections,
            max_per_address: config.max_connections_per_address,
            // A limit of one address that the operator has raised holds.
            max_per_network: config.max_connections_per_network.max(config.max_connections_per_address),
            max_per_account: config.max_connections_per_account,
            exempt: Vec::new(),
            ban_time: config.ban_time,
            places: Arc::new(places),
            counts: Mutex::new(counts),
            crowd: watch::Sender::new(false),
        }
    }

    /// Counts a connection from `peer`.
    ///
    /// # Errors
    /// [`TurnedAway`].
    pub fn connect(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionGuard, TurnedAway> {
        let mut guard = self.connect_proxy()?;
        guard.reassign(peer)?;
        Ok(guard)
    }

    /// Counts a connection whose client's address is told later, by [`ConnectionGuard::reassign`].
    ///
    /// # Errors
    /// [`TurnedAway::TooMany`] in all.
    pub fn connect_proxy(self: &Arc<Self>) -> Result<ConnectionGuard, TurnedAway> {
        let mut counts = self.counts();
        if counts.open >= self.max_connections {
            return Err(TurnedAway::TooMany);
        }
        counts.open += 1;
        self.look_at_crowd(counts.open);
        Ok(ConnectionGuard { limits: Arc::clone(self), peer: None, network: Mutex::default() })
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts().open
    }

    /// A crowd begins with three quarters of the connections that may be open, and ends below the half, so that few who come and go do not
    /// wake all that wait.
    fn look_at_crowd(&self, open: usize) {
        let (begins, ends) = (self.max_connections - self.max_connections / 4, self.max_connections / 2);
        self.crowd.send_if_modified(|is_crowd| {
            let before = std::mem::replace(is_crowd, open >= if *is_crowd { ends } else { begins });
            before != *is_crowd
        });
    }

    /// By which network a peer is counted; `None` for this machine, and for who is exempt.
    fn network_of(&self, peer: IpAddr) -> Option<Network> {
        let is_exempt =
            peer.to_canonical().is_loopback() || self.exempt.iter().any(|network| network.contains(peer));
        (!is_exempt).then(|| network_of(peer))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn knows(&self, peer: IpAddr, name: String) -> bool {
        self.places.knows(place(peer), name).await
    }

    /// Holds a failed login of `name` against `peer`; loopback is exempt.
    async fn login_failed(&self, peer: IpAddr, name: &str) {
        if peer.is_loopback() {
            return;
        }
        let name = canonical(name);
        let is_known = self.knows(peer, name.clone()).await;
        let is_ban = self.counts().bans.failed(peer, &name, is_known);
        if !is_ban {
            return;
        }
        let is_spared = self.places.knows_anybody(place(peer)).await;
        if is_spared {
            self.counts().bans.spare(&peer);
        }
        let seconds = self.ban_time.as_secs();
        warn!(%peer, seconds, is_spared, "too many failed logins: who is not known there is turned away for a while");
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

/// The network by which a peer is counted: the /24 of an IPv4 address, the /48 that a site is given of IPv6 addresses. RFC 6177 §2.
fn network_of(address: IpAddr) -> Network {
    let address = address.to_canonical();
    Network::of(address, if address.is_ipv4() { 24 } else { 48 })
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
    /// The same, unless the peer is exempt or has logged in. It is locked after the counts.
    network: Mutex<Option<Network>>,
}

impl ConnectionGuard {
    /// Counts the connection as one of `peer`, a stranger who came through a proxy, and of nobody else.
    ///
    /// # Errors
    /// [`TurnedAway`]; nothing is changed then.
    pub fn reassign(&mut self, peer: IpAddr) -> Result<(), TurnedAway> {
        let limits = &self.limits;
        let network = limits.network_of(peer);
        let peer = one_peer(peer);
        let most = if peer.is_loopback() { usize::MAX } else { limits.max_per_address };
        let mut counts = limits.counts();
        if counts.bans.turns_away(&peer) {
            return Err(TurnedAway::Banned);
        }
        let counted = self.network.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (is_elsewhere, is_other_network) = (self.peer != Some(peer), *counted != network);
        if is_elsewhere && !count(&mut counts.by_address, &peer, most) {
            return Err(TurnedAway::TooManyThere);
        }
        if is_other_network
            && let Some(network) = &network
            && !count(&mut counts.by_network, network, limits.max_per_network)
        {
            if is_elsewhere {
                uncount(&mut counts.by_address, &peer);
            }
            return Err(TurnedAway::TooManyThere);
        }
        let left = self.peer.replace(peer).filter(|_| is_elsewhere);
        let left_network = std::mem::replace(counted, network).filter(|_| is_other_network);
        counts.forget(left, left_network);
        Ok(())
    }

    /// Waits until so many connections are open that who does nothing has to make room for others.
    pub async fn crowd(&self) {
        // It is there as long as the limits are.
        let _ = self.limits.crowd.subscribe().wait_for(|is_crowd| *is_crowd).await;
    }

    /// Counts the connection to `account` too, after login, and to its network no more; `None` over the limit. Wants to be called on a
    /// runtime.
    ///
    /// The limit of a network is one of strangers: a company whose users are all behind one is bounded by the limits of its accounts.
    ///
    /// The client's address is one from where the account is known from now on, and the failures of this account there are forgotten:
    /// behind one address may live a whole office, and what one mistypes is no reason to turn the others away.
    #[must_use]
    pub fn login(&self, account: &Address) -> Option<AccountGuard> {
        let mut counts = self.limits.counts();
        let below = count(&mut counts.by_account, account, self.limits.max_per_account);
        if below {
            counts.forget(None, self.take_network());
        }
        if let Some(peer) = self.peer.filter(|peer| !peer.is_loopback()) {
            let name = canonical(&account.to_string());
            let local_part = name.rsplit_once('@').map_or("", |(local_part, _)| local_part);
            counts.bans.succeeded(&peer, &[&name, local_part]);
            self.limits.places.note(place(peer), account.to_string());
        }
        drop(counts);
        below.then(|| AccountGuard { limits: Arc::clone(&self.limits), account: account.clone() })
    }

    /// Counts the connection as a stranger's of its network again: its account has left it, whose guard is dropped before.
    ///
    /// # Errors
    /// [`TurnedAway::TooManyThere`] where there are as many strangers of the network as may be. It counts for nobody then, and wants to be closed:
    /// else an account could hold as many connections as it likes, by leaving one after the other.
    pub fn logout(&self) -> Result<(), TurnedAway> {
        let limits = &self.limits;
        let Some(network) = self.peer.and_then(|peer| limits.network_of(peer)) else { return Ok(()) };
        let mut counts = limits.counts();
        let mut counted = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.is_none() {
            if !count(&mut counts.by_network, &network, limits.max_per_network) {
                return Err(TurnedAway::TooManyThere);
            }
            *counted = Some(network);
        }
        Ok(())
    }

    /// The network by which it was counted until now. Who calls has locked the counts.
    fn take_network(&self) -> Option<Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a password of `name`, as the client has it, may be tried. Not after too many failed logins from the client's address:
    /// only of an account that has logged in from its network before, and has not failed so often itself.
    pub async fn admits(&self, name: &str) -> bool {
        let Some(peer) = self.peer else { return true };
        let name = canonical(name);
        let door = self.limits.counts().bans.door(&peer, &name);
        match door {
            Door::Open => true,
            Door::Closed => false,
            Door::Ajar => self.limits.knows(peer, name).await,
        }
    }

    /// Holds a failed login of `name`, as the client has it, against the client's address; loopback is exempt.
    pub async fn login_failed(&self, name: &str) {
        if let Some(peer) = self.peer {
            self.limits.login_failed(peer, name).await;
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut counts = self.limits.counts();
        counts.open = counts.open.saturating_sub(1);
        self.limits.look_at_crowd(counts.open);
        counts.forget(self.peer, self.take_network());
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
mod tests;
