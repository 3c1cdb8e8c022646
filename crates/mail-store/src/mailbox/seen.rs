//! Which messages one user has seen, who is not the owner: kept in the mailbox's folder, in a file of his own, so that the index may be
//! lost and the mailbox renamed.
//!
//! The file has a line for each change, the newest last, and grows until it is worth writing anew:
//! ```text
//! mailstead-seen 1766000000-4f1c 17
//! S 18 1:5,9
//! U 21 3
//! ```
//! The first line has the mailbox's mark, and the mod-sequence at which the file was begun; each other one says whether the messages
//! are seen, at which mod-sequence that came to be, and which they are, by their UIDs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mail_types::{Uid, UidSet};

use crate::mark::Mark;

/// The first word of the file.
const NAME: &str = "mailstead-seen";

/// That messages are seen, or not, since a mod-sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) is_seen: bool,
    pub(super) mod_seq: u64,
    /// Ascending, first and last.
    pub(super) ranges: Vec<(u32, u32)>,
}

/// What is known of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) is_seen: bool,
    pub(super) mod_seq: u64,
}

/// What is known of all, as runs of messages of which the same is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// By the first UID: the last one.
    runs: BTreeMap<u32, (u32, State)>,
}

impl Record {
    /// Of UIDs that ascend.
    pub(super) fn of(is_seen: bool, mod_seq: u64, uids: &[Uid]) -> Self {
        Self { is_seen, mod_seq, ranges: UidSet::from_ascending(uids.iter().copied()).resolve(0) }
    }

    /// A line of the file, without its end; `None` if it is none.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (letter, mod_seq, set) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let range = |range: &str| {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some((first, last))
        };
        let ranges = set.split(',').map(range).collect::<Option<_>>()?;
        let is_seen = match letter {
            "S" => true,
            "U" => false,
            _ => return None,
        };
        Some(Self { is_seen, mod_seq, ranges })
    }

    pub(super) fn write_to(&self, text: &mut String) {
        // Writing to a `String` can't fail.
        let _ = write!(text, "{} {}", if self.is_seen { 'S' } else { 'U' }, self.mod_seq);
        for (position, (first, last)) in self.ranges.iter().enumerate() {
            text.push(if position == 0 { ' ' } else { ',' });
            let _ = if first == last { write!(text, "{first}") } else { write!(text, "{first}:{last}") };
        }
        text.push('\n');
    }

    pub(super) fn has(&self, uid: u32) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&uid))
    }
}

impl Seen {
    pub(super) fn get(&self, uid: u32) -> State {
        let before = self.runs.range(..=uid).next_back().map(|(_, run)| *run);
        before.filter(|(last, _)| *last >= uid).map(|(_, state)| state).unwrap_or_default()
    }

    pub(super) fn apply(&mut self, record: &Record) {
        let state = State { is_seen: record.is_seen, mod_seq: record.mod_seq };
        for (first, last) in &record.ranges {
            self.clear(*first, *last);
            self.runs.insert(*first, (*last, state));
        }
    }

    /// Forgets what is known of some, and splits the runs that reach beyond them.
    fn clear(&mut self, first: u32, last: u32) {
        let overlapping = self.runs.range(..=last).rev().take_while(|(_, (end, _))| *end >= first);
        let overlapping: Vec<(u32, (u32, State))> = overlapping.map(|(start, run)| (*start, *run)).collect();
        for (start, (end, state)) in overlapping {
            self.runs.remove(&start);
            if start < first {
                self.runs.insert(start, (first - 1, state));
            }
            if end > last {
                self.runs.insert(last + 1, (end, state));
            }
        }
    }

    /// About how long the file would be that says no more than this.
    pub(super) fn octets(&self) -> u64 {
        self.runs.len() as u64 * 24
    }

    /// The shortest file that says this, of the messages below `end`.
    pub(super) fn to_text(&self, mark: Mark, begun_at: u64) -> String {
        let mut text = header(mark, begun_at);
        let mut by_state: BTreeMap<(u64, bool), Vec<(u32, u32)>> = BTreeMap::new();
        for (first, (last, state)) in &self.runs {
            by_state.entry((state.mod_seq, state.is_seen)).or_default().push((*first, *last));
        }
        for ((mod_seq, is_seen), ranges) in by_state {
            Record { is_seen, mod_seq, ranges }.write_to(&mut text);
        }
        text
    }
}

pub(super) fn header(mark: Mark, begun_at: u64) -> String {
    format!("{NAME} {mark} {begun_at}\n")
}

/// The mod-sequence in a first line; `None` if that is not of this mailbox.
pub(super) fn parse_header(line: &str, mark: Mark) -> Option<u64> {
    let (of, begun_at) = line.strip_prefix(NAME)?.trim_start().split_once(' ')?;
    of.parse::<Mark>().ok().filter(|it| *it == mark)?;
    begun_at.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written() {
        for line in ["S 18 1:5,9", "U 21 3"] {
            let mut text = String::new();
            Record::parse(line).unwrap().write_to(&mut text);
            assert_eq!(text, format!("{line}\n"));
        }
        for torn in ["", "S", "S 18", "S 18 ", "S x 1", "X 1 1", "S 1 5:3", "S 1 1,", "S -1 1"] {
            assert_eq!(Record::parse(torn), None, "{torn}");
        }
    }

    proptest! {
        /// Whatever came before, and when written anew too.
        #[test]
        fn the_last_line_that_names_a_message_holds(changes in vec((any::<bool>(), 1..60_u32, 0..30_u32), 0..40)) {
            let (mut seen, mut all) = (Seen::default(), [State::default(); 100]);
            for (number, (is_seen, first, length)) in changes.into_iter().enumerate() {
                let (mod_seq, last) = (number as u64 + 1, first + length);
                seen.apply(&Record { is_seen, mod_seq, ranges: vec![(first, last)] });
                all[first as usize..=last as usize].fill(State { is_seen, mod_seq });
            }
            let mark: Mark = "7-00ff".parse().unwrap();
            let text = seen.to_text(mark, 3);
            let mut lines = text.lines();
            prop_assert_eq!(parse_header(lines.next().unwrap(), mark), Some(3));
            let mut again = Seen::default();
            lines.for_each(|line| again.apply(&Record::parse(line).unwrap()));
            for (uid, state) in (0..).zip(all) {
                prop_assert_eq!((seen.get(uid), again.get(uid)), (state, state));
            }
        }
    }
}
