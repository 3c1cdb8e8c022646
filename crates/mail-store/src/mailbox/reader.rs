//! A user other than the owner, and the mailbox as he sees it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mail_types::{Flag, Flags, ModSeq, Uid};

use super::seen::{Record, Seen, State, header, parse_header};
use super::work::Work;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::MessageRow;
use crate::mark::Mark;
use crate::snapshot::{Row, Snapshot};

/// A file that is shorter is not worth writing anew.
const SHORT: u64 = 64 * 1024;

/// One user's view of a mailbox, shared by his sessions in the process.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    mark: Mark,
    known: Mutex<Known>,
}

/// What is known of the user's file, and what the user is shown.
#[derive(Debug)]
pub(super) struct Known {
    log: Option<Log>,
    seen: Seen,
    /// Written, but not committed yet: the mailbox that we know is older.
    ahead: Vec<Record>,
    /// The file is another than that of which `shown` was made.
    is_anew: bool,
    base: Arc<Snapshot>,
    shown: Arc<Snapshot>,
}

/// The file, held open so that another under its name is known by its inode.
#[derive(Debug)]
struct Log {
    file: File,
    inode: u64,
    /// Up to here it was read.
    read: u64,
    begun_at: u64,
}

impl Reader {
    pub(super) fn new(path: PathBuf, mark: Mark) -> Self {
        let nothing = Arc::new(Snapshot::empty());
        let known = Known {
            log: None,
            seen: Seen::default(),
            ahead: Vec::new(),
            is_anew: true,
            base: Arc::clone(&nothing),
            shown: nothing,
        };
        Self { path, mark, known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the view in step with the mailbox, which must be read before the file: then the file has all that it has. `None` if
    /// it takes work: there is no file, or it has what is not committed yet.
    pub(super) fn look(&self, base: &Arc<Snapshot>) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let mut known = self.known();
        if base.highest_mod_seq() < known.base.highest_mod_seq() {
            return Ok(Some(Arc::clone(&known.shown)));
        }
        if !self.read(&mut known)? {
            return Ok(None);
        }
        known.show(base);
        Ok(known.ahead.is_empty().then(|| Arc::clone(&known.shown)))
    }

    /// Reads what the file has gained. False if there is none of this mailbox.
    fn read(&self, known: &mut Known) -> Result<bool, StoreError> {
        let size = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                known.log = None;
                return Ok(false);
            }
            data => {
                let data = data.context("looking at", &self.path)?;
                known.log.take_if(|log| log.inode != data.ino() || log.read > data.size());
                data.size()
            }
        };
        if known.log.as_ref().is_some_and(|log| log.read == size) {
            return Ok(true);
        }
        if known.log.is_none() {
            let Some(log) = self.open()? else { return Ok(false) };
            known.log = Some(log);
            (known.seen, known.ahead, known.is_anew) = (Seen::default(), Vec::new(), true);
        }
        let Some(log) = &mut known.log else { return Ok(false) };
        for line in log.more().context("reading", &self.path)?.lines() {
            // A line that a full disk has torn says nothing; what it was to say was not acknowledged.
            known.ahead.extend(Record::parse(line));
        }
        Ok(true)
    }

    fn open(&self) -> Result<Option<Log>, StoreError> {
        let file = File::options().read(true).append(true).open(&self.path);
        let file = match file {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.context("opening", &self.path)?,
        };
        let inode = file.metadata().context("looking at", &self.path)?.ino();
        let log = Log { file, inode, read: 0, begun_at: 0 };
        let first = log.first_line().context("reading", &self.path)?;
        let Some(begun_at) = parse_header(&first, self.mark) else { return Ok(None) };
        Ok(Some(Log { read: first.len() as u64 + 1, begun_at, ..log }))
    }

    /// What the file says, while nobody else changes it. There is one from now on.
    pub(super) fn at_work(&self, work: &mut Work<'_>) -> Result<MutexGuard<'_, Known>, StoreError> {
        let mut known = self.known();
        if !self.read(&mut known)? {
            // What was seen according to a file that was lost is told anew.
            let begun_at = work.next_mod_seq()?;
            disk::replace(&self.path, header(self.mark, begun_at).as_bytes())?;
            self.read(&mut known)?;
        }
        // Who has written this died before he committed it: nobody was shown a mailbox that has it.
        if let Some(mod_seq) = known.ahead.iter().map(|record| record.mod_seq).max() {
            work.raise_mod_seq(mod_seq)?;
        }
        Ok(known)
    }

    /// Adds to the file, before the commit of the mod-sequence.
    pub(super) fn write(&self, known: &mut Known, records: &[Record]) -> Result<(), StoreError> {
        let Some(log) = &known.log else { return Ok(()) };
        let size = log.file.metadata().context("looking at", &self.path)?.len();
        if size > SHORT && size > known.seen.octets().saturating_mul(2) {
            let mut seen = known.seen.clone();
            known.ahead.iter().chain(records).for_each(|record| seen.apply(record));
            return disk::replace(&self.path, seen.to_text(self.mark, log.begun_at).as_bytes());
        }
        // After a line that was torn a new one is begun.
        let mut text = if size > log.read { "\n".to_owned() } else { String::new() };
        records.iter().for_each(|record| record.write_to(&mut text));
        disk::append(&log.file, &self.path, text.as_bytes())
    }
}

