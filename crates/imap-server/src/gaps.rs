//! The sequence numbers of messages that are gone without the client having been told.

use std::ops::Range;

use mail_types::Uid;

/// The client's numbers, from 0, of messages that are gone without it having been told: the difference between its
/// numbering and that of the newest snapshot; with their UIDs. Ascending, and empty most of the time. Messages that arrive change nothing
/// here, since UIDs ascend.
#[derive(Debug, Default)]
pub(crate) struct Gaps(Vec<(usize, Uid)>);

impl Gaps {
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The client's number of the message at `index` in the snapshot.
    pub(crate) fn number(&self, index: usize) -> usize {
        // `gone[k] - k` messages that are there stand before the k-th that is gone.
        let (mut low, mut high) = (0, self.0.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.0.get(middle) {
                Some((gone, _)) if gone - middle > index => high = middle,
                Some(_) | None => low = middle + 1,
            }
        }
        index + low
    }

    /// The messages that are there within a range of the client's numbers, as indexes into the snapshot.
    pub(crate) fn indexes(&self, numbers: Range<usize>) -> Range<usize> {
        let index = |number: usize| number - self.0.partition_point(|(gone, _)| *gone < number);
        index(numbers.start)..index(numbers.end)
    }

    /// Notes that the messages at these indexes of the snapshot with these UIDs, ascending, are gone.
    pub(crate) fn add(&mut self, gone: Vec<(usize, Uid)>) {
        if gone.is_empty() {
            return;
        }
        let numbered: Vec<_> = gone.into_iter().map(|(index, uid)| (self.number(index), uid)).collect();
        self.0.extend(numbered);
        self.0.sort_unstable();
    }

    /// Forgets the gaps, which the client is about to be told: their numbers and UIDs, ascending.
    pub(crate) fn take(&mut self) -> Vec<(usize, Uid)> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_while_messages_go() {
        // The client counts a b c d e; first b and e go, then a and c.
        let uid = |number: u32| Uid::try_from(number).unwrap();
        let mut gaps = Gaps::default();
        gaps.add(vec![(1, uid(20)), (4, uid(50))]);
        assert_eq!([0, 1, 2].map(|index| gaps.number(index)), [0, 2, 3]);
        assert_eq!((gaps.indexes(0..2), gaps.indexes(1..2), gaps.indexes(2..5)), (0..1, 1..1, 1..3));
        gaps.add(vec![(0, uid(10)), (1, uid(30))]);
        assert_eq!(gaps.number(0), 3);
        assert_eq!(gaps.indexes(0..5), 0..1);
        assert_eq!(gaps.number(1), 5);
        assert_eq!(gaps.take(), [(0, uid(10)), (1, uid(20)), (2, uid(30)), (4, uid(50))]);
        assert_eq!(gaps.len(), 0);
    }
}
