//! How much mail an account holds, and whether there is room for more.
//!
//! The figures stand in `maildirsize`, which Maildir++ defines and other programs keep too: everyone who adds or removes
//! a message appends a line. What is added is counted before it is there and what is removed once it is gone, so that a
//! process that dies leaves a figure too high, never too low; and nobody is refused before all has been counted anew.

mod size_file;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail_types::{Quota, Usage};
use rustix::fs::FlockOperation;

use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::names::FileName;
use size_file::{SizeFile, Tally};

/// Tells when all was counted last: the boot of the machine, nanoseconds since the epoch, nanoseconds it took.
const RECOUNTED: &str = "mailstead-recounted";
/// At most this part of the time goes into counting anew before refusals…
const COST_SHARE: u64 = 50;
/// … and this part into counting anew for what others may have added or removed.
const REGULAR_COST_SHARE: u64 = 500;
/// The least time between two of the latter.
const REGULARLY: u64 = Duration::from_secs(600).as_nanos() as u64;

/// Why the figures are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Reading,
    /// Somebody is about to be refused.
    Refusing,
}

/// What the account at `maildir` holds.
pub(crate) fn usage(maildir: &Path, quota: Quota) -> Result<Usage, StoreError> {
    read(maildir, quota, Purpose::Reading)
}

/// True if the account at `maildir` may hold `more`.
pub(crate) fn has_room(maildir: &Path, quota: Quota, more: Usage) -> Result<bool, StoreError> {
    let admits = |purpose| Ok(quota.admits(read(maildir, quota, purpose)? + more));
    Ok(!quota.is_limited() || admits(Purpose::Reading)? || admits(Purpose::Refusing)?)
}

fn read(maildir: &Path, quota: Quota, purpose: Purpose) -> Result<Usage, StoreError> {
    let trusted = |file: &SizeFile| -> Result<Option<Usage>, StoreError> {
        let tally = file.tally()?.filter(|tally| !quota.is_limited() || tally.quota == quota.to_string());
        let last = Recount::read(maildir)?.filter(|last| last.boot == disk::boot_id());
        let (Some(tally), Some(last)) = (tally, last) else { return Ok(None) };
        Ok((!last.is_due(&tally, purpose)).then_some(tally.usage))
    };
    let shared = SizeFile::open(maildir, FlockOperation::LockShared)?;
    if let Some(usage) = shared.as_ref().map(&trusted).transpose()?.flatten() {
        return Ok(usage);
    }
    drop(shared);
    if !quota.is_limited() {
        return count_folders(maildir); // who is not limited needs no file
    }
    let Some(file) = SizeFile::create(maildir)? else { return Ok(Usage::default()) };
    match trusted(&file)? {
        Some(usage) => Ok(usage), // another was faster
        None => recount(maildir, quota, &file),
    }
}

/// Counts anew while nobody adds, removes or moves a message.
fn recount(maildir: &Path, quota: Quota, file: &SizeFile) -> Result<Usage, StoreError> {
    let began = now();
    let usage = count_folders(maildir)?;
    file.replace(&Tally { quota: quota.to_string(), usage, in_doubt: false })?;
    Recount { boot: disk::boot_id().to_owned(), at: now(), cost: now().saturating_sub(began) }
        .write(maildir)?;
    Ok(usage)
}

fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When all was counted.
struct Recount {
    /// Of a machine that has crashed since, `maildirsize` may lack its last lines.
    boot: String,
    at: u64,
    cost: u64,
}

impl Recount {
    fn read(maildir: &Path) -> Result<Option<Self>, StoreError> {
        let text = disk::read_optional(&maildir.join(RECOUNTED))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut fields = text.split_whitespace();
        let parsed = || {
            let boot = fields.next()?.to_owned();
            let mut number = || fields.next()?.parse().ok();
            Some(Self { boot, at: number()?, cost: number()? })
        };
        Ok({ parsed }())
    }

    fn write(&self, maildir: &Path) -> Result<(), StoreError> {
        disk::replace(
            &maildir.join(RECOUNTED),
            format!("{} {} {}\n", self.boot, self.at, self.cost).as_bytes(),
        )
    }

    /// True if all should be counted anew.
    fn is_due(&self, tally: &Tally, purpose: Purpose) -> bool {
        let age = now().saturating_sub(self.at);
        let in_doubt = tally.in_doubt || purpose == Purpose::Refusing;
        age > REGULARLY.max(self.cost.saturating_mul(REGULAR_COST_SHARE))
            || (in_doubt && age > self.cost.saturating_mul(COST_SHARE))
    }
}

