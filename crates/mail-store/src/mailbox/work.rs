//! A mailbox under its account's lock.

use std::path::PathBuf;
use std::sync::Arc;

use mail_types::{Flags, Keyword, ModSeq, Uid};

use super::place::{Place, Signs, now_nanos, tick};
use super::scan::Adoption;
use crate::disk;
use crate::error::StoreError;
use crate::index::{Index, MailboxRow, MessageRow};
use crate::mailbox_file::{Foreign, MailboxFile, letter_of};
use crate::meter::Meter;
use crate::names::FileName;
use crate::snapshot::{Head, Snapshot, keyword_positions};

/// UIDs and mod-sequences are reserved in blocks of this size, so that the file is seldom written.
const BLOCK: u32 = 256;

/// How many expunged UIDs are remembered.
const LOG: u32 = 10_000;
/// The log of these is cut once so many mod-sequences.
const TRIM_EVERY: u64 = 64;

/// How often a file is sought that another program keeps renaming.
const ATTEMPTS: usize = 6;

/// A mailbox while the account is locked: its file, its row, the index's transaction.
pub(super) struct Work<'a> {
    pub(super) index: &'a Index,
    pub(super) place: &'a Place,
    pub(super) file: Arc<MailboxFile>,
    /// The file as the disk has it.
    written: Arc<MailboxFile>,
    pub(super) row: MailboxRow,
    /// The row as the index has it.
    saved: Option<MailboxRow>,
    /// When this began, and what the disk showed then.
    pub(super) began: i64,
    pub(super) signs: Signs,
    /// We changed names in `cur/`.
    pub(super) touched: bool,
    /// Messages taken out.
    forgotten: u64,
    /// All that the last mod-sequence changed, if it is known, ascending by UID.
    pub(super) flagged: Vec<MessageRow>,
}

impl<'a> Work<'a> {
    /// Brings file, row and folder in step. An index that is behind `last`, the last that this process has shown, has lost
    /// what came since.
    pub(super) fn open(
        place: &'a Place,
        index: &'a Index,
        last: Option<&Snapshot>,
    ) -> Result<Self, StoreError> {
        let began = now_nanos();
        let signs = place.signs()?;
        let file = match place.file(&signs, began) {
            Ok(Some(file)) => file,
            Err(error) if !error.is_damage() => return Err(error),
            lost => match (place.salvage(index)?, lost) {
                (true, _) => return Self::open_anew(place, index),
                (false, Err(error)) => return Err(beyond_repair(error)),
                (false, Ok(_)) => Arc::new(new_file(place)?),
            },
        };
        let saved = index.mailbox(&place.key)?.filter(|row| row.uid_validity == file.uid_validity.value());
        if saved.as_ref().zip(last).is_some_and(|(row, last)| is_behind(row, last)) {
            tracing::warn!(folder = %place.folder.display(), "the index has lost its last changes; the mailbox is compared as a whole");
            return Self::open_anew(place, index);
        }
        let boot = disk::boot_id();
        // After a crash of the machine the index may lack its last changes: go on above all that was ever given.
        let recovering = file.importing
            || file.is_unmarked
            || saved.as_ref().is_none_or(|row| row.boot != boot || is_old(row, &file));
        let row = match &saved {
            Some(row) if !recovering => row.clone(),
            _ => {
                if saved.is_none() {
                    index.forget(&place.key)?;
                }
                recovered(&file, saved.as_ref(), boot)
            }
        };
        let written = Arc::clone(&file);
        let (touched, forgotten, flagged) = (false, 0, Vec::new());
        let mut work =
            Self { index, place, file, written, row, saved, began, signs, touched, forgotten, flagged };
        if recovering {
            // What is shown now must differ from what is shown after the next loss.
            work.reserve()?;
        }
        if work.file.is_unmarked {
            work.file_mut().write(&place.folder)?; // the mark must be known before it stands in a name
        }
        let foreign = if work.file.importing { Foreign::read(&place.folder)? } else { Foreign::default() };
        work.look(&Adoption { foreign, recovering })?;
        if work.file.importing || work.file.is_unmarked {
            (work.file_mut().importing, work.file_mut().is_unmarked) = (false, false);
        }
        Ok(work)
    }

    /// Saves what changed: the file before the index, since the index is only a cache.
    pub(super) fn save(&mut self) -> Result<(), StoreError> {
        self.write_file()?;
        if std::mem::take(&mut self.touched) {
            self.row.cur = self.place.time("cur")?;
            self.row.doubt = now_nanos();
        }
        self.trim_log()?;
        if self.saved.as_ref() == Some(&self.row) {
            return Ok(());
        }
        self.index.put_mailbox(&self.place.key, &self.row)?;
        self.saved = Some(self.row.clone());
        Ok(())
    }

    /// Forgets, now and then, what was expunged long ago.
    fn trim_log(&mut self) -> Result<(), StoreError> {
        let before = self.saved.as_ref().map_or(0, |row| row.mod_seq);
        let is_due = before / TRIM_EVERY != self.row.mod_seq / TRIM_EVERY || self.forgotten >= TRIM_EVERY;
        if std::mem::take(&mut self.forgotten) > 0
            && is_due
            && let Some(floor) = self.index.trim_log(&self.place.key, LOG, self.row.mod_seq)?
        {
            self.row.log_floor = self.row.log_floor.max(floor);
        }
        Ok(())
    }

