//! Where accounts' mail goes on to.

use mail_types::Address;

use crate::{Directory, DirectoryError, found, parsed};

/// Addresses that an account's mail may go on to.
const MAX_TARGETS: usize = 100;

/// Where an account's mail goes on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Here or elsewhere; nowhere when there are none.
    pub targets: Vec<Address>,
    /// It stays in the account as well.
    pub keeps_copy: bool,
}

impl Directory {
    /// Where an account's mail goes on to.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn forwarding(&self, account: &Address) -> Result<Forwarding, DirectoryError> {
        let name = account.to_lowercase().to_string();
        let row = self.moment()?.account(&name)?.ok_or_else(|| DirectoryError::NotFound(name.clone()))?;
        let keeps_copy = row.inflow.keeps_copy;
        Ok(Forwarding { targets: parsed(self.database.forwards(&name)?), keeps_copy })
    }

    /// Says where an account's mail goes on to, instead of where it went before.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`] for too many addresses or its own, [`DirectoryError::Database`].
    pub fn set_forwarding(&self, account: &Address, forwarding: &Forwarding) -> Result<(), DirectoryError> {
        let account = account.to_lowercase();
        let name = account.to_string();
        let targets =
            forwarding.targets.iter().map(|it| self.normalised(it)).collect::<Result<Vec<_>, _>>()?;
        if targets.contains(&account) {
            return Err(DirectoryError::Refused(format!("{account} can't forward to itself")));
        }
        if targets.len() > MAX_TARGETS {
            return Err(DirectoryError::Refused(format!(
                "an account forwards to at most {MAX_TARGETS} addresses"
            )));
        }
        let mut targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        targets.sort();
        targets.dedup();
        found(self.database.set_keeps_copy(&name, forwarding.keeps_copy)?, &name)?;
        self.database.set_forwards(&name, &targets)
    }
}
