use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::database::NewMessage;
use crate::{Envelope, Queue, QueueError, QueueId};

/// A message on its way into the queue. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct QueueWriter {
    queue: Arc<Queue>,
    file: NewFile,
    writer: BufWriter<File>,
}

/// A file among the messages, removed again unless it is kept.
#[derive(Debug)]
pub(crate) struct NewFile {
    id: QueueId,
    path: PathBuf,
    kept: bool,
}

impl NewFile {
    pub(crate) const fn new(id: QueueId, path: PathBuf) -> Self {
        Self { id, path, kept: false }
    }

    /// Makes the file durable, for a row that is about to be written.
    ///
    /// From here on it is kept even if the row fails: SQLite may find, after a crash, that a commit it gave up on is in its
    /// log. A file without a row is swept later, a row without a file would be a lost message.
    pub(crate) fn persist(
        mut self,
        queue: &Queue,
        file: &File,
        envelope: &Envelope,
    ) -> Result<NewMessage, QueueError> {
        if envelope.recipients.is_empty() {
            return Err(QueueError::NoRecipients);
        }
        let size = file.metadata().map_err(QueueError::io("reading the size of", &self.path))?.len();
        file.sync_all().map_err(QueueError::io("syncing", &self.path))?;
        queue.sync_messages()?;
        self.kept = true;
        let (id, envelope, arrived) = (self.id.clone(), envelope.clone(), Timestamp::now());
        let first_attempt = envelope.handling.release.unwrap_or(arrived).max(arrived);
        Ok(NewMessage { id, envelope, size, arrived, first_attempt })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "can't remove an abandoned queue file");
        }
    }
}

impl Write for QueueWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.writer.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl QueueWriter {
    pub(crate) fn new(queue: Arc<Queue>, file: NewFile, writer: File) -> Self {
        Self { queue, file, writer: BufWriter::with_capacity(64 * 1024, writer) }
    }

    /// Makes the message durable; from now on it will be delivered or bounced.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn commit(self, envelope: &Envelope) -> Result<QueueId, QueueError> {
        let queue = Arc::clone(&self.queue);
        queue.insert(self.persist(envelope)?)
    }

    /// Makes the message durable, but leaves it alone for `wait`, in which the caller can take it back by
    /// [`Queue::remove`] or have it tried by [`Queue::retry`].
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn commit_after(self, envelope: &Envelope, wait: Duration) -> Result<QueueId, QueueError> {
        let queue = Arc::clone(&self.queue);
        let mut message = self.persist(envelope)?;
        message.first_attempt = message.arrived.checked_add(wait).unwrap_or(message.arrived);
        queue.insert(message)
    }

    pub(crate) const fn id(&self) -> &QueueId {
        &self.file.id
    }

    pub(crate) fn write_message(&mut self, message: &[u8]) -> Result<(), QueueError> {
        self.writer.write_all(message).map_err(QueueError::io("writing", &self.file.path))
    }

    /// Makes the file durable, for a row to be written together with others.
    pub(crate) fn persist(self, envelope: &Envelope) -> Result<NewMessage, QueueError> {
        let failed = QueueError::io("writing", &self.file.path);
        let file = self.writer.into_inner().map_err(|error| failed(error.into_error()))?;
        self.file.persist(&self.queue, &file, envelope)
    }
}
