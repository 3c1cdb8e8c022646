//! One thread for the process looks after the mailboxes that sessions wait on: by inotify, or by the folders' times.

mod notices;
mod subject;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::watch;

use crate::acl::FILE as RIGHTS;
use crate::error::StoreError;
use crate::mailbox::Mailbox;
use crate::shares::SEEN;
use crate::snapshot::Snapshot;
pub use notices::{KnownStatus, News, Notices};
use subject::Subject;

/// How often the folders are looked at that have no inotify watch.
const POLL: Duration = Duration::from_millis(200);
/// How long changes are gathered after some were told, so that a burst of them is told in few steps.
const GATHER: Duration = Duration::from_millis(10);
/// How many folders without inotify watches are looked at by the clock for sessions that have not opened them.
const MOST_BY_CLOCK: usize = 1000;

/// A number that nothing else that is waited on has.
pub(crate) fn next_id() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// A session's wait for changes of a mailbox. While one is held, what other processes and programs do is found too.
#[derive(Debug)]
pub struct Changes {
    shown: watch::Receiver<Arc<Snapshot>>,
    mailbox: u64,
    watcher: Option<Watcher>,
}

impl Changes {
    pub(crate) fn new(
        mailbox: &Arc<Mailbox>,
        shown: watch::Receiver<Arc<Snapshot>>,
        watcher: Option<&Watcher>,
    ) -> Self {
        let changes = Self { shown, mailbox: mailbox.id(), watcher: watcher.cloned() };
        changes.order(Order::Watch(mailbox.id(), Subject::Mailbox(Arc::downgrade(mailbox))));
        changes
    }

    fn order(&self, order: Order) {
        if let Some(watcher) = &self.watcher {
            watcher.order(order);
        }
    }

    /// Waits for the next change; also wakes once when the mailbox was deleted or renamed.
    ///
    /// # Errors
    /// When nobody has the mailbox open any more.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.shown.changed().await
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.order(Order::Forget(self.mailbox));
    }
}

/// What the thread is asked to do.
enum Order {
    Watch(u64, Subject),
    Forget(u64),
    /// It may change without a sign, and is to be looked at once more in this time.
    LookIn(u64, Duration),
    /// To say when all is told of what happened before.
    #[cfg(test)]
    Settle(tokio::sync::oneshot::Sender<()>),
}

/// The way to the thread.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    orders: Sender<Order>,
    wake: Arc<OwnedFd>,
}

