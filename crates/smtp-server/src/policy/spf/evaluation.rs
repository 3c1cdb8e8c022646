//! What a domain's record says of a client. RFC 7208 §4, §5.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use mail_auth::SpfResult;
use mail_dns::{Dns, LookupError};

use super::macros::{DomainSpec, Facts};
use super::record::{Hosts, Mechanism, Record};

/// Terms that ask the DNS. §4.6.4.
const MAX_LOOKUPS: u32 = 10;
/// Of these, such that find nothing.
const MAX_VOID: u32 = 2;
/// Mail hosts of a domain, and names of a client, that are looked up.
const MAX_HOSTS: usize = 10;

/// Why an evaluation ends at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The DNS does not tell.
    Temporary,
    /// The records are such that nothing can be said.
    Permanent,
}

/// One evaluation, which all records that it leads to share.
pub(super) struct Evaluation<'e> {
    dns: &'e Dns,
    facts: Facts<'e>,
    lookups: u32,
    void: u32,
    /// The names of the client that lead back to it, once somebody has asked.
    names: Option<Vec<String>>,
}

impl<'e> Evaluation<'e> {
    pub(super) const fn new(dns: &'e Dns, facts: Facts<'e>) -> Self {
        Self { dns, facts, lookups: 0, void: 0, names: None }
    }

    /// Of the sender's domain.
    pub(super) async fn run(mut self) -> SpfResult {
        // §4.3: nothing is said of what is no domain with a dot.
        let domain = self.facts.sender_domain;
        let has_dot = domain.strip_suffix('.').unwrap_or(domain).contains('.');
        if !has_dot || domain.starts_with('[') {
            return SpfResult::None;
        }
        match self.record(domain).await {
            Ok(Some(record)) => self.check(domain.to_owned(), record).await.unwrap_or_else(of_stop),
            Ok(None) => SpfResult::None,
            Err(stop) => of_stop(stop),
        }
    }

