//! What the mail hosts of other domains must prove before they get mail.
//!
//! A domain says by MTA-STS (RFC 8461), in the DNS and by a policy on the web, which mail hosts it has and that they prove their names by
//! TLS; a mail host says by DANE (RFC 7672), in the signed DNS, which certificate it has. [`Trust`] finds and keeps what they say; a [`Demand`] is
//! what follows for one host, and judges what it has shown.

mod authorities;
mod dane;
mod database;
mod demand;
mod error;
mod failure;
mod https;
mod policies;
mod reports;
mod results;
mod sts;

use std::sync::Arc;

use jiff::Timestamp;
use mail_config::Config;
use mail_dns::{Dns, LookupError};
use tracing::info;

use database::Database;
use results::Results;

pub use authorities::{Authorities, AuthoritiesError, CaFileError, ca_certificates};
pub use dane::{Asked, Associations};
pub use demand::Demand;
pub use error::TrustError;
pub use failure::{Failure, Kind};
pub use https::{Https, HttpsError};
pub use policies::{Found, Policies};
pub use reports::{Applied, DayReport, Failed, Reporter, Session, Target};
pub use sts::{Mode, Policy};

/// Who finds out what mail hosts must prove.
#[derive(Debug)]
pub struct Trust {
    authorities: Authorities,
    /// `None` if the config switches MTA-STS off.
    policies: Option<Policies>,
    /// Whom to ask for TLSA records; `None` if the config switches DANE off, or nobody validates.
    dane: Option<Dns>,
    /// The port of mail hosts.
    port: u16,
    /// What came of sessions; `None` if nothing is reported.
    results: Option<Results>,
    dns: Dns,
    https: Https,
}

impl Trust {
    /// As the config has it; asks this DNS. Blocks.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open(config: &Config, dns: &Dns) -> Result<Self, TrustError> {
        let security = &config.relay.security;
        let authorities = Authorities::load(security.ca_file.as_deref())?;
        let https = Https::new(dns.clone(), &authorities, security.https_port)?;
        let is_kept = security.mta_sts || config.relay.tls_reports.enabled;
        let database = is_kept.then(|| Database::open(&config.trust_file())).transpose()?.map(Arc::new);
        let of_policies = database.clone().filter(|_| security.mta_sts);
        let policies = of_policies.map(|database| Policies::new(dns.clone(), https.clone(), database));
        let results = database.filter(|_| config.relay.tls_reports.enabled).map(Results::new);
        let dane = (security.dane && dns.validates()).then(|| dns.clone());
        if security.dane && dane.is_none() {
            info!(
                "TLSA records (DANE) are not asked for: no resolver on this machine, nor one with `validates` in [dns]"
            );
        }
        let (port, dns) = (config.relay.port, dns.clone());
        Ok(Self { authorities, policies, dane, port, results, dns, https })
    }

    /// Who vouches for names.
    #[must_use]
    pub const fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// The MTA-STS policy of a domain, given in A-labels.
    pub async fn policy(&self, domain: &str) -> Found {
        match &self.policies {
            Some(policies) => policies.of(domain).await,
            None => Found::default(),
        }
    }

    /// What the TLSA records of a mail host of `domain` ask for, all names in A-labels.
    ///
    /// # Errors
    /// It can't be known now, so the host must get no mail now. RFC 7672 §2.2.
    pub async fn associations(&self, domain: &str, host: &str) -> Result<Asked, Failure> {
        match &self.dane {
            Some(dns) => dane::asked(dns, domain, host, self.port).await,
            None => Ok(Asked::Nothing),
        }
    }

    /// True if the DNS says that the mail hosts of `domain` are authentic.
    pub async fn are_mail_hosts_authentic(&self, domain: &str) -> bool {
        match &self.dane {
            Some(dns) => dns.authentic_mail_hosts(domain).await.unwrap_or(false),
            None => false,
        }
    }

    /// Counts a session with a mail host, for the report to its domain.
    pub fn note(&self, session: Session) {
        if let Some(results) = &self.results {
            results.note(session, Timestamp::now());
        }
    }

    /// Writes down what was counted. To be called now and then, and at the end. Blocks.
    ///
    /// # Errors
    /// [`TrustError::Database`]; what was counted is kept.
    pub fn write_results(&self) -> Result<(), TrustError> {
        self.results.as_ref().map_or(Ok(()), Results::write)
    }

    /// What is to be reported of the days that are over `now`, at most `limit` reports. Blocks.
    ///
    /// # Errors
    /// [`TrustError::Database`].
    pub fn reports(&self, now: Timestamp, limit: usize) -> Result<Vec<DayReport>, TrustError> {
        self.results.as_ref().map_or(Ok(Vec::new()), |results| results.before(results::day(now), limit))
    }

    /// Forgets what has been reported, or is wanted by nobody. Blocks.
    ///
    /// # Errors
    /// [`TrustError::Database`].
    pub fn forget(&self, report: &DayReport) -> Result<(), TrustError> {
        self.results.as_ref().map_or(Ok(()), |results| results.forget(report))
    }

    /// Where a domain wants its reports; nowhere if it does not say so.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn report_targets(&self, domain: &str) -> Result<Vec<Target>, LookupError> {
        match self.dns.texts(&format!("_smtp._tls.{domain}")).await {
            Ok(texts) => Ok(reports::targets(&texts)),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Hands a report, packed by gzip, to a web server. RFC 8460 §5.4.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn post_report(&self, url: &str, packed: Vec<u8>) -> Result<(), HttpsError> {
        self.https.post(url, "application/tlsrpt+gzip", packed).await
    }

    /// Keeps policies that are in use from expiring. To be called now and then.
    pub async fn renew(&self) {
        if let Some(policies) = &self.policies {
            policies.renew().await;
        }
    }
}