impl Log {
    fn first_line(&self) -> std::io::Result<String> {
        let mut buffer = [0; 128];
        let read = self.file.read_at(&mut buffer, 0)?;
        let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
        Ok(text.split_once('\n').map(|(line, _)| line.to_owned()).unwrap_or_default())
    }

    /// The whole lines that were not read yet.
    fn more(&mut self) -> std::io::Result<String> {
        let size = self.file.metadata()?.len();
        let mut octets = vec![0; usize::try_from(size.saturating_sub(self.read)).unwrap_or_default()];
        self.file.read_exact_at(&mut octets, self.read)?;
        let end = octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |last| last + 1);
        octets.truncate(end);
        self.read += end as u64;
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }
}

impl Known {
    /// Takes over what is committed, and shows it.
    fn show(&mut self, base: &Arc<Snapshot>) {
        let last = base.highest_mod_seq().value();
        let (now, ahead): (Vec<Record>, Vec<Record>) =
            std::mem::take(&mut self.ahead).into_iter().partition(|record| record.mod_seq <= last);
        self.ahead = ahead;
        if now.is_empty() && !self.is_anew && Arc::ptr_eq(base, &self.base) {
            return;
        }
        now.iter().for_each(|record| self.seen.apply(record));
        let personal = |uid: Uid, row: Row| self.personal(uid, row);
        let shown = if self.is_anew || self.base.is_empty() {
            Snapshot::personal(base, personal)
        } else {
            let ranges = now.iter().flat_map(|record| &record.ranges);
            let touched: Vec<Uid> = ranges.flat_map(|range| within(base, *range)).collect();
            self.shown.next_personal(&self.base, base, &touched, personal)
        };
        (self.base, self.shown, self.is_anew) = (Arc::clone(base), Arc::new(shown), false);
    }

    fn begun_at(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.begun_at)
    }

    fn personal(&self, uid: Uid, row: Row) -> Row {
        let State { is_seen, mod_seq } = self.seen.get(uid.value());
        let least = ModSeq::try_from(mod_seq.max(self.begun_at())).unwrap_or(ModSeq::MIN);
        Row { system: with_seen(row.system, is_seen), mod_seq: row.mod_seq.max(least), ..row }
    }

    fn state(&self, uid: u32) -> State {
        let ahead = self.ahead.iter().rev().find(|record| record.has(uid));
        ahead.map_or_else(
            || self.seen.get(uid),
            |record| State { is_seen: record.is_seen, mod_seq: record.mod_seq },
        )
    }

    /// The flags that the user sees, and the mod-sequence.
    pub(super) fn flags(&self, work: &Work<'_>, row: &MessageRow) -> (Flags, ModSeq) {
        let (flags, state) = (work.flags(row), self.state(row.uid));
        let least = ModSeq::try_from(state.mod_seq.max(self.begun_at())).unwrap_or(ModSeq::MIN);
        (seen_as(&flags, state.is_seen), work.mod_seq(row).max(least))
    }
}

/// The same flags with `\Seen` or without.
pub(super) fn seen_as(flags: &Flags, is_seen: bool) -> Flags {
    Flags::from_parts(with_seen(flags.system_bits(), is_seen), flags.keywords().iter().cloned())
}

const fn with_seen(system: u8, is_seen: bool) -> u8 {
    let seen = Flag::Seen as u8;
    if is_seen { system | seen } else { system & !seen }
}

/// The messages there are with UIDs in a range.
fn within(base: &Snapshot, (first, last): (u32, u32)) -> impl Iterator<Item = Uid> + '_ {
    let uids = base.uids();
    let start = uids.partition_point(|uid| uid.value() < first);
    uids.range(start..uids.partition_point(|uid| uid.value() <= last))
}
