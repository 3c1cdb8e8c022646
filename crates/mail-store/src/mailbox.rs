//! An open mailbox: comparison with its folder, flags, expunge, copy, append.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mail_types::{Flags, InternalDate, Keyword, MailboxName, ModSeq, Uid, UidValidity};
use tokio::sync::watch;

use crate::account::Account;
use crate::delivery::TmpFile;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::index::{Index, MailboxRow, MessageRow};
use crate::mailbox_file::{Foreign, MailboxFile, letter_of};
use crate::names::{self, FileName};
use crate::snapshot::{Row, Snapshot};

/// UIDs and mod-sequences are reserved in blocks of this size, so that the file is seldom written.
const BLOCK: u32 = 256;

/// An open mailbox, shared by all sessions of the process that have it open.
#[derive(Debug)]
pub struct Mailbox {
    account: Arc<Account>,
    name: MailboxName,
    key: String,
    folder: PathBuf,
    uid_validity: UidValidity,
    shown: watch::Sender<Arc<Snapshot>>,
}

/// How STORE changes flags. RFC 3501 §6.4.6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagChange {
    /// `+FLAGS`
    Add(Flags),
    /// `-FLAGS`
    Remove(Flags),
    /// `FLAGS`
    Replace(Flags),
}

/// A mailbox while the account is locked: its file, its row, the index's transaction.
struct Work<'a> {
    index: &'a Index,
    name: &'a MailboxName,
    key: &'a str,
    folder: &'a Path,
    file: MailboxFile,
    written: MailboxFile,
    row: MailboxRow,
}

/// A file seen in `cur/` or `new/`.
struct Seen {
    path: PathBuf,
    name: String,
}

impl Work<'_> {
    /// Saves what changed: the file before the index, since the index is only a cache.
    fn save(&mut self) -> Result<(), StoreError> {
        self.write_file()?;
        self.index.put_mailbox(self.key, &self.row)
    }

    fn write_file(&mut self) -> Result<(), StoreError> {
        if self.file != self.written {
            self.file.write(self.folder)?;
            self.written = self.file.clone();
        }
        Ok(())
    }

    fn next_uid(&mut self) -> Result<Uid, StoreError> {
        let exhausted = || StoreError::NumbersExhausted(self.name.clone());
        let uid = Uid::try_from(self.row.uid_next).map_err(|_| exhausted())?;
        self.row.uid_next = uid.value().checked_add(1).ok_or_else(exhausted)?;
        self.reserve()?;
        Ok(uid)
    }

    fn next_mod_seq(&mut self) -> Result<u64, StoreError> {
        self.row.mod_seq += 1;
        self.reserve()?;
        Ok(self.row.mod_seq)
    }

    /// Raises the limits in the file ahead of use.
    fn reserve(&mut self) -> Result<(), StoreError> {
        if self.row.uid_next > self.file.uid_limit {
            self.file.uid_limit = self.row.uid_next.saturating_add(BLOCK);
        }
        if self.row.mod_seq >= self.file.mod_seq_limit {
            self.file.mod_seq_limit = self.row.mod_seq + u64::from(BLOCK);
        }
        self.write_file()
    }

    fn path(&self, row: &MessageRow) -> PathBuf {
        let uid = Uid::try_from(row.uid).unwrap_or(Uid::MIN);
        self.folder.join("cur").join(names::in_cur(&row.base, uid, &row.info))
    }

    /// Compares the folder with the index. `recovering` says that UIDs in file names are to be trusted.
    fn scan(&mut self, foreign: &Foreign, recovering: bool) -> Result<(), StoreError> {
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
        // A change within the same tick of the clock leaves the time as it is: such a time can't be relied on.
        let settled = |time: i64| if began - time > 1_000_000_000 { time } else { 0 };
        (self.row.cur, self.row.new) = (settled(times.0), settled(times.1));
        Ok(())
    }

    fn change(&mut self, change: &mut Option<u64>) -> Result<u64, StoreError> {
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

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        let mut known: HashMap<Vec<usize>, u32> = HashMap::from([(Vec::new(), 0)]);
        let (mut uids, mut rows) = (Vec::new(), Vec::new());
        for row in self.index.messages(self.key)? {
            let name = format!("x:2,{}", row.info);
            let name = FileName::parse(&name);
            let letters = name.letters().map(|letter| usize::from((letter as u8) - b'a'));
            let set: Vec<usize> =
                letters.chain(row.extra.split(' ').filter_map(|it| it.parse().ok())).collect();
            let keywords = *known.entry(set).or_insert_with_key(|set| {
                sets.push(set.clone());
                u32::try_from(sets.len() - 1).unwrap_or_default()
            });
            let Ok(uid) = Uid::try_from(row.uid) else { continue };
            uids.push(uid);
            rows.push(Row {
                mod_seq: ModSeq::try_from(row.mod_seq).unwrap_or(ModSeq::MIN),
                seconds: row.seconds,
                size: row.wire,
                keywords,
                offset_minutes: row.offset_minutes,
                system: name.system(),
            });
        }
        Ok(Snapshot {
            uids: uids.into(),
            rows,
            sets: Arc::new(sets),
            known: self.file.keywords.iter().flatten().cloned().collect::<Vec<Keyword>>().into(),
            names: Arc::new(self.file.keywords.clone()),
            uid_next: Uid::try_from(self.row.uid_next).unwrap_or(Uid::MIN),
            highest_mod_seq: ModSeq::try_from(self.row.mod_seq).unwrap_or(ModSeq::MIN),
            first_recent: Uid::try_from(self.row.first_recent).unwrap_or(Uid::MIN),
        })
    }

    /// The parts of a name and row for these flags.
    fn encode(&mut self, name: &FileName<'_>, uid: u32, flags: &Flags) -> (String, String) {
        let positions: Vec<usize> = flags.keywords().iter().map(|it| self.file.keyword(it)).collect();
        let extra: Vec<usize> = positions.iter().copied().filter(|it| letter_of(*it).is_none()).collect();
        let info = name.info_with(flags.system_bits(), positions.into_iter().filter_map(letter_of));
        let text = joined(&extra);
        if extra.is_empty() {
            self.file.extra.remove(&uid)
        } else {
            self.file.extra.insert(uid, extra)
        };
        (info, text)
    }

    fn flags(&self, row: &MessageRow) -> Flags {
        let text = format!("x:2,{}", row.info);
        let name = FileName::parse(&text);
        let letters = name.letters().map(|letter| usize::from((letter as u8) - b'a'));
        let all = letters.chain(row.extra.split(' ').filter_map(|it| it.parse().ok()));
        Flags::from_parts(name.system(), all.filter_map(|it| self.file.keywords.get(it)?.clone()))
    }
}

