//! As whom accounts may send.

use mail_types::{Address, AddressPattern};

use crate::{Directory, DirectoryError, found, parsed};

impl Directory {
    /// True if `account` may send mail as `from`: its own address, with or without a detail, its aliases, what a catch-all brings it, and what it
    /// was given the right to.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn may_send_as(
        &self,
        account: &Address,
        from: &Address,
        delimiter: Option<char>,
    ) -> Result<bool, DirectoryError> {
        let (account, from) = (account.to_lowercase(), from.to_lowercase());
        if self.is_reached_by(&account, &from, delimiter)? {
            return Ok(true);
        }
        let domain = AddressPattern::Domain(from.domain().clone());
        self.database.may_send_as(&account.to_string(), &from.to_string(), &domain.to_string())
    }

    /// As whom an account may send besides itself and its aliases.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn send_rights(&self, account: &Address) -> Result<Vec<AddressPattern>, DirectoryError> {
        let name = account.to_lowercase().to_string();
        found(self.database.is_account(&name)?, &name)?;
        Ok(parsed(self.database.send_rights(&name)?))
    }

    /// Says as whom an account may send, instead of what it might before.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn set_send_rights(
        &self,
        account: &Address,
        senders: &[AddressPattern],
    ) -> Result<(), DirectoryError> {
        let name = account.to_lowercase().to_string();
        found(self.database.is_account(&name)?, &name)?;
        let mut senders: Vec<String> = senders.iter().map(|it| it.to_lowercase().to_string()).collect();
        senders.sort();
        senders.dedup();
        self.database.set_send_rights(&name, &senders)
    }

    /// Whether the server saves a copy of what an account sends.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn saves_sent(&self, account: &Address) -> Result<bool, DirectoryError> {
        let name = account.to_lowercase().to_string();
        self.database.saves_sent(&name)?.ok_or(DirectoryError::NotFound(name))
    }

    /// Has the server save a copy of what an account sends from now on, or not.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn set_saves_sent(&self, account: &Address, saves_sent: bool) -> Result<(), DirectoryError> {
        let name = account.to_lowercase().to_string();
        found(self.database.set_saves_sent(&name, saves_sent)?, &name)
    }
}
