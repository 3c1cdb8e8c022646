use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::QueueId;

/// What went wrong in the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The file system failed.
    #[error("{context} {path}: {source}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the queue {path} failed: {source}")]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Somebody took the database away from processes that have it open. They put back what they know of it; nobody else can.
    #[error(
        "somebody removed or replaced {path}, its -wal or -shm, and who has it open has not put it back yet: {from}; see the log, or end it if it hangs"
    )]
    TakenAway {
        /// The database.
        path: PathBuf,
        /// Who has it open, as far as that is known.
        from: String,
    },
    /// The database must be made anew, and can't be: it is tried again after a while.
    #[error("the queue's database must be made anew, and can't be: {0}")]
    Unrenewed(Arc<Self>),
    /// The database was written by a newer Mailstead.
    #[error("the queue {path} has format {found}, newer than this program knows: run the newer version")]
    NewerFormat {
        /// The database.
        path: PathBuf,
        /// The format found.
        found: i64,
    },
    /// A message was to be queued for nobody.
    #[error("a queued message needs at least one recipient")]
    NoRecipients,
    /// A message is not as long as it was.
    #[error("message {id} is damaged: it has {found} octets instead of {size}")]
    Damaged {
        /// Its name.
        id: QueueId,
        /// Octets that there are.
        found: u64,
        /// Octets that there were.
        size: u64,
    },
    /// A message has other octets than when it was queued.
    #[error("message {id} is damaged: its text is not what was queued")]
    Altered {
        /// Its name.
        id: QueueId,
    },
    /// The message is not, or no longer, in the queue.
    #[error("there is no message {0} in the queue")]
    NoSuchMessage(QueueId),
}

impl QueueError {
    /// There is no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => disk_room::is_full(source),
            Self::Database { source, .. } => source.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Self::Unrenewed(why) => why.is_full(),
            Self::TakenAway { .. }
            | Self::NewerFormat { .. }
            | Self::NoRecipients
            | Self::Damaged { .. }
            | Self::Altered { .. }
            | Self::NoSuchMessage(_) => false,
        }
    }

    /// What was to be read of a message is there, but makes no sense.
    pub(crate) fn is_damage(&self) -> bool {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
        };
        let Self::Database { source, .. } = self else {
            return matches!(self, Self::Damaged { .. } | Self::Altered { .. });
        };
        matches!(
            source,
            FromSqlConversionFailure(..)
                | IntegralValueOutOfRange(..)
                | InvalidColumnType(..)
                | Utf8Error(..)
        )
    }

    /// The database as a whole is damaged, not what a row says.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Database { source, .. } if whole_file::is_damage(source))
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(context: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { context, path, source }
    }
}
