use std::sync::Arc;

use mail_types::{Address, Secret};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::scram::{ScramClaim, ScramKeys};
use crate::{Directory, DirectoryError};

/// Passwords verified at one time at most: each takes 19 MiB and a whole processor.
const MAX_AT_ONCE: usize = 8;

/// Passwords to be verified at one time on this machine.
pub(crate) fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_AT_ONCE)
}

/// What is stored for a user name.
struct Claim {
    account: Option<Address>,
    stored: Option<String>,
    /// The password is older than the keys for SCRAM, or can't have them.
    lacks_keys: bool,
}

impl Directory {
    /// The account that `username` (an address; or its local part alone, where only one domain exists) and `password` open;
    /// `None` if they open none. Takes the same time whether or not the account exists.
    ///
    /// # Errors
    /// [`DirectoryError::Database`]: a temporary failure, not a wrong password.
    pub fn authenticate(
        &self,
        username: &str,
        password: &Secret<String>,
    ) -> Result<Option<Address>, DirectoryError> {
        Ok(self.verify(self.claim(username)?, password))
    }

    /// As [`Self::authenticate`], for servers. Keys for SCRAM that the account lacks, because its password was set by a version that
    /// knew none, are made of the password now that it is here, beside the work.
    ///
    /// A flood of logins takes neither all memory nor the threads that others need:
    /// passwords are verified a few at a time, in the order in which they came, and those verified a short while ago go past them.
    ///
    /// # Errors
    /// As [`Self::authenticate`], and [`DirectoryError::NotVerified`].
    pub async fn log_in(
        self: &Arc<Self>,
        username: String,
        password: Secret<String>,
    ) -> Result<Option<Address>, DirectoryError> {
        let this = Arc::clone(self);
        let recalled = spawn_blocking(move || {
            let claim = this.claim(&username)?;
            let remembered = this.passwords.remembers(claim.stored.as_deref(), &password);
            Ok((claim, remembered, password))
        });
        let (claim, remembered, password) = recalled.await.map_err(|_| DirectoryError::NotVerified)??;
        if remembered {
            return Ok(claim.account);
        }
        let _permit = self.verifying.acquire().await.map_err(|_| DirectoryError::NotVerified)?;
        let this = Arc::clone(self);
        let verified = spawn_blocking(move || {
            let without_keys = claim.stored.clone().filter(|_| claim.lacks_keys);
            let account = this.verify(claim, &password);
            if let (Some(account), Some(stored)) = (account.clone(), without_keys) {
                drop(spawn_blocking(move || this.complete_keys(&account, &stored, &password)));
            }
            account
        });
        verified.await.map_err(|_| DirectoryError::NotVerified)
    }

    /// Makes the keys for SCRAM of a password that was verified against `stored`. A password that was changed meanwhile has its own.
    pub(crate) fn complete_keys(&self, account: &Address, stored: &str, password: &Secret<String>) {
        let Ok(Some(keys)) = ScramKeys::of(password) else { return };
        match self.database.add_scram(&account.to_string(), stored, &keys.to_string()) {
            Ok(true) => info!(%account, "the password has keys for SCRAM now"),
            Ok(false) => {}
            Err(error) => warn!(%account, %error, "the keys for SCRAM wait for the next login"),
        }
    }

    /// What SCRAM needs to know of whom a client claims to be; of an unknown account, the like.
    ///
    /// # Errors
    /// As [`Self::log_in`].
    pub async fn scram_claim(self: &Arc<Self>, username: String) -> Result<ScramClaim, DirectoryError> {
        let this = Arc::clone(self);
        let found = spawn_blocking(move || this.find_scram(&username));
        found.await.map_err(|_| DirectoryError::NotVerified)?
    }

    fn find_scram(&self, username: &str) -> Result<ScramClaim, DirectoryError> {
        let account = self.named(username)?;
        let keys = match &account {
            Some(account) => self.database.scram(&account.to_string())?,
            None => None,
        };
        if let Some(keys) = keys.and_then(|keys| keys.parse().ok()) {
            return Ok(ScramClaim { account, keys });
        }
        let name = account.map_or_else(|| username.to_owned(), |account| account.to_string());
        Ok(ScramClaim { account: None, keys: ScramKeys::decoy(&self.database.scram_secret()?, &name) })
    }

    fn claim(&self, username: &str) -> Result<Claim, DirectoryError> {
        let account = self.named(username)?;
        let found = match &account {
            Some(account) => self.database.password(&account.to_string())?,
            None => None,
        };
        let (stored, has_keys) = found.unzip();
        Ok(Claim { account, stored, lacks_keys: has_keys == Some(false) })
    }

    fn verify(&self, claim: Claim, password: &Secret<String>) -> Option<Address> {
        // Also where there is no account: the answer must not come sooner for it.
        let matches = self.passwords.verify(claim.stored.as_deref(), password);
        claim.account.filter(|_| matches)
    }

    /// The account that a user name may mean.
    fn named(&self, username: &str) -> Result<Option<Address>, DirectoryError> {
        if username.contains('@') {
            return Ok(username.parse::<Address>().ok().map(|address| address.to_lowercase()));
        }
        let mut domains = self.domains()?.into_iter();
        match (domains.next(), domains.next()) {
            (Some(only), None) => Ok(Address::new(username, only).ok().map(|address| address.to_lowercase())),
            _ => Ok(None),
        }
    }
}
