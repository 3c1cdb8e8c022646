//! COPY and MOVE within an account.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail_types::{Flags, Uid, Usage};

use super::place::now_nanos;
use super::work::Work;
use super::{Mailbox, Outcome};
use crate::disk;
use crate::error::{Refusal, StoreError};
use crate::index::{Index, MessageRow};
use crate::meter::Meter;
use crate::names::{self, FileName};
use crate::quota;

/// A message to be copied: a link to it in the target's `tmp/`.
pub(super) struct Linked {
    tmp: PathBuf,
    base: String,
    pub(super) row: MessageRow,
    pub(super) flags: Flags,
    pub(super) usage: Usage,
}

/// What a message that is moved has where it comes to.
pub(super) struct Arrival {
    pub(super) flags: Flags,
    pub(super) base: String,
    /// When it came, if the base doesn't say.
    pub(super) saved: Option<i64>,
}

impl Mailbox {
    /// Copies messages with flags and dates, all or none, and pairs each UID here with its UID there (ascending). Those that
    /// are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] for the target, [`StoreError::OverQuota`], [`StoreError::Io`], [`StoreError::Index`].
    pub fn copy(&self, uids: &[Uid], target: &Arc<Self>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        self.is_neighbour(target)?;
        self.place.account.check_room(self.usage_of(uids))?;
        self.place.account.check_disk_for_copy()?;
        Meter::expect(uids.len());
        let (links, placed) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let copy = |index: &Index| {
            target.place.time("cur")?; // a source that is gone would look the same
            let mut source = self.work(index)?;
            let linked = source.link_all(uids, target, &mut links.borrow_mut())?;
            let here = self.finish(source)?;
            let count = self.place.account.count_more(linked.iter().map(|it| it.usage).sum())?;
            let mut work = target.work(index)?;
            let pairs = work.adopt_links(&linked, Some(&self.place.key), &mut placed.borrow_mut())?;
            Ok((count, (pairs, here, target.finish(work)?)))
        };
        let undo = || {
            take_back(&placed);
            discard_all(&links);
        };
        self.or_undo(copy, undo, |(mut count, done)| {
            count.keep();
            self.show_both(target, done)
        })
    }

    /// Moves messages: each is renamed to its UID there, so that at no moment it is in both mailboxes or in none (RFC 6851).
    /// Pairs each UID here with its UID there. Those that are gone are passed over.
    ///
    /// # Errors
    /// As [`Self::copy`]; then all are where they were.
    pub fn move_to(&self, uids: &[Uid], target: &Arc<Self>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        self.is_neighbour(target)?;
        Meter::expect(uids.len());
        if self.place.folder == target.place.folder {
            return self.renumber(uids);
        }
        let moved = RefCell::new(Vec::new());
        let move_all = |index: &Index| {
            // A count of all must not miss what is on its way from one folder to another.
            let _count = self.place.account.count();
            let (mut source, mut work) = (self.work(index)?, target.work(index)?);
            let stays = |work: &Work<'_>, row: &MessageRow| Some(Arrival::of_neighbour(work, row));
            let pairs = source.move_all(uids, &mut work, &stays, &mut moved.borrow_mut())?;
            Ok((pairs, self.finish(source)?, target.finish(work)?))
        };
        self.or_undo(move_all, || take_back(&moved), |done| self.show_both(target, done))
    }

