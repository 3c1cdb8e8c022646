//! Our own addresses, looked up in block lists as others do who get our mail. RFC 5782 §2.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mail_config::{Config, DnsList, RelaySource};
use mail_dns::{Dns, DnsError, LookupError, reversed};
use mail_metrics::{Metric, Metrics};
use mail_types::Network;
use tracing::{info, warn};

/// Octets of a list's explanation that are logged.
const MAX_EXPLANATION: usize = 200;

/// What a list says of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Clean,
    /// And why, as far as the list says.
    Listed(String),
    /// It gives us no answer.
    Unanswered(String),
}

/// Looks our addresses up, now and then.
#[derive(Debug)]
pub(crate) struct Reputation {
    dns: Dns,
    hostname: String,
    /// That the config names.
    addresses: Vec<IpAddr>,
    /// From which mail goes out by the config; looked up with those of the host's name where it names none.
    sources: Vec<IpAddr>,
    lists: Vec<DnsList>,
    interval: Duration,
    known: BTreeMap<(IpAddr, String), Standing>,
}

impl Reputation {
    /// `None` where there is nothing to be asked.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, DnsError> {
        let lists = config.reputation_lists();
        if lists.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            dns: Dns::new(&config.dns)?,
            hostname: config.hostname.to_ascii(),
            addresses: config.reputation.addresses.clone(),
            sources: config.relay.sources.iter().flat_map(of_source).collect(),
            lists,
            interval: config.reputation.interval,
            known: BTreeMap::new(),
        }))
    }

    /// Looks until it is dropped.
    pub(crate) async fn watch(mut self, metrics: Metrics) {
        loop {
            self.look(&metrics).await;
            tokio::time::sleep(self.interval).await;
        }
    }

    async fn look(&mut self, metrics: &Metrics) {
        let mut found = BTreeMap::new();
        for address in self.addresses().await {
            for list in &self.lists {
                found.insert((address, list.zone.clone()), self.ask(address, list).await);
            }
        }
        for ((address, list), standing) in &found {
            tell(*address, list, self.known.get(&(*address, list.clone())), standing);
        }
        let of = |wanted: fn(&Standing) -> bool| {
            let such = found.iter().filter(move |(_, standing)| wanted(standing));
            such.map(|((address, list), _)| (vec![address.to_string(), list.clone()], 1)).collect::<Vec<_>>()
        };
        metrics.replace(Metric::Listings, of(|it| matches!(it, Standing::Listed(_))));
        metrics.replace(Metric::UnansweredLists, of(|it| matches!(it, Standing::Unanswered(_))));
        self.known = found;
    }

    /// From which we send, without those of a network that no list knows.
    async fn addresses(&self) -> Vec<IpAddr> {
        if !self.addresses.is_empty() {
            return self.addresses.clone();
        }
        let mut addresses = self.sources.clone();
        match self.dns.addresses(&self.hostname).await {
            Ok(found) => addresses.extend(found),
            Err(error) => {
                let hostname = &self.hostname;
                warn!(hostname, %error, "which addresses of ours are to be looked up in block lists is not known");
            }
        }
        let local = Network::local();
        addresses.retain(|address| local.iter().all(|network| !network.contains(*address)));
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    async fn ask(&self, address: IpAddr, list: &DnsList) -> Standing {
        let name = format!("{}.{}", reversed(address.to_canonical()), list.zone);
        let entries = match self.dns.entries(&name).await {
            Ok(entries) => entries,
            Err(error) => return Standing::Unanswered(error.to_string()),
        };
        let counts = |entry: &IpAddr| list.answers.iter().any(|network| network.contains(*entry));
        let mut answers = entries.iter().map(|entry| IpAddr::from(*entry));
        match entries.first() {
            None => Standing::Clean,
            Some(_) if answers.any(|entry| counts(&entry)) => Standing::Listed(self.explanation(&name).await),
            // RFC 5782 §2.1 leaves these to the list, which says by them that it doesn't answer us.
            Some(entry) => Standing::Unanswered(format!("the list answers {entry}")),
        }
    }

    async fn explanation(&self, name: &str) -> String {
        let texts: Result<Vec<Vec<u8>>, LookupError> = self.dns.texts(name).await;
        let first = texts.ok().and_then(|texts| texts.into_iter().next()).unwrap_or_default();
        let text = String::from_utf8_lossy(&first);
        let visible: String = text.chars().filter(|c| !c.is_control()).collect();
        visible.get(..visible.floor_char_boundary(MAX_EXPLANATION)).unwrap_or_default().to_owned()
    }
}

fn of_source(source: &RelaySource) -> impl Iterator<Item = IpAddr> {
    source.v4.map(IpAddr::from).into_iter().chain(source.v6.map(IpAddr::from))
}

/// Says what is new.
fn tell(address: IpAddr, list: &str, before: Option<&Standing>, now: &Standing) {
    let was_listed = matches!(before, Some(Standing::Listed(_)));
    match now {
        Standing::Listed(why) if !was_listed => {
            warn!(%address, list, why, "an address of ours is on a block list: others may refuse our mail");
        }
        Standing::Clean if was_listed => info!(%address, list, "our address is no longer on the block list"),
        Standing::Unanswered(why) if !matches!(before, Some(Standing::Unanswered(_))) => {
            warn!(%address, list, why, "the block list gives no answer about our address");
        }
        Standing::Listed(_) | Standing::Clean | Standing::Unanswered(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use mail_metrics::Sample;
    use testkit::TestDns;

    use super::*;

    const ZONE: &str = "
2.2.0.192.listed.test. A 127.0.0.4
2.2.0.192.listed.test. TXT \"spam came from here\"
2.2.0.192.shut.test. A 127.255.255.254
clean.test. A 192.0.2.9
mail.test. A 192.0.2.2
mail.test. A 10.0.0.1
";

    async fn looked(config: &Config) -> (Reputation, Metrics) {
        let metrics = Metrics::default();
        let mut reputation = Reputation::new(config).unwrap().unwrap();
        reputation.look(&metrics).await;
        (reputation, metrics)
    }

    fn series(samples: &[Sample]) -> Vec<(Metric, String)> {
        samples.iter().map(|it| (it.metric, it.labels.join(" "))).collect()
    }

    #[tokio::test]
    async fn our_addresses_are_looked_up_in_every_list_and_what_is_no_entry_is_no_listing() {
        let dns = tokio::task::spawn_blocking(|| TestDns::start(ZONE)).await.unwrap().unwrap();
        let mut config = Config::new("mail.test".parse().unwrap(), "/nonexistent".into());
        config.dns = dns.config();
        config.reputation.lists = ["listed.test", "shut.test", "clean.test"].map(ToOwned::to_owned).to_vec();
        let (reputation, metrics) = looked(&config).await;
        let expected = [
            (Metric::Listings, "192.0.2.2 listed.test".to_owned()),
            (Metric::UnansweredLists, "192.0.2.2 shut.test".to_owned()),
        ];
        assert_eq!(series(&metrics.samples()), expected, "of our name's addresses, the one that others see");
        let address: IpAddr = "192.0.2.2".parse().unwrap();
        let listed = reputation.known.get(&(address, "listed.test".to_owned()));
        assert_eq!(listed, Some(&Standing::Listed("spam came from here".to_owned())));

        config.reputation.addresses = vec!["192.0.2.77".parse().unwrap()];
        assert!(looked(&config).await.1.samples().is_empty(), "the address that the config names is clean");
        config.reputation.lists.clear();
        assert!(Reputation::new(&config).unwrap().is_none());
    }
}
