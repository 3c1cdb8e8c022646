//! What the mail hosts of other domains must prove before they get mail.
//!
//! A domain says by MTA-STS (RFC 8461), in the DNS and by a policy on the web, which mail hosts it has and that they prove their names by
//! TLS. [`Trust`] finds and keeps such policies; a [`Demand`] is what follows for one host, and judges what it has shown.

mod authorities;
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
        Ok(Self { authorities, policies })
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

    /// Keeps policies that are in use from expiring. To be called now and then.
    pub async fn renew(&self) {
        if let Some(policies) = &self.policies {
            policies.renew().await;
        }
    }
}
