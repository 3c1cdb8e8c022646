//! What a client has missed that comes back: SELECT (QRESYNC), and FETCH's CHANGEDSINCE and VANISHED. RFC 7162 §3.1.4.1, §3.2.5,
//! §3.2.6.

use std::ops::Range;

use imap_proto::Qresync;
use mail_store::{Snapshot, Uids};
use mail_types::{Bound, ModSeq, SeqSet, Uid, UidSet};

use crate::answer::Output;
use crate::selected::{Named, SelectedMailbox};

/// So many ranges stand in one VANISHED, for clients that read lines of some length.
const RANGES: usize = 500;

/// Tells what is gone of what the client knew, and gives the messages that changed.
pub(crate) fn resync(selected: &SelectedMailbox, client: &Qresync, out: &mut Output) -> Named {
    let none = Named { indexes: Vec::new(), gone: 0 };
    if client.uid_validity != selected.mailbox().uid_validity() {
        return none;
    }
    let now = selected.now();
    let all = || vec![(1, last_given(now))];
    let known = client.known.as_ref().map_or_else(all, |set| set.resolve(last_given(now)));
    let sure = client.sample.as_ref().map_or(0, |(numbers, uids)| last_match(now.uids(), numbers, uids));
    let doubtful = known.iter().map(|(first, last)| ((*first).max(sure.saturating_add(1)), *last));
    tell_vanished_since(selected, client.mod_seq, doubtful.collect(), out);
    // Nobody was told of a later one than there is: whoever knows such a one knows nothing.
    let since = if client.mod_seq > now.highest_mod_seq().value() { 0 } else { client.mod_seq };
    changed_since(selected, selected.with_uids(&known), since)
}

/// The last UID that was ever given.
pub(crate) fn last_given(now: &Snapshot) -> u32 {
    now.uid_next().value().saturating_sub(1)
}

/// The UID up to which the client's numbering is ours, 0 if none: nothing up to there is gone that it doesn't know of
/// (RFC 7162 §3.2.5.2). Both sets ascend, and pair.
fn last_match(ours: &Uids, numbers: &SeqSet, uids: &UidSet) -> u32 {
    let (mut numbers, mut uids) = (numbers.resolve(0).into_iter(), uids.resolve(0).into_iter());
    let (mut number, mut uid) = (numbers.next(), uids.next());
    let mut matched = 0;
    while let (Some((first_number, last_number)), Some((first_uid, last_uid))) = (number, uid) {
        let length = (last_number - first_number).min(last_uid - first_uid);
        matched = matched.max(last_match_of_run(ours, first_number, first_uid, length));
        let rest = |first: u32, last: u32| {
            first.checked_add(length + 1).filter(|it| *it <= last).map(|it| (it, last))
        };
        number = rest(first_number, last_number).or_else(|| numbers.next());
        uid = rest(first_uid, last_uid).or_else(|| uids.next());
    }
    matched
}

