use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::{Associations, Authorities, Failure, Kind, Mode, Policy};

/// What a mail host must prove before mail goes to it.
#[derive(Debug, Clone, Default)]
pub enum Demand {
    /// Nothing: TLS is used where it works.
    #[default]
    Nothing,
    /// Nothing for its own sake; but there is a message that must go nowhere else than to who proves his name: RFC 8689.
    Name,
    /// By TLS, that a certification authority vouches for its name: MTA-STS, RFC 8461 §4.
    Authority {
        /// No mail otherwise. Else the domain only wants to hear of it.
        enforced: bool,
    },
    /// TLS, whoever it is: its TLSA records can't be used. RFC 7672 §2.2.
    Encryption,
    /// By TLS, that its certificate is one that its TLSA records name. RFC 7672 §3.
    Certificate {
        /// These.
        associations: Arc<Associations>,
        /// That it is a mail host of the domain is authentic too.
        is_the_domains: bool,
    },
}

impl Demand {
    /// What the policy of its domain demands of a mail host.
    ///
    /// # Errors
    /// It is none of those that the policy names, which is told whether or not mail goes to it all the same.
    pub fn of_policy(policy: &Policy, host: &str) -> Result<Self, Failure> {
        if policy.mode == Mode::None {
            return Ok(Self::Nothing);
        }
        if policy.names(host) {
            return Ok(Self::Authority { enforced: policy.mode == Mode::Enforce });
        }
        Err(Failure::new(
            Kind::ValidationFailure,
            format!("{host} is no mail host that the domain's MTA-STS policy names"),
        ))
    }

    /// True if no mail goes to who does not meet it.
    #[must_use]
    pub const fn is_enforced(&self) -> bool {
        match self {
            Self::Nothing | Self::Name => false,
            Self::Authority { enforced } => *enforced,
            Self::Encryption | Self::Certificate { .. } => true,
        }
    }

    /// What makes the demand, for people.
    #[must_use]
    pub const fn source(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Name => "the message (REQUIRETLS)",
            Self::Authority { .. } => "the domain's MTA-STS policy",
            Self::Encryption | Self::Certificate { .. } => "the mail host's TLSA record (DANE)",
        }
    }

    /// The name that is asked for in the handshake (SNI), where it is another than the host's.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Certificate { associations, .. } => Some(associations.server_name()),
            Self::Nothing | Self::Name | Self::Authority { .. } | Self::Encryption => None,
        }
    }

    /// Judges the certificates that a host has shown in a finished handshake. True if it has proved its name, without an error where
    /// it need not.
    ///
    /// # Errors
    /// It does not prove what it must, or, where that is not enforced, should.
    pub fn judge(
        &self,
        authorities: &Authorities,
        host: &str,
        shown: &[CertificateDer<'_>],
    ) -> Result<bool, Failure> {
        match self {
            Self::Nothing | Self::Encryption => Ok(false),
            Self::Name | Self::Authority { .. } => authorities.verify(shown, host).map(|()| true),
            Self::Certificate { associations, is_the_domains } => {
                associations.verify(shown).map(|()| *is_the_domains)
            }
        }
    }
}
