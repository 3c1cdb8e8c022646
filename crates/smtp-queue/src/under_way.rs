//! Who is being tried at this moment, so that no sender hears that mail is late while it arrives.
//!
//! Attempts at the recipients of a message fall together when it is late (`schedule.rs`). Whichever of them ends last tells of all that it has not
//! reached; those before it leave that to it, unless it takes too long: then they tell, and not of those that are still being tried.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::QueueId;

/// How long a warning waits for others that are being tried.
const PATIENCE: Duration = Duration::from_secs(600);

/// All attempts of this process, by the message.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<HashMap<QueueId, Trying>>);

/// Attempts at one message.
#[derive(Debug, Default)]
struct Trying {
    /// The places of recipients of whom it isn't recorded yet what came of it.
    positions: BTreeSet<usize>,
    /// Since when a warning waits for them.
    waiting: Option<Instant>,
}

/// What the sender of a late message is to be told when an attempt is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Warning {
    /// Nothing: who is being tried tells.
    Later,
    /// Of all that are late but these, who are being tried.
    Now {
        /// Their places.
        but: BTreeSet<usize>,
        /// Another attempt has left it to this one, whatever came of that.
        is_due: bool,
    },
}

impl Warning {
    /// Of all.
    pub(crate) const ALL: Self = Self::Now { but: BTreeSet::new(), is_due: false };

    /// True if another attempt has left it to this one.
    pub(crate) const fn is_due(&self) -> bool {
        matches!(self, Self::Now { is_due: true, .. })
    }
}

/// That recipients are being tried, until it is dropped.
#[derive(Debug)]
pub(crate) struct Tried {
    of: Arc<UnderWay>,
    id: QueueId,
    positions: BTreeSet<usize>,
}

impl UnderWay {
    pub(crate) fn begin(self: &Arc<Self>, id: &QueueId, positions: BTreeSet<usize>) -> Tried {
        self.trying().entry(id.clone()).or_default().positions.extend(&positions);
        Tried { of: Arc::clone(self), id: id.clone(), positions }
    }

    /// What is to be told at `now` by the attempt at these. Until what came of that is recorded, nobody else may ask about the message.
    pub(crate) fn warning(&self, id: &QueueId, mine: impl Fn(usize) -> bool, now: Instant) -> Warning {
        let mut trying = self.trying();
        let Some(trying) = trying.get_mut(id) else { return Warning::ALL };
        let others: BTreeSet<usize> = trying.positions.iter().copied().filter(|it| !mine(*it)).collect();
        let is_due = trying.waiting.is_some();
        let since = trying.waiting.unwrap_or(now);
        if others.is_empty() || now.duration_since(since) >= PATIENCE {
            return Warning::Now { but: others, is_due };
        }
        trying.waiting = Some(since);
        Warning::Later
    }

    /// It is recorded what came of these, and the sender `is_told`.
    pub(crate) fn recorded(&self, id: &QueueId, positions: impl Iterator<Item = usize>, is_told: bool) {
        let mut trying = self.trying();
        if let Some(trying) = trying.get_mut(id) {
            let recorded: BTreeSet<usize> = positions.collect();
            trying.positions.retain(|it| !recorded.contains(it));
            trying.waiting = trying.waiting.filter(|_| !is_told);
        }
    }

    fn trying(&self) -> MutexGuard<'_, HashMap<QueueId, Trying>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        let mut all = self.of.trying();
        if let Some(trying) = all.get_mut(&self.id) {
            trying.positions.retain(|it| !self.positions.contains(it));
            if trying.positions.is_empty() {
                all.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> (Arc<UnderWay>, QueueId, [Tried; 3]) {
        let (under_way, id) = (Arc::new(UnderWay::default()), QueueId("1".to_owned()));
        let tried = [&[0, 1][..], &[2], &[5]].map(|it| under_way.begin(&id, it.iter().copied().collect()));
        (under_way, id, tried)
    }

    #[test]
    fn the_last_of_those_that_are_tried_together_tells_of_all() {
        let (under_way, id, [first, second, third]) = ground();
        let now = Instant::now();
        assert_eq!(under_way.warning(&id, |it| it < 2, now), Warning::Later);
        under_way.recorded(&id, 0..2, false);
        drop(first);
        // One that is cut off is no more under way than one that is recorded.
        drop(second);
        let due = Warning::Now { but: BTreeSet::new(), is_due: true };
        assert_eq!(under_way.warning(&id, |it| it == 5, now), due);
        // It may have to be done again.
        assert_eq!(under_way.warning(&id, |it| it == 5, now), due);
        under_way.recorded(&id, 5..6, true);
        drop(third);
        assert_eq!(under_way.warning(&id, |it| it == 0, now), Warning::ALL);
        assert!(under_way.trying().is_empty());
    }

    #[test]
    fn who_hangs_is_not_waited_for_for_ever_and_not_told_of() {
        let (under_way, id, [_first, _second, _third]) = ground();
        let now = Instant::now();
        assert_eq!(under_way.warning(&id, |it| it < 2, now), Warning::Later);
        under_way.recorded(&id, 0..2, false);
        let soon = now + PATIENCE - Duration::from_secs(1);
        assert_eq!(under_way.warning(&id, |it| it == 2, soon), Warning::Later);
        let but = BTreeSet::from([5]);
        assert_eq!(under_way.warning(&id, |it| it == 2, now + PATIENCE), Warning::Now { but, is_due: true });
        under_way.recorded(&id, 2..3, true);
        assert_eq!(
            under_way.warning(&id, |it| it == 5, now + PATIENCE),
            Warning::Now { but: BTreeSet::new(), is_due: false }
        );
    }

    #[test]
    fn one_that_is_tried_alone_tells_at_once() {
        let (under_way, id) = (Arc::new(UnderWay::default()), QueueId("1".to_owned()));
        let _tried = under_way.begin(&id, BTreeSet::from([0]));
        let _other = under_way.begin(&QueueId("2".to_owned()), BTreeSet::from([1]));
        assert_eq!(under_way.warning(&id, |it| it == 0, Instant::now()), Warning::ALL);
    }
}
