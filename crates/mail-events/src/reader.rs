use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use crate::segment::list;
use crate::{Entry, EventError};

/// Octets read at once.
const BLOCK: usize = 256 << 10;

/// Reads the log, whether or not servers write to it. What was torn, by a kill or a power loss, is passed over. All calls block.
#[derive(Debug, Clone)]
pub struct Reader {
    segments: Vec<PathBuf>,
}

impl Reader {
    /// Of the log in this folder; one that is not there is empty.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn open(folder: &Path) -> Result<Self, EventError> {
        Ok(Self { segments: list(folder)? })
    }

    /// The same without what was written before `since` only.
    #[must_use]
    pub fn since(mut self, since: Timestamp) -> Self {
        let since = SystemTime::from(since);
        let is_older =
            |path: &PathBuf| path.metadata().and_then(|it| it.modified()).is_ok_and(|it| it < since);
        self.segments.retain(|path| !is_older(path));
        self
    }

    /// Shows every event, those of each process in their order.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn each(&self, mut see: impl FnMut(Entry)) -> Result<(), EventError> {
        self.lines(|line| {
            if let Ok(entry) = serde_json::from_slice(line) {
                see(entry);
            }
        })
    }

    /// Shows every line without its end. One that is being written, or was cut off, is shown as it is.
    pub(crate) fn lines(&self, mut see: impl FnMut(&[u8])) -> Result<(), EventError> {
        for path in &self.segments {
            let file = match File::open(path) {
                Ok(file) => file,
                // The writers have removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(EventError::io("opening", path)(error)),
            };
            let mut file = BufReader::with_capacity(BLOCK, file);
            let mut line = Vec::new();
            while file.read_until(b'\n', &mut line).map_err(EventError::io("reading", path))? > 0 {
                see(line.strip_suffix(b"\n").unwrap_or(&line));
                line.clear();
            }
        }
        Ok(())
    }
}
