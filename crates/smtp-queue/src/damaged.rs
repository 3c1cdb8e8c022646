//! Messages whose rows can't be read, or whose text is not what was queued: named, so that somebody may mend them, and without holding up anything.
//! The rows of the ones are left alone for a while, the others are tried again as ever.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::QueueId;

/// How long until one is looked at again.
const WHILE: Duration = Duration::from_secs(3600);
/// How many operators are told of by name.
const MAX_NAMED: usize = 20;

/// By their names.
#[derive(Debug, Default)]
pub(crate) struct Damaged(Mutex<BTreeMap<QueueId, Known>>);

/// What is known of one.
#[derive(Debug)]
struct Known {
    why: String,
    since: Instant,
    /// Not the row is damaged.
    is_text: bool,
}

impl Damaged {
    /// The message's row makes no sense.
    pub(crate) fn note(&self, id: &QueueId, why: String, now: Instant) {
        self.known().insert(id.clone(), Known { why, since: now, is_text: false });
    }

    /// The message's text is not what was queued, or can't be read.
    pub(crate) fn note_flawed(&self, id: &QueueId, why: String, now: Instant) {
        self.known().insert(id.clone(), Known { why, since: now, is_text: true });
    }

    /// Nothing is wrong with the message any more, or it is gone.
    pub(crate) fn forget(&self, id: &QueueId) {
        self.known().remove(id);
    }

    /// Those that are to be left alone.
    pub(crate) fn ids(&self, now: Instant) -> HashSet<String> {
        let mut known = self.known();
        known.retain(|_, it| it.is_text || now.duration_since(it.since) < WHILE);
        known.iter().filter(|(_, it)| !it.is_text).map(|(id, _)| id.0.clone()).collect()
    }

    /// Those whose text was found damaged so long ago that they may be gone, and why: they are forgotten unless they are named again.
    pub(crate) fn named_long_ago(&self, now: Instant) -> Vec<(QueueId, String)> {
        let mut known = self.known();
        let is_old = |it: &Known| it.is_text && now.duration_since(it.since) >= WHILE;
        known.extract_if(.., |_, it| is_old(it)).map(|(id, it)| (id, it.why)).collect()
    }

    /// What operators are told: subject and text.
    pub(crate) fn notices(&self) -> Vec<(String, String)> {
        let known = self.known();
        let named = known.iter().take(MAX_NAMED).map(|(id, it)| (format!("damaged {id}"), it.text(id)));
        let others = known.len().saturating_sub(MAX_NAMED);
        let more = (others > 0)
            .then(|| ("damaged".to_owned(), format!("{others} more messages are damaged: see the log")));
        named.chain(more).collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<QueueId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What operators are told.
    fn text(&self, id: &QueueId) -> String {
        let why = &self.why;
        // Nobody can type a name that can't be read.
        let removal = match id.0.contains(char::REPLACEMENT_CHARACTER) {
            true => String::new(),
            false => format!(", or `mailstead queue remove {id}`"),
        };
        match self.is_text {
            true => format!("{why}; it is tried again later: put its text back as it was{removal}"),
            false => {
                format!("message {id} is damaged and not tried: {why}; mend its row in queue.sqlite{removal}")
            }
        }
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

    #[test]
    fn what_has_a_damaged_text_is_named_until_it_is_whole_or_gone_and_never_left_alone() {
        let (damaged, now) = (Damaged::default(), Instant::now());
        let ids = ["1", "2", "3"].map(|id| QueueId(id.to_owned()));
        for id in &ids {
            damaged.note_flawed(id, format!("message {id} is damaged"), now);
        }
        assert!(damaged.ids(now).is_empty() && damaged.named_long_ago(now).is_empty());
        damaged.forget(&ids[0]);
        let notices = damaged.notices();
        assert_eq!(notices.len(), 2);
        assert!(notices[0].1.starts_with("message 2 is damaged; "), "{notices:?}");
        assert!(notices[0].1.contains("`mailstead queue remove 2`"), "{notices:?}");
        let old = damaged.named_long_ago(now + WHILE);
        assert_eq!(old.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&ids[1], &ids[2]]);
        assert!(damaged.notices().is_empty());
    }
}
