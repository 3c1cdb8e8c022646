//! The access rights of an account's mailboxes.

use mail_types::MailboxName;

use super::Account;
use crate::acl::Acl;
use crate::disk;
use crate::error::StoreError;
use crate::shares;

impl Account {
    /// Who may do what in a mailbox. Of one that doesn't exist nothing is said.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn acl(&self, name: &MailboxName) -> Result<Acl, StoreError> {
        Acl::read(&self.folder(name))
    }

    /// Changes who may do what in a mailbox, durably.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Io`].
    pub fn change_acl(&self, name: &MailboxName, change: impl Fn(&mut Acl)) -> Result<(), StoreError> {
        self.locked(|_| {
            if !self.exists(name)? {
                return Err(StoreError::NoSuchMailbox(name.clone()));
            }
            let before = self.acl(name)?;
            let mut acl = before.clone();
            change(&mut acl);
            if acl != before {
                acl.write(&self.folder(name))?;
            }
            shares::note_change(&self.home)
        })
    }

    /// A new mailbox has the rights of the one above it (RFC 4314 §4), and none that an attempt to make it has left.
    pub(super) fn inherit_acl(&self, name: &MailboxName) -> Result<(), StoreError> {
        let folder = self.folder(name);
        let above = name.parent().map(|parent| self.acl(&parent)).transpose()?.unwrap_or_default();
        if above != Acl::default() {
            return above.write(&folder);
        }
        let left = Acl::path(&folder);
        if left.exists() { disk::remove(&left) } else { Ok(()) }
    }
}
