use rustls::pki_types::CertificateDer;

use crate::{Authorities, Failure, Kind, Mode, Policy};

/// What a mail host must prove before mail goes to it.
#[derive(Debug, Clone, Default)]
pub enum Demand {
    /// Nothing: TLS is used where it works.
    #[default]
    Nothing,
    /// By TLS, that a certification authority vouches for its name: MTA-STS, RFC 8461 §4.
    Authority {
        /// No mail otherwise. Else the domain only wants to hear of it.
        enforced: bool,
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
            Self::Nothing => false,
            Self::Authority { enforced } => *enforced,
        }
    }

    /// What makes the demand, for people.
    #[must_use]
    pub const fn source(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Authority { .. } => "the domain's MTA-STS policy",
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
            Self::Nothing => Ok(false),
            Self::Authority { .. } => authorities.verify(shown, host).map(|()| true),
        }
    }
}
