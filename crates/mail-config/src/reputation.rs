use std::net::IpAddr;
use std::time::Duration;

use mail_types::Domain;

use crate::reader::Reader;
use crate::verdicts::usual_answers;
use crate::{Config, DnsList, ListKind, ListSubject};

/// `[reputation]`: our own addresses are looked up in block lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReputationConfig {
    /// Beside those that judge mail from elsewhere.
    pub lists: Vec<String>,
    /// From which we send; those of the host's name where there are none.
    pub addresses: Vec<IpAddr>,
    /// How often.
    pub interval: Duration,
}

impl Default for ReputationConfig {
    fn default() -> Self {
        Self { lists: Vec::new(), addresses: Vec::new(), interval: Duration::from_secs(3600) }
    }
}

impl Config {
    /// The lists in which our own addresses are looked up: those of `[reputation]`, and the block lists of addresses that judge mail from
    /// elsewhere.
    #[must_use]
    pub fn reputation_lists(&self) -> Vec<DnsList> {
        let is_asked = |list: &&DnsList| list.kind == ListKind::Block && list.subject == ListSubject::Address;
        let mut lists: Vec<DnsList> = self.smtp.verdicts.lists.iter().filter(is_asked).cloned().collect();
        for zone in &self.reputation.lists {
            if lists.iter().all(|list| list.zone != *zone) {
                let (kind, subject, answers) = (ListKind::Block, ListSubject::Address, usual_answers());
                lists.push(DnsList { zone: zone.clone(), kind, subject, answers, weight: 0 });
            }
        }
        lists
    }
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> ReputationConfig {
    let standard = ReputationConfig::default();
    let domain =
        |text: &str| text.parse::<Domain>().ok().filter(|it| !it.is_literal()).map(|it| it.to_ascii());
    let lists = reader.list("lists", "a domain such as \"zen.spamhaus.org\"", domain);
    let addresses = reader.list("addresses", "an IP address", |text| text.parse().ok());
    ReputationConfig {
        lists: lists.unwrap_or_default(),
        addresses: addresses.unwrap_or_default(),
        interval: reader.duration("interval", Duration::from_secs(60), standard.interval),
    }
}
