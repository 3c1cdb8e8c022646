use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crc32fast::Hasher;
use jiff::Timestamp;

use crate::database::NewMessage;
use crate::step::Step;
use crate::{Envelope, Queue, QueueError, QueueId, step};

/// Octets up to which a message lies in the database.
const SMALL: usize = 64 * 1024;

/// A message on its way into the queue. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct QueueWriter {
    queue: Arc<Queue>,
    id: QueueId,
    path: PathBuf,
    octets: Octets,
}

#[derive(Debug)]
enum Octets {
    /// As long as it is small.
    Memory(Vec<u8>),
    /// And the checksum of what was written.
    File(NewFile, BufWriter<File>, Hasher),
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
        checksum: Option<u32>,
        envelope: &Envelope,
    ) -> Result<NewMessage, QueueError> {
        let size = file.metadata().map_err(QueueError::io("reading the size of", &self.path))?.len();
        let message = NewMessage::new(self.id.clone(), (size, checksum), None, envelope)?;
        step::reached(Step::FileWritten);
        file.sync_all().map_err(QueueError::io("syncing", &self.path))?;
        step::reached(Step::FileFlushed);
        queue.sync_messages()?;
        step::reached(Step::FolderFlushed);
        self.kept = true;
        Ok(message)
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

impl NewMessage {
    /// One that needs no file.
    pub(crate) fn in_memory(id: QueueId, octets: Bytes, envelope: &Envelope) -> Result<Self, QueueError> {
        let checksum = crc32fast::hash(&octets);
        Self::new(id, (octets.len() as u64, Some(checksum)), Some(octets), envelope)
    }

    fn new(
        id: QueueId,
        (size, checksum): (u64, Option<u32>),
        content: Option<Bytes>,
        envelope: &Envelope,
    ) -> Result<Self, QueueError> {
        if envelope.recipients.is_empty() {
            return Err(QueueError::NoRecipients);
        }
        let (envelope, arrived) = (envelope.clone(), Timestamp::now());
        let first_attempt = envelope.handling.release.unwrap_or(arrived).max(arrived);
        Ok(Self { id, envelope, size, checksum, content, arrived, first_attempt })
    }
}

impl Write for QueueWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.octets {
            Octets::Memory(octets) if octets.len() + data.len() <= SMALL => octets.write(data),
            Octets::Memory(_) => {
                self.spill()?;
                self.write(data)
            }
            Octets::File(_, writer, checksum) => {
                self.queue.room.admit_mail(data.len() as u64)?;
                let length = writer.write(data)?;
                checksum.update(data.get(..length).unwrap_or_default());
                Ok(length)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.octets {
            Octets::Memory(_) => Ok(()),
            Octets::File(_, writer, _) => writer.flush(),
        }
    }
}

impl QueueWriter {
    pub(crate) const fn new(queue: Arc<Queue>, id: QueueId, path: PathBuf) -> Self {
        Self { queue, id, path, octets: Octets::Memory(Vec::new()) }
    }

    /// Goes over to a file.
    fn spill(&mut self) -> io::Result<()> {
        self.queue.room.admit_mail(SMALL as u64)?;
        let file = self.queue.new_file(&self.path)?;
        step::reached(Step::FileMade);
        let new = NewFile::new(self.id.clone(), self.path.clone());
        let (mut writer, mut checksum) = (BufWriter::with_capacity(SMALL, file), Hasher::new());
        if let Octets::Memory(octets) = &self.octets {
            writer.write_all(octets)?;
            checksum.update(octets);
        }
        self.octets = Octets::File(new, writer, checksum);
        Ok(())
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
        &self.id
    }

    pub(crate) fn write_message(&mut self, message: &[u8]) -> Result<(), QueueError> {
        self.write_all(message).map_err(QueueError::io("writing", &self.path))
    }

    /// Makes the file durable if there is one, for a row to be written together with others.
    pub(crate) fn persist(self, envelope: &Envelope) -> Result<NewMessage, QueueError> {
        match self.octets {
            Octets::Memory(octets) => NewMessage::in_memory(self.id, octets.into(), envelope),
            Octets::File(file, writer, checksum) => {
                let failed = QueueError::io("writing", &self.path);
                let handle = writer.into_inner().map_err(|error| failed(error.into_error()))?;
                file.persist(&self.queue, &handle, Some(checksum.finalize()), envelope)
            }
        }
    }
}
