//! Fills the full-text indexes beside the work, by one thread of low priority for the process.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{OnceLock, Weak};
use std::time::{Duration, Instant};

use super::SWEEP;
use super::database::{Database, is_broken, is_busy};
use super::pass::Pass;
use crate::account::Account;
use crate::error::StoreError;

/// How long after a change its account is looked at, with what changes until then.
const DELAY: Duration = Duration::from_secs(2);
/// When another process is at the account.
const BUSY: Duration = Duration::from_secs(5);
/// Octets that the log of a full-text index may have.
const LOG: u64 = 16 << 20;
/// When there is no room for that.
const FULL: Duration = Duration::from_secs(60);
/// As `nice` has it.
const NICE: i32 = 10;

/// An account to be looked at.
struct Job {
    account: Weak<Account>,
    due: Instant,
    begun: Option<(Database, Pass)>,
}

/// Has an account looked at before long.
pub(super) fn later(account: &Weak<Account>) {
    static ACCOUNTS: OnceLock<Option<Sender<Weak<Account>>>> = OnceLock::new();
    let accounts = ACCOUNTS.get_or_init(|| {
        let (accounts, received) = channel();
        std::thread::Builder::new()
            .name("mailbox-search".to_owned())
            .spawn(move || run(&received))
            .inspect_err(|error| tracing::warn!(%error, "no thread to fill full-text indexes"))
            .ok()
            .map(|_| accounts)
    });
    // Without an index the messages themselves are searched.
    let _ = accounts.as_ref().map(|accounts| accounts.send(Weak::clone(account)));
}

fn run(received: &Receiver<Weak<Account>>) {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "full-text indexes are filled at the priority of all else");
    }
    let mut jobs = VecDeque::new();
    loop {
        match next(received, &jobs) {
            Ok(account) => {
                if !jobs.iter().any(|job| job.begun.is_none() && Weak::ptr_eq(&job.account, &account)) {
                    jobs.push_back(Job { account, due: Instant::now() + DELAY, begun: None });
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        let Some(mut job) = take_due(&mut jobs, now) else { continue };
        if let Some(due) = job.work() {
            jobs.push_back(Job { due: Instant::now() + due, ..job });
        }
        // At most half of a processor.
        std::thread::sleep(now.elapsed());
    }
}

/// The next account, or the timeout once a job is due.
fn next(received: &Receiver<Weak<Account>>, jobs: &VecDeque<Job>) -> Result<Weak<Account>, RecvTimeoutError> {
    match jobs.iter().map(|job| job.due).min() {
        Some(due) => received.recv_timeout(due.saturating_duration_since(Instant::now())),
        None => received.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

fn take_due(jobs: &mut VecDeque<Job>, now: Instant) -> Option<Job> {
    let position = jobs.iter().position(|job| job.due <= now)?;
    jobs.remove(position)
}

impl Job {
    /// Works for a while; in how long there is more to do.
    fn work(&mut self) -> Option<Duration> {
        let account = self.account.upgrade().filter(|it| it.is_current())?;
        if !account.room().admits_cache(LOG) {
            return Some(FULL);
        }
        self.advance(&account).unwrap_or_else(|error| {
            tracing::debug!(%error, "a full-text index stays as it is for now");
            is_busy(&error).then_some(BUSY)
        })
    }

    fn advance(&mut self, account: &Account) -> Result<Option<Duration>, StoreError> {
        let begun = self.begun.take().filter(|(database, _)| database.is_current());
        let (database, mut pass) = begun.map_or_else(|| account.search().begin_pass(account), Ok)?;
        match pass.advance(account, &database) {
            Ok(true) => {
                self.begun = Some((database, pass));
                Ok(Some(Duration::ZERO))
            }
            Ok(false) => Ok(pass.has_left_what_is_gone().then_some(SWEEP)),
            Err(error) if is_broken(&error) => {
                account.search().remove(database)?;
                Ok(Some(DELAY))
            }
            Err(error) => Err(error),
        }
    }
}
