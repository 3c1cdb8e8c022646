//! What a receiving server finds out about a client, a sender and a message, and what becomes of it.
//!
//! Look-ups run on the async side. Those about the client and the sender begin with MAIL, those about keys as soon as the header is
//! there. A test that the DNS did not answer counts for nothing, neither way; where it could have changed a refusal into something
//! else, the refusal is a 4yz.

mod checks;
mod client;
mod forged;
mod greylist;
mod judge;
mod known;
mod message;
mod observed;
mod original;
mod rates;
mod results;
mod spf;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mail_auth::MessageAuthenticator;
use mail_config::{Config, VerdictsConfig};
use mail_dns::{Dns, DnsError};
use mail_reports::{Observer, ReportError};

use greylist::Greylist;

pub(crate) use checks::{Checks, MessageCheck, in_greylist, too_much};
pub(crate) use client::{Client, MailDomain};
pub(crate) use forged::{Claim, claims};
pub(crate) use judge::{Outcome, Verdict};
pub(crate) use original::MAX_HEADER;
pub(crate) use rates::Rates;

/// What finds out can't be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error(transparent)]
    Reports(#[from] ReportError),
    #[error("the greylist can't be opened, {}; it may be deleted: {source}", path.display())]
    Greylist { path: PathBuf, source: rusqlite::Error },
}

/// What finds out, shared by all connections.
pub(crate) struct Verdicts {
    config: VerdictsConfig,
    /// Ours, in A-labels: the authserv-id of RFC 8601.
    hostname: String,
    dns: Dns,
    authenticator: MessageAuthenticator,
    /// Counts for the reports that domains ask for.
    observer: Option<Observer>,
    pub(crate) rates: Rates,
    pub(crate) greylist: Option<Arc<Greylist>>,
}

impl std::fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verdicts").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

impl Verdicts {
    /// Blocks where there is a greylist, or where reports are sent.
    pub(crate) fn new(config: &Config) -> Result<Self, SetupError> {
        let dns = Dns::new(&config.dns)?;
        let authenticator = MessageAuthenticator(dns.resolver().clone());
        let hostname = config.hostname.to_ascii();
        let greylist = if config.smtp.greylist.enabled {
            let path = config.greylist_file();
            let opened = Greylist::open(&path, &config.smtp.greylist);
            Some(Arc::new(opened.map_err(|source| SetupError::Greylist { path, source })?))
        } else {
            None
        };
        let rates = Rates::new(&config.smtp.rates);
        let is_observing = config.reports.dmarc_from.is_some();
        let observer = is_observing.then(|| Observer::open(&config.reports_file())).transpose()?;
        let verdicts = config.smtp.verdicts.clone();
        Ok(Self { config: verdicts, hostname, dns, authenticator, observer, rates, greylist })
    }

    /// How long a refusal is held back.
    pub(crate) const fn tarpit(&self) -> Duration {
        self.config.tarpit
    }

    /// True if anything is to be found out about mail from this address.
    pub(crate) fn concern(&self, peer: IpAddr) -> bool {
        self.config.enabled && !self.config.trusted.iter().any(|network| network.contains(peer))
    }
}