    /// Moves to the same mailbox: each message gets a new UID.
    fn renumber(&self, uids: &[Uid]) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let moved = RefCell::new(Vec::new());
        let renumber = |index: &Index| {
            let mut work = self.work(index)?;
            let pairs = work.renumber_all(uids, &mut moved.borrow_mut())?;
            Ok((pairs, self.finish(work)?))
        };
        let show = |(pairs, outcome)| {
            self.show(outcome);
            pairs
        };
        self.or_undo(renumber, || take_back(&moved), show)
    }

    /// Works under the lock and shows what came of it. Where it fails, `undo` mends the disk before others see it.
    pub(super) fn or_undo<T, R>(
        &self,
        act: impl Fn(&Index) -> Result<T, StoreError>,
        undo: impl Fn(),
        show: impl FnOnce(T) -> R,
    ) -> Result<R, StoreError> {
        let attempt = |index: &Index| {
            undo(); // what an attempt on a damaged index has left
            act(index).inspect_err(|_| undo())
        };
        self.place.account.locked_then(attempt, show).inspect_err(|_| undo())
    }

    fn show_both<T>(&self, target: &Self, (value, here, there): (T, Outcome, Outcome)) -> T {
        self.show(here);
        target.show(there);
        value
    }

    /// About how much these messages are.
    pub(super) fn usage_of(&self, uids: &[Uid]) -> Usage {
        let now = self.snapshot();
        let sizes = uids.iter().filter_map(|uid| now.get(now.position(*uid)?));
        sizes.map(|message| Usage::message(message.size)).sum()
    }

    pub(super) fn is_neighbour(&self, target: &Self) -> Result<(), StoreError> {
        if Arc::ptr_eq(&self.place.account, &target.place.account) {
            return Ok(());
        }
        Err(StoreError::Refused(Refusal::OtherAccount))
    }
}

/// Removes links that came to nothing.
pub(super) fn discard_all(links: &RefCell<Vec<PathBuf>>) {
    links.borrow_mut().drain(..).for_each(|path| disk::discard(&path));
}

/// Renames back what was moved; what can't be is found by the next comparison where it is.
pub(super) fn take_back(moved: &RefCell<Vec<(PathBuf, PathBuf)>>) {
    for (from, to) in moved.borrow_mut().drain(..).rev() {
        if let Err(error) = disk::rename_new(&to, &from) {
            tracing::warn!(%error, "a message stays where it was moved to although that failed");
        }
    }
}

