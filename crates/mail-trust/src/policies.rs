//! The MTA-STS policies of domains: found, fetched and kept. RFC 8461 §3.3, §5.1, §10.2.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mail_dns::{Dns, LookupError};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::spawn_blocking;
use tracing::{debug, error, info, warn};

use crate::database::{Database, Kept};
use crate::https::{Https, HttpsError};
use crate::sts::{Policy, policy_id};
use crate::{Failure, Kind, TrustError};

/// How long a policy that could not be fetched is not asked for again: RFC 8461 §3.3.
const PAUSE: Duration = Duration::from_secs(300);
/// Domains of which it is remembered that their policy could not be fetched.
const MAX_FAILURES: usize = 10_000;
/// How old a policy may become before it is fetched anew, whatever its record says: RFC 8461 §10.2.
const FRESH: SignedDuration = SignedDuration::from_hours(24);
/// How long a policy that nobody uses is kept fresh.
const IN_USE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Policies that are fetched anew in one go.
const MAX_RENEWED: usize = 500;

/// What is known of a domain's policy.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The policy that holds.
    pub policy: Option<Arc<Policy>>,
    /// Its text.
    pub text: String,
    /// Why there is no newer one, or none at all, though the domain's record says that there is.
    pub failure: Option<Failure>,
}

/// Finds policies, and keeps them.
#[derive(Debug)]
pub struct Policies {
    dns: Dns,
    https: Https,
    database: Arc<Database>,
    /// By domain: when the policy of this id could last not be fetched, and why.
    failures: Mutex<HashMap<String, (Instant, String, Failure)>>,
    /// Of each domain one asks at a time.
    asking: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
}

impl Policies {
    pub(crate) fn new(dns: Dns, https: Https, database: Arc<Database>) -> Self {
        Self { dns, https, database, failures: Mutex::default(), asking: Mutex::default() }
    }

    /// The policy of a domain, given in A-labels, that holds now: the one that is kept, or the one that its host serves, where the domain's record
    /// says that this is another one. What can't be found out leaves the one that is kept.
    pub async fn of(&self, domain: &str) -> Found {
        let lock = Arc::clone(self.asking().entry(domain.to_owned()).or_default());
        let found = {
            let _alone = lock.lock().await;
            self.find(domain).await
        };
        drop(lock);
        // Two hold it: the map and whoever waits still.
        self.asking().retain(|_, lock| Arc::strong_count(lock) > 1);
        found
    }

    async fn find(&self, domain: &str) -> Found {
        let now = Timestamp::now();
        let kept = self.kept(domain, now).await;
        let current = match self.dns.texts(&format!("_mta-sts.{domain}")).await {
            Ok(texts) => policy_id(&texts),
            Err(LookupError::NoSuchName | LookupError::NoRecords) => None,
            Err(error) => {
                debug!(domain, %error, "it is not known whether there is an MTA-STS policy");
                None
            }
        };
        let Some(id) = current.filter(|id| kept.as_ref().is_none_or(|kept| kept.id != *id)) else {
            return found(domain, kept, None);
        };
        if let Some(failure) = self.recent_failure(domain, &id) {
            return found(domain, kept, Some(failure));
        }
        match self.fetch(domain, id.clone()).await {
            Ok(fetched) => found(domain, Some(fetched), None),
            Err(failure) => {
                warn!(domain, why = %failure, kept = kept.is_some(), "the MTA-STS policy can't be fetched");
                self.note_failure(domain, id, failure.clone());
                found(domain, kept, Some(failure))
            }
        }
    }

