//! An open mailbox: what it shows, and how it keeps in step with its folder.

mod append;
mod changes;
mod far;
mod flags;
mod listing;
mod measure;
mod misfit;
mod names;
mod object_ids;
mod place;
mod reader;
mod rebuild;
mod replace;
mod saved;
mod scan;
mod seen;
mod summaries;
mod texts;
mod transfer;
mod verify;
mod view;
mod work;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use mail_types::{Flags, InternalDate, MailboxName, SpecialUse, Uid, UidValidity};
use tokio::sync::watch;

use crate::account::{Account, create_maildir};
use crate::delivery::TmpFile;
use crate::error::StoreError;
use crate::housekeeping::{self, Chore};
use crate::index::Index;
use crate::mark::Mark;
use crate::object_id::MailboxObjectId;
use crate::search::Remembered;
use crate::snapshot::Snapshot;
use crate::watch::{Changes, Watcher, next_id};

pub use append::Append;
pub use flags::{FlagChange, Stored};
#[cfg(test)]
use listing::meanwhile;
#[cfg(test)]
pub(crate) use listing::{FILES_READ, MEANWHILE, Moment};
use names::Names;
use place::Place;
pub(crate) use place::{Signs, is_settled, modified_at, now_nanos};
use reader::Reader;
use scan::{doubtful_at, settles_at};
use summaries::Summarized;
pub use view::View;
use work::Work;
pub(crate) use work::joined;

/// An open mailbox, shared by all sessions of the process that have it open.
#[derive(Debug)]
pub struct Mailbox {
    id: u64,
    this: Weak<Self>,
    place: Place,
    mark: Mark,
    mailbox_id: MailboxObjectId,
    shown: watch::Sender<Arc<Snapshot>>,
    quiet: Mutex<Option<Quiet>>,
    /// When to look again although nothing shows; 0 for never.
    recheck: AtomicI64,
    is_verifying: AtomicBool,
    names: Mutex<Names>,
    summarized: Mutex<Summarized>,
    /// Its messages in the full-text index.
    documents: Remembered,
    /// Users other than the owner who have it open.
    readers: Mutex<HashMap<String, Weak<Reader>>>,
}

/// As long as the disk shows these signs, what is shown is true.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    signs: Signs,
    until: Option<i64>,
    /// `cur/` changed so lately that another process may change it without its time showing that: it is so only as long as
    /// nobody has changed the index after its transaction of this number.
    commits: Option<u64>,
}

/// What a piece of work leaves, to be shown once it is committed.
struct Outcome {
    snapshot: Arc<Snapshot>,
    quiet: Option<Quiet>,
    settles_at: Option<i64>,
    doubtful_at: Option<i64>,
}

impl Outcome {
    /// Of work that is saved.
    fn of(work: &Work<'_>, snapshot: Arc<Snapshot>) -> Self {
        let (settles_at, doubtful_at) = (settles_at(&work.row), doubtful_at(&work.row));
        let signs = Signs { cur: work.row.cur, ..work.signs };
        let is_quiet =
            signs.new == work.row.new && signs.are_settled_but_for_cur(work.began) && settles_at.is_none();
        let commits = (!is_settled(signs.cur, work.began)).then_some(0);
        let quiet = is_quiet.then_some(Quiet { signs, until: doubtful_at, commits });
        Self { snapshot, quiet, settles_at, doubtful_at }
    }
}

impl Mailbox {
    pub(crate) fn open(account: &Arc<Account>, name: &MailboxName) -> Result<Arc<Self>, StoreError> {
        let place = Place::new(account, name);
        housekeeping::later(Chore::Mailbox(place.folder.clone()));
        let (mark, mailbox_id, outcome) = account.locked(|index| {
            // Under the lock: what another process is just deleting must not come back.
            if place.path("cur").is_dir() && !(place.path("new").is_dir() && place.path("tmp").is_dir()) {
                create_maildir(&place.folder)?; // somebody copied only a part
            }
            let mut work = Work::open(&place, index, None)?;
            let mailbox_id = work.identify()?;
            work.save()?;
            let snapshot = Arc::new(work.whole_snapshot()?);
            Ok((work.file.mark(), mailbox_id, Outcome::of(&work, snapshot)))
        })?;
        let mailbox = Arc::new_cyclic(|this| Self {
            id: next_id(),
            this: this.clone(),
            place,
            mark,
            mailbox_id,
            shown: watch::Sender::new(Arc::clone(&outcome.snapshot)),
            quiet: Mutex::default(),
            recheck: AtomicI64::new(0),
            is_verifying: AtomicBool::new(false),
            names: Mutex::default(),
            summarized: Mutex::default(),
            documents: Remembered::default(),
            readers: Mutex::default(),
        });
        // By now another thread may have changed the index.
        let quiet = outcome.quiet.filter(|quiet| quiet.commits.is_none());
        mailbox.show(Outcome { quiet, ..outcome });
        Ok(mailbox)
    }

