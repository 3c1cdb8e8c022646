//! The directory: which domains, accounts and aliases exist, and who may log in.
//!
//! It is an SQLite database (`directory.sqlite`). Every question reads it anew, or finds that nothing has changed ([`Moment`]), so a change
//! made by another process is seen at once. All calls block, and servers make them off the async threads; only [`Directory::log_in`] is async.

mod database;
mod forwards;
mod lists;
mod login;
mod moment;
mod password;
mod quota;
mod refusals;
mod resolve;
pub mod sasl;
mod scram;
mod send_rights;
mod srs;
mod verp;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use mail_types::{Address, AddressPattern, Domain, Secret};
use tokio::sync::Semaphore;
use tracing::error;

use database::Database;
pub use forwards::Forwarding;
pub use lists::{List, Posting};
pub use moment::{InMemory, Moment};
use password::Passwords;
pub use quota::{Limit, QuotaSetting};
pub use refusals::Refusal;
pub use resolve::{Forward, Reached, Resolution, Sender, Standing, Through, is_own_address};
pub use scram::ScramClaim;
use scram::ScramKeys;
pub use srs::{Returned, Srs, SrsError};
pub use verp::Verp;

/// Addresses that one alias may lead to, those on the way counted.
const MAX_REACHED: usize = 1000;
/// Names that every domain must take mail for (RFC 5321 §4.5.1, RFC 2142 §4).
const ROLE_NAMES: [&str; 2] = ["postmaster", "abuse"];

/// What went wrong in the directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The database can't be read or written.
    #[error("the directory {path} can't be used: {source}")]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The database was written by a newer Mailstead.
    #[error("the directory {path} has format {found}, newer than this program knows: run the newer version")]
    NewerFormat {
        /// The database.
        path: PathBuf,
        /// The format found.
        found: i64,
    },
    /// The domain, account or alias to be added is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// The domain, account or alias to be changed is not there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// No random numbers, or no memory, for hashing a password.
    #[error("a password can't be hashed: {0}")]
    Hash(String),
    /// A password could not be verified, for a reason that has nothing to do with it.
    #[error("a password can't be verified now")]
    NotVerified,
    /// An alias leads to so many addresses that it can't be meant.
    #[error("{0} leads to more than {MAX_REACHED} addresses")]
    LeadsTooFar(Address),
    /// Refused for the reason given, which is meant for the operator.
    #[error("{0}")]
    Refused(String),
}

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    database: Database,
    passwords: Passwords,
    /// Passwords that may be verified at one time.
    verifying: Semaphore,
    /// Makes return addresses of what goes on to others.
    srs: Option<Srs>,
}

impl Directory {
    /// Opens the database at `file`, making it when it does not exist.
    ///
    /// # Errors
    /// [`DirectoryError::Database`], [`DirectoryError::NewerFormat`].
    pub fn open(file: &Path) -> Result<Self, DirectoryError> {
        let passwords = Passwords::new().map_err(|error| DirectoryError::Hash(error.to_string()))?;
        let verifying = Semaphore::new(login::at_once());
        Ok(Self { database: Database::open(file)?, passwords, verifying, srs: None })
    }

    /// Has mail that goes on to others go from return addresses of ours, and knows these again.
    #[must_use]
    pub fn with_srs(mut self, srs: Option<Srs>) -> Self {
        self.srs = srs;
        self
    }

