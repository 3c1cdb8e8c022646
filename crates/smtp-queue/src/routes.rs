//! Where a domain's mail goes, as the config has it. Pure.

use std::collections::HashMap;

use mail_config::{RelayConfig, Smarthost};
use mail_types::Domain;

/// What takes mail: deliveries to one are counted, and its connections are kept for the next message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    /// Our own accounts and aliases.
    Here,
    /// The smarthost at this place of [`Routes::smarthosts`].
    Smarthost(usize),
    /// The mail hosts of this domain, or the host of this address literal.
    MailHosts(Domain),
    /// Nothing says where.
    Nowhere,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Smarthost(usize),
    MailHosts,
    Nowhere,
}

/// The ways to other domains.
#[derive(Debug)]
pub(crate) struct Routes {
    smarthosts: Vec<Smarthost>,
    ways: HashMap<Domain, Way>,
    others: Way,
}

impl Routes {
    pub(crate) fn new(config: &RelayConfig) -> Self {
        let mut smarthosts = Vec::new();
        let mut way = |smarthost: &Smarthost| {
            smarthosts.push(smarthost.clone());
            Way::Smarthost(smarthosts.len() - 1)
        };
        let without = if config.direct { Way::MailHosts } else { Way::Nowhere };
        let others = config.smarthost.as_ref().map_or(without, &mut way);
        let mut ways = HashMap::new();
        for route in &config.routes {
            let way = route.smarthost.as_ref().map_or(Way::MailHosts, &mut way);
            ways.extend(route.domains.iter().map(|domain| (domain.clone(), way)));
        }
        Self { smarthosts, ways, others }
    }

    pub(crate) fn smarthosts(&self) -> &[Smarthost] {
        &self.smarthosts
    }

    /// True if there is a way for every domain.
    pub(crate) const fn lead_everywhere(&self) -> bool {
        !matches!(self.others, Way::Nowhere)
    }

    /// True if there are domains whose mail goes straight to their mail hosts.
    pub(crate) fn lead_to_mail_hosts(&self) -> bool {
        self.ways.values().chain([&self.others]).any(|way| matches!(way, Way::MailHosts))
    }

    /// What takes mail for `domain`, which is not ours.
    pub(crate) fn to(&self, domain: &Domain) -> Destination {
        match self.ways.get(domain).copied().unwrap_or(self.others) {
            Way::Smarthost(place) => Destination::Smarthost(place),
            Way::MailHosts => Destination::MailHosts(domain.clone()),
            Way::Nowhere => Destination::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use mail_config::{RelayTls, Route};

    use super::*;

    fn smarthost(host: &str) -> Smarthost {
        Smarthost { host: host.to_owned(), port: 25, tls: RelayTls::None, ca_file: None, credentials: None }
    }

    #[track_caller]
    fn check(config: &RelayConfig, domain: &str, expected: &str) {
        let routes = Routes::new(config);
        let found = match routes.to(&domain.parse().unwrap()) {
            Destination::Smarthost(place) => routes.smarthosts()[place].host.clone(),
            Destination::MailHosts(domain) => format!("mx of {domain}"),
            other @ (Destination::Here | Destination::Nowhere) => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{domain}");
    }

    #[test]
    fn a_route_goes_before_the_smarthost_and_that_before_the_mail_hosts() {
        let route = |domain: &str, smarthost| Route { domains: vec![domain.parse().unwrap()], smarthost };
        let routes = vec![route("by.test", Some(smarthost("b"))), route("mx.test", None)];
        let config = RelayConfig { smarthost: Some(smarthost("a")), routes, ..RelayConfig::default() };
        check(&config, "BY.test", "b");
        check(&config, "sub.by.test", "a");
        check(&config, "mx.test", "mx of mx.test");
        let config = RelayConfig { smarthost: None, ..config };
        check(&config, "by.test", "b");
        check(&config, "other.test", "mx of other.test");
        check(&config, "[192.0.2.1]", "mx of [192.0.2.1]");
        let config = RelayConfig { direct: false, ..config };
        check(&config, "other.test", "Nowhere");
        check(&config, "mx.test", "mx of mx.test");
    }
}
