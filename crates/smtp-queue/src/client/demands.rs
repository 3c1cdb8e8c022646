use mail_trust::{Asked, Demand, Found, Mode, Trust};
use mail_types::Domain;

use crate::routes::{Destination, Way};
use crate::{Diagnosis, Status};

/// Why a host must not get mail now.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) diagnosis: Diagnosis,
    /// It is not known what it must prove.
    pub(super) is_for_now: bool,
}

/// What the hosts of one destination must prove, found out when one of them is to be tried.
pub(super) struct Demands<'a> {
    /// `None` where nobody is asked: a smarthost is as the config has it, and an address has no policy.
    trust: Option<&'a Trust>,
    /// In A-labels.
    domain: String,
    /// A message needs the host's name to be proved, whatever the domain says.
    name_matters: bool,
    policy: Option<Found>,
    are_authentic: Option<bool>,
}

impl<'a> Demands<'a> {
    pub(super) fn of(destination: &Destination, trust: Option<&'a Trust>, name_matters: bool) -> Self {
        let domain = match &destination.way {
            Way::MailHosts(domain) if !domain.is_literal() => Some(domain),
            Way::MailHosts(_) | Way::Smarthost(_) | Way::Here | Way::Nowhere => None,
        };
        let trust = trust.filter(|_| domain.is_some());
        let domain = domain.map(Domain::to_ascii).unwrap_or_default();
        Self { trust, domain, name_matters, policy: None, are_authentic: None }
    }

    /// What a host must prove: what its TLSA records ask for, or else the policy of its domain. RFC 8461 §2.
    ///
    /// # Errors
    /// It must not get the mail.
    pub(super) async fn on(&mut self, host: &str) -> Result<Demand, Denied> {
        let Some(trust) = self.trust else { return Ok(Demand::Nothing) };
        match trust.associations(&self.domain, host).await {
            Ok(Asked::Certificate(associations)) => {
                let is_the_domains = self.are_authentic(trust).await;
                Ok(Demand::Certificate { associations, is_the_domains })
            }
            Ok(Asked::Encryption) => {
                tracing::info!(host, "its TLSA records can't be used: any certificate will do");
                let demand = self.of_policy(trust, host).await?;
                Ok(if demand.is_enforced() { demand } else { Demand::Encryption })
            }
            Ok(Asked::Nothing) => match self.of_policy(trust, host).await? {
                // RFC 8689 §4.2.1: a name from an authentic MX record that an authority vouches for is as good.
                Demand::Nothing if self.name_matters && self.are_authentic(trust).await => Ok(Demand::Name),
                demand => Ok(demand),
            },
            // RFC 7672 §2.2: what is not known must not be taken for what isn't there.
            Err(failure) => {
                Err(Denied { diagnosis: ours(Status::new(4, 4, 3), failure.why), is_for_now: true })
            }
        }
    }

    async fn of_policy(&mut self, trust: &Trust, host: &str) -> Result<Demand, Denied> {
        let found = match self.policy.take() {
            Some(found) => found,
            None => trust.policy(&self.domain).await,
        };
        let Some(policy) = self.policy.insert(found).policy.clone() else { return Ok(Demand::Nothing) };
        match Demand::of_policy(&policy, host) {
            Ok(demand) => Ok(demand),
            Err(failure) if policy.mode == Mode::Enforce => {
                Err(Denied { diagnosis: ours(Status::new(4, 7, 5), failure.why), is_for_now: false })
            }
            Err(failure) => {
                tracing::info!(host, why = failure.why, "the policy is in testing");
                Ok(Demand::Nothing)
            }
        }
    }

    async fn are_authentic(&mut self, trust: &Trust) -> bool {
        match self.are_authentic {
            Some(known) => known,
            None => *self.are_authentic.insert(trust.are_mail_hosts_authentic(&self.domain).await),
        }
    }
}

fn ours(status: Status, text: String) -> Diagnosis {
    Diagnosis { status, host: None, text }
}