    /// Works under the account's lock, in step with the folder, and shows the outcome to all sessions.
    fn change<T>(
        &self,
        act: impl Fn(&mut Work<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Arc<Snapshot>), StoreError> {
        let work = |index: &Index| {
            let mut work = self.work(index)?;
            let value = act(&mut work)?;
            Ok((value, self.finish(work)?))
        };
        self.place.account.locked_then(work, |(value, outcome)| (value, self.show(outcome)))
    }

    fn work<'a>(&'a self, index: &'a Index) -> Result<Work<'a>, StoreError> {
        let work = Work::open(&self.place, index, Some(&self.snapshot()))?;
        if work.file.mark() == self.mark { Ok(work) } else { Err(self.place.missing()) }
    }

    /// Saves the work.
    fn finish(&self, mut work: Work<'_>) -> Result<Outcome, StoreError> {
        work.save()?;
        let last = self.snapshot();
        let (mod_seq, uid_next) = (last.highest_mod_seq.value(), last.uid_next.value());
        if work.row.log_floor > mod_seq {
            work.renew_returned(&last)?;
        }
        let same = (mod_seq, uid_next, last.first_recent.value())
            == (work.row.mod_seq, work.row.uid_next, work.row.first_recent);
        let snapshot = if same { last } else { Arc::new(work.snapshot(&last)?) };
        Ok(Outcome::of(&work, snapshot))
    }

    /// Shows to all sessions what was committed. To be called before others may commit. What is shown comes first: who finds the disk quiet
    /// takes it to be all there is.
    fn show(&self, outcome: Outcome) -> Arc<Snapshot> {
        if !Arc::ptr_eq(&outcome.snapshot, &self.snapshot()) {
            self.shown.send_replace(Arc::clone(&outcome.snapshot));
        }
        #[cfg(test)]
        meanwhile(Moment::Shown);
        let commits = self.place.account.commits();
        let quiet = outcome.quiet.map(|it| Quiet { commits: it.commits.map(|_| commits), ..it });
        *self.quiet.lock().unwrap_or_else(PoisonError::into_inner) = quiet;
        let recheck = outcome.settles_at.into_iter().chain(outcome.doubtful_at).min();
        self.recheck.store(recheck.unwrap_or_default(), Ordering::Relaxed);
        if outcome.doubtful_at.is_some_and(|at| at <= now_nanos()) {
            self.verify_later();
        }
        outcome.snapshot
    }

    /// The generation of its UIDs.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.mark.uid_validity
    }

    /// What is known now, without looking at the disk.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shown.borrow())
    }

    /// Looks for changes on disk, without a lock when there are none, and tells what is known then.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] once it was deleted, [`StoreError::Io`], [`StoreError::Index`].
    pub fn sync(&self) -> Result<Arc<Snapshot>, StoreError> {
        if self.is_quiet() {
            return Ok(self.snapshot());
        }
        self.change(|_| Ok(())).map(|(_, snapshot)| snapshot)
    }

    /// True if nothing has changed since the last look.
    pub(crate) fn is_quiet(&self) -> bool {
        let quiet = *self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.is_some_and(|quiet| {
            quiet.until.is_none_or(|until| now_nanos() < until)
                && self.place.signs().is_ok_and(|signs| signs == quiet.signs)
                && quiet.commits.is_none_or(|commits| self.place.account.is_at_rest_since(commits))
        })
    }

    /// Wakes whenever the snapshot changes, whoever changes it. As long as one waits so, changes by other processes and
    /// programs are found within some tens of milliseconds (a quarter of a second where the system has no inotify).
    /// Doesn't block.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Changes {
        Changes::new(self, self.shown.subscribe(), Watcher::of_process())
    }

    #[cfg(test)]
    pub(crate) fn watch_by(self: &Arc<Self>, watcher: &Watcher) -> Changes {
        Changes::new(self, self.shown.subscribe(), Some(watcher))
    }

    /// Which one of the process it is.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// Wakes all who wait, although the snapshot is as it was: they find the mailbox gone.
    pub(crate) fn wake_all(&self) {
        self.shown.send_modify(|_| ());
    }

    /// In how long to look again although nothing shows.
    pub(crate) fn recheck_in(&self) -> Option<Duration> {
        let at = self.recheck.load(Ordering::Relaxed);
        let left = u64::try_from(at.saturating_sub(now_nanos())).unwrap_or_default();
        (at != 0).then(|| Duration::from_nanos(left))
    }

    /// Takes the recent messages for this session: `\Recent` is what it returns, lowest and highest UID, and nobody gets again.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn claim_recent(&self) -> Result<Option<(Uid, Uid)>, StoreError> {
        let now = self.sync()?;
        if now.first_recent() == now.uid_next() {
            return Ok(None);
        }
        let ((first, next), _) = self.change(|work| {
            let first = std::mem::replace(&mut work.row.first_recent, work.row.uid_next);
            Ok((first, work.row.uid_next))
        })?;
        let last = Uid::try_from(next.saturating_sub(1)).ok();
        Ok(Uid::try_from(first).ok().zip(last).filter(|(first, last)| first <= last))
    }

    /// Says what it is for, unless that is known.
    pub(crate) fn set_special_use(&self, special_use: SpecialUse) -> Result<(), StoreError> {
        self.change(|work| {
            if work.file.special_use.is_none() {
                work.file_mut().special_use = Some(special_use);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Starts to add a message. The date is now when `None`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMailbox`] once it was deleted, [`StoreError::Io`].
    pub fn append(self: &Arc<Self>, flags: Flags, date: Option<InternalDate>) -> Result<Append, StoreError> {
        let tmp = TmpFile::create(&self.place.folder, self.place.account.room()).or_else(|error| {
            self.place.time("cur")?; // it may be gone as a whole
            Err(error)
        })?;
        let date = date.unwrap_or_else(|| InternalDate::from_unix(now_nanos() / 1_000_000_000));
        Ok(Append { mailbox: Arc::clone(self), flags, date, tmp, seen_by: None })
    }
}
