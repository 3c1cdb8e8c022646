use mail_types::{Address, LocalRecipient, Quota};

use crate::database::{AccountRow, AtHand, Inflow, Rows};
use crate::{Directory, DirectoryError, QuotaSetting};

/// The directory as it was when this was made, or newer, for questions that come together: what they ask for again and again is read
/// once, and not again by later moments until some process changes the directory. All calls block.
#[derive(Debug)]
pub struct Moment<'a> {
    pub(crate) directory: &'a Directory,
    rows: Rows<'a>,
}

/// What is in memory of the directory as it is, for a server that must not wait. It says little, but does not block.
#[derive(Debug)]
pub struct InMemory(AtHand);

impl Directory {
    /// Looks whether anything has changed, without waiting for a disk or another process; `None` if that can't be. It locks and reads
    /// what processes share in memory only.
    #[must_use]
    pub fn in_memory(&self) -> Option<InMemory> {
        self.database.rows_at_hand().map(InMemory)
    }

    /// Looks whether anything has changed, for the questions to come at once.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn moment(&self) -> Result<Moment<'_>, DirectoryError> {
        Ok(Moment { directory: self, rows: self.database.rows()? })
    }
}

impl InMemory {
    /// The account of just this address, if mail for it goes there and nowhere else, whoever sends it, and however much there is, `default`
    /// being the config's quota: then it is what [`Moment::resolve`] answers. `None` if it is another case, or not known: ask there.
    #[must_use]
    pub fn plain_account(&self, address: &Address, default: Quota) -> Option<LocalRecipient> {
        let account = address.to_lowercase();
        let row = self.0.account(&account.to_string(), account.domain().as_str())?;
        let Inflow { receives, forwards, may_refuse, .. } = row.inflow;
        let is_limited = QuotaSetting::from_stored(row.quota).resolve(default).is_limited();
        (receives && !forwards && !may_refuse && !is_limited).then(|| account.into())
    }

    /// True if the address is known to be of no domain of ours: then [`Moment::resolve`] answers [`crate::Resolution::Foreign`].
    #[must_use]
    pub fn is_foreign(&self, address: &Address) -> bool {
        self.0.is_foreign(address.domain().as_str())
    }
}

impl Moment<'_> {
    pub(crate) fn is_domain(&self, address: &Address) -> Result<bool, DirectoryError> {
        self.rows.is_domain(address.domain().as_str())
    }

    /// The account of this name, in lower case.
    pub(crate) fn account(&self, name: &str) -> Result<Option<AccountRow>, DirectoryError> {
        self.rows.account(name)
    }

    /// True if nobody here takes mail of `sender`.
    pub(crate) fn everybody_refuses(&self, sender: Option<&Address>) -> Result<bool, DirectoryError> {
        Ok(sender.is_some() && self.rows.does_everybody_refuse()? && self.directory.refuses(None, sender)?)
    }

    /// How much an account may hold, `default` being the config's quota. An account that is gone may hold that.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn quota(&self, account: &Address, default: Quota) -> Result<Quota, DirectoryError> {
        let row = self.account(&account.to_lowercase().to_string())?;
        Ok(row.map_or(default, |row| QuotaSetting::from_stored(row.quota).resolve(default)))
    }

    /// Where mail for the bare `postmaster` goes; `None` as long as there is no domain. RFC 5321 §4.5.1.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn postmaster(&self) -> Result<Option<Address>, DirectoryError> {
        Ok(self.directory.domains()?.into_iter().find_map(|domain| Address::new("postmaster", domain).ok()))
    }
}