/// Counts the messages of all an account's folders by their names.
fn count_folders(maildir: &Path) -> Result<Usage, StoreError> {
    let mut sum = count_folder(maildir)?;
    for entry in list(maildir)? {
        let entry = entry.context("reading the folder", maildir)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") && entry.path().join("cur").is_dir() {
            sum = sum + count_folder(&entry.path())?;
        }
    }
    Ok(sum)
}

/// Counts the messages of one folder. Deviates from Maildir++ as Dovecot does: what lies in Trash or has `\Deleted` counts.
pub(crate) fn count_folder(folder: &Path) -> Result<Usage, StoreError> {
    let mut sum = Usage::default();
    let mut bases = std::collections::HashSet::new();
    for part in ["new", "cur"] {
        let path = folder.join(part);
        for entry in list(&path)? {
            let entry = entry.context("reading the folder", &path)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let base = FileName::parse(&name).base.into_owned();
            // A message that another program takes from `new/` to `cur/` while we read is seen twice.
            if bases.contains(&base) {
                continue;
            }
            sum = sum + octets(&base, &entry.path())?.map(Usage::message).unwrap_or_default();
            if part == "new" {
                bases.insert(base);
            }
        }
    }
    Ok(sum)
}

fn list(
    folder: &Path,
) -> Result<impl Iterator<Item = std::io::Result<std::fs::DirEntry>> + use<>, StoreError> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error).context("reading the folder", folder),
    }
}

/// Octets of a message's file: those in its name, as a rule; `None` if it is gone or no file.
pub(crate) fn octets(base: &str, path: &Path) -> Result<Option<u64>, StoreError> {
    if let Some(size) = FileName::parse(base).size {
        return Ok(Some(size));
    }
    match std::fs::symlink_metadata(path) {
        Ok(data) => Ok(data.is_file().then_some(data.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("looking at", path),
    }
}

/// What one operation adds or removes. As long as it lives nobody counts anew.
#[derive(Debug)]
pub(crate) struct Count {
    file: Option<SizeFile>,
    /// What remains to be noted at the end, octets and messages.
    owed: (i64, i64),
}

impl Count {
    /// Begins; where there is no file, nothing is counted.
    pub(crate) fn begin(maildir: &Path) -> Self {
        let file = SizeFile::open(maildir, FlockOperation::LockShared).unwrap_or_else(|error| {
            size_file::give_up(maildir, &error);
            None
        });
        Self { file, owed: (0, 0) }
    }

    /// Notes what is about to be added; unless it is kept it is taken back.
    pub(crate) fn add(&mut self, more: Usage) {
        self.exchange(more, Usage::default());
    }

    /// Notes what is about to be added, and what goes at once for it; unless it is kept both are taken back.
    pub(crate) fn exchange(&mut self, more: Usage, less: Usage) {
        let ((octets, messages), (less_octets, less_messages)) = (signed(more), signed(less));
        let (octets, messages) = (octets.saturating_sub(less_octets), messages.saturating_sub(less_messages));
        self.note((octets, messages));
        self.owed = (self.owed.0.saturating_sub(octets), self.owed.1.saturating_sub(messages));
    }

    /// True if what has been noted stays within the quota.
    pub(crate) fn is_within(&self, quota: Quota) -> bool {
        let tally = self.file.as_ref().filter(|_| quota.is_limited()).map(SizeFile::tally);
        tally.and_then(Result::ok).flatten().is_none_or(|tally| quota.admits(tally.usage))
    }

    /// What was added is there for good.
    pub(crate) fn keep(&mut self) {
        self.owed = (0, 0);
    }

    /// A message is gone.
    pub(crate) fn removed(&mut self, usage: Usage) {
        let (octets, messages) = signed(usage);
        self.owed = (self.owed.0.saturating_sub(octets), self.owed.1.saturating_sub(messages));
    }

    fn note(&mut self, (octets, messages): (i64, i64)) {
        if let Some(file) = &self.file
            && let Err(error) = file.add(octets, messages)
        {
            file.give_up(&error);
            self.file = None;
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if self.owed != (0, 0) {
            self.note(self.owed);
        }
        self.file.take().into_iter().for_each(SizeFile::close);
    }
}

fn signed(usage: Usage) -> (i64, i64) {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    (signed(usage.storage), signed(usage.messages))
}

/// Notes that another program seems to have added or removed messages: the figures are in doubt until all is counted anew.
pub(crate) fn doubt(maildir: &Path) {
    Count::begin(maildir).note((0, 0));
}