    /// The record of a domain among its texts. §4.5: two of them are a permanent error.
    async fn record(&self, domain: &str) -> Result<Option<Record>, Stop> {
        let texts = match self.dns.texts(domain).await {
            Ok(texts) => texts,
            Err(error) if error.is_temporary() => return Err(Stop::Temporary),
            Err(_) => return Ok(None),
        };
        let mut records = texts.iter().filter(|text| Record::is_one(text));
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(record), None) => Record::parse(record).map(Some).ok_or(Stop::Permanent),
            (Some(_), Some(_)) => Err(Stop::Permanent),
        }
    }

    /// A record may lead to others, and these to more, within the limit of look-ups.
    fn check<'s>(
        &'s mut self,
        domain: String,
        record: Record,
    ) -> Pin<Box<dyn Future<Output = Result<SpfResult, Stop>> + Send + 's>> {
        Box::pin(async move {
            for directive in &record.directives {
                if self.matches(&directive.mechanism, &domain).await? {
                    return Ok(directive.result);
                }
            }
            let Some(redirect) = &record.redirect else { return Ok(SpfResult::Neutral) };
            self.count_lookup()?;
            let target = self.target(Some(redirect), &domain).await;
            let record = self.record(&target).await?.ok_or(Stop::Permanent)?;
            self.check(target, record).await
        })
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        match mechanism {
            Mechanism::All => return Ok(true),
            Mechanism::Addresses(range) => return Ok(range.includes(self.facts.ip)),
            Mechanism::Include(_)
            | Mechanism::A(_)
            | Mechanism::Mx(_)
            | Mechanism::Ptr(_)
            | Mechanism::Exists(_) => self.count_lookup()?,
        }
        match mechanism {
            Mechanism::Include(spec) => self.includes(spec, domain).await,
            Mechanism::A(hosts) => {
                let target = self.target(hosts.of.as_ref(), domain).await;
                let addresses = self.found(self.dns.addresses_like(&target, self.facts.ip).await)?;
                Ok(self.is_among(hosts, &addresses))
            }
            Mechanism::Mx(hosts) => self.is_mail_host(hosts, domain).await,
            Mechanism::Ptr(spec) => self.is_named(spec.as_ref(), domain).await,
            Mechanism::Exists(spec) => {
                // §5.7: A, whatever the client comes by.
                let target = self.target(Some(spec), domain).await;
                Ok(!self.found(self.dns.entries(&target).await)?.is_empty())
            }
            Mechanism::All | Mechanism::Addresses(_) => Ok(false),
        }
    }

    /// §5.2.
    async fn includes(&mut self, spec: &DomainSpec, domain: &str) -> Result<bool, Stop> {
        let target = self.target(Some(spec), domain).await;
        let record = self.record(&target).await?.ok_or(Stop::Permanent)?;
        Ok(self.check(target, record).await? == SpfResult::Pass)
    }

    /// §5.4.
    async fn is_mail_host(&mut self, hosts: &Hosts, domain: &str) -> Result<bool, Stop> {
        let target = self.target(hosts.of.as_ref(), domain).await;
        let exchanges = self.found(self.dns.exchanges(&target).await)?;
        if exchanges.len() > MAX_HOSTS {
            return Err(Stop::Permanent);
        }
        for exchange in exchanges.iter().filter(|name| !name.is_empty()) {
            let addresses = self.dns.addresses_like(exchange, self.facts.ip).await;
            if self.is_among(hosts, &addresses.map_err(|_| Stop::Temporary)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// §5.5.
    async fn is_named(&mut self, spec: Option<&DomainSpec>, domain: &str) -> Result<bool, Stop> {
        let target = self.target(spec, domain).await.to_ascii_lowercase();
        Ok(self.names().await.iter().any(|name| lies_in(name, &target)))
    }

    fn is_among(&self, hosts: &Hosts, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| hosts.include(*address, self.facts.ip))
    }

    /// The name that a term asks for.
    async fn target(&mut self, spec: Option<&DomainSpec>, domain: &str) -> String {
        let Some(spec) = spec else { return domain.to_owned() };
        let name = if spec.needs_name() { self.best_name(domain).await } else { None };
        spec.expand(&self.facts, domain, name.as_deref())
    }

    /// §7.2, `p`: the domain itself, a name within it, or any.
    async fn best_name(&mut self, domain: &str) -> Option<String> {
        let domain = domain.to_ascii_lowercase();
        let names = self.names().await;
        let itself = names.iter().find(|name| **name == domain);
        itself.or_else(|| names.iter().find(|name| lies_in(name, &domain))).or_else(|| names.first()).cloned()
    }

    /// The names of the client that lead back to it. §5.5: what can't be looked up is passed over.
    async fn names(&mut self) -> &[String] {
        if self.names.is_none() {
            let mut names = self.dns.names(self.facts.ip).await.unwrap_or_default();
            names.truncate(MAX_HOSTS);
            let mut valid = Vec::new();
            for name in names {
                let addresses = self.dns.addresses_like(&name, self.facts.ip).await.unwrap_or_default();
                if addresses.contains(&self.facts.ip) {
                    valid.push(name);
                }
            }
            self.names = Some(valid);
        }
        self.names.as_deref().unwrap_or_default()
    }

    fn count_lookup(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS { Err(Stop::Permanent) } else { Ok(()) }
    }

    /// What a term has found; too many that find nothing are an error.
    fn found<T>(&mut self, answer: Result<Vec<T>, LookupError>) -> Result<Vec<T>, Stop> {
        let found = answer.map_err(|_| Stop::Temporary)?;
        self.void += u32::from(found.is_empty());
        if self.void > MAX_VOID { Err(Stop::Permanent) } else { Ok(found) }
    }
}

const fn of_stop(stop: Stop) -> SpfResult {
    match stop {
        Stop::Temporary => SpfResult::TempError,
        Stop::Permanent => SpfResult::PermError,
    }
}

/// True for a domain and what lies below it.
fn lies_in(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
