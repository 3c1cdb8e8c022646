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
mod sts;

use std::sync::Arc;

use mail_config::Config;
use mail_dns::Dns;

pub use authorities::{Authorities, AuthoritiesError};
pub use dane::{Asked, Associations};
pub use demand::Demand;
pub use error::TrustError;
pub use failure::{Failure, Kind};
pub use https::{Https, HttpsError};
pub use policies::{Found, Policies};
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
        let policies = if security.mta_sts {
            let database = Arc::new(database::Database::open(&config.trust_file())?);
            Some(Policies::new(dns.clone(), https, database))
        } else {
            None
        };
        let dane = (security.dane && dns.validates()).then(|| dns.clone());
        Ok(Self { authorities, policies, dane, port: config.relay.port })
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

    /// Keeps policies that are in use from expiring. To be called now and then.
    pub async fn renew(&self) {
        if let Some(policies) = &self.policies {
            policies.renew().await;
        }
    }
}
