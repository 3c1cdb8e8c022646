//! The comparison of a mailbox's folder with its index.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mail_types::Uid;

use super::work::{Work, joined};
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::MessageRow;
use crate::mailbox_file::Foreign;
use crate::names::FileName;

/// A file seen in `cur/` or `new/`.
struct Seen {
    path: PathBuf,
    name: String,
}

impl Work<'_> {
    /// Compares the folder with the index. `recovering` says that UIDs in file names are to be trusted.
    pub(super) fn scan(&mut self, foreign: &Foreign, recovering: bool) -> Result<(), StoreError> {
        let began = now_nanos();
        let times = (modified(self.folder, "cur")?, modified(self.folder, "new")?);
        if times == (self.row.cur, self.row.new) && !recovering {
            return Ok(());
        }
        let mut seen = list(self.folder)?;
        let known = self.index.messages(self.key)?;
        if known.iter().any(|row| !seen.contains_key(&row.base)) {
            // A rename by another program may hide a file from one reading of the folder.
            seen.extend(list(self.folder)?);
        }
        let mut change = None;
        let mut taken = HashSet::new();
        for row in known {
            taken.insert(row.uid);
            match seen.remove(&row.base) {
                Some(file) => self.refresh(row, &file, &mut change)?,
                None => {
                    let mod_seq = self.change(&mut change)?;
                    self.file.extra.remove(&row.uid);
                    self.index.expunge(self.key, row.uid, mod_seq)?;
                }
            }
        }
        self.adopt(seen, foreign, recovering, &mut taken, &mut change)?;
        let settled = |time: i64| if is_settled(time, began) { time } else { 0 };
        (self.row.cur, self.row.new) = (settled(times.0), settled(times.1));
        Ok(())
    }

    pub(super) fn change(&mut self, change: &mut Option<u64>) -> Result<u64, StoreError> {
        if change.is_none() {
            *change = Some(self.next_mod_seq()?);
        }
        Ok(change.unwrap_or(self.row.mod_seq))
    }

    /// A message we knew: flags may have changed, the file may be back in `new/`, or have lost its UID.
    fn refresh(
        &mut self,
        mut row: MessageRow,
        file: &Seen,
        change: &mut Option<u64>,
    ) -> Result<(), StoreError> {
        let info = FileName::parse(&file.name).info.to_owned();
        let flags_changed = row.info != info;
        row.info = info;
        let wanted = self.path(&row);
        if wanted != file.path && FileName::parse(&file.name).base == row.base {
            match disk::rename_new(&file.path, &wanted) {
                Err(error) if error.is_not_found() => {} // renamed again: the next comparison finds it
                result => result?,
            }
        }
        if flags_changed {
            row.mod_seq = self.change(change)?;
            self.index.put_message(self.key, &row)?;
        }
        Ok(())
    }

    /// Gives UIDs to the files that have none, in the order of their names, which is that of arrival.
    fn adopt(
        &mut self,
        seen: HashMap<String, Seen>,
        foreign: &Foreign,
        recovering: bool,
        taken: &mut HashSet<u32>,
        change: &mut Option<u64>,
    ) -> Result<(), StoreError> {
        let mut newcomers: Vec<_> = seen
            .into_iter()
            .map(|(base, file)| {
                let claim = foreign.uids.get(&base).copied().or_else(|| FileName::parse(&file.name).uid);
                let claim = claim.map(Uid::value).filter(|uid| recovering && *uid < self.file.uid_limit);
                (claim.unwrap_or(u32::MAX), base, file)
            })
            .collect();
        newcomers.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let renamed = !newcomers.is_empty();
        for (claim, base, file) in newcomers {
            let Some((seconds, wire)) = measure(&file)? else { continue };
            let uid = match Uid::try_from(claim) {
                Ok(uid) if claim != u32::MAX && taken.insert(claim) => uid,
                _ => self.next_uid()?,
            };
            let name = FileName::parse(&file.name);
            name.letters().for_each(|letter| {
                self.file.letter(letter);
            });
            let extra = self.file.extra.get(&uid.value()).map(|it| joined(it)).unwrap_or_default();
            let (info, mod_seq) = (name.info.to_owned(), self.change(change)?);
            let row =
                MessageRow { uid: uid.value(), base, info, extra, seconds, offset_minutes: 0, wire, mod_seq };
            let wanted = self.path(&row);
            if wanted != file.path {
                match disk::rename_new(&file.path, &wanted) {
                    Err(error) if error.is_not_found() => continue,
                    result => result?,
                }
            }
            self.index.put_message(self.key, &row)?;
        }
        // The UIDs are in the names: once these are on the disk, no crash can change them.
        if renamed { disk::sync_dir(&self.folder.join("cur")) } else { Ok(()) }
    }
}

pub(super) fn now_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or_default()
}

pub(super) fn modified(folder: &Path, part: &str) -> Result<i64, StoreError> {
    let path = folder.join(part);
    let data = std::fs::metadata(&path).context("looking at", &path)?;
    Ok(data.mtime() * 1_000_000_000 + data.mtime_nsec())
}

/// True if a change after `now` gives a folder another time than `time`, so that the time can be relied on. A change within
/// the same tick of the clock doesn't: ticks are 10 ms at most, two seconds on file systems that keep whole seconds.
pub(super) const fn is_settled(time: i64, now: i64) -> bool {
    let tick = if time % 1_000_000_000 == 0 { 2_000_000_000 } else { 20_000_000 };
    now - time > tick
}

/// Every message file by the base of its name. What is no plain file is passed over.
fn list(folder: &Path) -> Result<HashMap<String, Seen>, StoreError> {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    for part in ["new", "cur"] {
        let path = folder.join(part);
        for entry in std::fs::read_dir(&path).context("reading the folder", &path)? {
            let entry = entry.context("reading the folder", &path)?;
            let kind = entry.file_type().context("looking at", &entry.path())?;
            let Ok(name) = entry.file_name().into_string() else {
                tracing::warn!(file = %entry.path().display(), "passed over: the name is not UTF-8");
                continue;
            };
            if name.starts_with('.') || !kind.is_file() {
                continue;
            }
            let base = FileName::parse(&name).base;
            seen.insert(base, Seen { path: entry.path(), name });
        }
    }
    Ok(seen)
}

/// Date and octets on the wire; `None` if the file is gone.
fn measure(file: &Seen) -> Result<Option<(i64, u64)>, StoreError> {
    let data = match std::fs::metadata(&file.path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        result => result.context("looking at", &file.path)?,
    };
    let name = FileName::parse(&file.name);
    // S= and W= are trusted only together with the true size.
    let wire = match name.size {
        Some(size) if size == data.len() && (name.wire.is_some() || name.base.contains(".M")) => {
            name.wire.unwrap_or(size)
        }
        _ => {
            let content = std::fs::read(&file.path).context("reading", &file.path)?;
            content.len() as u64 + bare_lfs(&content)
        }
    };
    Ok(Some((data.mtime(), wire)))
}

fn bare_lfs(content: &[u8]) -> u64 {
    let bare = |at: &usize| at.checked_sub(1).and_then(|it| content.get(it)) != Some(&b'\r');
    memchr::memchr_iter(b'\n', content).filter(bare).count() as u64
}
