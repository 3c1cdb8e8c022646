//! The UIDs of a snapshot, in chunks that one snapshot shares with the next.

use std::ops::Range;
use std::sync::Arc;

use mail_types::Uid;

/// UIDs in a chunk: what adding one copies at most.
const CHUNK: usize = 1024;

/// UIDs by position, ascending. To add at the end costs the same however many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uids {
    /// All but the last are full.
    chunks: Vec<Arc<Vec<Uid>>>,
}

impl Uids {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// True if there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The one at a position, from 0.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Uid> {
        self.chunks.get(position / CHUNK)?.get(position % CHUNK).copied()
    }

    /// The highest.
    #[must_use]
    pub fn last(&self) -> Option<Uid> {
        self.chunks.last()?.last().copied()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.range(0..self.len())
    }

    /// Those at these positions; there may be fewer.
    pub fn range(&self, positions: Range<usize>) -> impl Iterator<Item = Uid> + '_ {
        let (first, within) = (positions.start / CHUNK, positions.start % CHUNK);
        let chunks = self.chunks.get(first..).unwrap_or_default().iter();
        chunks.flat_map(|chunk| chunk.iter().copied()).skip(within).take(positions.len())
    }

    /// All of them, as one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Uid> {
        self.iter().collect()
    }

    /// The position of the first of which `is_before` is false, given that it is true of all before that and of none after.
    #[must_use]
    pub fn partition_point(&self, is_before: impl Fn(Uid) -> bool) -> usize {
        let begins_before = |chunk: &Arc<Vec<Uid>>| chunk.first().is_some_and(|uid| is_before(*uid));
        let Some(number) = self.chunks.partition_point(begins_before).checked_sub(1) else { return 0 };
        let within = self.chunks.get(number).map_or(0, |chunk| chunk.partition_point(|uid| is_before(*uid)));
        number * CHUNK + within
    }

    /// The position of `uid`, from 0.
    #[must_use]
    pub fn position(&self, uid: Uid) -> Option<usize> {
        let position = self.partition_point(|it| it < uid);
        (self.get(position) == Some(uid)).then_some(position)
    }

    /// Adds one, higher than all.
    pub(super) fn push(&mut self, uid: Uid) {
        match self.chunks.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => Arc::make_mut(last).push(uid),
            None => self.chunks.push(Arc::new(vec![uid])),
        }
    }

    /// Leaves only the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.chunks.truncate(len.div_ceil(CHUNK));
        if let Some(last) = self.chunks.get_mut(len / CHUNK) {
            Arc::make_mut(last).truncate(len % CHUNK);
        }
    }
}

/// Of UIDs that ascend.
impl FromIterator<Uid> for Uids {
    fn from_iter<I: IntoIterator<Item = Uid>>(ascending: I) -> Self {
        let mut uids = Self::default();
        ascending.into_iter().for_each(|uid| uids.push(uid));
        uids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> Uid {
        Uid::try_from(u32::try_from(number).unwrap()).unwrap()
    }

    /// Around the ends of chunks all is as in one piece.
    #[test]
    fn uids_in_chunks_are_as_in_one_piece() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 3] {
            let all: Vec<Uid> = (1..=len).map(|number| uid(2 * number)).collect();
            let uids: Uids = all.iter().copied().collect();
            assert_eq!((uids.to_vec(), uids.len(), uids.last()), (all.clone(), len, all.last().copied()));
            for at in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, len].into_iter().filter(|at| *at <= len) {
                assert_eq!(uids.range(at..len).collect::<Vec<_>>(), all[at..]);
                assert_eq!(uids.get(at), all.get(at).copied());
                assert_eq!(uids.position(uid(2 * at + 2)), (at < len).then_some(at));
                assert_eq!(uids.position(uid(2 * at + 1)), None);
                let mut short = uids.clone();
                short.truncate(at);
                assert_eq!((short.to_vec(), short.len()), (all[..at].to_vec(), at));
                short.push(uid(9999));
                assert_eq!((short.len(), short.last()), (at + 1, Some(uid(9999))));
                assert_eq!(uids.len(), len, "the one before stays as it was");
            }
        }
    }
}
