use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Cursor};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use disk_room::{MinFree, Room};
use jiff::Timestamp;
use mail_types::Usage;
use tokio::task::spawn_blocking;

use crate::change::{self, Meant};
use crate::database::{
    Attempted, Change, Database, NewMessage, Notice, RawText, Recorded, Selection, Writer,
};
use crate::pick::{Due, Further};
use crate::step::Step;
use crate::watch::Watch;
use crate::writer::NewFile;
use crate::{
    Content, Envelope, QueueError, QueueId, QueueWriter, QueuedMessage, Status, Summary, mishap, step,
};

/// An open queue. All calls block. Any number of processes may have it open.
///
/// In its folder lie `queue.sqlite`, which holds small messages too; the files of the others in `messages/`; `wakeup`, an empty file that is
/// touched to tell the deliverer of a change; `queue.turn`, locked by who writes; and `queue.open`, locked by all who have it open.
#[derive(Debug)]
pub struct Queue {
    /// Ended before the rest is closed. `None` of a visitor, who is gone soon.
    watch: Option<Watch>,
    folder: PathBuf,
    messages: PathBuf,
    /// What messages may take of the disk.
    pub(crate) room: Room,
    wakeup: File,
    /// Opened at need.
    writer: OnceLock<Arc<Writer>>,
    /// For what is only read, so that it waits for no flush of the disk.
    reader: Mutex<Database>,
}

