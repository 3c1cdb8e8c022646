//! The file `maildirsize` of Maildir++.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mail_types::Usage;
use rustix::fs::{FlockOperation, flock};

use crate::disk;
use crate::error::{IoContext as _, StoreError};

const NAME: &str = "maildirsize";
/// Beyond so many octets the lines are summed up: the standard's figure.
const LONGEST: u64 = 5120;

/// What the file says: a quota, and the sum of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) quota: String,
    pub(super) usage: Usage,
    /// A line of zeroes says that something was found that nobody had counted.
    pub(super) in_doubt: bool,
}

impl Tally {
    /// `None` if it is none, or was cut short.
    fn parse(text: &str) -> Option<Self> {
        let (quota, lines) = text.strip_suffix('\n')?.split_once('\n')?;
        let (mut sum, mut in_doubt) = ((0_i64, 0_i64), false);
        for line in lines.lines() {
            let (octets, messages) = line.trim().split_once(' ')?;
            let (octets, messages): (i64, i64) = (octets.parse().ok()?, messages.trim().parse().ok()?);
            sum = (sum.0.checked_add(octets)?, sum.1.checked_add(messages)?);
            in_doubt |= (octets, messages) == (0, 0);
        }
        let usage = Usage { storage: sum.0.try_into().ok()?, messages: sum.1.try_into().ok()? };
        // An empty account has one line of zeroes, its first.
        let in_doubt = in_doubt && lines.lines().skip(1).any(|line| line == "0 0");
        Some(Self { quota: quota.to_owned(), usage, in_doubt })
    }
}

/// The file, locked: shared by those who add lines, alone by who replaces it.
#[derive(Debug)]
pub(super) struct SizeFile {
    file: File,
    path: PathBuf,
}

impl SizeFile {
    /// `None` if there is none.
    pub(super) fn open(maildir: &Path, lock: FlockOperation) -> Result<Option<Self>, StoreError> {
        Self::open_with(maildir, lock, false)
    }

    /// Opens it alone, and makes it if need be; `None` if there is no account.
    pub(super) fn create(maildir: &Path) -> Result<Option<Self>, StoreError> {
        Self::open_with(maildir, FlockOperation::LockExclusive, true)
    }

    fn open_with(maildir: &Path, lock: FlockOperation, creates: bool) -> Result<Option<Self>, StoreError> {
        let path = maildir.join(NAME);
        loop {
            let opened = File::options().read(true).append(true).create(creates).mode(0o600).open(&path);
            let file = match opened {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                file => file.context("opening", &path)?,
            };
            flock(&file, lock).map_err(std::io::Error::from).context("locking", &path)?;
            let this = Self { file, path: path.clone() };
            if this.is_current() {
                return Ok(Some(this));
            }
        }
    }

    /// False once another file has its name.
    fn is_current(&self) -> bool {
        let of_path = std::fs::metadata(&self.path);
        of_path.is_ok_and(|path| self.file.metadata().is_ok_and(|open| open.ino() == path.ino()))
    }

    pub(super) fn tally(&self) -> Result<Option<Tally>, StoreError> {
        Ok(disk::read_optional(&self.path)?.and_then(|text| Tally::parse(std::str::from_utf8(&text).ok()?)))
    }

    /// Adds a line. It needn't outlive a crash of the machine, after which all is counted anew.
    pub(super) fn add(&self, octets: i64, messages: i64) -> Result<(), StoreError> {
        if !self.ends_with_a_line().context("reading", &self.path)? {
            return Err(ErrorKind::InvalidData.into()).context("adding to half a line in", &self.path);
        }
        disk::append(&self.file, &self.path, format!("{octets} {messages}\n").as_bytes())
    }

    /// False where a process died in the middle of a line: another one must not go on with it.
    fn ends_with_a_line(&self) -> std::io::Result<bool> {
        let Some(last) = self.file.metadata()?.len().checked_sub(1) else { return Ok(false) };
        let mut end = [0];
        self.file.read_exact_at(&mut end, last)?;
        Ok(end == *b"\n")
    }

    /// Has the file hold only this. To be called by who has it alone.
    pub(super) fn replace(&self, tally: &Tally) -> Result<(), StoreError> {
        let Usage { storage, messages } = tally.usage;
        let doubt = if tally.in_doubt { "0 0\n" } else { "" };
        disk::replace(&self.path, format!("{}\n{storage} {messages}\n{doubt}", tally.quota).as_bytes())
    }

    /// See [`give_up`].
    pub(super) fn give_up(&self, error: &StoreError) {
        give_up(self.path.parent().unwrap_or(Path::new(".")), error);
    }

    /// Sums the lines up when there are many, unless others are at work: then one of them does.
    pub(super) fn close(self) {
        if self.file.metadata().is_ok_and(|data| data.len() > LONGEST)
            && let Err(error) = self.sum_up()
        {
            tracing::warn!(path = %self.path.display(), %error, "the lines can't be summed up now");
        }
    }

    fn sum_up(&self) -> Result<(), StoreError> {
        if flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_err() || !self.is_current() {
            return Ok(());
        }
        self.tally()?.map_or(Ok(()), |tally| self.replace(&tally))
    }
}

/// What can't be counted now is counted anew when it is asked for.
pub(super) fn give_up(maildir: &Path, error: &StoreError) {
    tracing::warn!(maildir = %maildir.display(), %error, "the mail can't be counted now; it is counted anew later");
    disk::discard(&maildir.join(NAME));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_programs_write_is_understood_and_what_was_cut_short_is_not() {
        let usage = |text: &str| Tally::parse(text).map(|tally| (tally.usage.storage, tally.usage.messages));
        assert_eq!(usage("100000S,50C\n1000 2\n-400 -1\n12 1\n"), Some((612, 2)));
        // Courier pads its figures.
        assert_eq!(usage("100000S\n        1000            2\n"), Some((1000, 2)));
        for text in ["", "100S\n", "100S", "100S\n12 1", "100S\n12\n", "100S\n-1 0\n", "100S\nx 1\n"] {
            assert_eq!(usage(text), None, "{text:?}");
        }
        assert!(!Tally::parse("1S\n0 0\n").unwrap().in_doubt);
        assert!(Tally::parse("1S\n0 0\n5 1\n0 0\n").unwrap().in_doubt);
    }
}