fn joined(positions: &[usize]) -> String {
    positions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn now_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or_default()
}

fn modified(folder: &Path, part: &str) -> Result<i64, StoreError> {
    let path = folder.join(part);
    let data = std::fs::metadata(&path).context("looking at", &path)?;
    Ok(data.mtime() * 1_000_000_000 + data.mtime_nsec())
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

impl Mailbox {
    pub(crate) fn open(account: &Arc<Account>, name: &MailboxName) -> Result<Arc<Self>, StoreError> {
        let (key, folder) = (name.to_maildir(), account.folder(name));
        let (uid_validity, snapshot) = account.locked(|index| {
            let mut work = Self::work(account, index, name, &key, &folder)?;
            work.save()?;
            Ok((work.file.uid_validity, work.snapshot()?))
        })?;
        let shown = watch::Sender::new(Arc::new(snapshot));
        let mailbox =
            Self { account: Arc::clone(account), name: name.clone(), key, folder, uid_validity, shown };
        Ok(Arc::new(mailbox))
    }

    /// Brings file, row and folder in step.
    fn work<'a>(
        account: &Account,
        index: &'a Index,
        name: &'a MailboxName,
        key: &'a str,
        folder: &'a Path,
    ) -> Result<Work<'a>, StoreError> {
        if !folder.join("cur").try_exists().context("looking at", folder)? {
            return Err(StoreError::NoSuchMailbox(name.clone()));
        }
        let (file, foreign) = match MailboxFile::read(folder)? {
            Some(file) => (file, Foreign::default()),
            None => {
                let foreign = Foreign::read(folder)?;
                let uid_validity = foreign.uid_validity.map_or_else(|| account.new_uid_validity(), Ok)?;
                let mut file = MailboxFile::new(uid_validity, None);
                file.uid_limit = foreign.uid_next.max(1);
                file.keywords.clone_from(&foreign.keywords);
                file.write(folder)?;
                (file, foreign)
            }
        };
        let boot = account.boot();
        let known = index.mailbox(key)?.filter(|row| row.uid_validity == file.uid_validity.value());
        // After a crash of the machine the index may lack its last changes: go on above all that was ever given.
        let recovering = known.as_ref().is_none_or(|row| row.boot != boot);
        let row = match known {
            Some(row) if !recovering => row,
            Some(row) => MailboxRow {
                uid_next: file.uid_limit,
                mod_seq: file.mod_seq_limit,
                boot: boot.to_owned(),
                log_floor: file.mod_seq_limit,
                ..row
            },
            None => {
                index.forget(key)?;
                MailboxRow {
                    uid_validity: file.uid_validity.value(),
                    uid_next: file.uid_limit,
                    mod_seq: file.mod_seq_limit,
                    first_recent: if file.uid_limit > 1 && foreign.uids.is_empty() {
                        file.uid_limit
                    } else {
                        1
                    },
                    boot: boot.to_owned(),
                    cur: 0,
                    new: 0,
                    log_floor: file.mod_seq_limit,
                }
            }
        };
        let mut work = Work { index, name, key, folder, written: file.clone(), file, row };
        work.scan(&foreign, recovering)?;
        Ok(work)
    }

    /// Works under the account's lock, in step with the folder, and shows the outcome to all sessions.
    fn change<T>(
        &self,
        act: impl Fn(&mut Work<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Arc<Snapshot>), StoreError> {
        self.account.locked(|index| {
            let mut work = Self::work(&self.account, index, &self.name, &self.key, &self.folder)?;
            if work.file.uid_validity != self.uid_validity {
                return Err(StoreError::NoSuchMailbox(self.name.clone()));
            }
            let outcome = act(&mut work)?;
            work.save()?;
            Ok((outcome, self.show(&work)?))
        })
    }

    fn show(&self, work: &Work<'_>) -> Result<Arc<Snapshot>, StoreError> {
        let last = self.snapshot();
        let (mod_seq, uid_next) = (last.highest_mod_seq.value(), last.uid_next.value());
        let same = mod_seq == work.row.mod_seq && uid_next == work.row.uid_next;
        if same && last.first_recent.value() == work.row.first_recent {
            return Ok(last);
        }
        let snapshot = Arc::new(work.snapshot()?);
        self.shown.send_replace(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// The generation of its UIDs.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.uid_validity
    }

    /// What is known now, without looking at the disk.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shown.borrow())
    }

    /// Looks for changes on disk, cheap when there are none, and tells what is known then.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] once it was deleted, [`StoreError::Io`], [`StoreError::Index`].
    pub fn sync(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.change(|_| Ok(())).map(|(_, snapshot)| snapshot)
    }

    /// Wakes whenever the snapshot changed, whoever changed it. While a receiver is awaited, changes by other processes and
    /// programs are found within a second.
    pub fn watch(self: &Arc<Self>) -> watch::Receiver<Arc<Snapshot>> {
        crate::watch::look_after(self);
        self.shown.subscribe()
    }

    /// True while somebody waits for changes.
    pub(crate) fn is_watched(&self) -> bool {
        self.shown.receiver_count() > 0
    }

    /// The times by which a change on disk shows.
    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        Some((modified(&self.folder, "cur").ok()?, modified(&self.folder, "new").ok()?))
    }

    /// Takes the recent messages for this session: `\Recent` is what it returns, lowest and highest UID, and nobody gets again.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn claim_recent(&self) -> Result<Option<(Uid, Uid)>, StoreError> {
        let ((first, next), _) = self.change(|work| {
            let first = std::mem::replace(&mut work.row.first_recent, work.row.uid_next);
            Ok((first, work.row.uid_next))
        })?;
        let last = Uid::try_from(next.saturating_sub(1)).ok();
        Ok(Uid::try_from(first).ok().zip(last).filter(|(first, last)| first <= last))
    }

    /// Starts to add a message. The date is now when `None`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn append(self: &Arc<Self>, flags: Flags, date: Option<InternalDate>) -> Result<Append, StoreError> {
        let tmp = TmpFile::create(&self.folder)?;
        let date = date.unwrap_or_else(|| InternalDate::from_unix(now_nanos() / 1_000_000_000));
        Ok(Append { mailbox: Arc::clone(self), flags, date, tmp })
    }

    /// Changes the flags of the messages named; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn store(&self, uids: &[Uid], change: &FlagChange) -> Result<Arc<Snapshot>, StoreError> {
        let (_, snapshot) = self.change(|work| {
            let mut mod_seq = None;
            for uid in uids {
                let Some(mut row) = work.index.message(work.key, uid.value())? else { continue };
                let old = work.path(&row);
                let before = work.flags(&row);
                let after = changed(&before, change);
                let text = format!("x:2,{}", row.info);
                let (info, extra) = work.encode(&FileName::parse(&text), row.uid, &after);
                if (&info, &extra) == (&row.info, &row.extra) {
                    continue;
                }
                (row.info, row.extra) = (info, extra);
                let new = work.path(&row);
                work.write_file()?;
                if new != old {
                    match disk::rename_new(&old, &new) {
                        Err(error) if error.is_not_found() => {
                            work.row.cur = 0; // renamed or removed by another program this instant
                            continue;
                        }
                        result => result?,
                    }
                }
                row.mod_seq = work.change(&mut mod_seq)?;
                work.index.put_message(work.key, &row)?;
            }
            Ok(())
        })?;
        Ok(snapshot)
    }

    /// Removes the messages named, whatever their flags; those that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn expunge(&self, uids: &[Uid]) -> Result<Arc<Snapshot>, StoreError> {
        let (_, snapshot) = self.change(|work| {
            let mut mod_seq = None;
            for uid in uids {
                let Some(row) = work.index.message(work.key, uid.value())? else { continue };
                if !disk::remove(&work.path(&row))? {
                    work.row.cur = 0; // the next comparison tells whether it was renamed or removed
                    continue;
                }
                let mod_seq = work.change(&mut mod_seq)?;
                work.file.extra.remove(&row.uid);
                work.index.expunge(work.key, row.uid, mod_seq)?;
            }
            Ok(())
        })?;
        Ok(snapshot)
    }

    /// Copies messages with flags and dates, all or none, and pairs each UID here with its UID there (ascending).
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] for the target, [`StoreError::Io`], [`StoreError::Index`].
    pub fn copy(&self, uids: &[Uid], target: &Arc<Self>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let (sources, _) = self.change(|work| {
            let rows = uids.iter().filter_map(|uid| work.index.message(work.key, uid.value()).transpose());
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            Ok(rows.into_iter().map(|row| (work.path(&row), work.flags(&row), row)).collect::<Vec<_>>())
        })?;
        let placed = std::cell::RefCell::new(Vec::new());
        let result = target.change(|work| {
            let mut pairs = Vec::with_capacity(sources.len());
            let mod_seq = work.next_mod_seq()?;
            for (path, flags, row) in &sources {
                let uid = work.next_uid()?;
                let wire = FileName::parse(&row.base).size.filter(|size| *size != row.wire).map(|_| row.wire);
                let size = FileName::parse(&row.base).size.unwrap_or(row.wire);
                let base = names::with_sizes(&names::unique(), size, wire.unwrap_or(size));
                let text = format!("x:2,{}", row.info);
                let (info, extra) = work.encode(&FileName::parse(&text), uid.value(), flags);
                let copy = MessageRow { uid: uid.value(), base, info, extra, mod_seq, ..row.clone() };
                let to = work.path(&copy);
                disk::link_or_copy(path, &work.folder.join("tmp").join(&copy.base), &to)?;
                placed.borrow_mut().push(to);
                work.index.put_message(work.key, &copy)?;
                pairs.extend(Uid::try_from(row.uid).ok().map(|from| (from, uid)));
            }
            disk::sync_dir(&work.folder.join("cur"))?;
            Ok(pairs)
        });
        match result {
            Ok((pairs, _)) => Ok(pairs),
            Err(error) => {
                placed.borrow().iter().for_each(|path| disk::discard(path));
                Err(error)
            }
        }
    }

    /// Moves messages: links them there, durably, and only then removes them here. RFC 6851.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn move_to(&self, uids: &[Uid], target: &Arc<Self>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let pairs = self.copy(uids, target)?;
        self.expunge(&pairs.iter().map(|(from, _)| *from).collect::<Vec<_>>())?;
        disk::sync_dir(&self.folder.join("cur"))?;
        Ok(pairs)
    }

    /// Opens a message's file, also when another program has just renamed it.
    ///
    /// # Errors
    /// [`StoreError::MessageGone`], [`StoreError::Io`].
    pub fn open_message(&self, uid: Uid) -> Result<MessageFile, StoreError> {
        for _ in 0..3 {
            let (found, _) = self.change(|work| {
                let row = work.index.message(work.key, uid.value())?;
                Ok(row.map(|row| (work.path(&row), row.wire)))
            })?;
            let (path, wire_size) = found.ok_or(StoreError::MessageGone(uid))?;
            match File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.change(|work| {
                        (work.row.cur, work.row.new) = (0, 0);
                        Ok(())
                    })?;
                }
                result => {
                    let file = result.context("opening", &path)?;
                    let file_size = file.metadata().context("looking at", &path)?.len();
                    return Ok(MessageFile { file, file_size, wire_size });
                }
            }
        }
        Err(StoreError::MessageGone(uid))
    }
}

