use mail_types::{Address, Quota};

use crate::{Directory, DirectoryError, found};

/// How much of something an account may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Limit {
    /// What the config says for all.
    #[default]
    Default,
    /// As much as it likes.
    Unlimited,
    /// So much.
    AtMost(u64),
}

/// How much mail an account may hold, as it was set for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaSetting {
    /// Octets of all messages.
    pub storage: Limit,
    /// Messages.
    pub messages: Limit,
}

impl QuotaSetting {
    pub(crate) fn from_stored((storage, messages): (Option<i64>, Option<i64>)) -> Self {
        Self { storage: Limit::from_stored(storage), messages: Limit::from_stored(messages) }
    }

    /// What holds for the account, `default` being the config's quota.
    #[must_use]
    pub const fn resolve(&self, default: Quota) -> Quota {
        Quota { storage: self.storage.or(default.storage), messages: self.messages.or(default.messages) }
    }
}

impl Limit {
    const fn or(self, default: Option<u64>) -> Option<u64> {
        match self {
            Self::Default => default,
            Self::Unlimited => None,
            Self::AtMost(limit) => Some(limit),
        }
    }

    fn from_stored(stored: Option<i64>) -> Self {
        stored.map_or(Self::Default, |number| u64::try_from(number).map_or(Self::Unlimited, Self::AtMost))
    }

    /// Null for the default, -1 for no limit.
    fn stored(self) -> Option<i64> {
        match self {
            Self::Default => None,
            Self::Unlimited => Some(-1),
            Self::AtMost(limit) => Some(i64::try_from(limit).unwrap_or(i64::MAX)),
        }
    }
}

impl Directory {
    /// What was set for an account.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn quota_setting(&self, account: &Address) -> Result<QuotaSetting, DirectoryError> {
        let name = account.to_lowercase().to_string();
        let row = self.moment()?.account(&name)?.ok_or(DirectoryError::NotFound(name))?;
        Ok(QuotaSetting::from_stored(row.quota))
    }

    /// Sets what an account may hold; servers that run see it at once.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn set_quota(&self, account: &Address, setting: QuotaSetting) -> Result<(), DirectoryError> {
        let name = account.to_lowercase().to_string();
        found(self.database.set_quota(&name, setting.storage.stored(), setting.messages.stored())?, &name)
    }

    /// How much an account may hold, `default` being the config's quota. An account that is gone may hold that.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn quota(&self, account: &Address, default: Quota) -> Result<Quota, DirectoryError> {
        self.moment()?.quota(account, default)
    }
}
