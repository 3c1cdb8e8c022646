//! What a receiving server finds out about a client, a sender and a message, and what becomes of it.
//!
//! Look-ups run on the async side. Those about the client and the sender begin with MAIL, those about keys as soon as the header is
//! there. A test that the DNS did not answer counts for nothing, neither way; where it could have changed a refusal into something
//! else, the refusal is a 4yz.

mod checks;
mod client;
mod forged;
mod judge;
mod message;
mod original;
mod results;
mod spf;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use mail_auth::MessageAuthenticator;
use mail_config::{Config, VerdictsConfig};
use mail_dns::{Dns, DnsError};

pub(crate) use checks::{Checks, MessageCheck};
pub(crate) use client::Client;
pub(crate) use forged::{Claim, claims};
pub(crate) use judge::{Outcome, Verdict};

/// What finds out, shared by all connections.
pub(crate) struct Verdicts {
    config: VerdictsConfig,
    /// Ours, in A-labels: the authserv-id of RFC 8601.
    hostname: String,
    dns: Dns,
    authenticator: MessageAuthenticator,
}

impl std::fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verdicts").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

impl Verdicts {
    pub(crate) fn new(config: &Config) -> Result<Self, DnsError> {
        let dns = Dns::new(&config.dns)?;
        let authenticator = MessageAuthenticator(dns.resolver().clone());
        let hostname = config.hostname.to_ascii();
        Ok(Self { config: config.smtp.verdicts.clone(), hostname, dns, authenticator })
    }

    /// True if anything is to be found out about mail from this address.
    pub(crate) fn concern(&self, peer: IpAddr) -> bool {
        self.config.enabled && !self.config.trusted.iter().any(|network| network.contains(peer))
    }
}
