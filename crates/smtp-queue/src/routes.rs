//! Where mail goes, as the config has it, and from which address of ours. Pure.

use mail_config::{QueueRate, RelayConfig, RelaySource, Route, Smarthost};
use mail_types::{Address, Domain};

use crate::NextHop;

/// What takes mail: deliveries to one are counted, and its connections are kept for the next message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    pub(crate) way: Way,
    /// The place in [`Routes::sources`] of the addresses from which it is spoken to; `None` for any.
    pub(crate) source: Option<usize>,
    /// The places in [`Routes::rates`] of the schedules for this mail.
    pub(crate) rates: Vec<usize>,
}

/// Where mail goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// Our own accounts and aliases.
    Here,
    /// The smarthost at this place of [`Routes::smarthosts`].
    Smarthost(usize),
    /// The mail hosts of this domain, or the host of this address literal.
    MailHosts(Domain),
    /// A host that an operator chose.
    Host(NextHop),
    /// Nothing says where.
    Nowhere,
}

impl From<Way> for Destination {
    fn from(way: Way) -> Self {
        Self { way, source: None, rates: Vec::new() }
    }
}

impl Destination {
    /// True for our own accounts and aliases.
    pub(crate) const fn is_here(&self) -> bool {
        matches!(self.way, Way::Here)
    }
}

/// What a route says: the place of a smarthost, or the mail hosts.
type Choice = Option<usize>;

/// The ways to other domains.
#[derive(Debug)]
pub(crate) struct Routes {
    smarthosts: Vec<Smarthost>,
    /// The first that fits decides.
    routes: Vec<(Route, Choice)>,
    /// Where everything else goes; `None` for nowhere.
    others: Option<Choice>,
    sources: Vec<RelaySource>,
    rates: Vec<QueueRate>,
}

impl Routes {
    pub(crate) fn new(config: &RelayConfig) -> Self {
        let mut smarthosts = Vec::new();
        let mut place = |smarthost: &Smarthost| {
            smarthosts.push(smarthost.clone());
            smarthosts.len() - 1
        };
        let others = config.others().map(|it| it.map(&mut place));
        let routes = config.routes.iter();
        let routes = routes.map(|route| (route.clone(), route.smarthost.as_ref().map(&mut place))).collect();
        Self { smarthosts, routes, others, sources: config.sources.clone(), rates: Vec::new() }
    }

    /// The same with schedules.
    pub(crate) fn with_rates(self, rates: &[QueueRate]) -> Self {
        Self { rates: rates.to_vec(), ..self }
    }

    pub(crate) fn rates(&self) -> &[QueueRate] {
        &self.rates
    }

    pub(crate) fn smarthosts(&self) -> &[Smarthost] {
        &self.smarthosts
    }

    pub(crate) fn sources(&self) -> &[RelaySource] {
        &self.sources
    }

    /// True if there is a way for every domain.
    pub(crate) const fn lead_everywhere(&self) -> bool {
        self.others.is_some()
    }

    /// True if there is any mail that goes straight to the mail hosts of domains.
    pub(crate) fn ever_lead_to_mail_hosts(&self) -> bool {
        self.others == Some(None) || self.routes.iter().any(|(_, choice)| choice.is_none())
    }

    /// True if it matters who sends.
    pub(crate) fn look_at_senders(&self) -> bool {
        self.routes.iter().any(|(route, _)| !route.senders.is_empty())
            || self.sources.iter().any(|source| !source.senders.is_empty())
    }

    /// What takes mail that `origin` sends as `sender` for `domain`, which is not ours.
    pub(crate) fn to(&self, sender: Option<&Address>, origin: &str, domain: &Domain) -> Destination {
        let routes = self.routes.iter().map(|(route, choice)| (route, *choice));
        let way = match Route::choose(routes, self.others, sender, domain) {
            Some(Some(place)) => Way::Smarthost(place),
            Some(None) => Way::MailHosts(domain.clone()),
            None => Way::Nowhere,
        };
        self.towards(way, sender, origin, domain)
    }

    /// The same, but for the host that an operator chose: as the config has it where it has that one.
    pub(crate) fn by(
        &self,
        sender: Option<&Address>,
        origin: &str,
        domain: &Domain,
        next_hop: Option<&NextHop>,
    ) -> Destination {
        let Some(hop) = next_hop else { return self.to(sender, origin, domain) };
        let is_it = |it: &Smarthost| {
            it.socket.is_none() && it.port == hop.port && it.host.eq_ignore_ascii_case(&hop.host)
        };
        let known = self.smarthosts.iter().position(is_it);
        let way = known.map_or_else(|| Way::Host(hop.clone()), Way::Smarthost);
        self.towards(way, sender, origin, domain)
    }

