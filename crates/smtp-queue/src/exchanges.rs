//! From a domain to the addresses of its mail hosts, in the order in which they are tried. RFC 5321 §5.1.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use futures_util::future::join_all;
use mail_config::{Config, SmtpRole};
use mail_dns::{Dns, DnsError, LookupError, MailHost, MailHosts};
use mail_types::Domain;

use crate::client::Outcome;
use crate::{Diagnosis, Status};

/// RFC 7505 §5.
const NULL_MX: Status = Status::new(5, 1, 10);
/// RFC 3463 §3.2: bad destination system address.
const NO_SUCH_DOMAIN: Status = Status::new(5, 1, 2);
/// RFC 3463 §3.5: directory server failure, unable to route, routing loop detected.
const NO_ANSWER: Status = Status::new(4, 4, 3);
const UNROUTABLE: Status = Status::new(5, 4, 4);
const LOOP: Status = Status::new(5, 4, 6);
/// Hosts that are looked at, the most preferred ones.
const MAX_HOSTS: usize = 10;

/// One address that may be given mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The host's name or address.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
}

/// Finds the mail hosts of domains.
#[derive(Debug)]
pub(crate) struct Exchanges {
    dns: Dns,
    port: u16,
    us: Us,
}

/// By what we know ourselves among others' mail hosts.
#[derive(Debug)]
struct Us {
    /// In A-labels.
    hostname: String,
    /// Where we take mail on the port of mail hosts.
    listeners: Vec<SocketAddr>,
}

/// A mail host and what the DNS says of its addresses.
#[derive(Debug, Clone)]
struct Exchange {
    host: MailHost,
    addresses: Result<Vec<IpAddr>, LookupError>,
}

impl Exchanges {
    pub(crate) fn new(config: &Config) -> Result<Self, DnsError> {
        let port = config.relay.port;
        let takes_mail = config.smtp.listeners.iter().filter(|listener| listener.role == SmtpRole::Mx);
        let addresses = takes_mail.flat_map(|listener| listener.addresses.iter().copied());
        let listeners = addresses.filter(|address| address.port() == port).collect();
        let us = Us { hostname: config.hostname.to_ascii(), listeners };
        Ok(Self { dns: Dns::new(&config.dns)?, port, us })
    }

    /// What is asked.
    pub(crate) const fn dns(&self) -> &Dns {
        &self.dns
    }

    /// Where to try, in this order; never nowhere.
    ///
    /// # Errors
    /// What becomes of mail for the domain instead.
    pub(crate) async fn candidates(&self, domain: &Domain) -> Result<Vec<Candidate>, Outcome> {
        if domain.is_literal() {
            return self.of_literal(domain);
        }
        let name = domain.to_ascii();
        let hosts = match self.dns.mail_hosts(&name).await {
            Ok(MailHosts::Hosts(hosts)) => shuffled(hosts),
            Ok(MailHosts::Itself) => vec![MailHost { preference: 0, name: name.clone() }],
            Ok(MailHosts::Null) => {
                return Err(failed(NULL_MX, format!("{domain} takes no mail (null MX, RFC 7505)")));
            }
            Ok(MailHosts::Nothing) => {
                return Err(failed(NO_SUCH_DOMAIN, format!("{domain} is no domain that takes mail")));
            }
            Err(error) => return Err(deferred(NO_ANSWER, format!("the mail hosts of {domain}: {error}"))),
        };
        let exchanges = join_all(hosts.into_iter().take(MAX_HOSTS).map(|host| self.exchange(host))).await;
        let exchanges = self.us.left_out(exchanges);
        if exchanges.is_empty() {
            return Err(failed(
                LOOP,
                format!("mail for {domain} leads back to this host, which does not take it"),
            ));
        }
        in_turn(&exchanges, self.port).map_err(|trouble| nowhere(domain, trouble))
    }

