use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use mail_types::Secret;
use sha2::{Digest, Sha256};

/// How long a verified password is taken without hashing it again.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// Accounts remembered at most.
const REMEMBERED: usize = 10_000;
/// Argon2id with 19 MiB and two passes: OWASP's recommendation.
const MEMORY_KIB: u32 = 19 * 1024;
/// Hashes computed at one time, so that a flood of logins can't take all memory.
const AT_ONCE: usize = 4;

/// Hashes and verifies passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// Keys the fingerprints in `verified`, so that they say nothing outside this process.
    key: [u8; 32],
    verified: Mutex<HashMap<[u8; 32], Instant>>,
    slots: Slots,
    /// What an unknown account's password is compared with, to take the same time.
    decoy: String,
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let decoy = hash(&Secret::new("decoy".to_owned())).unwrap_or_default();
        Ok(Self { key, verified: Mutex::default(), slots: Slots::new(AT_ONCE), decoy })
    }

    /// True if `password` is the one that `stored` was made from; always false without `stored`, in the same time.
    pub(crate) fn verify(&self, stored: Option<&str>, password: &Secret<String>) -> bool {
        let fingerprint = self.fingerprint(stored.unwrap_or_default(), password);
        if stored.is_some() && self.is_remembered(&fingerprint) {
            return true;
        }
        let matches = self.slots.run(|| matches(stored.unwrap_or(&self.decoy), password)) && stored.is_some();
        if matches {
            self.remember(fingerprint);
        }
        matches
    }

    /// Says which stored hash and password go together; a new hash makes another fingerprint.
    fn fingerprint(&self, stored: &str, password: &Secret<String>) -> [u8; 32] {
        let inner = Sha256::new().chain_update(self.key).chain_update(password.reveal()).finalize();
        Sha256::new().chain_update(self.key).chain_update(inner).chain_update(stored).finalize().into()
    }

    fn is_remembered(&self, fingerprint: &[u8; 32]) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(fingerprint).is_some_and(|at| at.elapsed() < REMEMBERED_FOR)
    }

    fn remember(&self, fingerprint: [u8; 32]) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.retain(|_, at| at.elapsed() < REMEMBERED_FOR);
        }
        if verified.len() < REMEMBERED {
            verified.insert(fingerprint, Instant::now());
        }
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The PHC string to store for `password`.
pub(crate) fn hash(password: &Secret<String>) -> Result<String, argon2::password_hash::Error> {
    let hash = argon2().hash_password(password.reveal().as_bytes())?;
    Ok(hash.to_string())
}

fn matches(stored: &str, password: &Secret<String>) -> bool {
    let stored = PasswordHash::new(stored);
    stored.is_ok_and(|stored| argon2().verify_password(password.reveal().as_bytes(), &stored).is_ok())
}

/// Lets a bounded number of threads through at one time.
#[derive(Debug)]
struct Slots {
    free: Mutex<usize>,
    freed: std::sync::Condvar,
}

impl Slots {
    fn new(free: usize) -> Self {
        Self { free: Mutex::new(free), freed: std::sync::Condvar::new() }
    }

    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        let result = work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_opens_its_own_hash_only_and_an_old_hash_is_forgotten() {
        let passwords = Passwords::new().unwrap();
        let [right, wrong] = ["right", "wrong"].map(|password| Secret::new(password.to_owned()));
        let stored = hash(&right).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify(Some(&stored), &right));
        assert!(passwords.verify(Some(&stored), &right), "remembered");
        assert!(!passwords.verify(Some(&stored), &wrong));
        assert!(!passwords.verify(Some(&hash(&wrong).unwrap()), &right));
        assert!(!passwords.verify(None, &Secret::new("decoy".to_owned())));
    }
}
