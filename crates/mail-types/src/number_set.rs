use std::fmt;
use std::marker::PhantomData;

use crate::{SeqNum, Uid};

/// The members of a [`NumberSet`]: [`Uid`] or [`SeqNum`].
pub trait Number: Copy + Ord + TryFrom<u32> {
    /// The plain number.
    fn value(self) -> u32;
}

impl Number for Uid {
    fn value(self) -> u32 {
        self.value()
    }
}

impl Number for SeqNum {
    fn value(self) -> u32 {
        self.value()
    }
}

/// One end of a range in a [`NumberSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound<T> {
    /// A number.
    Number(T),
    /// `*`: the highest number in the mailbox.
    Star,
}

impl<T: Number> Bound<T> {
    fn resolve(self, highest: u32) -> u32 {
        match self {
            Self::Number(number) => number.value(),
            Self::Star => highest,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Bound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Star => f.write_str("*"),
        }
    }
}

/// A set of message numbers as a client writes it: `1:5,9,12:*`. RFC 3501 §9, `sequence-set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberSet<T> {
    ranges: Vec<(Bound<T>, Bound<T>)>,
    of: PhantomData<T>,
}

/// A set of sequence numbers.
pub type SeqSet = NumberSet<SeqNum>;
/// A set of UIDs.
pub type UidSet = NumberSet<Uid>;

impl<T: Number> NumberSet<T> {
    /// A set from the ranges as written; either end may be the greater one.
    #[must_use]
    pub const fn from_ranges(ranges: Vec<(Bound<T>, Bound<T>)>) -> Self {
        Self { ranges, of: PhantomData }
    }

    /// The most compact set of these numbers, which must ascend.
    pub fn from_ascending(numbers: impl IntoIterator<Item = T>) -> Self {
        let mut ranges: Vec<(T, T)> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some((_, end)) if end.value().checked_add(1) == Some(number.value()) => *end = number,
                _ => ranges.push((number, number)),
            }
        }
        Self::from_ranges(ranges.into_iter().map(|(a, b)| (Bound::Number(a), Bound::Number(b))).collect())
    }

    /// The ranges as written.
    #[must_use]
    pub fn ranges(&self) -> &[(Bound<T>, Bound<T>)] {
        &self.ranges
    }

    /// True if the set was written without any number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The set as ascending, disjoint, inclusive ranges, with `*` standing for `highest`.
    ///
    /// `highest` is 0 in an empty mailbox; `*` then means nothing.
    #[must_use]
    pub fn resolve(&self, highest: u32) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = self
            .ranges
            .iter()
            .map(|(a, b)| (a.resolve(highest), b.resolve(highest)))
            .map(|(a, b)| (a.min(b).max(1), a.max(b)))
            .filter(|(start, end)| start <= end)
            .collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1.saturating_add(1);
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
        ranges
    }

    /// True if `number` is in the set, with `*` standing for `highest`.
    #[must_use]
    pub fn contains(&self, number: T, highest: u32) -> bool {
        self.ranges.iter().any(|(a, b)| {
            let (a, b) = (a.resolve(highest), b.resolve(highest));
            (a.min(b)..=a.max(b)).contains(&number.value())
        })
    }
}

impl<T: Number + fmt::Display> fmt::Display for NumberSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (start, end)) in self.ranges.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{start}")?;
            if start != end {
                write!(f, ":{end}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::try_from(number).unwrap()
    }

    #[test]
    fn ranges_are_ordered_joined_and_star_is_the_highest() {
        let set = UidSet::from_ranges(vec![
            (Bound::Number(uid(9)), Bound::Number(uid(7))),
            (Bound::Number(uid(8)), Bound::Number(uid(10))),
            (Bound::Number(uid(1)), Bound::Number(uid(1))),
            (Bound::Star, Bound::Number(uid(100))),
        ]);
        assert_eq!(set.resolve(12), [(1, 1), (7, 10), (12, 100)]);
        assert_eq!(set.to_string(), "9:7,8:10,1,*:100");
        assert!(set.contains(uid(50), 12));
        assert!(!set.contains(uid(11), 12));
    }

    #[test]
    fn star_means_nothing_in_an_empty_mailbox() {
        let set = SeqSet::from_ranges(vec![(Bound::Star, Bound::Star)]);
        assert!(set.resolve(0).is_empty());
    }

    #[test]
    fn ascending_numbers_make_compact_ranges() {
        let set = UidSet::from_ascending([1, 2, 3, 7, 9, 10].map(uid));
        assert_eq!(set.to_string(), "1:3,7,9:10");
    }
}
