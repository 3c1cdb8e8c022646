//! Whose mail is refused: for everybody here, or for one account.

use mail_types::{Address, AddressPattern};

use crate::{Directory, DirectoryError, found, parse};

/// Under this name stands what everybody refuses.
const ALL: &str = "";

/// A sender that is refused. A domain stands for those below it as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who refuses it; everybody when `None`.
    pub account: Option<Address>,
    /// Whose mail is refused.
    pub sender: AddressPattern,
}

impl Directory {
    /// All refusals, those of everybody first.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn refusals(&self) -> Result<Vec<Refusal>, DirectoryError> {
        let stored = self.database.refusals()?.into_iter();
        let refusal = |(account, sender): (String, String)| {
            let account = if account == ALL { None } else { Some(parse(&account)?) };
            Some(Refusal { account, sender: parse(&sender)? })
        };
        Ok(stored.filter_map(refusal).collect())
    }

    /// Has mail of a sender refused, from now on.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`], [`DirectoryError::NotFound`] for the account, [`DirectoryError::Database`].
    pub fn refuse(&self, refusal: &Refusal) -> Result<(), DirectoryError> {
        let (account, sender) = stored(refusal);
        if account != ALL {
            found(self.database.is_account(&account)?, &account)?;
        }
        let added = self.database.add_refusal(&account, &sender)?;
        if added { Ok(()) } else { Err(DirectoryError::Exists(format!("the refusal of {sender}"))) }
    }

    /// Takes mail of a sender again.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn stop_refusing(&self, refusal: &Refusal) -> Result<(), DirectoryError> {
        let (account, sender) = stored(refusal);
        let removed = self.database.remove_refusal(&account, &sender)?;
        found(removed, &format!("the refusal of {sender}"))
    }

    /// True if `account`, or everybody when `None`, refuses mail of `sender`. Nobody refuses `<>`.
    pub(crate) fn refuses(
        &self,
        account: Option<&Address>,
        sender: Option<&Address>,
    ) -> Result<bool, DirectoryError> {
        let Some(sender) = sender else { return Ok(false) };
        let account = account.map_or_else(|| ALL.to_owned(), ToString::to_string);
        self.database.refuses(&account, &names(sender))
    }
}

fn stored(Refusal { account, sender }: &Refusal) -> (String, String) {
    let account = account.as_ref().map_or_else(|| ALL.to_owned(), |it| it.to_lowercase().to_string());
    (account, sender.to_lowercase().to_string())
}

/// What a sender may be refused by: itself, its domain, and those above that.
fn names(sender: &Address) -> Vec<String> {
    let mut names = vec![sender.to_lowercase().to_string()];
    let mut domain = Some(sender.domain().as_str());
    while let Some(here) = domain {
        names.push(format!("@{here}"));
        domain = here.split_once('.').map(|(_, above)| above).filter(|_| !sender.domain().is_literal());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_refused_by_its_address_and_by_every_domain_that_it_is_in() {
        let names = |text: &str| names(&text.parse().unwrap()).join(" ");
        assert_eq!(names("Eve@a.Example.net"), "eve@a.example.net @a.example.net @example.net @net");
        assert_eq!(names("eve@[192.0.2.1]"), "eve@[192.0.2.1] @[192.0.2.1]");
    }
}