    pub(super) fn file_mut(&mut self) -> &mut MailboxFile {
        Arc::make_mut(&mut self.file)
    }

    pub(super) fn write_file(&mut self) -> Result<(), StoreError> {
        if !Arc::ptr_eq(&self.file, &self.written) {
            self.file.write(&self.place.folder)?;
            self.written = Arc::clone(&self.file);
        }
        Ok(())
    }

    /// Has the whole folder compared again before long.
    pub(super) fn settles_later(&mut self) {
        let now = now_nanos();
        self.row.settles = now + tick(now);
    }

    pub(super) fn next_uid(&mut self) -> Result<Uid, StoreError> {
        let exhausted = || StoreError::NumbersExhausted(self.place.name.clone());
        let uid = Uid::try_from(self.row.uid_next).map_err(|_| exhausted())?;
        self.row.uid_next = uid.value().checked_add(1).ok_or_else(exhausted)?;
        self.reserve()?;
        Ok(uid)
    }

    pub(super) fn next_mod_seq(&mut self) -> Result<u64, StoreError> {
        self.row.mod_seq += 1;
        self.reserve()?;
        Ok(self.row.mod_seq)
    }

    /// Goes on above a mod-sequence.
    pub(super) fn raise_mod_seq(&mut self, mod_seq: u64) -> Result<(), StoreError> {
        self.row.mod_seq = self.row.mod_seq.max(mod_seq);
        self.reserve()
    }

    /// Reserves UIDs for so many messages at once.
    pub(super) fn reserve_uids(&mut self, count: usize) -> Result<(), StoreError> {
        let end = self.row.uid_next.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if end > self.file.uid_limit {
            self.file_mut().uid_limit = end.saturating_add(BLOCK);
        }
        self.write_file()
    }

    /// Raises the limits in the file ahead of use.
    fn reserve(&mut self) -> Result<(), StoreError> {
        if self.row.uid_next > self.file.uid_limit {
            self.file_mut().uid_limit = self.row.uid_next.saturating_add(BLOCK);
        }
        if self.row.mod_seq >= self.file.mod_seq_limit {
            self.file_mut().mod_seq_limit = self.row.mod_seq + u64::from(BLOCK);
        }
        self.write_file()
    }

    /// Acts on a message's file. When another program has just renamed that, compares and tries again, so that nothing is lost
    /// of what either does. `None` if the message is gone.
    pub(super) fn on_file<T>(
        &mut self,
        uid: Uid,
        mut act: impl FnMut(&mut Self, MessageRow) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut attempts = ATTEMPTS;
        loop {
            let Some(row) = self.index.message(&self.place.key, uid.value())? else { return Ok(None) };
            attempts -= 1;
            match act(self, row) {
                Err(error) if error.is_not_found() && attempts > 0 => self.compare_again()?,
                result => {
                    Meter::count();
                    return result.map(Some);
                }
            }
        }
    }

    /// Puts a message in whose UID is new to the mailbox.
    pub(super) fn add(&mut self, row: &MessageRow) -> Result<(), StoreError> {
        self.row.messages += 1;
        self.index.add_message(&self.place.key, row)
    }

    /// Takes a message out whose file is gone.
    pub(super) fn forget(&mut self, row: &MessageRow, mod_seq: u64) -> Result<(), StoreError> {
        self.drop_extra(row.uid);
        self.forgotten += 1;
        self.row.messages = self.row.messages.saturating_sub(1);
        self.index.expunge(&self.place.key, row.uid, mod_seq)
    }

    pub(super) fn path(&self, row: &MessageRow) -> PathBuf {
        self.place.path("cur").join(row.name(self.file.mark()))
    }

    /// Messages that were shown to be gone, and whose files another program has brought back while the index was lost. Their
    /// UIDs can't come back: new ones do.
    pub(super) fn renew_returned(&mut self, last: &Snapshot) -> Result<(), StoreError> {
        let key = &self.place.key;
        let changed = self.index.messages_since(key, last.highest_mod_seq.value())?;
        let uids = changed.iter().filter_map(|row| Uid::try_from(row.uid).ok());
        let returned: Vec<Uid> =
            uids.filter(|uid| *uid < last.uid_next && last.position(*uid).is_none()).collect();
        if returned.is_empty() {
            return Ok(());
        }
        self.renumber_all(&returned, &mut Vec::new())?;
        self.save()
    }

    /// What the mailbox holds now.
    pub(super) fn whole_snapshot(&self) -> Result<Snapshot, StoreError> {
        let head = Head { keywords: &self.file.keywords, row: &self.row };
        Snapshot::whole(&head, |take| self.index.each_state(&self.place.key, self.row.messages, take))
    }