/// The same for numbers and UIDs side by side. How far the UID of a message is above its number never falls.
fn last_match_of_run(ours: &Uids, number: u32, uid: u32, length: u32) -> u32 {
    let start = number.saturating_sub(1) as usize;
    let run = ours.len().saturating_sub(start).min((length as usize).saturating_add(1));
    let is_within = |(at, found): (usize, Uid)| (found.value() as usize).saturating_sub(at) <= uid as usize;
    let (mut low, mut high) = (0, run);
    while low < high {
        let middle = low.midpoint(high);
        if ours.get(start + middle).is_some_and(|found| is_within((middle, found))) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let last = low.checked_sub(1).and_then(|at| Some((at, ours.get(start + at)?.value())));
    last.filter(|(at, found)| *found as usize - at == uid as usize).map_or(0, |(_, found)| found)
}

/// Those of the messages named that changed or came after a mod-sequence.
pub(crate) fn changed_since(selected: &SelectedMailbox, named: Named, mod_seq: u64) -> Named {
    let Ok(mod_seq) = ModSeq::try_from(mod_seq) else { return named };
    let changed = selected.now().changed_since(mod_seq);
    let within = |range: &Range<usize>| {
        let first = changed.partition_point(|index| *index < range.start);
        let end = changed.partition_point(|index| *index < range.end);
        changed.get(first..end).unwrap_or_default()
    };
    let indexes = named.indexes.iter().flat_map(within).map(|index| *index..*index + 1).collect();
    Named { indexes, gone: named.gone }
}

/// Tells which UIDs within ascending ranges went after a mod-sequence. Where that is not known any more, all are told that are
/// not there (RFC 7162 §3.2.6).
pub(crate) fn tell_vanished_since(
    selected: &SelectedMailbox,
    mod_seq: u64,
    ranges: Vec<(u32, u32)>,
    out: &mut Output,
) {
    let now = selected.now();
    let last = last_given(now);
    let ranges =
        ranges.into_iter().map(|(first, end)| (first, end.min(last))).filter(|(first, end)| first <= end);
    let ranges: Vec<_> = ranges.collect();
    if ranges.is_empty() {
        return;
    }
    let vanished = match selected.mailbox().expunged_since(mod_seq, now) {
        Some(uids) => {
            let is_named = |uid: &Uid| {
                let at = ranges.partition_point(|(_, last)| *last < uid.value());
                ranges.get(at).is_some_and(|(first, _)| *first <= uid.value())
            };
            UidSet::from_ascending(uids.into_iter().filter(is_named))
        }
        None => absent(now.uids(), &ranges),
    };
    tell_vanished(&vanished, "(EARLIER) ", out);
}

/// The UIDs within ascending ranges that no message has.
fn absent(uids: &Uids, ranges: &[(u32, u32)]) -> UidSet {
    let mut absent = Vec::new();
    let mut push = |first: u32, last: u32| {
        let bound = |number| Uid::try_from(number).ok().map(Bound::Number);
        absent.extend(bound(first).zip(bound(last)).filter(|_| first <= last));
    };
    for (first, last) in ranges {
        let mut next = *first;
        let start = uids.partition_point(|uid| uid.value() < *first);
        for uid in uids.range(start..uids.len()).take_while(|uid| uid.value() <= *last) {
            push(next, uid.value() - 1);
            next = uid.value().saturating_add(1);
        }
        push(next, *last);
    }
    UidSet::from_ranges(absent)
}

/// RFC 7162 §3.2.10.
pub(crate) fn tell_vanished(uids: &UidSet, earlier: &str, out: &mut Output) {
    for ranges in uids.ranges().chunks(RANGES) {
        out.text(format_args!("* VANISHED {earlier}{}\r\n", UidSet::from_ranges(ranges.to_vec())));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn uids<C: FromIterator<Uid>>(numbers: impl IntoIterator<Item = u32>) -> C {
        numbers.into_iter().map(|it| Uid::try_from(it).unwrap()).collect()
    }

    /// As the client sends it: `1:3,7`.
    fn pairs(pairs: &[(u32, u32)]) -> (SeqSet, UidSet) {
        let bound = |number: u32| Bound::Number(mail_types::SeqNum::try_from(number).unwrap());
        let numbers = pairs.iter().map(|(number, _)| (bound(*number), bound(*number))).collect();
        (
            SeqSet::from_ranges(numbers),
            UidSet::from_ascending(uids::<Vec<_>>(pairs.iter().map(|(_, uid)| *uid))),
        )
    }

    /// RFC 7162 §3.2.5.2
    #[test]
    fn the_last_pair_that_is_ours_counts() {
        let ours = uids([1, 2, 3, 8, 9, 10, 20, 21, 22, 23, 24, 25]);
        let (numbers, known) = pairs(&[(4, 8), (12, 24)]);
        assert_eq!(last_match(&ours, &numbers, &known), 8);
        let (numbers, known) = pairs(&[(2, 3), (13, 26)]);
        assert_eq!(last_match(&ours, &numbers, &known), 0);
        assert_eq!(last_match(&Uids::default(), &numbers, &known), 0);
    }

    #[test]
    fn what_is_absent_is_told_in_ranges() {
        let all = |ranges: &[(u32, u32)]| absent(&uids([3, 4, 9]), ranges).to_string();
        assert_eq!(all(&[(1, 12)]), "1:2,5:8,10:12");
        assert_eq!(all(&[(3, 4), (8, 9), (11, 11)]), "8,11");
        assert_eq!(absent(&Uids::default(), &[(2, 5)]).to_string(), "2:5");
    }

    proptest! {
        #[test]
        fn pairs_in_runs_match_as_each_by_itself(
            ours in btree_set(1..40_u32, 0..30),
            numbers in btree_set(1..30_u32, 0..20),
            known in btree_set(1..40_u32, 0..20),
        ) {
            let ours: Uids = uids(ours);
            let sample: Vec<(u32, u32)> = numbers.into_iter().zip(known).collect();
            let is_ours = |(number, uid): &&(u32, u32)| {
                ours.get(*number as usize - 1).is_some_and(|it| it.value() == *uid)
            };
            let expected = sample.iter().filter(is_ours).map(|(_, uid)| *uid).max().unwrap_or(0);
            let (numbers, known) = pairs(&sample);
            prop_assert_eq!(last_match(&ours, &numbers, &known), expected);
        }
    }
}