    /// The local domains, sorted.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn domains(&self) -> Result<Vec<Domain>, DirectoryError> {
        Ok(parsed(self.database.domains()?))
    }

    /// Makes `domain` local.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`], [`DirectoryError::Database`].
    pub fn add_domain(&self, domain: &Domain) -> Result<(), DirectoryError> {
        if domain.is_literal() {
            return Err(DirectoryError::Refused(format!("{domain} is an address literal, not a domain")));
        }
        if self.database.add_domain(domain.as_str())? {
            Ok(())
        } else {
            Err(DirectoryError::Exists(domain.to_string()))
        }
    }

    /// Removes a domain that has no account, no alias and no list left.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`], [`DirectoryError::Database`].
    pub fn remove_domain(&self, domain: &Domain) -> Result<(), DirectoryError> {
        if self.database.is_used(domain.as_str())? {
            return Err(DirectoryError::Refused(format!(
                "{domain} has accounts, aliases or lists; remove them first"
            )));
        }
        found(self.database.remove_domain(domain.as_str())?, domain.as_str())
    }

    /// All accounts, sorted.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn accounts(&self) -> Result<Vec<Address>, DirectoryError> {
        Ok(parsed(self.database.accounts()?))
    }

    /// Adds an account in a local domain.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] (also as an alias or list), [`DirectoryError::NotFound`] for its domain, [`DirectoryError::Refused`].
    pub fn add_account(&self, address: &Address, password: &Secret<String>) -> Result<(), DirectoryError> {
        let address = address.to_lowercase();
        self.is_local(address.domain())?;
        let name = address.to_string();
        refuse_long(&address)?;
        self.refuse_taken(&name)?;
        let stored = stored(password)?;
        let added = self.database.add_account(&name, address.domain().as_str(), &stored)?;
        if added { Ok(()) } else { Err(DirectoryError::Exists(format!("the account {name}"))) }
    }

    /// Removes an account; its mail stays on disk.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn remove_account(&self, address: &Address) -> Result<(), DirectoryError> {
        let name = address.to_lowercase().to_string();
        found(self.database.remove_account(&name)?, &name)
    }

    /// Whether an account takes mail.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn receives(&self, account: &Address) -> Result<bool, DirectoryError> {
        let name = account.to_lowercase().to_string();
        self.moment()?.account(&name)?.map(|it| it.inflow.receives).ok_or(DirectoryError::NotFound(name))
    }

    /// Has an account take mail from now on, or none.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn set_receives(&self, account: &Address, receives: bool) -> Result<(), DirectoryError> {
        let name = account.to_lowercase().to_string();
        found(self.database.set_receives(&name, receives)?, &name)
    }

    /// Sets a new password.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`], [`DirectoryError::Database`].
    pub fn set_password(&self, address: &Address, password: &Secret<String>) -> Result<(), DirectoryError> {
        let name = address.to_lowercase().to_string();
        found(self.database.set_password(&name, &stored(password)?)?, &name)
    }

    /// All aliases with their targets, sorted.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn aliases(&self) -> Result<Vec<(AddressPattern, Vec<Address>)>, DirectoryError> {
        let mut aliases: Vec<(AddressPattern, Vec<Address>)> = Vec::new();
        for (alias, target) in self.database.aliases()? {
            let (Some(alias), Some(target)) = (parse(&alias), parse(&target)) else { continue };
            match aliases.last_mut() {
                Some((last, targets)) if *last == alias => targets.push(target),
                _ => aliases.push((alias, vec![target])),
            }
        }
        Ok(aliases)
    }

    /// Adds an alias in a local domain, with one or more targets, or adds targets to it. That of a whole domain is its catch-all: it
    /// takes the mail for every address of it that there isn't.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] as an account or list, [`DirectoryError::NotFound`] for its domain, [`DirectoryError::Refused`] for a loop.
    pub fn add_alias(&self, alias: &AddressPattern, targets: &[Address]) -> Result<(), DirectoryError> {
        let alias = alias.to_lowercase();
        self.is_local(alias.domain())?;
        let name = alias.to_string();
        if let AddressPattern::Address(alias) = &alias {
            refuse_long(alias)?;
        }
        if self.database.targets(&name)?.is_empty() {
            self.refuse_taken(&name)?;
        }
        let targets = targets.iter().map(|target| self.normalised(target)).collect::<Result<Vec<_>, _>>()?;
        if let AddressPattern::Address(alias) = &alias {
            for target in &targets {
                if self.leads_to(target, alias)? {
                    return Err(DirectoryError::Refused(format!("{target} leads back to {alias}")));
                }
            }
        }
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        self.database.add_targets(&name, alias.domain().as_str(), &targets)
    }

    /// Removes an alias with all its targets.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn remove_alias(&self, alias: &AddressPattern) -> Result<(), DirectoryError> {
        let name = alias.to_lowercase().to_string();
        found(self.database.remove_alias(&name)?, &name)
    }

    /// Removes some targets of an alias, and with the last one the alias. Returns those that are left.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`] for what is no target of it (then nothing is removed),
    /// [`DirectoryError::Database`].
    pub fn remove_targets(
        &self,
        alias: &AddressPattern,
        targets: &[Address],
    ) -> Result<Vec<Address>, DirectoryError> {
        let name = alias.to_lowercase().to_string();
        let stored = self.database.targets(&name)?;
        found(!stored.is_empty(), &name)?;
        let mut removed = Vec::new();
        for target in targets {
            let (given, folded) = (target.to_string(), target.to_lowercase());
            let is_meant = |it: &&String| parse::<Address>(it).is_some_and(|it| it.to_lowercase() == folded);
            let meant = stored.iter().find(|it| **it == given).or_else(|| stored.iter().find(is_meant));
            removed.push(meant.cloned().ok_or_else(|| {
                DirectoryError::Refused(format!(
                    "{name} does not go to {target}: it goes to {}",
                    stored.join(", ")
                ))
            })?);
        }
        self.database.remove_targets(&name, &removed)?;
        Ok(parsed(self.database.targets(&name)?))
    }

    /// True if mail for `address` comes to the alias `wanted`.
    fn leads_to(&self, address: &Address, wanted: &Address) -> Result<bool, DirectoryError> {
        let (mut ahead, mut seen) = (vec![address.clone()], HashSet::new());
        while let Some(next) = ahead.pop() {
            if next == *wanted {
                return Ok(true);
            }
            if seen.insert(next.clone()) {
                ahead.extend(parsed::<Address>(self.database.targets(&next.to_string())?));
            }
        }
        Ok(false)
    }

    /// An address is only one thing.
    fn refuse_taken(&self, name: &str) -> Result<(), DirectoryError> {
        let taken = if self.database.is_account(name)? {
            "account"
        } else if !self.database.targets(name)?.is_empty() {
            "alias"
        } else if self.database.list(name)?.is_some() {
            "list"
        } else {
            return Ok(());
        };
        Err(DirectoryError::Exists(format!("the {taken} {name}")))
    }

    fn is_local(&self, domain: &Domain) -> Result<(), DirectoryError> {
        found(self.database.is_domain(domain.as_str())?, &format!("the domain {domain}"))
    }

    /// In the form under which it is looked up, if it is local.
    fn normalised(&self, address: &Address) -> Result<Address, DirectoryError> {
        let local = self.database.is_domain(address.domain().as_str())?;
        Ok(if local { address.to_lowercase() } else { address.clone() })
    }
}

