//! What is found out of a client and a sender before the message is there.

use std::net::IpAddr;

use mail_config::{DnsList, ListSubject};
use mail_dns::{LookupError, MailHosts, reversed};
use mail_types::{Address, Domain};

use super::Verdicts;
use super::spf::Spf;
use crate::literal::literal;

/// Names of an address that are looked up in turn. RFC 8601 §3 leaves the number open.
const MAX_NAMES: usize = 5;

/// Who sends, as the dialogue tells it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    /// What it says by EHLO.
    pub(crate) helo: String,
    /// The reverse path; `None` for `<>`.
    pub(crate) from: Option<Address>,
}

/// What became of a look-up that asks for one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    Found(T),
    /// The DNS has failed: it may be otherwise later.
    Unknown,
}

/// Whether the name of the client's address leads back to it. RFC 8601 §3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reverse {
    Pass(String),
    /// None of its names leads back.
    Fail,
    /// It has no name.
    Nameless,
    Unknown,
}

/// Whether the client says by EHLO who it is. RFC 5321 §4.1.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Helo {
    Fine,
    /// No domain with a dot, nor the address that it comes from.
    Invalid,
    /// A name that the DNS doesn't have.
    NoSuchName,
    /// It says that it is us.
    Ours,
}

/// Whether mail for a domain can get anywhere. RFC 5321 §5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailDomain {
    Fine,
    Missing,
    /// RFC 7505.
    Null,
    Unknown,
}

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct ClientFindings {
    pub(crate) reverse: Reverse,
    pub(crate) helo: Helo,
    pub(crate) helo_spf: Spf,
    /// `None` for `<>`, of which [`Self::helo_spf`] decides. RFC 7208 §2.4.
    pub(crate) mail_spf: Option<Spf>,
    /// The lists that have an entry, in the order of the config, and those that could not be asked.
    pub(crate) listings: Vec<(DnsList, Answer<()>)>,
}

impl Client {
    /// The sender's domain in A-labels; `None` for `<>` and address literals.
    pub(crate) fn sender_domain(&self) -> Option<String> {
        let domain = self.from.as_ref()?.domain();
        (!domain.is_literal()).then(|| domain.to_ascii())
    }

    /// The sender with its domain in A-labels, as SPF and the DNS know it.
    pub(crate) fn sender(&self) -> Option<String> {
        let from = self.from.as_ref()?;
        Some(format!("{}@{}", from.local_part(), from.domain().to_ascii()))
    }
}

impl Verdicts {
    /// Asks for all that can be known before the message is there.
    pub(crate) async fn look_at_client(&self, client: &Client) -> ClientFindings {
        let mail_spf = async {
            match client.sender() {
                Some(sender) => Some(self.spf_of_sender(client, &sender).await),
                None => None,
            }
        };
        let (reverse, helo, helo_spf, mail_spf, listings) = tokio::join!(
            self.reverse(client.ip),
            self.helo(client),
            self.spf_of_helo(client),
            mail_spf,
            self.listings(client),
        );
        ClientFindings { reverse, helo, helo_spf, mail_spf, listings }
    }

    /// Whether mail can go back to the sender. RFC 7505 §4.2, RFC 5321 §5.1.
    pub(crate) async fn look_at_sender_domain(&self, client: &Client) -> MailDomain {
        match client.sender_domain() {
            Some(domain) => self.look_at_domain(&domain).await,
            None => MailDomain::Fine,
        }
    }

    /// Whether a domain, in A-labels, takes mail.
    pub(crate) async fn look_at_domain(&self, domain: &str) -> MailDomain {
        match self.dns.mail_hosts(domain).await {
            Ok(MailHosts::Hosts(_) | MailHosts::Itself) => MailDomain::Fine,
            Ok(MailHosts::Null) => MailDomain::Null,
            Ok(MailHosts::Nothing) => MailDomain::Missing,
            Err(_) => MailDomain::Unknown,
        }
    }

    /// The name of a client that leads back to it, if the DNS tells one now.
    pub(crate) async fn client_name(&self, ip: IpAddr) -> Option<String> {
        if ip.is_loopback() {
            return Some("localhost".to_owned());
        }
        match self.reverse(ip).await {
            Reverse::Pass(name) => Some(name),
            Reverse::Fail | Reverse::Nameless | Reverse::Unknown => None,
        }
    }

    /// True for an address that our name has in the DNS.
    pub(crate) async fn is_own_address(&self, ip: IpAddr) -> bool {
        self.dns.addresses(&self.hostname).await.is_ok_and(|addresses| addresses.contains(&ip))
    }

    async fn reverse(&self, ip: IpAddr) -> Reverse {
        let names = match self.dns.names(ip).await {
            Ok(names) => names,
            Err(error) if error.is_temporary() => return Reverse::Unknown,
            Err(_) => return Reverse::Nameless,
        };
        let mut is_unknown = false;
        for name in names.into_iter().take(MAX_NAMES) {
            match self.dns.addresses(&name).await {
                Ok(addresses) if addresses.contains(&ip) => return Reverse::Pass(name),
                Ok(_) => {}
                Err(error) => is_unknown |= error.is_temporary(),
            }
        }
        if is_unknown { Reverse::Unknown } else { Reverse::Fail }
    }

    async fn helo(&self, client: &Client) -> Helo {
        let Ok(domain) = client.helo.parse::<Domain>() else { return Helo::Invalid };
        if domain.is_literal() {
            return if literal(&domain) == Some(client.ip) { Helo::Fine } else { Helo::Invalid };
        }
        let name = domain.to_ascii();
        if name.eq_ignore_ascii_case(&self.hostname) {
            return Helo::Ours;
        }
        if !name.contains('.') {
            return Helo::Invalid;
        }
        match self.dns.addresses(&name).await {
            Err(LookupError::NoSuchName) => Helo::NoSuchName,
            Ok(_) | Err(_) => Helo::Fine,
        }
    }

    /// Asks all lists at once. RFC 5782 §2.1 for addresses, §4 for domains.
    async fn listings(&self, client: &Client) -> Vec<(DnsList, Answer<()>)> {
        let asked = self.config.lists.iter().filter_map(|list| Some((list, listed_name(list, client)?)));
        let answers = asked.map(|(list, name)| async move {
            match self.dns.entries(&name).await {
                Ok(entries) => entries
                    .into_iter()
                    .any(|entry| list.answers.iter().any(|network| network.contains(entry.into())))
                    .then(|| (list.clone(), Answer::Found(()))),
                Err(_) => Some((list.clone(), Answer::Unknown)),
            }
        });
        futures_util::future::join_all(answers).await.into_iter().flatten().collect()
    }
}

fn listed_name(list: &DnsList, client: &Client) -> Option<String> {
    let subject = match list.subject {
        ListSubject::Address => reversed(client.ip),
        ListSubject::SenderDomain => client.sender_domain()?,
    };
    Some(format!("{subject}.{}", list.zone))
}
