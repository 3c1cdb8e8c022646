//! Recipients whose domain is an address of this host: RFC 5321 §4.1.3, §4.5.1.

use std::net::IpAddr;

use mail_types::{Address, Domain};
use smtp_proto::Recipient;

use crate::connection::Dialogue;
use crate::transaction::is_postmaster;

impl Dialogue {
    /// Whom a recipient means that is named at an address literal of ours: our postmaster, or who has that name in the domain of this
    /// host. All others are who they are.
    pub(crate) async fn meant_by_literal(&self, recipient: Recipient) -> Recipient {
        let Recipient::Address(address) = &recipient else { return recipient };
        let Some(ip) = literal(address.domain()) else { return recipient };
        if !self.is_here(ip).await {
            return recipient;
        }
        let domains = self.ask(mail_directory::Directory::domains).await.unwrap_or_default();
        meant(address, &domains, &self.shared.config.hostname).unwrap_or(recipient)
    }

    /// True for the address at which the client has reached us, those of our listeners, and those that our name has in the DNS, since a
    /// router may stand before us.
    async fn is_here(&self, ip: IpAddr) -> bool {
        let listeners = &self.shared.config.smtp.listeners;
        let mut listening = listeners.iter().flat_map(|listener| &listener.addresses);
        let is_near = ip == self.connection.local.ip().to_canonical() || listening.any(|it| it.ip() == ip);
        is_near || self.shared.verdicts.is_own_address(ip).await
    }
}

/// Whom an address at a literal of this host, with these domains, means. A postmaster is there in any case.
fn meant(address: &Address, domains: &[Domain], hostname: &Domain) -> Option<Recipient> {
    if is_postmaster(address) {
        return Some(Recipient::Postmaster);
    }
    Address::new(address.local_part(), home(domains, hostname)?).ok().map(Recipient::Address)
}

/// The domain in which this host is; the only one, where there is one only.
fn home(domains: &[Domain], hostname: &Domain) -> Option<Domain> {
    let holds = |domain: &&Domain| {
        let above = hostname.as_str().strip_suffix(domain.as_str());
        above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let nearest = domains.iter().filter(holds).max_by_key(|domain| domain.as_str().len());
    let only = if let [only] = domains { Some(only) } else { None };
    nearest.or(only).cloned()
}

/// The address that `[192.0.2.1]` or `[IPv6:2001:db8::1]` is.
pub(crate) fn literal(domain: &Domain) -> Option<IpAddr> {
    let inner = domain.as_str().strip_prefix('[')?.strip_suffix(']')?;
    let ip: IpAddr = inner.strip_prefix("ipv6:").unwrap_or(inner).parse().ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(domains: &[&str], expected: Option<&str>) {
        let domains: Vec<Domain> = domains.iter().map(|it| it.parse().unwrap()).collect();
        let meant = |name: &str| {
            let address = format!("{name}@[192.0.2.1]").parse().unwrap();
            meant(&address, &domains, &"mail.example.org".parse().unwrap())
        };
        let expected = expected.map(|domain| Recipient::Address(format!("bob@{domain}").parse().unwrap()));
        assert_eq!(meant("bob"), expected);
        assert_eq!(meant("PostMaster"), Some(Recipient::Postmaster));
    }

    #[test]
    fn a_host_is_in_the_nearest_domain_above_its_name_or_in_the_only_one() {
        check(&["example.org", "mail.example.org", "other.test"], Some("mail.example.org"));
        check(&["ample.org", "example.org", "org.test"], Some("example.org"));
        check(&["other.test"], Some("other.test"));
        check(&["ample.org", "other.test"], None);
        check(&[], None);
    }
}
