use mail_trust::{Demand, Found, Mode, Trust};
use mail_types::Domain;

use crate::routes::{Destination, Way};
use crate::{Diagnosis, Status};

/// What the hosts of one destination must prove, found out when the first of them is to be tried.
pub(super) struct Demands<'a> {
    /// `None` where nobody is asked: a smarthost is as the config has it, and an address has no policy.
    asked: Option<(&'a Trust, &'a Domain)>,
    found: Option<Found>,
}

impl<'a> Demands<'a> {
    pub(super) fn of(destination: &'a Destination, trust: Option<&'a Trust>) -> Self {
        let asked = match &destination.way {
            Way::MailHosts(domain) if !domain.is_literal() => trust.map(|trust| (trust, domain)),
            Way::MailHosts(_) | Way::Smarthost(_) | Way::Here | Way::Nowhere => None,
        };
        Self { asked, found: None }
    }

    /// What a host must prove.
    ///
    /// # Errors
    /// It must not get the mail.
    pub(super) async fn on(&mut self, host: &str) -> Result<Demand, Diagnosis> {
        let Some((trust, domain)) = self.asked else { return Ok(Demand::Nothing) };
        let found = match self.found.take() {
            Some(found) => found,
            None => trust.policy(&domain.to_ascii()).await,
        };
        let policy = self.found.insert(found).policy.clone();
        let Some(policy) = policy else { return Ok(Demand::Nothing) };
        match Demand::of_policy(&policy, host) {
            Ok(demand) => Ok(demand),
            Err(failure) if policy.mode == Mode::Enforce => {
                Err(Diagnosis { status: Status::new(4, 7, 5), host: None, text: failure.why })
            }
            Err(failure) => {
                tracing::info!(host, why = failure.why, "the policy is in testing");
                Ok(Demand::Nothing)
            }
        }
    }
}