fn changed(before: &Flags, change: &FlagChange) -> Flags {
    match change {
        FlagChange::Replace(flags) => flags.clone(),
        FlagChange::Add(flags) => Flags::from_parts(
            before.system_bits() | flags.system_bits(),
            before.keywords().iter().chain(flags.keywords()).cloned(),
        ),
        FlagChange::Remove(flags) => Flags::from_parts(
            before.system_bits() & !flags.system_bits(),
            before.keywords().iter().filter(|it| !flags.keywords().contains(it)).cloned(),
        ),
    }
}

/// A message's file, open for reading.
#[derive(Debug)]
pub struct MessageFile {
    /// At its start.
    pub file: File,
    /// Octets in the file.
    pub file_size: u64,
    /// Octets on the wire; greater than `file_size` when a foreign program wrote bare LFs.
    pub wire_size: u64,
}

impl MessageFile {
    /// The whole message as it goes over the wire, each line ended by CRLF.
    ///
    /// # Errors
    /// What reading the file says.
    pub fn read(mut self) -> std::io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(usize::try_from(self.file_size).unwrap_or_default());
        self.file.read_to_end(&mut content)?;
        if self.wire_size == self.file_size {
            return Ok(content);
        }
        let mut wire = Vec::with_capacity(content.len() + content.len() / 32);
        for line in content.split_inclusive(|c| *c == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    wire.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                    wire.extend_from_slice(b"\r\n");
                }
                None => wire.extend_from_slice(line),
            }
        }
        Ok(wire)
    }
}

