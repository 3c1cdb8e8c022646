use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mail_types::{MailboxName, MailboxNameError, Uid};

use crate::index::is_full;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system failed. Nothing was acknowledged, nothing was deleted; a later try may succeed.
    #[error("{context} {path}: {source}")]
    Io {
        /// What was being done, "renaming" for one.
        context: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The index failed; it is rebuilt at the next open.
    #[error("the index {path} failed: {source}")]
    Index {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// There is no such mailbox.
    #[error("the mailbox {0} does not exist")]
    NoSuchMailbox(MailboxName),
    /// The mailbox is there already.
    #[error("the mailbox {0} exists already")]
    MailboxExists(MailboxName),
    /// It can't be done.
    #[error("{0}")]
    Refused(Refusal),
    /// No mailbox can have this name.
    #[error("{0}")]
    Name(MailboxNameError),
    /// The message was expunged, by us or by another program.
    #[error("the message with UID {0} is gone")]
    MessageGone(Uid),
    /// The account holds as much as it may.
    #[error("the mailbox is full: its quota is reached")]
    OverQuota,
    /// The mailbox, or the server, has as many annotations of the account as it may.
    #[error("there are as many annotations as there may be")]
    TooManyAnnotations,
    /// UIDs or mod-sequences have run out.
    #[error("the mailbox {0} has no numbers left")]
    NumbersExhausted(MailboxName),
}

/// What can't be done. The text is meant for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// INBOX is to be deleted.
    #[error("INBOX can't be deleted")]
    Inbox,
    /// A mailbox is to be moved below itself, or into the place of INBOX.
    #[error("a mailbox can't be moved to this name")]
    Name,
    /// A delivery is for nobody.
    #[error("a delivery needs a recipient")]
    NoRecipient,
    /// Messages are to be moved or copied out of their account.
    #[error("messages can't be moved or copied to another account")]
    OtherAccount,
}

/// Names what was being done when the file system failed.
pub(crate) trait IoContext<T> {
    fn context(self, context: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn context(self, context: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { context, path: path.to_owned(), source })
    }
}

impl StoreError {
    /// There is no room left on the disk, or only what mail leaves free.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => disk_room::is_full(source),
            Self::Index { source, .. } => is_full(source),
            Self::NoSuchMailbox(_)
            | Self::MailboxExists(_)
            | Self::Refused(_)
            | Self::Name(_)
            | Self::MessageGone(_)
            | Self::OverQuota
            | Self::TooManyAnnotations
            | Self::NumbersExhausted(_) => false,
        }
    }

    /// True if a file's content is at fault.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::InvalidData)
    }

    /// True if a file was to be renamed to another file system.
    pub(crate) fn is_of_other_device(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::CrossesDevices)
    }

    /// True if a file or folder was not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}
