use mail_trust::{Applied, Asked, Demand, Failed, Failure, Found, Kind, Mode, Session, Trust};
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

/// What a host must prove, and what that is in reports.
#[derive(Debug, Default)]
pub(super) struct Requirement {
    pub(super) demand: Demand,
    /// `None` if the session is not reported.
    pub(super) applied: Option<Applied>,
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
            Way::MailHosts(_) | Way::Smarthost(_) | Way::Host(_) | Way::Here | Way::Nowhere => None,
        };
        let trust = trust.filter(|_| domain.is_some());
        let domain = domain.map(Domain::to_ascii).unwrap_or_default();
        Self { trust, domain, name_matters, policy: None, are_authentic: None }
    }

    /// What a host must prove: what its TLSA records ask for, or else the policy of its domain. RFC 8461 §2.
    ///
    /// # Errors
    /// It must not get the mail.
    pub(super) async fn on(&mut self, host: &str) -> Result<Requirement, Denied> {
        let Some(trust) = self.trust else { return Ok(Requirement::default()) };
        match trust.associations(&self.domain, host).await {
            Ok(Asked::Certificate(associations)) => {
                let is_the_domains = self.are_authentic(trust).await;
                let applied = Some(applied("tlsa", associations.shown(), host));
                Ok(Requirement { demand: Demand::Certificate { associations, is_the_domains }, applied })
            }
            Ok(Asked::Encryption) => {
                tracing::info!(host, "its TLSA records can't be used: any certificate will do");
                let found = self.of_policy(trust, host).await?;
                let failure = Failure::new(Kind::TlsaInvalid, "none of the records can be used".to_owned());
                self.note(trust, applied("tlsa", Vec::new(), host), &failure, host);
                let demand = if found.demand.is_enforced() { found.demand } else { Demand::Encryption };
                Ok(Requirement { demand, applied: None })
            }
            Ok(Asked::Nothing) => {
                let found = self.of_policy(trust, host).await?;
                // RFC 8689 §4.2.1: a name from an authentic MX record that an authority vouches for is as good.
                let is_free = matches!(found.demand, Demand::Nothing);
                let is_named = is_free && self.name_matters && self.are_authentic(trust).await;
                Ok(if is_named { Requirement { demand: Demand::Name, ..found } } else { found })
            }
            // RFC 7672 §2.2: what is not known must not be taken for what isn't there.
            Err(failure) => {
                self.note(trust, applied("tlsa", Vec::new(), host), &failure, host);
                Err(Denied {
                    diagnosis: Diagnosis::ours(Status::new(4, 4, 3), failure.why),
                    is_for_now: true,
                })
            }
        }
    }

    async fn of_policy(&mut self, trust: &Trust, host: &str) -> Result<Requirement, Denied> {
        let found = match self.policy.take() {
            Some(found) => found,
            None => self.found(trust).await,
        };
        let found = self.policy.insert(found);
        let Some(policy) = found.policy.clone().filter(|policy| policy.mode != Mode::None) else {
            let kind = if found.failure.is_some() { "sts" } else { "no-policy-found" };
            let applied = Some(applied(kind, Vec::new(), &self.domain));
            return Ok(Requirement { demand: Demand::Nothing, applied });
        };
        let lines = found.text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
        let applied = Applied { mx_host: policy.hosts.clone(), ..applied("sts", lines, &self.domain) };
        match Demand::of_policy(&policy, host) {
            Ok(demand) => Ok(Requirement { demand, applied: Some(applied) }),
            Err(failure) => {
                self.note(trust, applied, &failure, host);
                if policy.mode == Mode::Enforce {
                    return Err(Denied {
                        diagnosis: Diagnosis::ours(Status::new(4, 7, 5), failure.why),
                        is_for_now: false,
                    });
                }
                tracing::info!(host, why = failure.why, "the policy is in testing");
                Ok(Requirement::default())
            }
        }
    }

    /// Looks for the domain's policy. That it can't be fetched is reported.
    async fn found(&self, trust: &Trust) -> Found {
        let found = trust.policy(&self.domain).await;
        if let Some(failure) = &found.failure {
            self.note(
                trust,
                applied("sts", Vec::new(), &self.domain),
                failure,
                &format!("mta-sts.{}", self.domain),
            );
        }
        found
    }

    /// Counts what kept a session from coming about.
    fn note(&self, trust: &Trust, applied: Applied, failure: &Failure, host: &str) {
        let failed = Some(Failed::of(failure, host, None, None));
        trust.note(Session { domain: self.domain.clone(), applied, failed });
    }

    async fn are_authentic(&mut self, trust: &Trust) -> bool {
        match self.are_authentic {
            Some(known) => known,
            None => *self.are_authentic.insert(trust.are_mail_hosts_authentic(&self.domain).await),
        }
    }
}

fn applied(kind: &str, strings: Vec<String>, domain: &str) -> Applied {
    let (policy_type, policy_domain) = (kind.to_owned(), domain.to_owned());
    Applied { policy_type, policy_string: strings, policy_domain, mx_host: Vec::new() }
}