    /// What the mailbox holds now, made of what it held before.
    pub(super) fn snapshot(&self, last: &Snapshot) -> Result<Snapshot, StoreError> {
        let (key, head) = (&self.place.key, Head { keywords: &self.file.keywords, row: &self.row });
        let since = last.highest_mod_seq.value();
        if since < self.row.log_floor {
            return self.whole_snapshot();
        }
        let is_known = self.flagged.first().is_some_and(|row| row.mod_seq == self.row.mod_seq);
        let next = if since == self.row.mod_seq {
            last.next(&[], &[], &head)
        } else if is_known && since + 1 == self.row.mod_seq {
            last.next(&self.flagged, &[], &head)
        } else {
            let changed = self.index.messages_since(key, since)?;
            last.next(&changed, &self.index.expunged(key, since, self.row.mod_seq)?, &head)
        };
        // Where a change is missing, the index is damaged.
        if usize::try_from(self.row.messages) == Ok(next.len()) { Ok(next) } else { self.whole_snapshot() }
    }

    /// The parts of a name and row for these flags.
    pub(super) fn encode(&mut self, name: &FileName<'_>, uid: u32, flags: &Flags) -> (String, String) {
        let positions: Vec<usize> = flags.keywords().iter().map(|it| self.keyword(it)).collect();
        let extra: Vec<usize> = positions.iter().copied().filter(|it| letter_of(*it).is_none()).collect();
        let info = name.info_with(flags.system_bits(), positions.into_iter().filter_map(letter_of));
        let text = joined(&extra);
        if extra.is_empty() {
            self.drop_extra(uid);
        } else if self.file.extra.get(&uid) != Some(&extra) {
            self.file_mut().extra.insert(uid, extra);
        }
        (info, text)
    }

    fn keyword(&mut self, keyword: &Keyword) -> usize {
        let known = self.file.keywords.iter().position(|it| it.as_ref() == Some(keyword));
        known.unwrap_or_else(|| self.file_mut().add_keyword(keyword))
    }

    /// Names the keywords that another program used first.
    pub(super) fn know_letters(&mut self, name: &FileName<'_>) {
        for letter in name.letters().filter(|letter| !self.file.knows_letter(*letter)).collect::<Vec<_>>() {
            self.file_mut().add_letter(letter);
        }
    }

    /// Forgets a message's keywords without a letter.
    pub(super) fn drop_extra(&mut self, uid: u32) {
        if self.file.extra.contains_key(&uid) {
            self.file_mut().extra.remove(&uid);
        }
    }

    pub(super) fn mod_seq(&self, row: &MessageRow) -> ModSeq {
        ModSeq::try_from(row.mod_seq.max(self.row.least_mod_seq)).unwrap_or(ModSeq::MIN)
    }

    pub(super) fn flags(&self, row: &MessageRow) -> Flags {
        let name = FileName::of_info(&row.info);
        let keywords =
            keyword_positions(&name, &row.extra).filter_map(|it| self.file.keywords.get(it)?.clone());
        Flags::from_parts(name.system(), keywords)
    }
}

/// The file of a mailbox that had none; another server's is taken over by the comparison that follows.
fn new_file(place: &Place) -> Result<MailboxFile, StoreError> {
    let foreign = Foreign::read(&place.folder)?;
    let uid_validity = foreign.uid_validity.map_or_else(|| place.account.new_uid_validity(), Ok)?;
    let mut file = MailboxFile::new(uid_validity, None);
    file.importing = !foreign.uids.is_empty();
    file.uid_limit = foreign.uid_next.max(1);
    file.keywords = foreign.keywords;
    file.write(&place.folder)?;
    Ok(file)
}

/// What the administrator can do about a file that names no UIDVALIDITY where no other sign does: to go on would make clients
/// download all again.
fn beyond_repair(error: StoreError) -> StoreError {
    let StoreError::Io { path, source, .. } = error else { return error };
    let context = "this file is damaged, restore it from a backup or remove it (then clients download the mailbox again):";
    StoreError::Io { context, path, source }
}

fn is_behind(row: &MailboxRow, last: &Snapshot) -> bool {
    row.uid_next < last.uid_next.value() || row.mod_seq < last.highest_mod_seq.value()
}

/// True if the index lacks a block of mod-sequences that were reserved since: it was put back from a copy.
fn is_old(row: &MailboxRow, file: &MailboxFile) -> bool {
    row.mod_seq + u64::from(BLOCK) < file.mod_seq_limit
}

/// The row of a mailbox whose index is lost or not to be trusted.
fn recovered(file: &MailboxFile, saved: Option<&MailboxRow>, boot: &str) -> MailboxRow {
    let row = saved.cloned().unwrap_or_else(|| MailboxRow {
        uid_validity: file.uid_validity.value(),
        first_recent: file.uid_limit,
        ..MailboxRow::default()
    });
    MailboxRow {
        uid_next: file.uid_limit,
        mod_seq: file.mod_seq_limit,
        boot: boot.to_owned(),
        log_floor: file.mod_seq_limit,
        least_mod_seq: file.mod_seq_limit,
        ..row
    }
}

pub(crate) fn joined(positions: &[usize]) -> String {
    positions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
