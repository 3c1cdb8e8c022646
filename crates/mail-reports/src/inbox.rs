use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tracing::{info, warn};

use crate::database::Reports;
use crate::received::{MAX_MESSAGE, Received};
use crate::{ReportError, database};

/// Messages with reports, kept until they are read. All calls block but [`Kept::read_soon`].
#[derive(Debug)]
pub struct Inbox {
    folder: PathBuf,
    something: Sender<()>,
}

/// A message that is kept. Dropped, it is no longer.
#[derive(Debug)]
pub struct Kept {
    path: Option<PathBuf>,
    inbox: Arc<Inbox>,
}

impl Inbox {
    /// Opens the folder, and starts the thread that reads what comes into it, and what is left there, into the database.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn open(folder: &Path, database: &Path) -> Result<Arc<Self>, ReportError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io_error("making the folder", folder))?;
        let reports = Reports::open(database)?;
        let (something, waiting) = channel();
        let reader = Reader { folder: folder.to_owned(), reports };
        let thread = std::thread::Builder::new().name("reports".to_owned());
        thread
            .spawn(move || reader.run(&waiting))
            .map_err(io_error("starting the thread that reads", folder))?;
        Ok(Arc::new(Self { folder: folder.to_owned(), something }))
    }

    /// Keeps a message, which is a complete file, under a name of its own.
    ///
    /// # Errors
    /// [`ReportError::Io`].
    pub fn keep(self: &Arc<Self>, file: &Path, name: &str) -> Result<Kept, ReportError> {
        // Until it is to be read, nobody looks at it.
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = name.chars().map(plain).collect();
        let path = self.folder.join(name).with_extension(UNREADY);
        if fs::hard_link(file, &path).is_err() {
            fs::copy(file, &path).map(drop).map_err(io_error("copying to", &path))?;
        }
        Ok(Kept { path: Some(path), inbox: Arc::clone(self) })
    }
}

/// The extension of files that are not to be read.
const UNREADY: &str = "unready";

impl Kept {
    /// Has it read beside the work.
    pub fn read_soon(mut self) {
        let Some(path) = self.path.take() else { return };
        match fs::rename(&path, path.with_extension("")) {
            // The thread ends with the process only.
            Ok(()) => drop(self.inbox.something.send(())),
            Err(error) => warn!(path = %path.display(), %error, "a message with a report can't be read"),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
        {
            warn!(path = %path.display(), %error, "a file can't be removed");
        }
    }
}

/// What the thread has.
#[derive(Debug)]
struct Reader {
    folder: PathBuf,
    reports: Reports,
}

impl Reader {
    fn run(self, something: &Receiver<()>) {
        loop {
            if let Err(error) = self.read_all() {
                warn!(%error, "reports that came can't be read");
            }
            if something.recv().is_err() {
                return;
            }
            // What came meanwhile is read together.
            while something.try_recv().is_ok() {}
        }
    }

    fn read_all(&self) -> Result<(), ReportError> {
        for entry in fs::read_dir(&self.folder).map_err(io_error("reading", &self.folder))? {
            let path = entry.map_err(io_error("reading", &self.folder))?.path();
            if path.extension().is_none() {
                self.read(&path)?;
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<(), ReportError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("opening", path)(error)),
        };
        // Another process, which takes over from this one or from which this one does, may have it in hand.
        if file.try_lock().is_err() {
            return Ok(());
        }
        let mut message = Vec::new();
        file.take(MAX_MESSAGE + 1).read_to_end(&mut message).map_err(io_error("reading", path))?;
        match take(&self.reports, &message) {
            Ok(()) | Err(ReportError::NoReport(_)) => {}
            Err(error) => return Err(error),
        }
        fs::remove_file(path).map_err(io_error("removing", path))
    }
}

/// Reads a message into the database.
fn take(reports: &Reports, message: &[u8]) -> Result<(), ReportError> {
    let is_too_big = u64::try_from(message.len()).is_ok_and(|size| size > MAX_MESSAGE);
    let parsed = if is_too_big {
        Err(ReportError::NoReport(format!("the message has more than {} MiB", MAX_MESSAGE >> 20)))
    } else {
        Received::parse(message)
    };
    let received = parsed.inspect_err(|why| warn!(%why, "mail to an address for reports is no report"))?;
    let kind = database::kind(&received.content);
    if reports.add(&received)? {
        info!(kind, organization = received.organization, id = received.report_id, "a report came");
    } else {
        info!(kind, organization = received.organization, id = received.report_id, "a report came again");
    }
    Ok(())
}

fn io_error(context: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReportError {
    let path = path.to_owned();
    move |source| ReportError::Io { context, path, source }
}
