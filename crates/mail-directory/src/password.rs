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
/// What an unknown account's password is compared with, to take the same time. No password is known to open it.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bWFpbHN0ZWFkLWRlY295Lg$bm8gcGFzc3dvcmQgd2FzIGV2ZXIgaGFzaGVkIGhlcmU";

/// Hashes and verifies passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// Keys the fingerprints in `verified`, so that they say nothing outside this process.
    key: [u8; 32],
    verified: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key, verified: Mutex::default() })
    }

    /// True if `password` is the one that `stored` was made from; always false without `stored`, in the same time. Takes
    /// [`MEMORY_KIB`] and a processor's time, unless it is remembered.
    pub(crate) fn verify(&self, stored: Option<&str>, password: &Secret<String>) -> bool {
        if self.remembers(stored, password) {
            return true;
        }
        let matches = matches(stored.unwrap_or(DECOY), password);
        match stored {
            Some(stored) if matches => {
                self.remember(self.fingerprint(stored, password));
                true
            }
            Some(_) | None => false,
        }
    }

    /// True if the password was verified a short while ago.
    pub(crate) fn remembers(&self, stored: Option<&str>, password: &Secret<String>) -> bool {
        stored.is_some_and(|stored| self.is_remembered(&self.fingerprint(stored, password)))
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
        assert!(!passwords.verify(None, &right));
        // It takes the same time only where it is hashed the same way.
        assert_eq!(PasswordHash::new(DECOY).unwrap().params, PasswordHash::new(&stored).unwrap().params);
    }
}