fn found(found: bool, name: &str) -> Result<(), DirectoryError> {
    if found { Ok(()) } else { Err(DirectoryError::NotFound(name.to_owned())) }
}

/// RFC 5321 §4.5.3.1.1.
fn refuse_long(address: &Address) -> Result<(), DirectoryError> {
    if address.local_part().len() <= Address::MAX_LOCAL_PART {
        return Ok(());
    }
    let text = format!("{address}: what stands before the @ may have {} octets", Address::MAX_LOCAL_PART);
    Err(DirectoryError::Refused(text))
}

/// What is kept of a password: its hash, and the keys for SCRAM where it can have them.
#[derive(Debug)]
struct Stored {
    hash: String,
    scram: Option<String>,
}

fn stored(password: &Secret<String>) -> Result<Stored, DirectoryError> {
    let hash = hash(password)?;
    let keys = ScramKeys::of(password).map_err(|error| DirectoryError::Hash(error.to_string()))?;
    Ok(Stored { hash, scram: keys.map(|keys| keys.to_string()) })
}

fn hash(password: &Secret<String>) -> Result<String, DirectoryError> {
    if password.reveal().is_empty() {
        return Err(DirectoryError::Refused("the password must not be empty".to_owned()));
    }
    password::hash(password).map_err(|error| DirectoryError::Hash(error.to_string()))
}

/// What we stored ourselves; a row that somebody spoilt is logged and passed over.
fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Option<T> {
    text.parse().inspect_err(|problem| error!(text, %problem, "a row of the directory is spoilt")).ok()
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(texts: Vec<String>) -> Vec<T> {
    texts.iter().filter_map(|text| parse(text)).collect()
}

#[cfg(test)]
mod tests;
