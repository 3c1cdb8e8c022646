use hickory_resolver::proto::rr::{RData, RecordType};

use crate::dns::{plain, records};
use crate::{Dns, LookupError};

/// Where the mail of a domain goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailHosts {
    /// These take it, the most preferred first; never none.
    Hosts(Vec<MailHost>),
    /// It has no MX records: the host of this name takes it. RFC 5321 §5.1.
    Itself,
    /// A null MX: it takes none. RFC 7505.
    Null,
    /// There is no such domain, or it has neither MX records nor an address.
    Nothing,
}

/// One of the hosts that take a domain's mail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailHost {
    /// The lower, the sooner it is tried.
    pub preference: u16,
    /// In lower case without the last dot.
    pub name: String,
}

impl Dns {
    /// Where mail for `domain`, given in A-labels, goes.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn mail_hosts(&self, domain: &str) -> Result<MailHosts, LookupError> {
        match self.look_up(domain, RecordType::MX).await {
            Ok(lookup) => {
                let host = |data: &RData| {
                    let RData::MX(mx) = data else { return None };
                    Some(MailHost { preference: mx.preference, name: plain(&mx.exchange) })
                };
                let mut hosts: Vec<MailHost> = records(&lookup).filter_map(host).collect();
                hosts.sort();
                Ok(sorted_out(hosts))
            }
            Err(LookupError::NoRecords) => self.itself(domain).await,
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(MailHosts::Nothing),
        }
    }

    /// The names of a domain's MX records, in the order of the answer, none if it has none. Unlike [`Self::mail_hosts`] no name stands for
    /// the domain itself, and that of a null MX is empty: RFC 7208 §5.4.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn exchanges(&self, domain: &str) -> Result<Vec<String>, LookupError> {
        let name = |data: &RData| if let RData::MX(mx) = data { Some(plain(&mx.exchange)) } else { None };
        match self.look_up(domain, RecordType::MX).await {
            Ok(lookup) => Ok(records(&lookup).filter_map(name).collect()),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    async fn itself(&self, domain: &str) -> Result<MailHosts, LookupError> {
        match self.addresses(domain).await {
            Ok(_) => Ok(MailHosts::Itself),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(MailHosts::Nothing),
        }
    }
}

/// A host without a name among others counts for nothing; alone it is a null MX.
fn sorted_out(mut hosts: Vec<MailHost>) -> MailHosts {
    let had_some = !hosts.is_empty();
    hosts.retain(|host| !host.name.is_empty());
    match (hosts.is_empty(), had_some) {
        (false, _) => MailHosts::Hosts(hosts),
        (true, true) => MailHosts::Null,
        (true, false) => MailHosts::Nothing,
    }
}