/// A message on its way into a mailbox by APPEND. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Append {
    mailbox: Arc<Mailbox>,
    flags: Flags,
    date: InternalDate,
    tmp: TmpFile,
}

impl Write for Append {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.tmp.write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.tmp.flush()
    }
}

impl Append {
    /// Makes the message durable and visible.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] if it was deleted meanwhile, [`StoreError::Io`], [`StoreError::Index`].
    pub fn commit(mut self) -> Result<Uid, StoreError> {
        self.tmp.set_modified(self.date.unix_seconds())?;
        let base = self.tmp.finish()?;
        let (uid, _) = self.mailbox.change(|work| {
            let (uid, mod_seq) = (work.next_uid()?, work.next_mod_seq()?);
            let (info, extra) = work.encode(&FileName::parse("x"), uid.value(), &self.flags);
            work.write_file()?;
            let row = MessageRow {
                uid: uid.value(),
                base: base.clone(),
                info,
                extra,
                seconds: self.date.unix_seconds(),
                offset_minutes: self.date.offset_minutes(),
                wire: self.tmp.wire(),
                mod_seq,
            };
            disk::rename_new(&self.tmp.path, &work.path(&row))?;
            work.index.put_message(work.key, &row)?;
            disk::sync_dir(&work.folder.join("cur"))?;
            Ok(uid)
        })?;
        Ok(uid)
    }
}
