//! The comparison of a mailbox's folder with its index.

use std::collections::{HashMap, HashSet};

use mail_types::{Flags, Uid};

use super::listing::{Listing, Own, Seen};
use super::measure::{self, Measure};
use super::place::{now_nanos, tick};
use super::work::{Work, joined};
use crate::disk;
use crate::error::StoreError;
use crate::index::{MailboxRow, MessageRow};
use crate::mailbox_file::Foreign;
use crate::names::{self, FileName};

/// How often the folder is read when a message seems gone, or may have escaped: a rename by another program hides a file from
/// one reading, and one that is renamed again and again from several.
const READINGS: usize = 6;
/// The least time from a change of ours to the verification that finds what other programs did in the same moment.
const QUIET: i64 = 1_000_000_000;
/// At most this part of the time goes into verifying.
const COST_SHARE: i64 = 50;

/// How a comparison gives UIDs to files that the index doesn't know.
pub(super) struct Adoption {
    /// What another server knew of them.
    pub(super) foreign: Foreign,
    /// The index is new or older than the folder, so that every UID in a name with the mailbox's mark is to be trusted.
    pub(super) recovering: bool,
}

/// What came of giving UIDs to files.
#[derive(Default)]
struct Adopted {
    is_any_named: bool,
    /// Another program was faster: that file has another name by now, or is gone.
    has_one_escaped: bool,
}

/// Until when every look compares the whole folder; `None` if the last comparison was not too early.
pub(super) fn settles_at(row: &MailboxRow) -> Option<i64> {
    (row.compared < row.settles).then_some(row.settles)
}

/// When it is to be verified that we missed nothing at the moment of our own changes; `None` if all is certain.
pub(super) fn doubtful_at(row: &MailboxRow) -> Option<i64> {
    let quiet = QUIET.max(row.cost.saturating_mul(COST_SHARE)).min(60 * QUIET);
    (row.doubt != 0).then(|| row.doubt.max(row.compared).saturating_add(quiet))
}

/// When the mailbox got a file, if the base of its name doesn't say. One with a UID that it doesn't keep came here by hand, and
/// that is known only now.
fn saved_at(name: &FileName<'_>, keeps_uid: bool, now: i64) -> Option<i64> {
    if keeps_uid { name.saved } else { name.uid.map(|_| now / 1_000_000_000) }
}

