//! Notes of the deliveries under way, from which is known what a process that was killed had placed and not acknowledged.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::withdraw;
use crate::account::create_home;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::names;

/// The folder of the notes, below that of all mail; no domain's folder begins with a dot.
const FOLDER: &str = ".deliveries";
/// How a note begins.
const OPEN: &[u8] = b"1";
const CLOSED: &[u8] = b"0";

/// The notes of this process. They are kept for later deliveries, so that one costs two short writes to a file that is in
/// memory; none waits for the disk, since a note need not outlive the machine.
#[derive(Debug)]
pub(crate) struct Notes {
    mail_dir: PathBuf,
    free: Mutex<Vec<Slot>>,
}

/// A file that this process has locked as long as it lives.
#[derive(Debug)]
struct Slot {
    path: PathBuf,
    file: File,
}

impl Drop for Slot {
    fn drop(&mut self) {
        disk::discard(&self.path);
    }
}

/// That a message is being placed. To be closed before anybody hears that it is there.
#[derive(Debug)]
pub(super) struct Note {
    notes: Arc<Notes>,
    slot: Option<Slot>,
}

impl Notes {
    /// Takes back what processes that died had placed, see [`Note`].
    pub(crate) fn open(mail_dir: &Path) -> Arc<Self> {
        let notes = Self { mail_dir: mail_dir.to_owned(), free: Mutex::default() };
        if let Err(error) = notes.sweep() {
            tracing::warn!(%error, "what a process that died had placed may be delivered twice");
        }
        Arc::new(notes)
    }

    /// Notes that a message of this name is about to be placed in `new/` of these.
    pub(super) fn begin(self: &Arc<Self>, name: &str, maildirs: &[PathBuf]) -> Note {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let slot = free.map_or_else(|| self.new_slot(), Ok).and_then(|slot| {
            let mut text = format!("0\n{}\n{name}\n", disk::boot_id());
            for maildir in maildirs {
                let below = maildir.strip_prefix(&self.mail_dir).unwrap_or(maildir);
                text.push_str(&format!("{}\n", below.display()));
            }
            text.push('\n');
            disk::overwrite(&slot.file, &slot.path, text.as_bytes())?;
            disk::overwrite(&slot.file, &slot.path, OPEN)?;
            Ok(slot)
        });
        let slot =
            slot.inspect_err(|error| tracing::debug!(%error, "a delivery goes on without a note")).ok();
        Note { notes: Arc::clone(self), slot }
    }

    /// Makes the folders of the account that this is the Maildir of.
    pub(super) fn make_home(&self, maildir: &Path) -> Result<(), StoreError> {
        maildir.parent().map_or(Ok(()), |home| create_home(&self.mail_dir, home))
    }

    fn new_slot(&self) -> Result<Slot, StoreError> {
        let folder = self.mail_dir.join(FOLDER);
        disk::create_dir(&folder)?;
        let path = folder.join(names::unique());
        let file = disk::create_new(&path)?.into_file();
        flock(&file, FlockOperation::LockExclusive)
            .map_err(std::io::Error::from)
            .context("locking", &path)?;
        Ok(Slot { path, file })
    }

    fn sweep(&self) -> Result<(), StoreError> {
        let folder = self.mail_dir.join(FOLDER);
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.context("reading the folder", &folder)?,
        };
        for entry in entries {
            let path = entry.context("reading the folder", &folder)?.path();
            let file = match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue, // another one was faster
                file => file.context("opening", &path)?,
            };
            // Only of a process that is gone.
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                self.take_back(&Slot { path, file })?;
            }
        }
        Ok(())
    }

    /// After a crash of the machine it can't be known what was acknowledged, and all stays.
    fn take_back(&self, slot: &Slot) -> Result<(), StoreError> {
        let text = std::fs::read_to_string(&slot.path).context("reading", &slot.path)?;
        let mut lines = text.split('\n');
        let is_open = lines.next().map(str::as_bytes) == Some(OPEN) && lines.next() == Some(disk::boot_id());
        let Some(name) = lines.next().filter(|name| is_open && !name.is_empty()) else { return Ok(()) };
        for maildir in lines.take_while(|it| !it.is_empty()).map(|it| self.mail_dir.join(it)) {
            tracing::info!(name, maildir = %maildir.display(), "a delivery that was cut short is taken back");
            withdraw(&maildir, name);
        }
        Ok(())
    }
}

impl Note {
    /// Notes that the message is there for good, or nowhere.
    pub(super) fn close(mut self) -> Result<(), StoreError> {
        let Some(slot) = self.slot.take() else { return Ok(()) };
        if let Err(error) = disk::overwrite(&slot.file, &slot.path, CLOSED) {
            // Without the file nobody takes the message back either; with it the message must go.
            return disk::remove(&slot.path).map_err(|_| error);
        }
        self.notes.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        Ok(())
    }
}