impl Work<'_> {
    /// Links messages into the target's `tmp/`, where no other program touches them.
    pub(super) fn link_all(
        &mut self,
        uids: &[Uid],
        target: &Mailbox,
        links: &mut Vec<PathBuf>,
    ) -> Result<Vec<Linked>, StoreError> {
        let folder = target.place.path("tmp");
        let mut linked = Vec::with_capacity(uids.len());
        for uid in uids {
            let link = self.on_file(*uid, |work, row| {
                let base = copied_base(&row);
                let tmp = folder.join(&base);
                links.push(tmp.clone());
                disk::link_or_copy(&work.path(&row), &folder.join(names::unique()), &tmp)?;
                let usage = Usage::message(quota::octets(&base, &tmp)?.unwrap_or_default());
                Ok(Linked { tmp, base, flags: work.flags(&row), row, usage })
            })?;
            linked.extend(link);
        }
        Ok(linked)
    }

    /// Gives the links their UIDs and places, durably. What is known of their contents comes from a mailbox `source` of the same account.
    pub(super) fn adopt_links(
        &mut self,
        linked: &[Linked],
        source: Option<&str>,
        placed: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<Vec<(Uid, Uid)>, StoreError> {
        self.place.account.note_placing(&self.place.key, linked.iter().map(|it| it.base.as_str()));
        let mut pairs = Vec::with_capacity(linked.len());
        let mut mod_seq = None;
        for Linked { tmp, base, row, flags, .. } in linked {
            let copy = self.copy_of(row, flags, (base.clone(), None), &mut mod_seq)?;
            let path = self.path(&copy);
            self.touched = true;
            disk::rename_new(tmp, &path)?;
            placed.push((tmp.clone(), path));
            self.add(&copy)?;
            if let Some(source) = source {
                self.index.copy_summary((source, row.uid), (&self.place.key, copy.uid))?;
            }
            pairs.extend(pair(row, &copy));
        }
        if !pairs.is_empty() {
            disk::sync_dir(&self.place.path("cur"))?;
        }
        Ok(pairs)
    }

    /// Renames messages to their UIDs in the target, durably, as `arrival` says, without those of which it says nothing.
    pub(super) fn move_all(
        &mut self,
        uids: &[Uid],
        target: &mut Work<'_>,
        arrival: &dyn Fn(&Work<'_>, &MessageRow) -> Option<Arrival>,
        moved: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let mut pairs = Vec::with_capacity(uids.len());
        let (mut gone_at, mut come_at) = (None, None);
        for uid in uids {
            let pair = self.on_file(*uid, |source, row| {
                let Some(Arrival { flags, base, saved }) = arrival(source, &row) else { return Ok(None) };
                let copy = target.copy_of(&row, &flags, (base, saved), &mut come_at)?;
                let (from, to) = (source.path(&row), target.path(&copy));
                (source.touched, target.touched) = (true, true);
                disk::rename_new(&from, &to)?;
                moved.push((from, to));
                target.add(&copy)?;
                if Arc::ptr_eq(&source.place.account, &target.place.account) {
                    target.index.copy_summary((&source.place.key, row.uid), (&target.place.key, copy.uid))?;
                }
                let mod_seq = source.change(&mut gone_at)?;
                source.forget(&row, mod_seq)?;
                Ok(pair(&row, &copy))
            })?;
            pairs.extend(pair.flatten());
        }
        if !pairs.is_empty() {
            // In this order: a crash between may leave a name in both folders, never in none.
            disk::sync_dir(&target.place.path("cur"))?;
            disk::sync_dir(&self.place.path("cur"))?;
        }
        Ok(pairs)
    }

    pub(super) fn renumber_all(
        &mut self,
        uids: &[Uid],
        moved: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let mut pairs = Vec::with_capacity(uids.len());
        let mut mod_seq = None;
        for uid in uids {
            let pair = self.on_file(*uid, |work, row| {
                let Arrival { flags, base, saved } = Arrival::of_neighbour(work, &row);
                let copy = work.copy_of(&row, &flags, (base, saved), &mut mod_seq)?;
                let (from, to) = (work.path(&row), work.path(&copy));
                work.touched = true;
                disk::rename_new(&from, &to)?;
                moved.push((from, to));
                work.add(&copy)?;
                work.index.copy_summary((&work.place.key, row.uid), (&work.place.key, copy.uid))?;
                work.forget(&row, copy.mod_seq)?;
                Ok(pair(&row, &copy))
            })?;
            pairs.extend(pair.flatten());
        }
        disk::sync_dir(&self.place.path("cur"))?;
        Ok(pairs)
    }

    /// The row that a message of another mailbox gets here: with this base, and when it came if that doesn't say.
    fn copy_of(
        &mut self,
        row: &MessageRow,
        flags: &Flags,
        (base, saved): (String, Option<i64>),
        mod_seq: &mut Option<u64>,
    ) -> Result<MessageRow, StoreError> {
        let (uid, mod_seq) = (self.next_uid()?.value(), self.change(mod_seq)?);
        let (info, extra) = self.encode(&FileName::of_info(&row.info), uid, flags);
        // What a letter means must be known before it stands in a name.
        self.write_file()?;
        Ok(MessageRow { uid, base, info, extra, mod_seq, saved, ..row.clone() })
    }
}

impl Arrival {
    /// Of a message that stays in its account: the base stays too.
    fn of_neighbour(work: &Work<'_>, row: &MessageRow) -> Self {
        let saved = Some(now_nanos() / 1_000_000_000);
        Self { flags: work.flags(row), base: row.base.clone(), saved }
    }
}

/// How much was moved to these files.
pub(super) fn usage_of_files<'a>(mut paths: impl Iterator<Item = &'a Path>) -> Result<Usage, StoreError> {
    paths.try_fold(Usage::default(), |sum, path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(sum + Usage::message(quota::octets(&name, path)?.unwrap_or_default()))
    })
}

/// A base of its own for a copy, with the sizes and the hash.
pub(super) fn copied_base(row: &MessageRow) -> String {
    let of = FileName::parse(&row.base);
    of.size.map_or_else(names::unique, |size| {
        let wire = (of.wire.is_some() || size != row.wire).then_some(row.wire);
        names::sealed(&names::unique(), size, wire, of.hash)
    })
}

fn pair(from: &MessageRow, to: &MessageRow) -> Option<(Uid, Uid)> {
    Uid::try_from(from.uid).ok().zip(Uid::try_from(to.uid).ok())
}
