//! The durable outbound queue: what authenticated senders and aliases send elsewhere.
//!
//! The database and message files lie in the queue's folder. `smtp` processes add to it, one `queue` process delivers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail_types::Address;

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
}

/// Where a message goes and whom a bounce tells.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// `None` for `<>`: never bounced.
    pub sender: Option<Address>,
    /// At least one.
    pub recipients: Vec<Address>,
    /// The message needs SMTPUTF8 (RFC 6531) on its way.
    pub smtputf8: bool,
    /// The message holds octets above 127 (BODY=8BITMIME).
    pub eight_bit: bool,
}

/// An open queue. All calls block.
#[derive(Debug)]
pub struct Queue {
    // QUEUE
}

impl Queue {
    /// Opens the queue in `folder`, making it when it does not exist.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn open(folder: &Path) -> Result<Arc<Self>, QueueError> {
        let _ = folder;
        todo!("QUEUE")
    }

    /// Starts to add a message. Dropped uncommitted, it leaves nothing.
    ///
    /// # Errors
    /// [`QueueError::Io`].
    pub fn add(self: &Arc<Self>) -> Result<QueueWriter, QueueError> {
        todo!("QUEUE")
    }

    /// Adds a message that is a complete file already, by a hard link where that is possible, else by a copy.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn add_file(self: &Arc<Self>, path: &Path, envelope: &Envelope) -> Result<QueueId, QueueError> {
        let _ = (path, envelope);
        todo!("QUEUE")
    }
}

/// The name of a queued message, as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueId(pub String);

/// A message on its way into the queue.
#[derive(Debug)]
pub struct QueueWriter {
    // QUEUE
}

impl std::io::Write for QueueWriter {
    fn write(&mut self, _data: &[u8]) -> std::io::Result<usize> {
        todo!("QUEUE")
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl QueueWriter {
    /// Makes the message durable; from now on it will be delivered or bounced.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn commit(self, envelope: &Envelope) -> Result<QueueId, QueueError> {
        let _ = envelope;
        todo!("QUEUE")
    }
}
