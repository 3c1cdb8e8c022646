//! What one snapshot has and another has not, at the cost of the difference.

use std::sync::Arc;

use mail_types::{ModSeq, Uid};

use super::{Snapshot, Uids};

/// So many steps are remembered.
const STEPS: usize = 64;
/// A step that changed more is not remembered: then looking at all rows costs about as much.
const LARGE: usize = 1024;

/// What happened from one snapshot to the next.
#[derive(Debug)]
pub(super) struct Step {
    /// The mod-sequence before it.
    pub(super) from: ModSeq,
    /// What changed or came.
    pub(super) changed: Box<[Uid]>,
    /// What went.
    pub(super) gone: Box<[Uid]>,
}

/// The last steps, the newest last; each begins where the one before ended.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Vec<Arc<Step>>);

impl History {
    pub(super) fn add(&mut self, step: Step) {
        if step.changed.len() + step.gone.len() > LARGE {
            self.0.clear();
            return;
        }
        if self.0.len() >= STEPS {
            self.0.drain(..STEPS / 2);
        }
        self.0.push(Arc::new(step));
    }

    /// The steps from the one on in which `mod_seq` was passed; `None` if they are not remembered so far back.
    fn since(&self, mod_seq: ModSeq) -> Option<&[Arc<Step>]> {
        let first = self.0.partition_point(|step| step.from <= mod_seq).checked_sub(1)?;
        self.0.get(first..)
    }
}

/// What is different from an earlier snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// What is gone, as positions in the earlier one, ascending.
    pub gone: Vec<usize>,
    /// What changed or came, as positions in the later one, ascending.
    pub changed: Vec<usize>,
}

impl Snapshot {
    /// What is different from `before`, an earlier snapshot of the same mailbox. The cost is that of the difference, unless
    /// `before` is many steps old.
    #[must_use]
    pub fn since(&self, before: &Self) -> Difference {
        let steps = self.history.since(before.highest_mod_seq);
        let steps = steps.filter(|steps| steps.first().is_some_and(|it| it.from == before.highest_mod_seq));
        let gone = match steps {
            _ if before.highest_mod_seq == self.highest_mod_seq => Vec::new(),
            Some(steps) => {
                let gone =
                    steps.iter().flat_map(|step| &step.gone).filter(|uid| self.position(**uid).is_none());
                let mut gone: Vec<usize> = gone.filter_map(|uid| before.position(*uid)).collect();
                gone.sort_unstable();
                gone.dedup();
                gone
            }
            None => missing(&before.uids, &self.uids),
        };
        Difference { gone, changed: self.changed_since(before.highest_mod_seq) }
    }

    /// Positions of the messages changed or added since `mod_seq`, ascending. The cost is that of the changes; of older ones
    /// there is a look at every few hundred messages besides.
    #[must_use]
    pub fn changed_since(&self, mod_seq: ModSeq) -> Vec<usize> {
        if mod_seq >= self.highest_mod_seq {
            return Vec::new();
        }
        let Some(steps) = self.history.since(mod_seq) else { return self.rows.changed_since(mod_seq) };
        let positions = steps.iter().flat_map(|step| &step.changed).filter_map(|uid| self.position(*uid));
        let is_newer = |at: &usize| self.rows.get(*at).is_some_and(|row| row.mod_seq > mod_seq);
        let mut positions: Vec<usize> = positions.filter(is_newer).collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }
}

/// Positions of what is in `before` and not in `now`; both ascend.
fn missing(before: &Uids, now: &Uids) -> Vec<usize> {
    let mut now = now.iter().peekable();
    let mut gone = Vec::new();
    for (index, uid) in before.iter().enumerate() {
        while now.next_if(|other| *other < uid).is_some() {}
        if now.next_if(|other| *other == uid).is_none() {
            gone.push(index);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::Head;
    use super::*;
    use crate::index::{MailboxRow, MessageRow};

    fn next(before: &Snapshot, changed: &[u32], gone: &[u32], mod_seq: u64) -> Snapshot {
        let row = |uid: &u32| MessageRow {
            uid: *uid,
            base: String::new(),
            info: String::new(),
            extra: String::new(),
            seconds: 0,
            offset_minutes: 0,
            wire: 1,
            mod_seq,
            saved: None,
        };
        let changed: Vec<_> = changed.iter().map(row).collect();
        let head = MailboxRow { uid_next: 9999, mod_seq, ..MailboxRow::default() };
        before.next(&changed, gone, &Head { keywords: &[], row: &head })
    }

    #[test]
    fn the_messages_that_are_gone_are_found_by_position() {
        let uids = |numbers: &[u32]| numbers.iter().map(|it| Uid::try_from(*it).unwrap()).collect::<Uids>();
        assert_eq!(missing(&uids(&[1, 3, 5, 9]), &uids(&[3, 9, 10])), [0, 2]);
        assert_eq!(missing(&uids(&[1, 2]), &uids(&[1, 2, 3])), Vec::<usize>::new());
        assert_eq!(missing(&uids(&[4]), &Uids::default()), [0]);
    }

    #[test]
    fn what_is_not_remembered_is_found_by_looking_at_all() {
        let first = next(&Snapshot::empty(), &(1..=3000).collect::<Vec<_>>(), &[], 5);
        let mut last = next(&first, &[7], &[8], 6);
        for step in 0..200 {
            last = next(&last, &[3001 + step], &[], u64::from(7 + step));
        }
        assert!(last.history.since(first.highest_mod_seq).is_none());
        let difference = last.since(&first);
        assert_eq!((difference.gone.as_slice(), difference.changed.len()), (&[7][..], 201));
        assert_eq!(last.changed_since(ModSeq::MIN).len(), last.len());
    }

    proptest! {
        /// From whichever earlier snapshot, also one between two that this process made.
        #[test]
        fn the_difference_is_that_of_all_uids_and_mod_sequences(
            steps in vec((vec(1..60_u32, 0..6), vec(1..60_u32, 0..4)), 1..90),
        ) {
            let mut all = vec![next(&Snapshot::empty(), &(1..40).collect::<Vec<_>>(), &[], 2)];
            let mut newest = 40;
            for (number, (changed, gone)) in steps.iter().enumerate() {
                let last = all.last().unwrap();
                let exists = |uid: &u32| last.position(Uid::try_from(*uid).unwrap()).is_some();
                let stays = |uid: &u32| exists(uid) && !gone.contains(uid);
                let mut changed: Vec<u32> = changed.iter().copied().filter(stays).collect();
                changed.extend((number % 3 == 0).then_some(newest));
                newest += u32::from(number % 3 == 0);
                changed.sort_unstable();
                changed.dedup();
                let mod_seq = last.highest_mod_seq.value() + 1 + number as u64 % 2;
                all.push(next(last, &changed, gone, mod_seq));
            }
            let last = all.last().unwrap();
            for before in &all {
                let difference = last.since(before);
                prop_assert_eq!(difference.gone, missing(&before.uids, &last.uids));
                prop_assert_eq!(&difference.changed, &last.rows.changed_since(before.highest_mod_seq));
            }
            for mod_seq in 1..=last.highest_mod_seq.value() {
                let mod_seq = mod_seq.try_into().unwrap();
                prop_assert_eq!(last.changed_since(mod_seq), last.rows.changed_since(mod_seq));
            }
        }
    }
}