    /// Fetches a policy and keeps it.
    async fn fetch(&self, domain: &str, id: String) -> Result<Kept, Failure> {
        let text = self.https.text(&format!("mta-sts.{domain}"), "/.well-known/mta-sts.txt").await;
        let text = text.map_err(|error| Failure::new(kind(&error), error.to_string()))?;
        let policy = Policy::parse(&text).map_err(|error| {
            Failure::new(Kind::StsPolicyInvalid, format!("what is served is no policy: {error}"))
        })?;
        let now = Timestamp::now().as_second();
        let max_age = i64::try_from(policy.max_age.as_secs()).unwrap_or_default();
        let kept = Kept { id, text, fetched: now, expires: now.saturating_add(max_age), used: now };
        info!(domain, mode = ?policy.mode, hosts = policy.hosts.join(" "), "an MTA-STS policy was fetched");
        let (name, stored) = (domain.to_owned(), kept.clone());
        self.in_database(move |database| database.keep(&name, &stored)).await;
        Ok(kept)
    }

    async fn kept(&self, domain: &str, now: Timestamp) -> Option<Kept> {
        let name = domain.to_owned();
        let work = move |database: &Database| {
            let kept = database.policy(&name, now)?;
            if kept.as_ref().is_some_and(|kept| kept.used < now.as_second() - FRESH.as_secs()) {
                database.used(&name, now)?;
            }
            Ok(kept)
        };
        self.in_database(work).await.flatten()
    }

    /// Fetches anew what has not been fetched for a day, so that it does not expire while it is in use.
    pub async fn renew(&self) {
        let now = Timestamp::now();
        let before = |time: SignedDuration| now.saturating_sub(time).unwrap_or(now);
        let (fresh, in_use) = (before(FRESH), before(IN_USE));
        let stale = self.in_database(move |database| database.stale(now, fresh, in_use, MAX_RENEWED)).await;
        for domain in stale.unwrap_or_default() {
            let Some(kept) = self.kept(&domain, now).await else { continue };
            let id = match self.dns.texts(&format!("_mta-sts.{domain}")).await {
                Ok(texts) => policy_id(&texts).unwrap_or(kept.id),
                Err(_) => kept.id,
            };
            if self.recent_failure(&domain, &id).is_none()
                && let Err(failure) = self.fetch(&domain, id.clone()).await
            {
                debug!(domain, why = %failure, "the MTA-STS policy can't be fetched anew");
                self.note_failure(&domain, id, failure);
            }
        }
    }

    /// What the database says; nothing if it can't.
    async fn in_database<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, TrustError> + Send + 'static,
    ) -> Option<T> {
        let database = Arc::clone(&self.database);
        match spawn_blocking(move || work(&database)).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                error!(%error, "what is kept of MTA-STS policies can't be used");
                None
            }
            Err(error) => {
                error!(%error, "what is kept of MTA-STS policies can't be used");
                None
            }
        }
    }

    fn recent_failure(&self, domain: &str, id: &str) -> Option<Failure> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, of, failure) = failures.get(domain)?;
        (at.elapsed() < PAUSE && of == id).then(|| failure.clone())
    }

    fn note_failure(&self, domain: &str, id: String, failure: Failure) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_FAILURES {
            failures.retain(|_, (at, _, _)| at.elapsed() < PAUSE);
        }
        if failures.len() < MAX_FAILURES {
            failures.insert(domain.to_owned(), (Instant::now(), id, failure));
        }
    }

    fn asking(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<AsyncMutex<()>>>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn found(domain: &str, kept: Option<Kept>, failure: Option<Failure>) -> Found {
    let Some(kept) = kept else { return Found { failure, ..Found::default() } };
    match Policy::parse(&kept.text) {
        Ok(policy) => Found { policy: Some(Arc::new(policy)), text: kept.text, failure },
        Err(error) => {
            warn!(domain, %error, "the MTA-STS policy that is kept is none");
            Found { failure, ..Found::default() }
        }
    }
}

/// RFC 8460 §4.3.2.1
const fn kind(error: &HttpsError) -> Kind {
    match error {
        HttpsError::Tls(..) => Kind::StsWebpkiInvalid,
        HttpsError::Type(_) => Kind::StsPolicyInvalid,
        HttpsError::Name { .. }
        | HttpsError::Connect(..)
        | HttpsError::Http(_)
        | HttpsError::Status(_)
        | HttpsError::TimedOut(_)
        | HttpsError::Url(_) => Kind::StsPolicyFetchError,
    }
}

#[cfg(test)]
mod tests;