impl Watcher {
    /// The one of the process, started at first use; `None` when the system gives no thread or no file.
    pub(crate) fn of_process() -> Option<&'static Self> {
        static WATCHER: OnceLock<Option<Watcher>> = OnceLock::new();
        WATCHER.get_or_init(|| Self::start(start_inotify())).as_ref()
    }

    fn start(inotify: Option<Inotify>) -> Option<Self> {
        let (orders, received) = mpsc::channel();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .inspect_err(|error| tracing::error!(%error, "changes by other programs can't be watched"));
        let wake = Arc::new(wake.ok()?);
        let watching = Watching::new(inotify, received, Arc::clone(&wake));
        std::thread::Builder::new()
            .name("mailbox-watch".to_owned())
            .spawn(move || watching.run())
            .inspect_err(|error| tracing::error!(%error, "no thread to look for changes by other programs"))
            .ok()?;
        Some(Self { orders, wake })
    }

    fn order(&self, order: Order) {
        // The thread never ends, and a full counter wakes it as well.
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

fn start_inotify() -> Option<Inotify> {
    let warn = |error: &std::io::Error| {
        tracing::warn!(%error, "no inotify: watched mailboxes are looked at five times a second");
    };
    Inotify::init().inspect_err(warn).ok()
}

/// Something that sessions wait on.
struct Waited {
    subject: Subject,
    sessions: usize,
    /// None while it is looked at by the clock.
    watches: Vec<WatchDescriptor>,
    /// When it is to be compared although nothing is told of it.
    due: Option<Instant>,
}

impl Waited {
    const fn new(subject: Subject) -> Self {
        Self { subject, sessions: 0, watches: Vec::new(), due: None }
    }
}

/// What the thread knows.
struct Watching {
    inotify: Option<Inotify>,
    orders: Receiver<Order>,
    wake: Arc<OwnedFd>,
    waited: HashMap<u64, Waited>,
    by_watch: HashMap<WatchDescriptor, Vec<u64>>,
    /// Without watches, so looked at by the clock.
    polled: HashSet<u64>,
    polled_at: Instant,
    /// When mailboxes are to be compared again although nothing is told of them.
    due: BTreeSet<(Instant, u64)>,
    /// Who waits until all is told.
    #[cfg(test)]
    settling: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl Watching {
    fn new(inotify: Option<Inotify>, orders: Receiver<Order>, wake: Arc<OwnedFd>) -> Self {
        Self {
            inotify,
            orders,
            wake,
            waited: HashMap::new(),
            by_watch: HashMap::new(),
            polled: HashSet::new(),
            polled_at: Instant::now(),
            due: BTreeSet::new(),
            #[cfg(test)]
            settling: Vec::new(),
        }
    }

    fn run(mut self) {
        let mut buffer = vec![0; 16 << 10];
        loop {
            self.wait();
            let mut dirty = self.obey();
            dirty.extend(self.look_by_clock());
            dirty.retain(|id| self.looks_changed(*id));
            let events = self.read_events(&mut buffer);
            let told = !events.is_empty();
            dirty.extend(events);
            dirty.extend(self.take_due());
            #[cfg(test)]
            let is_all_told = self.inotify.is_some() || dirty.is_empty();
            dirty.into_iter().for_each(|id| self.compare(id));
            #[cfg(test)]
            self.settle(is_all_told);
            if told {
                std::thread::sleep(GATHER);
            }
        }
    }

    /// Until an order or an event comes, or the clock calls.
    fn wait(&self) {
        let now = Instant::now();
        let polls_at = (!self.polled.is_empty()).then(|| self.polled_at + POLL);
        let next = self.due.first().map(|(at, _)| *at).into_iter().chain(polls_at).min();
        let left = next.map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        fds.extend(self.inotify.as_ref().map(|it| PollFd::from_borrowed_fd(it.as_fd(), PollFlags::IN)));
        if let Err(error) = poll(&mut fds, left.as_ref())
            && error != rustix::io::Errno::INTR
        {
            tracing::error!(%error, "the wait for changes by other programs failed");
            std::thread::sleep(POLL);
        }
    }

    /// Carries out the orders; tells what is watched from now on.
    fn obey(&mut self) -> HashSet<u64> {
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        let mut new = HashSet::new();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Watch(id, subject) => {
                    let waited = self.waited.entry(id).or_insert_with(|| Waited::new(subject));
                    waited.sessions += 1;
                    if waited.sessions == 1 {
                        self.arm(id);
                        new.insert(id);
                    }
                }
                Order::Forget(id) => self.forget(id),
                Order::LookIn(id, time) => self.compare_in(id, time),
                #[cfg(test)]
                Order::Settle(settled) => {
                    self.settling.push(settled);
                    self.poll_now();
                }
            }
        }
        new
    }

    fn looks_changed(&mut self, id: u64) -> bool {
        let is_polled = self.polled.contains(&id);
        let Some(waited) = self.waited.get_mut(&id) else { return false };
        let is_changed = waited.subject.looks_changed();
        if is_changed && is_polled && self.inotify.is_some() && matches!(waited.subject, Subject::Folder(_)) {
            self.arm(id); // it may not have been there before
        }
        is_changed
    }

    fn forget(&mut self, id: u64) {
        let Some(waited) = self.waited.get_mut(&id) else { return };
        waited.sessions = waited.sessions.saturating_sub(1);
        if waited.sessions == 0 {
            self.disarm(id);
            let due = self.waited.remove(&id).and_then(|waited| waited.due);
            due.map(|due| self.due.remove(&(due, id)));
        }
    }

    /// Sets the watches, or has it looked at by the clock.
    fn arm(&mut self, id: u64) {
        let Some(folder) = self.waited.get(&id).and_then(|it| it.subject.folder()) else { return };
        self.polled.remove(&id);
        if let Err(error) = self.add_watches(id, &folder) {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(folder = %folder.display(), %error, "no inotify watch: looked at five times a second");
            }
            self.disarm(id);
            self.poll(id);
        }
    }

    fn poll(&mut self, id: u64) {
        let Some(waited) = self.waited.get(&id) else { return };
        if matches!(waited.subject, Subject::Mailbox(_)) || self.polled.len() < MOST_BY_CLOCK {
            self.polled.insert(id);
        } else {
            waited.subject.give_up();
        }
    }

    fn add_watches(&mut self, id: u64, folder: &Path) -> std::io::Result<()> {
        let Some(inotify) = &self.inotify else {
            self.poll(id);
            return Ok(());
        };
        let names = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
        // In INBOX's folder lie all other mailboxes.
        let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR | WatchMask::MASK_ADD;
        let Some(waited) = self.waited.get_mut(&id) else { return Ok(()) };
        let parts = match waited.subject {
            Subject::Mailbox(_) | Subject::Folder(_) => {
                &[("", WatchMask::MOVED_TO | WatchMask::MODIFY), ("cur", names), ("new", names)][..]
            }
            Subject::Names(_) | Subject::Shared(_) => &[("", names)],
        };
        for (part, mask) in parts {
            let watch = inotify.watches().add(folder.join(part), *mask | itself)?;
            let waiting = self.by_watch.entry(watch.clone()).or_default();
            if !waiting.contains(&id) {
                waiting.push(id);
            }
            waited.watches.push(watch);
        }
        Ok(())
    }

    /// Takes the watches away that no other mailbox needs (two stores in one process may share a folder).
    fn disarm(&mut self, id: u64) {
        self.polled.remove(&id);
        let watches = self.waited.get_mut(&id).map(|it| std::mem::take(&mut it.watches)).unwrap_or_default();
        for watch in watches {
            let Some(waiting) = self.by_watch.get_mut(&watch) else { continue };
            waiting.retain(|it| *it != id);
            if waiting.is_empty() {
                self.by_watch.remove(&watch);
                // That it is gone with its folder is fine.
                let _ = self.inotify.as_ref().map(|inotify| inotify.watches().remove(watch));
            }
        }
    }

    /// The mailboxes that events tell of.
    fn read_events(&mut self, buffer: &mut [u8]) -> HashSet<u64> {
        let (mut dirty, mut moved) = (HashSet::new(), HashSet::new());
        while let Some(inotify) = &mut self.inotify {
            let Ok(events) = inotify.read_events(buffer) else { break };
            let mut any = false;
            for event in events {
                any = true;
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    tracing::warn!("more changes than inotify holds: every watched mailbox is compared");
                    self.waited.values_mut().for_each(|waited| {
                        waited.subject.looks_changed();
                    });
                    dirty.extend(self.waited.keys());
                }
                let Some(waiting) = self.by_watch.get(&event.wd) else { continue };
                if is_of_reader(event.name) {
                    // What a user has seen, or may do, is in no snapshot of the mailbox's own.
                    let is_of_rights = event.name.is_some_and(|name| name == RIGHTS);
                    let waiting = waiting.iter().filter_map(|id| self.waited.get(id));
                    waiting.for_each(|it| it.subject.wake(is_of_rights));
                    continue;
                }
                if event.mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED) {
                    moved.extend(waiting);
                    dirty.extend(waiting);
                    continue;
                }
                for id in waiting {
                    let Some(waited) = self.waited.get_mut(id) else { continue };
                    if waited.subject.is_changed_by(&event) {
                        dirty.insert(*id);
                    }
                }
            }
            if !any {
                break;
            }
        }
        for id in moved {
            self.disarm(id);
            self.arm(id);
        }
        dirty
    }

    fn look_by_clock(&mut self) -> Vec<u64> {
        if self.polled.is_empty() || self.polled_at.elapsed() < POLL {
            return Vec::new();
        }
        self.polled_at = Instant::now();
        self.polled.iter().copied().collect()
    }

    fn take_due(&mut self) -> Vec<u64> {
        let later = self.due.split_off(&(Instant::now(), u64::MAX));
        let due: Vec<u64> = std::mem::replace(&mut self.due, later).into_iter().map(|(_, id)| id).collect();
        for id in &due {
            if let Some(waited) = self.waited.get_mut(id) {
                waited.due = None;
            }
        }
        due
    }

    fn compare(&mut self, id: u64) {
        let Some(waited) = self.waited.get_mut(&id) else { return };
        let again = match &mut waited.subject {
            Subject::Folder(folder) => {
                folder.tell();
                None
            }
            Subject::Names(names) => names.tell(),
            Subject::Shared(shared) => {
                shared.tell();
                None
            }
            Subject::Mailbox(mailbox) => match mailbox.upgrade() {
                Some(mailbox) => self.compare_mailbox(id, &mailbox),
                None => return,
            },
        };
        if let Some(again) = again {
            self.compare_in(id, again);
        }
    }

    fn compare_mailbox(&mut self, id: u64, mailbox: &Mailbox) -> Option<Duration> {
        match mailbox.sync() {
            Ok(_) => mailbox.recheck_in(),
            Err(StoreError::NoSuchMailbox(_)) => {
                self.polled.remove(&id);
                mailbox.wake_all();
                None
            }
            Err(error) => {
                tracing::warn!(folder = %mailbox.folder().display(), %error, "a watched mailbox can't be compared with its folder");
                Some(Duration::from_secs(1))
            }
        }
    }

    fn compare_in(&mut self, id: u64, time: Duration) {
        let at = Instant::now() + time.max(GATHER);
        let Some(waited) = self.waited.get_mut(&id) else { return };
        if waited.due.is_none_or(|due| at < due) {
            if let Some(due) = waited.due.replace(at) {
                self.due.remove(&(due, id));
            }
            self.due.insert((at, id));
        }
    }
}

/// Names of the files in which it stands what other users than the owner have seen, and may do.
fn is_of_reader(name: Option<&std::ffi::OsStr>) -> bool {
    name.is_some_and(|name| {
        name.as_encoded_bytes().starts_with(SEEN.as_bytes()) && !name.as_encoded_bytes().ends_with(b".tmp")
            || name == RIGHTS
    })
}

#[cfg(test)]
impl Watcher {
    /// One that has no inotify.
    pub(crate) fn by_clock() -> Self {
        Self::start(None).unwrap()
    }
}

#[cfg(test)]
impl Watching {
    /// Answers who waits until all is told. By the clock that is so when nothing looks changed; inotify has told all that it was
    /// asked for before.
    fn settle(&mut self, is_all_told: bool) {
        if is_all_told {
            self.settling.drain(..).for_each(|settled| {
                let _ = settled.send(()); // who waited may have given up
            });
        } else if !self.settling.is_empty() {
            std::thread::sleep(GATHER);
            self.poll_now();
        }
    }

    fn poll_now(&mut self) {
        self.polled_at = self.polled_at.checked_sub(POLL).unwrap_or(self.polled_at);
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}