impl Queue {
    /// Opens the queue in `folder`, making it when it does not exist. Messages may take all of the disk.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn open(folder: &Path) -> Result<Arc<Self>, QueueError> {
        Self::open_with(folder, MinFree::NOTHING)
    }

    /// As [`Self::open`]; messages that are added leave so much of the disk free, or can't be written, as on one that is full.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(folder: &Path, min_free: MinFree) -> Result<Arc<Self>, QueueError> {
        let mut queue = Self::new(folder, min_free, Database::open)?;
        let writer = Arc::clone(queue.writer()?);
        queue.watch = Some(Watch::begin(writer)?);
        sync_folder(folder)?;
        Ok(Arc::new(queue))
    }

    /// Opens the queue for a look at it, and perhaps a change, as a command does: what servers have open is read without waiting for anybody, and nothing
    /// runs beside that. Makes it when it does not exist.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn visit(folder: &Path) -> Result<Arc<Self>, QueueError> {
        Self::new(folder, MinFree::NOTHING, Database::visit).map(Arc::new)
    }

    fn new(
        folder: &Path,
        min_free: MinFree,
        open: fn(&Path) -> Result<Database, QueueError>,
    ) -> Result<Self, QueueError> {
        let messages = folder.join("messages");
        // These are ours; what is above them is not.
        for ours in [folder, &messages] {
            whole_file::set_aside_unless(ours, fs::Metadata::is_dir);
        }
        make_folder(&messages)?;
        let (wakeup, database) = (folder.join("wakeup"), folder.join("queue.sqlite"));
        whole_file::set_aside_unless(&wakeup, fs::Metadata::is_file);
        let mut options = private_file();
        options.write(true).create(true).truncate(false);
        Ok(Self {
            watch: None,
            wakeup: options.open(&wakeup).map_err(QueueError::io("making", &wakeup))?,
            writer: OnceLock::new(),
            reader: Mutex::new(open(&database)?),
            folder: folder.to_owned(),
            messages,
            room: Room::new(folder.to_owned(), min_free),
        })
    }

    /// Ends what runs beside, after a last look at whether all is in its place. Blocks. To be called before the process ends.
    pub fn close(&self) {
        if let Some(watch) = &self.watch {
            watch.end();
        }
    }

    fn writer(&self) -> Result<&Arc<Writer>, QueueError> {
        if let Some(writer) = self.writer.get() {
            return Ok(writer);
        }
        let opened = Writer::new(Database::open(&self.folder.join("queue.sqlite"))?);
        Ok(self.writer.get_or_init(|| Arc::new(opened)))
    }

    /// Starts to add a message, with CRLF line ends. Dropped uncommitted, it leaves nothing.
    ///
    /// # Errors
    /// [`QueueError::Io`].
    pub fn add(self: &Arc<Self>) -> Result<QueueWriter, QueueError> {
        let (id, path) = self.new_name()?;
        Ok(QueueWriter::new(Arc::clone(self), id, path))
    }

    /// Makes messages durable, all or none, but leaves them alone for `wait`, in which the caller can take them back by [`Self::remove`] or
    /// have them tried by [`Self::retry`].
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn commit_all(
        &self,
        messages: Vec<(QueueWriter, Envelope)>,
        wait: Duration,
    ) -> Result<Vec<QueueId>, QueueError> {
        let mut rows = Vec::with_capacity(messages.len());
        for (writer, envelope) in messages {
            let mut row = writer.persist(&envelope)?;
            row.first_attempt = row.arrived.checked_add(wait).unwrap_or(row.arrived).max(row.first_attempt);
            rows.push(row);
        }
        let in_database = rows.iter().filter_map(|row| row.content.as_ref()).map(|it| it.len() as u64).sum();
        self.room.admit_mail(in_database).map_err(QueueError::io("making room in", &self.folder))?;
        let ids = rows.iter().map(|row| row.id.clone()).collect();
        self.insert_all(rows)?;
        Ok(ids)
    }

    /// Every message in the queue after `after`, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn list(&self, after: Option<&QueueId>, limit: usize) -> Result<Vec<QueuedMessage>, QueueError> {
        self.read(|database| database.list(after, limit))
    }

    /// How many messages after `after` are read, or changed, at once; none where there are none.
    pub(crate) fn page_behind(&self, after: Option<&QueueId>) -> Result<usize, QueueError> {
        let after = RawText::from(after.map_or("", |id| &id.0));
        self.read(|database| database.count_some_behind(&after))
    }

    /// One message; `None` if it is not in the queue.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn show(&self, id: &QueueId) -> Result<Option<QueuedMessage>, QueueError> {
        self.read(|database| database.load(id))
    }

    /// How much is queued.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn summary(&self) -> Result<Summary, QueueError> {
        self.read(Database::summary)
    }

    /// What an account, given as an envelope's origin is, holds back until later than `now` (FUTURERELEASE).
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn held_back(&self, origin: &str, now: Timestamp) -> Result<Usage, QueueError> {
        self.read(|database| database.held_back(origin, now))
    }

    /// What the deliverer has to say of more than one message: what keeps mail waiting, by subject.
    ///
    /// # Errors
    /// [`QueueError::Database`].
    pub fn notices(&self) -> Result<Vec<Notice>, QueueError> {
        let mut notices = self.read(Database::notices)?;
        notices.extend(mishap::notices(&self.folder)?);
        Ok(notices)
    }

    /// Puts these, subject and text, into the place of all notices.
    pub(crate) fn set_notices(&self, notices: &[(String, String)]) -> Result<(), QueueError> {
        self.writer()?.alone().set_notices(notices, Timestamp::now())
    }

    /// A queued message, as it was added.
    ///
    /// # Errors
    /// [`QueueError::NoSuchMessage`], [`QueueError::Io`], [`QueueError::Database`].
    pub fn content(&self, id: &QueueId) -> Result<Content, QueueError> {
        if let Some(octets) = self.read(|database| database.content(id))? {
            return Ok(Content::Memory(Cursor::new(octets)));
        }
        // An operator's word must not become a path.
        if !id.0.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(QueueError::NoSuchMessage(id.clone()));
        }
        let path = self.path(id);
        File::open(&path).map(Content::File).map_err(QueueError::io("opening", path))
    }

    /// Has a message tried at once, whatever its schedule; all of them when `None`. Held messages stay held, those too that
    /// their senders hold back. Tells how
    /// many messages are meant.
    ///
    /// # Errors
    /// [`QueueError::NoSuchMessage`], [`QueueError::Database`].
    pub fn retry(&self, id: Option<&QueueId>) -> Result<usize, QueueError> {
        self.change_selected(id, |database, which| database.retry(which, Timestamp::now()))
    }

    /// Holds a message back from delivery and expiry; all of them when `None`. An attempt under way is finished.
    ///
    /// # Errors
    /// [`QueueError::NoSuchMessage`], [`QueueError::Database`].
    pub fn hold(&self, id: Option<&QueueId>) -> Result<usize, QueueError> {
        self.change_selected(id, |database, which| database.hold(which, true, Timestamp::now()))
    }

    /// Lets a held message go on, at once; all of them when `None`.
    ///
    /// # Errors
    /// [`QueueError::NoSuchMessage`], [`QueueError::Database`].
    pub fn release(&self, id: Option<&QueueId>) -> Result<usize, QueueError> {
        self.change_selected(id, |database, which| database.hold(which, false, Timestamp::now()))
    }

    /// Removes a message without telling its sender; all of them when `None`. An attempt under way is finished.
    ///
    /// # Errors
    /// [`QueueError::NoSuchMessage`], [`QueueError::Database`].
    pub fn remove(&self, id: Option<&QueueId>) -> Result<usize, QueueError> {
        self.change_selected(id, |database, which| {
            let removed = database.remove(which)?;
            for (id, _) in removed.iter().filter(|(_, has_file)| *has_file) {
                self.remove_file(id);
            }
            Ok(removed.len())
        })
    }

    /// Tells which of the messages were still there.
    pub(crate) fn change_some(
        &self,
        meant: &[Meant],
        change: &change::Change,
        now: Timestamp,
    ) -> Result<Vec<QueueId>, QueueError> {
        let changed = self.writer()?.alone().change(meant, change, now)?;
        for (id, _) in changed.iter().filter(|(_, leaves_file)| *leaves_file) {
            self.remove_file(id);
        }
        self.wake();
        Ok(changed.into_iter().map(|(id, _)| id).collect())
    }

    /// Changes one message, or all, some at a time. Tells how many were meant.
    fn change_selected(
        &self,
        id: Option<&QueueId>,
        change: impl Fn(&mut Database, &Selection) -> Result<usize, QueueError>,
    ) -> Result<usize, QueueError> {
        let Some(id) = id else { return self.change_all(change) };
        let meant = change(&mut self.writer()?.alone(), &Selection::one(id))?;
        if meant == 0 {
            return Err(QueueError::NoSuchMessage(id.clone()));
        }
        self.wake();
        Ok(meant)
    }

    /// What comes meanwhile is changed too.
    fn change_all(
        &self,
        change: impl Fn(&mut Database, &Selection) -> Result<usize, QueueError>,
    ) -> Result<usize, QueueError> {
        let (mut meant, mut after) = (0, RawText::default());
        while let Some(some) = self.read(|database| database.some_behind(&after))? {
            meant += change(&mut self.writer()?.alone(), &some)?;
            self.wake();
            after = some.into_last();
        }
        Ok(meant)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What [`crate::wakeup::Wakeup`] watches.
    pub(crate) fn wakeup_path(&self) -> PathBuf {
        self.folder.join("wakeup")
    }

    pub(crate) fn insert(&self, message: NewMessage) -> Result<QueueId, QueueError> {
        let id = message.id.clone();
        self.insert_all(vec![message])?;
        Ok(id)
    }

    fn insert_all(&self, messages: Vec<NewMessage>) -> Result<(), QueueError> {
        self.writer()?.write(Change::Insert(messages))?;
        self.wake();
        Ok(())
    }

    /// The same message for others, durable as far as it has a file, for a row to be written together with others. What it was when it was queued
    /// first is what it is compared with.
    pub(crate) fn again(
        self: &Arc<Self>,
        QueuedMessage { id, checksum, .. }: &QueuedMessage,
        envelope: &Envelope,
    ) -> Result<NewMessage, QueueError> {
        let (name, path) = self.new_name()?;
        match self.content(id)? {
            Content::Memory(octets) => {
                let again = NewMessage::in_memory(name, octets.into_inner(), envelope)?;
                Ok(NewMessage { checksum: *checksum, ..again })
            }
            Content::File(handle) => {
                let file = NewFile::new(name, path.clone());
                fs::hard_link(self.path(id), &path).map_err(QueueError::io("linking", &path))?;
                file.persist(self, &handle, *checksum, envelope)
            }
        }
    }

    /// True if all that is left of a message is who was to get it.
    pub(crate) fn lacks_row(&self, id: &QueueId) -> Result<bool, QueueError> {
        self.read(|database| database.lacks_row(id))
    }

    /// See [`Database::due`]. Where that finds the database damaged it fails, since what was offered must not be offered again: the next look, which
    /// comes at once, finds all.
    pub(crate) fn due(
        &self,
        now: Timestamp,
        mut offer: impl FnMut(Option<&Due<'_>>) -> Further,
    ) -> Result<Option<Timestamp>, QueueError> {
        let found = self.reader().read_once(|database| database.due(now, &mut offer));
        if found.as_ref().is_err_and(QueueError::is_loss) {
            self.wake();
        }
        found
    }

    /// Records an attempt and queues what came of it; [`Self::wake`] has that tried. A message that is done is gone.
    pub(crate) async fn record(self: &Arc<Self>, attempted: &Arc<Attempted>) -> Result<Recorded, QueueError> {
        let writer = Arc::clone(self.writer()?);
        let recorded = writer.written(Change::Record(Arc::clone(attempted))).await?;
        step::reached(Step::Recorded);
        let offspring = &attempted.offspring;
        let finished: Vec<QueueId> = match recorded {
            Recorded::Kept | Recorded::Finished { has_file: false } => Vec::new(),
            Recorded::Finished { has_file: true } => vec![attempted.id.clone()],
            Recorded::Gone => {
                offspring.iter().filter(|it| it.content.is_none()).map(|it| it.id.clone()).collect()
            }
        };
        if !finished.is_empty() {
            let this = Arc::clone(self);
            // Should it not come to that, they are swept.
            tokio::spawn(async move {
                // A message whose row came back after a crash of the machine needs its file.
                writer.flushed().await;
                let removed = spawn_blocking(move || finished.iter().for_each(|id| this.remove_file(id)));
                removed.await.inspect_err(|error| tracing::error!(%error, "files stay in the queue"))
            });
        }
        Ok(recorded)
    }

    /// Has everything tried at once whose last attempt failed with `status`.
    pub(crate) fn retry_status(&self, status: Status) -> Result<usize, QueueError> {
        self.change_all(|database, which| database.retry_status(which, status, Timestamp::now()))
    }

    /// Removes the files that interrupted steps left: without a row and not touched for `grace`. Tells how many. Those that may have lost their row,
    /// and what is no file of ours, stay.
    pub(crate) fn sweep(&self, grace: Duration) -> Result<usize, QueueError> {
        let failed = || QueueError::io("reading", &self.messages);
        let mut swept = 0;
        for entry in fs::read_dir(&self.messages).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let id = QueueId(entry.file_name().to_string_lossy().into_owned());
            if id.moment().is_some() && is_older(&entry, grace) && self.is_stray(&id)? {
                fs::remove_file(entry.path()).map_err(QueueError::io("removing", entry.path()))?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// True if no message needs the file of this name, nor may one after a crash.
    fn is_stray(&self, id: &QueueId) -> Result<bool, QueueError> {
        if self.contains(id)? {
            return Ok(false);
        }
        // That its row is gone may not be on the disk yet. And that the database is damaged may have been found out by asking it.
        self.writer()?.flush()?;
        Ok(!mishap::may_be_known(&self.folder, id)?)
    }

    /// True if the message is queued.
    pub(crate) fn contains(&self, id: &QueueId) -> Result<bool, QueueError> {
        self.read(|database| database.contains(id))
    }

    pub(crate) fn sync_messages(&self) -> Result<(), QueueError> {
        sync_folder(&self.messages)
    }

    /// Makes a message's file, and the folder too where somebody has removed it.
    pub(crate) fn new_file(&self, path: &Path) -> io::Result<File> {
        let make = || private_file().write(true).create_new(true).open(path);
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(&self.messages).map_err(io::Error::other)?;
                make()
            }
            made => made,
        }
    }

    /// Unlinks a file whose row is gone; should it come back after a power loss, it is swept.
    fn remove_file(&self, id: &QueueId) {
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "can't remove the file of a finished message");
        }
        step::reached(Step::FileRemoved);
    }

    fn new_name(&self) -> Result<(QueueId, PathBuf), QueueError> {
        let id = QueueId::new(Timestamp::now()).map_err(|error| {
            QueueError::io("naming a message in", &self.messages)(io::Error::other(error))
        })?;
        let path = self.path(&id);
        Ok((id, path))
    }

    pub(crate) fn path(&self, id: &QueueId) -> PathBuf {
        self.messages.join(&id.0)
    }

    /// Tells the deliverer, in whatever process it is. If that fails it finds out by itself, a little later.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.wakeup.write_all_at(b"\n", 0) {
            tracing::debug!(%error, "can't wake the deliverer");
        }
    }

    fn read<T>(&self, work: impl FnMut(&Database) -> Result<T, QueueError>) -> Result<T, QueueError> {
        self.reader().read(work)
    }

    fn reader(&self) -> MutexGuard<'_, Database> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// By its ctime, which a link renews, too.
fn is_older(entry: &fs::DirEntry, grace: Duration) -> bool {
    let age = |metadata: fs::Metadata| Timestamp::now().as_second().saturating_sub(metadata.ctime());
    let grace = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
    entry.metadata().is_ok_and(|metadata| metadata.is_file() && age(metadata) >= grace)
}

/// Makes `folder` and those above it, durably; those that are there already stay as they are.
fn make_folder(folder: &Path) -> Result<(), QueueError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        // Another process may have been first.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(QueueError::io("making the folder", folder)(error))
        }
        Ok(()) | Err(_) => sync_folder(parent.unwrap_or(Path::new("."))),
    }
}

fn sync_folder(folder: &Path) -> Result<(), QueueError> {
    File::open(folder).and_then(|handle| handle.sync_all()).map_err(QueueError::io("syncing", folder))
}

#[cfg(test)]
mod tests;
