//! The directory: which domains, accounts and aliases exist, and who may log in.
//!
//! It is an SQLite database (`directory.sqlite`). Every question reads it anew, so a change made by another process
//! is seen at once. All calls block; servers make them off the async threads.

use std::path::{Path, PathBuf};

use mail_types::{Address, Domain, Secret};

pub mod sasl;

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
    /// The domain, account or alias to be added is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// The domain, account or alias to be changed is not there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// Refused for the reason given, which is meant for the operator.
    #[error("{0}")]
    Refused(String),
}

/// The answer to RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Ours: deliver to these accounts and pass on to these foreign addresses (an alias may have several targets).
    Ours {
        /// Local accounts, each once.
        accounts: Vec<Address>,
        /// Addresses elsewhere, each once.
        remote: Vec<Address>,
    },
    /// The domain is ours, the address is not known: 550 5.1.1.
    UnknownUser,
    /// Not our domain.
    Foreign,
}

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    // PLATFORM: a small pool of connections
}

impl Directory {
    /// Opens the database at `file`, making it when it does not exist.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn open(file: &Path) -> Result<Self, DirectoryError> {
        let _ = file;
        todo!("PLATFORM")
    }

    /// Who gets mail for `address`. `delimiter` splits a detail off the local part (`bob+lists@`). `postmaster` of a
    /// local domain, and the bare `postmaster`, always resolve (RFC 5321 §4.5.1).
    ///
    /// # Errors
    /// [`DirectoryError::Database`]: answer 451, not 550.
    pub fn resolve(&self, address: &Address, delimiter: Option<char>) -> Result<Resolution, DirectoryError> {
        let _ = (address, delimiter);
        todo!("PLATFORM")
    }

    /// The account that `username` (an address; a bare local part where only one domain exists) and `password` open; `None`
    /// if they open none. Takes the same time whether or not the account exists.
    ///
    /// # Errors
    /// [`DirectoryError::Database`]: a temporary failure, not a wrong password.
    pub fn authenticate(
        &self,
        username: &str,
        password: &Secret<String>,
    ) -> Result<Option<Address>, DirectoryError> {
        let _ = (username, password);
        todo!("PLATFORM")
    }

    /// True if `account` may send mail as `from`: its own address, with or without a detail, and its aliases.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn may_send_as(
        &self,
        account: &Address,
        from: &Address,
        delimiter: Option<char>,
    ) -> Result<bool, DirectoryError> {
        let _ = (account, from, delimiter);
        todo!("PLATFORM")
    }

    /// The local domains, sorted.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn domains(&self) -> Result<Vec<Domain>, DirectoryError> {
        todo!("PLATFORM")
    }

    /// Makes `domain` local.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`], [`DirectoryError::Database`].
    pub fn add_domain(&self, domain: &Domain) -> Result<(), DirectoryError> {
        let _ = domain;
        todo!("PLATFORM")
    }

    /// Removes a domain that has no account and no alias left.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`], [`DirectoryError::Database`].
    pub fn remove_domain(&self, domain: &Domain) -> Result<(), DirectoryError> {
        let _ = domain;
        todo!("PLATFORM")
    }

    /// All accounts, sorted.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn accounts(&self) -> Result<Vec<Address>, DirectoryError> {
        todo!("PLATFORM")
    }

    /// Adds an account in a local domain.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] (also as an alias), [`DirectoryError::NotFound`] for its domain, [`DirectoryError::Refused`].
    pub fn add_account(&self, address: &Address, password: &Secret<String>) -> Result<(), DirectoryError> {
        let _ = (address, password);
        todo!("PLATFORM")
    }

    /// Removes an account; its mail stays on disk.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn remove_account(&self, address: &Address) -> Result<(), DirectoryError> {
        let _ = address;
        todo!("PLATFORM")
    }

    /// Sets a new password.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`], [`DirectoryError::Database`].
    pub fn set_password(&self, address: &Address, password: &Secret<String>) -> Result<(), DirectoryError> {
        let _ = (address, password);
        todo!("PLATFORM")
    }

    /// All aliases with their targets, sorted.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn aliases(&self) -> Result<Vec<(Address, Vec<Address>)>, DirectoryError> {
        todo!("PLATFORM")
    }

    /// Adds an alias in a local domain, with one or more targets, or adds targets to it.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] as an account, [`DirectoryError::NotFound`] for its domain, [`DirectoryError::Refused`] for a loop.
    pub fn add_alias(&self, alias: &Address, targets: &[Address]) -> Result<(), DirectoryError> {
        let _ = (alias, targets);
        todo!("PLATFORM")
    }

    /// Removes an alias with all its targets.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn remove_alias(&self, alias: &Address) -> Result<(), DirectoryError> {
        let _ = alias;
        todo!("PLATFORM")
    }
}
