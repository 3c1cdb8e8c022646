//! Messages whose rows can't be read: named, and left alone for a while, so that they hold up nothing. The rows stay as they are: somebody may
//! mend them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::QueueId;

/// How long until one is looked at again.
const WHILE: Duration = Duration::from_secs(3600);
/// How many operators are told of by name.
const MAX_NAMED: usize = 20;

/// By their names: why, and since when.
#[derive(Debug, Default)]
pub(crate) struct Damaged(Mutex<BTreeMap<QueueId, (String, Instant)>>);

impl Damaged {
    pub(crate) fn note(&self, id: &QueueId, why: String, now: Instant) {
        self.known().insert(id.clone(), (why, now));
    }

    /// Those that are to be left alone.
    pub(crate) fn ids(&self, now: Instant) -> HashSet<String> {
        let mut known = self.known();
        known.retain(|_, (_, since)| now.duration_since(*since) < WHILE);
        known.keys().map(|id| id.0.clone()).collect()
    }

    /// What operators are told: subject and text.
    pub(crate) fn notices(&self) -> Vec<(String, String)> {
        let known = self.known();
        let named = known.iter().take(MAX_NAMED).map(|(id, (why, _))| {
            // Nobody can type a name that can't be read.
            let removal = match id.0.contains(char::REPLACEMENT_CHARACTER) {
                true => String::new(),
                false => format!(", or `mailstead queue remove {id}`"),
            };
            let text = format!(
                "message {id} is damaged and not tried: {why}; mend its row in queue.sqlite{removal}"
            );
            (format!("damaged {id}"), text)
        });
        let others = known.len().saturating_sub(MAX_NAMED);
        let more = (others > 0)
            .then(|| ("damaged".to_owned(), format!("{others} more messages are damaged: see the log")));
        named.chain(more).collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<QueueId, (String, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_named_and_looked_at_again_after_an_hour() {
        let (damaged, now) = (Damaged::default(), Instant::now());
        for number in 10..40 {
            damaged.note(&QueueId(number.to_string()), "cut off".to_owned(), now);
        }
        let notices = damaged.notices();
        assert_eq!(notices.len(), MAX_NAMED + 1);
        assert!(notices[0].0 == "damaged 10" && notices[0].1.contains("cut off"), "{notices:?}");
        assert!(notices[MAX_NAMED].1.starts_with("10 more"), "{notices:?}");
        assert!(damaged.ids(now).contains("39"));
        assert!(damaged.ids(now + WHILE).is_empty() && damaged.notices().is_empty());
    }
}
