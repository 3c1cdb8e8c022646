use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use mail_types::Domain;
use tracing::{info, warn};

use crate::database::Reports;
use crate::received::{Complaint, Content, MAX_MESSAGE, Received};
use crate::{Obey, ProvenComplaint, ReportError, database};

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
    /// Opens the folder, and starts the thread that reads what comes into it, and what is left there, into the database. `obey` hears of
    /// complaints of which it is proven who makes them.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn open(
        folder: &Path,
        database: &Path,
        obey: Option<Box<dyn Obey>>,
    ) -> Result<Arc<Self>, ReportError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io_error("making the folder", folder))?;
        let reports = Reports::open(database)?;
        let (something, waiting) = channel();
        let reader = Reader { folder: folder.to_owned(), reports, obey };
        let thread = std::thread::Builder::new().name("reports".to_owned());
        thread
            .spawn(move || reader.run(&waiting))
            .map_err(io_error("starting the thread that reads", folder))?;
        Ok(Arc::new(Self { folder: folder.to_owned(), something }))
    }

    /// Keeps a message, which is a complete file, under a name of its own. `reporter` is the domain of its From field, where it is proven to be
    /// from there.
    ///
    /// # Errors
    /// [`ReportError::Io`].
    pub fn keep(
        self: &Arc<Self>,
        file: &Path,
        name: &str,
        reporter: Option<&Domain>,
    ) -> Result<Kept, ReportError> {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let mut name: String = name.chars().map(plain).collect();
        if let Some(reporter) = reporter {
            name.push_str(REPORTER);
            name.push_str(&reporter.to_ascii().replace('.', DOT));
        }
        // Until it is to be read, nobody looks at it.
        let path = self.folder.join(name).with_extension(UNREADY);
        if fs::hard_link(file, &path).is_err() {
            fs::copy(file, &path).map(drop).map_err(io_error("copying to", &path))?;
        }
        Ok(Kept { path: Some(path), inbox: Arc::clone(self) })
    }
}

/// When what could not be read is tried again.
const TROUBLE: Duration = Duration::from_secs(60);
/// The extension of files that are not to be read.
const UNREADY: &str = "unready";
/// Behind it, the name of a file has the domain that is proven to have sent the message; in it, a comma for each dot: a name with a dot is that
/// of a file that is not to be read.
const REPORTER: &str = "=";
const DOT: &str = ",";

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
    obey: Option<Box<dyn Obey>>,
}

impl Reader {
    fn run(self, something: &Receiver<()>) {
        loop {
            let read = self.read_all();
            let woken = match read {
                Ok(()) => something.recv().map_err(RecvTimeoutError::from),
                Err(error) => {
                    warn!(%error, "reports that came can't be read");
                    something.recv_timeout(TROUBLE)
                }
            };
            if woken == Err(RecvTimeoutError::Disconnected) {
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
        match self.take(&message, reporter(path).as_ref()) {
            Ok(()) | Err(ReportError::NoReport(_)) => {}
            Err(error) => return Err(error),
        }
        fs::remove_file(path).map_err(io_error("removing", path))
    }

    /// Reads a message into the database, and has it obeyed if it is a complaint.
    fn take(&self, message: &[u8], reporter: Option<&Domain>) -> Result<(), ReportError> {
        let is_too_big = u64::try_from(message.len()).is_ok_and(|size| size > MAX_MESSAGE);
        let parsed = if is_too_big {
            Err(ReportError::NoReport(format!("the message has more than {} MiB", MAX_MESSAGE >> 20)))
        } else {
            Received::parse(message)
        };
        let received =
            parsed.inspect_err(|why| warn!(%why, "mail to an address for reports is no report"))?;
        // Before it is in the table: done a second time, this does no harm, and a second line there would.
        if let (Content::Complaint(complaint), Some(reporter), Some(obey)) =
            (&received.content, reporter, &self.obey)
            && let Some(proven) = complaint.proven(reporter)
        {
            obey.obey(&proven).map_err(ReportError::Obeying)?;
        }
        let kind = database::kind(&received.content);
        if self.reports.add(&received)? {
            info!(kind, organization = received.organization, id = received.report_id, "a report came");
        } else {
            info!(kind, organization = received.organization, id = received.report_id, "a report came again");
        }
        Ok(())
    }
}

/// Who is proven to have sent the message in this file.
fn reporter(path: &Path) -> Option<Domain> {
    let (_, reporter) = path.file_name()?.to_str()?.split_once(REPORTER)?;
    reporter.replace(DOT, ".").parse().ok()
}

impl Complaint {
    /// The same, made by `reporter`; `None` if it does not say about which message.
    fn proven(&self, reporter: &Domain) -> Option<ProvenComplaint> {
        Some(ProvenComplaint {
            reporter: reporter.clone(),
            kind: self.kind,
            recipient: self.recipient.parse().ok(),
            message_id: format!("<{}>", self.message_id.as_ref()?),
        })
    }
}

fn io_error(context: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReportError {
    let path = path.to_owned();
    move |source| ReportError::Io { context, path, source }
}
