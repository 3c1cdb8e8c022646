//! What fails of one message at several destinations is told its sender in one report, where it fails within a short time.
//!
//! The first failure's report is queued at once, as ever, but is not to be sent before some time is over, if other recipients are being tried. A
//! failure of these within that time makes a report of all, which takes the place of the first one in the same transaction: so at any moment the
//! queue has a report of each failure. What waits is remembered by this process only; after a restart there are two reports.
//!
//! That a message is late is told of all recipients that it has not reached (`record.rs`), one at a time, when nobody of them is being tried any more
//! (`under_way.rs`).

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, MutexGuard};

use crate::QueueId;
use crate::dsn::Reported;

/// A report so near its time may be on its way.
const MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// The reports that wait for others, by the message that they are about.
#[derive(Debug)]
pub(crate) struct Gather {
    wait: Option<SignedDuration>,
    waiting: Mutex<Waiting>,
}

type Waiting = HashMap<QueueId, Gathered>;

/// A report that waits.
#[derive(Debug, Clone)]
pub(crate) struct Gathered {
    /// Its name in the queue.
    pub(crate) report: QueueId,
    /// When it is sent.
    pub(crate) until: Timestamp,
    /// What it reports.
    pub(crate) failed: Vec<Reported>,
}

impl Gather {
    /// Reports wait so long at most; up to [`MARGIN`] not at all.
    pub(crate) fn new(wait: Duration) -> Self {
        let wait = SignedDuration::try_from(wait).ok().filter(|wait| *wait > MARGIN);
        Self { wait, waiting: Mutex::default() }
    }

    /// What waits, for who has trouble of a message with other recipients to report: until that is recorded, nobody else has.
    pub(crate) async fn begin(&self) -> Gathering<'_> {
        Gathering { wait: self.wait, waiting: self.waiting.lock().await }
    }

    /// The report of the message, if it waits: from now on for nothing.
    pub(crate) async fn take(&self, message: &QueueId) -> Option<QueueId> {
        self.waiting.lock().await.remove(message).map(|it| it.report)
    }
}

/// What waits, while it is looked at and changed.
#[derive(Debug)]
pub(crate) struct Gathering<'g> {
    wait: Option<SignedDuration>,
    waiting: MutexGuard<'g, Waiting>,
}

impl Gathering<'_> {
    /// The report of the message that still waits, and up to when failures from `now` on are waited for; `None` if nothing waits for anything.
    pub(crate) fn of(&self, message: &QueueId, now: Timestamp) -> Option<(Option<Gathered>, Timestamp)> {
        let wait = self.wait?;
        let is_waiting = |it: &&Gathered| now.saturating_add(MARGIN).is_ok_and(|soon| soon < it.until);
        let before = self.waiting.get(message).filter(is_waiting).cloned();
        let until = now.saturating_add(wait).unwrap_or(now);
        let until = before.as_ref().map_or(until, |it| it.until);
        Some((before, until))
    }

    /// The report is queued: it waits, or it does not.
    pub(crate) fn end(mut self, message: &QueueId, gathered: Option<Gathered>, now: Timestamp) {
        self.waiting.retain(|_, it| it.until > now);
        match gathered {
            Some(gathered) => drop(self.waiting.insert(message.clone(), gathered)),
            None => drop(self.waiting.remove(message)),
        }
    }
}