    /// RFC 5321 §4.1.3.
    fn of_literal(&self, domain: &Domain) -> Result<Vec<Candidate>, Outcome> {
        let inner = domain.as_str().trim_start_matches('[').trim_end_matches(']');
        let address = match inner.strip_prefix("ipv6:") {
            Some(v6) => v6.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
            None => inner.parse().ok(),
        };
        let address = address.filter(|address| is_a_hosts(*address));
        let Some(address) = address else {
            return Err(failed(NO_SUCH_DOMAIN, format!("{domain} is not the address of a host")));
        };
        if self.us.is_at(address) {
            return Err(failed(LOOP, format!("{domain} is this host, which does not take its mail")));
        }
        Ok(vec![Candidate { host: address.to_string(), address: SocketAddr::new(address, self.port) }])
    }

    async fn exchange(&self, host: MailHost) -> Exchange {
        let addresses = self.dns.addresses(&host.name).await;
        Exchange { host, addresses }
    }
}

impl Us {
    /// Without us, and those that are preferred no more than we are: mail that comes to us must only get nearer. RFC 5321 §5.1.
    fn left_out(&self, exchanges: Vec<Exchange>) -> Vec<Exchange> {
        let ours = exchanges.iter().filter(|exchange| self.are(exchange)).map(|it| it.host.preference).min();
        let nearer = |exchange: &Exchange| ours.is_none_or(|ours| exchange.host.preference < ours);
        exchanges.into_iter().filter(nearer).collect()
    }

    fn are(&self, exchange: &Exchange) -> bool {
        let mut addresses = exchange.addresses.iter().flatten();
        exchange.host.name == self.hostname || addresses.any(|address| self.is_at(*address))
    }

    /// True if we take mail at this address.
    fn is_at(&self, address: IpAddr) -> bool {
        self.listeners.iter().any(|listener| {
            listener.ip().to_canonical() == address.to_canonical()
                || (listener.ip().is_unspecified() && is_of_this_machine(address))
        })
    }
}

/// Who sends to an address of his own machine does so from that address. Nothing is sent to find out.
fn is_of_this_machine(address: IpAddr) -> bool {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let source = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    address.is_loopback() || source().is_ok_and(|source| source.ip() == address)
}

/// Hosts of the same preference in random order. RFC 5321 §5.1.
fn shuffled(mut hosts: Vec<MailHost>) -> Vec<MailHost> {
    // Without random numbers the load is merely less spread.
    hosts.sort_by_cached_key(|host| (host.preference, getrandom::u32().unwrap_or_default()));
    hosts
}

/// The addresses of each host, families in turn, IPv4 first.
///
/// # Errors
/// There is none: what the DNS did not answer, if anything.
fn in_turn(exchanges: &[Exchange], port: u16) -> Result<Vec<Candidate>, Option<LookupError>> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut trouble = None;
    for Exchange { host, addresses } in exchanges {
        let addresses = match addresses {
            Ok(addresses) => addresses.as_slice(),
            Err(error) => {
                trouble = trouble.or_else(|| error.is_temporary().then(|| error.clone()));
                &[]
            }
        };
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
            addresses.iter().copied().filter(|address| is_a_hosts(*address)).partition(IpAddr::is_ipv4);
        for place in 0..v4.len().max(v6.len()) {
            for address in v4.get(place).into_iter().chain(v6.get(place)) {
                let address = SocketAddr::new(*address, port);
                if candidates.iter().all(|candidate| candidate.address != address) {
                    candidates.push(Candidate { host: host.name.clone(), address });
                }
            }
        }
    }
    if candidates.is_empty() { Err(trouble) } else { Ok(candidates) }
}

/// False for what no host has.
fn is_a_hosts(address: IpAddr) -> bool {
    let broadcast = matches!(address.to_canonical(), IpAddr::V4(v4) if v4.is_broadcast());
    !address.to_canonical().is_unspecified() && !address.is_multicast() && !broadcast
}

fn nowhere(domain: &Domain, trouble: Option<LookupError>) -> Outcome {
    match trouble {
        Some(error) => deferred(NO_ANSWER, format!("the addresses of the mail hosts of {domain}: {error}")),
        None => failed(UNROUTABLE, format!("none of the mail hosts of {domain} has an address")),
    }
}

fn failed(status: Status, text: String) -> Outcome {
    Outcome::Failed(Diagnosis::ours(status, text))
}

fn deferred(status: Status, text: String) -> Outcome {
    Outcome::Deferred(Diagnosis::ours(status, text))
}

#[cfg(test)]
mod tests;