impl Work<'_> {
    /// Compares what may have changed with the index.
    ///
    /// A change shows by the time of its folder. Two kinds don't: one within the same tick of the clock as the change that
    /// we saw (so for a tick we compare always), and one at the same moment as our own change, whose time we took for ours
    /// so the folder is verified some time later, see [`super::Mailbox::verify`]).
    pub(super) fn look(&mut self, adoption: &Adoption) -> Result<(), StoreError> {
        let now = self.began;
        let by_others = self.signs.cur != self.row.cur;
        if by_others {
            self.row.settles = self.signs.cur.min(now) + tick(self.signs.cur);
        }
        if adoption.recovering || by_others || settles_at(&self.row).is_some() {
            self.compare_all(adoption)
        } else if self.signs.new != self.row.new {
            self.compare_new(adoption)
        } else {
            Ok(())
        }
    }

    /// Compares the whole folder now, whatever its times say: a file was not where it should be.
    pub(super) fn compare_again(&mut self) -> Result<(), StoreError> {
        self.compare_all(&Adoption { foreign: Foreign::default(), recovering: false })
    }

    /// Where UIDs are learnt from the names, until it is certain that there are no more: a rename by another program may hide a
    /// file from a reading, or take it away before it is looked at, and later its UID would not be trusted.
    fn compare_all(&mut self, adoption: &Adoption) -> Result<(), StoreError> {
        let times = if adoption.recovering { READINGS } else { 1 };
        for _ in 0..times {
            if self.compare_once(adoption)? {
                break;
            }
        }
        Ok(())
    }

    /// True if it is certain that no file has escaped.
    fn compare_once(&mut self, adoption: &Adoption) -> Result<bool, StoreError> {
        let began = now_nanos();
        let (cur, new) = (self.place.time("cur")?, self.place.time("new")?);
        let known = self.index.all_messages(&self.place.key, self.row.messages)?;
        let mut seen = self.list_all(&known)?;
        let is_whole = seen.is_whole();
        let mut taken: HashSet<u32> = known.iter().map(|row| row.uid).collect();
        let (mut change, mut named, mut lost) = (None, false, Vec::new());
        let next = self.row.uid_next;
        for row in known {
            match seen.take(&row, |uid| uid < next) {
                Some(file) => named |= self.refresh(row, &file, &mut change)?,
                None => lost.push(row),
            }
        }
        let newcomers = self.part_with(lost, seen.into_files(), &mut change)?;
        if !adoption.recovering {
            self.doubt_index(&newcomers, &taken)?;
        }
        let adopted = self.adopt(newcomers, adoption, &mut taken, &mut change)?;
        self.settle_names(named || adopted.is_any_named)?;
        self.row.cost = now_nanos().saturating_sub(began);
        self.row.compared = began;
        if began - self.row.doubt > tick(self.row.doubt) {
            self.row.doubt = 0;
        }
        self.row.cur = cur;
        self.row.new = if began - new > tick(new) { new } else { 0 };
        Ok(is_whole && !adopted.has_one_escaped)
    }

    /// Compares `new/` alone, which is small: all that lies there gets a UID and goes to `cur/`.
    fn compare_new(&mut self, adoption: &Adoption) -> Result<(), StoreError> {
        let new = self.signs.new;
        let files = Listing::read(&self.place.folder, &["new"], self.own())?.into_files();
        let (mut change, mut taken) = (None, HashSet::new());
        let adopted = self.adopt(files, adoption, &mut taken, &mut change)?;
        self.settle_names(adopted.is_any_named)?;
        self.row.new = if self.began - new > tick(new) { new } else { 0 };
        Ok(())
    }

    /// Forgets the messages of which there is no file, and gives back the files of no message. One with a message's UID and
    /// the mailbox's mark is that message's, whatever else its name says now.
    fn part_with(
        &mut self,
        lost: Vec<MessageRow>,
        files: Vec<Seen>,
        change: &mut Option<u64>,
    ) -> Result<Vec<Seen>, StoreError> {
        if lost.is_empty() {
            return Ok(files);
        }
        let (mut claimed, mut others) = (HashMap::new(), Vec::new());
        for file in files {
            match file.uid {
                Some(uid) if !claimed.contains_key(&uid) => drop(claimed.insert(uid, file)),
                _ => others.push(file),
            }
        }
        let mut is_any_gone = false;
        for mut row in lost {
            if let Some(file) = claimed.remove(&row.uid) {
                row.base.clone_from(&file.base);
                self.index.put_message(&self.place.key, &row)?;
                self.refresh(row, &file, change)?;
            } else {
                let mod_seq = self.change(change)?;
                self.forget(&row, mod_seq)?;
                is_any_gone = true;
            }
        }
        if is_any_gone {
            self.place.account.doubt_usage();
        }
        others.extend(claimed.into_values());
        Ok(others)
    }

    /// A file with a UID that this mailbox gave, of which the index knows neither the message nor its end: somebody has
    /// brought the file back, or the index has lost the message. If it did, it is damaged and all UIDs are learnt from the names.
    fn doubt_index(&self, newcomers: &[Seen], known: &HashSet<u32>) -> Result<(), StoreError> {
        for uid in newcomers.iter().filter_map(|file| file.uid) {
            let is_given = uid < self.row.uid_next && !known.contains(&uid);
            if is_given && !self.index.has_expunged(&self.place.key, uid)? {
                return self.index.verify();
            }
        }
        Ok(())
    }

    fn list_all(&self, known: &[MessageRow]) -> Result<Listing, StoreError> {
        let read = || Listing::read(&self.place.folder, &["new", "cur"], self.own());
        let mut seen = read()?;
        for _ in 1..READINGS {
            if seen.is_whole() || known.iter().all(|row| seen.has(&row.base)) {
                break;
            }
            let mut again = read()?;
            again.add(seen);
            seen = again;
        }
        Ok(seen)
    }

    fn own(&self) -> Own {
        Own { mark: self.file.mark(), is_unmarked: self.file.is_unmarked }
    }

    /// The UIDs are in the names: once these are on the disk, no crash can change them.
    fn settle_names(&self, named: bool) -> Result<(), StoreError> {
        if named { disk::sync_dir(&self.place.path("cur")) } else { Ok(()) }
    }

    pub(super) fn change(&mut self, change: &mut Option<u64>) -> Result<u64, StoreError> {
        if change.is_none() {
            *change = Some(self.next_mod_seq()?);
        }
        Ok(change.unwrap_or(self.row.mod_seq))
    }

    /// A message we knew: flags may have changed, the file may be back in `new/`, or have lost its UID. True if it got one.
    fn refresh(
        &mut self,
        mut row: MessageRow,
        file: &Seen,
        change: &mut Option<u64>,
    ) -> Result<bool, StoreError> {
        let name = FileName::parse(&file.name);
        let flags_changed = row.info != name.info;
        if flags_changed {
            name.info.clone_into(&mut row.info);
            self.know_letters(&name);
        }
        let wanted = row.name(self.file.mark());
        let moved = !file.has_name(&wanted) && self.rename_seen(file, &wanted)?;
        if flags_changed {
            row.mod_seq = self.change(change)?;
            self.index.put_flags(&self.place.key, std::slice::from_ref(&row))?;
        }
        Ok(moved && file.uid != Some(row.uid))
    }

    /// Renames to a name with UID; false if another program was faster: then the next comparison finds it.
    fn rename_seen(&mut self, file: &Seen, wanted: &str) -> Result<bool, StoreError> {
        self.touched = true;
        match disk::rename_new(&file.path(), &self.place.path("cur").join(wanted)) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => {
                self.settles_later();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives UIDs to the files that have none, in the order of their names, which is that of arrival.
    fn adopt(
        &mut self,
        files: Vec<Seen>,
        adoption: &Adoption,
        taken: &mut HashSet<u32>,
        change: &mut Option<u64>,
    ) -> Result<Adopted, StoreError> {
        let mut newcomers: Vec<_> =
            files.into_iter().map(|file| (self.claim(&file, adoption), file)).collect();
        newcomers.sort_unstable_by(|(a, one), (b, two)| (a, &one.base).cmp(&(b, &two.base)));
        self.reserve_uids(newcomers.iter().filter(|(claim, _)| *claim == u32::MAX).count())?;
        let (mut adopted, mut foreign) = (Adopted::default(), false);
        measure::each(&newcomers, |claim, file, measured| {
            foreign |= !names::is_ours(&file.base);
            let is_named = match measured {
                Some(measured) => self.adopt_one(file, adoption, measured, claim, taken, change)?,
                None => {
                    self.settles_later();
                    false
                }
            };
            adopted.is_any_named |= is_named;
            adopted.has_one_escaped |= !is_named;
            Ok(())
        })?;
        if foreign {
            self.place.account.doubt_usage();
        }
        Ok(adopted)
    }

    /// True unless another program was faster.
    fn adopt_one(
        &mut self,
        file: &Seen,
        adoption: &Adoption,
        (seconds, wire): Measure,
        claim: u32,
        taken: &mut HashSet<u32>,
        change: &mut Option<u64>,
    ) -> Result<bool, StoreError> {
        let uid = self.uid_for(claim, taken)?.value();
        let name = FileName::parse(&file.name);
        self.know_letters(&name);
        let (info, extra) = match adoption.foreign.keywords_of.get(&file.base) {
            Some(keywords) => {
                let flags = Flags::from_parts(name.system(), keywords.iter().cloned());
                let encoded = self.encode(&name, uid, &flags);
                self.write_file()?; // what a letter means must be known before it stands in a name
                encoded
            }
            None => {
                let extra = self.file.extra.get(&uid).map(|it| joined(it));
                (name.info.to_owned(), extra.unwrap_or_default())
            }
        };
        let base = file.base.clone();
        let mod_seq = self.change(change)?;
        let saved = saved_at(&name, file.uid == Some(uid), self.began);
        let row = MessageRow { uid, base, info, extra, seconds, offset_minutes: 0, wire, mod_seq, saved };
        let wanted = row.name(self.file.mark());
        let is_named = file.has_name(&wanted) || self.rename_seen(file, &wanted)?;
        if is_named {
            self.add(&row)?;
        }
        Ok(is_named)
    }

    /// The UID that a file may keep, `u32::MAX` if none.
    ///
    /// Besides what another server gave, that is one in its name with the mailbox's mark which, as far as the index knows, it
    /// never gave: then the index is older than the folder.
    fn claim(&self, file: &Seen, adoption: &Adoption) -> u32 {
        let given = adoption.foreign.uids.get(&file.base).map(|uid| uid.value());
        let from = if adoption.recovering { 1 } else { self.row.uid_next };
        let may_keep = |uid: &u32| (from..self.file.uid_limit).contains(uid);
        file.uid.filter(may_keep).or(given.filter(may_keep)).unwrap_or(u32::MAX)
    }

    fn uid_for(&mut self, claim: u32, taken: &mut HashSet<u32>) -> Result<Uid, StoreError> {
        match Uid::try_from(claim) {
            Ok(uid) if claim != u32::MAX && taken.insert(claim) => {
                self.row.uid_next = self.row.uid_next.max(claim + 1);
                Ok(uid)
            }
            _ => self.next_uid(),
        }
    }
}