    /// With the address from which it goes there, and the schedules for it.
    fn towards(&self, way: Way, sender: Option<&Address>, origin: &str, domain: &Domain) -> Destination {
        if way == Way::Nowhere {
            return way.into();
        }
        let source = self.sources.iter().position(|source| source.is_of(sender));
        let rates = self.rates.iter().enumerate().filter(|(_, rate)| rate.is_of(origin, domain));
        Destination { way, source, rates: rates.map(|(place, _)| place).collect() }
    }
}

#[cfg(test)]
mod tests {
    use mail_config::RelayTls;

    use super::*;

    fn smarthost(host: &str) -> Smarthost {
        let (socket, ca_file, credentials) = (None, None, None);
        let tls = RelayTls::None;
        Smarthost { host: host.to_owned(), port: 25, socket, lmtp: false, tls, ca_file, credentials }
    }

    fn route(senders: &[&str], domains: &[&str], smarthost: Option<Smarthost>) -> Route {
        Route {
            senders: senders.iter().map(|it| it.parse().unwrap()).collect(),
            domains: domains.iter().map(|it| it.parse().unwrap()).collect(),
            smarthost,
        }
    }

    #[track_caller]
    fn check(config: &RelayConfig, sender: &str, domain: &str, expected: &str) {
        let routes = Routes::new(config);
        let sender = sender.parse().ok();
        let found = match routes.to(sender.as_ref(), "", &domain.parse().unwrap()).way {
            Way::Smarthost(place) => routes.smarthosts()[place].host.clone(),
            Way::MailHosts(domain) => format!("mx of {domain}"),
            other @ (Way::Here | Way::Host(_) | Way::Nowhere) => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{domain}");
    }

    #[test]
    fn a_route_goes_before_the_smarthost_and_that_before_the_mail_hosts() {
        let routes = vec![route(&[], &["by.test"], Some(smarthost("b"))), route(&[], &["mx.test"], None)];
        let config = RelayConfig { smarthost: Some(smarthost("a")), routes, ..RelayConfig::default() };
        check(&config, "", "BY.test", "b");
        check(&config, "", "sub.by.test", "a");
        check(&config, "", "mx.test", "mx of mx.test");
        let config = RelayConfig { smarthost: None, ..config };
        check(&config, "", "by.test", "b");
        check(&config, "", "other.test", "mx of other.test");
        check(&config, "", "[192.0.2.1]", "mx of [192.0.2.1]");
        let config = RelayConfig { direct: false, ..config };
        check(&config, "", "other.test", "Nowhere");
        check(&config, "", "mx.test", "mx of mx.test");
    }

    #[test]
    fn a_route_is_for_senders_for_domains_or_for_both_and_the_first_that_fits_decides() {
        let routes = vec![
            route(&["boss@example.org"], &["by.test"], Some(smarthost("both"))),
            route(&["@example.org"], &[], Some(smarthost("sender"))),
            route(&[], &["by.test"], Some(smarthost("domain"))),
        ];
        let config = RelayConfig { routes, ..RelayConfig::default() };
        check(&config, "Boss@Example.org", "by.test", "both");
        check(&config, "boss@example.org", "other.test", "sender");
        check(&config, "eve@example.org", "by.test", "sender");
        check(&config, "eve@sub.example.org", "by.test", "domain");
        check(&config, "", "by.test", "domain");
        check(&config, "eve@example.net", "other.test", "mx of other.test");
    }

    #[test]
    fn the_first_source_that_fits_the_sender_is_taken() {
        let source = |senders: &[&str]| RelaySource {
            senders: senders.iter().map(|it| it.parse().unwrap()).collect(),
            ..RelaySource::default()
        };
        let sources = vec![source(&["@news.example.org"]), source(&[])];
        let config = RelayConfig { sources, ..RelayConfig::default() };
        let found = |config: &RelayConfig, sender: &str| {
            let sender = sender.parse().ok();
            Routes::new(config).to(sender.as_ref(), "", &"x.test".parse().unwrap()).source
        };
        assert_eq!(found(&config, "a@news.example.org"), Some(0));
        assert_eq!([found(&config, "a@example.org"), found(&config, "")], [Some(1), Some(1)]);
        let config = RelayConfig { sources: vec![source(&["@news.example.org"])], ..RelayConfig::default() };
        assert_eq!(found(&config, ""), None, "the system chooses");
    }
}
