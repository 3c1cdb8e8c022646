use std::io::ErrorKind;
use std::path::PathBuf;

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
    /// The message is not, or no longer, in the queue.
    #[error("there is no message {0} in the queue")]
    NoSuchMessage(QueueId),
}

impl QueueError {
    /// There is no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            }
            Self::Database { source, .. } => source.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Self::NewerFormat { .. } | Self::NoRecipients | Self::NoSuchMessage(_) => false,
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(context: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { context, path, source }
    }
}
