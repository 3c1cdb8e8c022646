//! What happened to a message: found by the names by which its events hang together, however large the log is, in bounded memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use jiff::Timestamp;
use memchr::memmem::Finder;
use serde::Deserialize;

use crate::{Entry, EventError, Reader};

/// Messages that are looked at beyond those that are wanted.
const SPARE: usize = 10_000;
/// Names of messages that are left out, known so that none of these is counted twice; beyond these some may be.
const MAX_LEFT_OUT: usize = 1_000_000;
/// Names of messages, and of what came of them, that are followed, one of each that was found besides.
const MAX_NAMES: usize = 200_000;
/// Events of one message that a story has at its beginning, and as many at its end.
const HALF: usize = 500;

/// What happened to one message, in order: what its client said, what became of it in the queue, and of the messages that came of
/// it there. Of very many events the first and the last ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Story {
    /// At least one.
    pub entries: Vec<Entry>,
    /// How many are left out.
    pub omitted: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// Oldest first.
    pub stories: Vec<Story>,
    /// Older ones that are left out.
    pub more: usize,
    /// More came of the messages, such as reports and copies that went on, than is followed.
    pub is_partial: bool,
}

/// Messages that were looked for.
#[derive(Debug)]
pub struct Traced<'r> {
    reader: &'r Reader,
    groups: Groups,
    chosen: Vec<usize>,
    more: usize,
}

/// The names in a line, by which those of one message hang together.
#[derive(Debug, Deserialize)]
struct Names<'l> {
    at: Cow<'l, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    queue_id: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    parent: Option<Cow<'l, str>>,
}

impl Names<'_> {
    fn all(&self) -> impl Iterator<Item = &str> {
        [&self.id, &self.queue_id, &self.parent].into_iter().flatten().map(AsRef::as_ref)
    }
}

/// Which names are of one message.
#[derive(Debug, Default)]
struct Groups {
    known: HashMap<String, usize>,
    /// How many names a group may still add to these.
    most_names: usize,
    /// There was one more.
    is_partial: bool,
    /// The group in which each one has gone up, or itself.
    above: Vec<usize>,
    /// When each group was last heard of.
    last: Vec<Option<Timestamp>>,
    /// Groups that are left out, and their names' hashes.
    left_out: usize,
    names_left_out: HashSet<u64>,
    hasher: RandomState,
}

impl Groups {
    fn group(&self, name: &str) -> Option<usize> {
        self.known.get(name).map(|group| self.top(*group))
    }

    fn top(&self, mut group: usize) -> usize {
        while let Some(above) = self.above.get(group).filter(|above| **above != group) {
            group = *above;
        }
        group
    }

    /// A new group, of which nothing was known, or which was left out.
    fn begin(&mut self, names: &Names<'_>) -> usize {
        let is_back = names.all().any(|name| self.names_left_out.contains(&self.hasher.hash_one(name)));
        self.left_out = self.left_out.saturating_sub(usize::from(is_back));
        self.above.push(self.above.len());
        self.last.push(None);
        self.above.len() - 1
    }

    /// Leaves all groups out but so many, those that were heard of last.
    fn keep(&mut self, most: usize) {
        let (kept, more) = self.latest(most);
        let places: HashMap<usize, usize> =
            kept.iter().enumerate().map(|(place, group)| (*group, place)).collect();
        let mut known = HashMap::new();
        for (name, group) in std::mem::take(&mut self.known) {
            match places.get(&self.top(group)) {
                Some(place) => drop(known.insert(name, *place)),
                None if self.names_left_out.len() < MAX_LEFT_OUT => {
                    self.names_left_out.insert(self.hasher.hash_one(&name));
                }
                None => {}
            }
        }
        self.last = kept.iter().map(|group| self.last.get(*group).copied().flatten()).collect();
        self.above = (0..kept.len()).collect();
        self.known = known;
        self.left_out += more;
    }

    /// Puts the names into one group; true if that tells something new.
    fn join(&mut self, names: &Names<'_>) -> bool {
        let before = self.known.len();
        let found = names.all().find_map(|name| self.group(name));
        let target = found.unwrap_or_else(|| self.begin(names));
        let mut is_new = false;
        for name in names.all() {
            match self.group(name) {
                Some(group) if group == target => {}
                Some(group) => {
                    if let Some(above) = self.above.get_mut(group) {
                        *above = target;
                    }
                    is_new = true;
                }
                None if found.is_some() && self.known.len() >= self.most_names => self.is_partial = true,
                None => drop(self.known.insert(name.to_owned(), target)),
            }
        }
        let at = names.at.parse().ok();
        if let Some(last) = self.last.get_mut(target) {
            *last = at.max(*last);
        }
        is_new || self.known.len() > before
    }

    /// The groups that were heard of last, and how many others there are.
    fn latest(&self, limit: usize) -> (Vec<usize>, usize) {
        let mut tops: Vec<usize> = (0..self.above.len()).filter(|group| self.top(*group) == *group).collect();
        tops.sort_by_key(|group| self.last.get(*group).copied().flatten());
        let more = tops.len().saturating_sub(limit);
        (tops.split_off(more), more)
    }
}

impl Reader {
    /// What happened to the messages that `wanted` names: an address, a Message-ID with or without its angle brackets, a name in the
    /// queue or in a Received field, in any case. Of more than `limit` messages, those of which there was news last.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn trace(&self, wanted: &str, limit: usize) -> Result<Trace, EventError> {
        let found = self.look_for(wanted, limit)?;
        Ok(Trace { stories: found.stories()?, more: found.more, is_partial: found.groups.is_partial })
    }

    /// The messages that [`Self::trace`] tells of.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn look_for(&self, wanted: &str, limit: usize) -> Result<Traced<'_>, EventError> {
        self.look_for_names(wanted, limit, MAX_NAMES)
    }

    fn look_for_names(
        &self,
        wanted: &str,
        limit: usize,
        most_names: usize,
    ) -> Result<Traced<'_>, EventError> {
        let mut groups = Groups { most_names, ..Groups::default() };
        let most = limit.saturating_add(SPARE);
        self.find(wanted, most, &mut groups)?;
        // What came of a message may stand before it: another process wrote it.
        while !groups.known.is_empty() && self.join(&mut groups)? {}
        let (chosen, more) = groups.latest(limit);
        let more = more + groups.left_out;
        Ok(Traced { reader: self, groups, chosen, more })
    }

    fn find(&self, wanted: &str, most: usize, groups: &mut Groups) -> Result<(), EventError> {
        let bare = wanted.trim_matches(['<', '>']).to_ascii_lowercase();
        if bare.is_empty() {
            return Ok(());
        }
        // As it stands in JSON, without the quotation marks around it.
        let escaped = serde_json::to_string(&bare).unwrap_or_default();
        let finder = Finder::new(escaped.get(1..escaped.len().saturating_sub(1)).unwrap_or_default());
        let mut lower = Vec::new();
        self.lines(|line| {
            lower.clear();
            lower.extend_from_slice(line);
            lower.make_ascii_lowercase();
            if finder.find(&lower).is_none() {
                return;
            }
            let is_about = |entry: &Entry| entry.event.is_about(wanted) || entry.event.is_about(&bare);
            if let (Ok(entry), Some(names)) = (serde_json::from_slice::<Entry>(line), names(line))
                && is_about(&entry)
                && names.all().next().is_some()
            {
                groups.join(&names);
                if groups.above.len() >= most.saturating_mul(2) {
                    groups.keep(most);
                }
            }
        })?;
        groups.keep(most);
        Ok(())
    }

    /// Adds what hangs together with what is known; true if there was something.
    fn join(&self, groups: &mut Groups) -> Result<bool, EventError> {
        let mut is_new = false;
        self.lines(|line| {
            if let Some(names) = names(line)
                && names.all().any(|name| groups.known.contains_key(name))
            {
                is_new |= groups.join(&names);
            }
        })?;
        Ok(is_new)
    }
}

impl Traced<'_> {
    /// Shows every event of these messages, those of each process in their order, with a number that is the same for all of one message.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn each(&self, mut see: impl FnMut(usize, Entry)) -> Result<(), EventError> {
        if self.chosen.is_empty() {
            return Ok(());
        }
        self.reader.lines(|line| {
            let Some(names) = names(line) else { return };
            let group = names.all().find_map(|name| self.groups.group(name));
            let group = group.filter(|group| self.chosen.contains(group));
            if let (Some(group), Ok(entry)) = (group, serde_json::from_slice(line)) {
                see(group, entry);
            }
        })
    }

    fn stories(&self) -> Result<Vec<Story>, EventError> {
        let mut stories = BTreeMap::<usize, Story>::new();
        self.each(|message, entry| stories.entry(message).or_default().add(entry))?;
        let mut stories: Vec<Story> = stories.into_values().map(Story::shortened).collect();
        stories.sort_by_key(|story| story.entries.first().map(|entry| entry.at));
        Ok(stories)
    }
}

impl Story {
    /// Where entries are left out, and how many.
    #[must_use]
    pub fn gap(&self) -> Option<(usize, usize)> {
        (self.omitted > 0).then_some((HALF, self.omitted))
    }

    fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
        if self.entries.len() >= 4 * HALF {
            *self = std::mem::take(self).shortened();
        }
    }

    /// In order, and no longer than it may be.
    fn shortened(mut self) -> Self {
        self.entries.sort_by_key(|entry| entry.at);
        let excess = self.entries.len().saturating_sub(2 * HALF);
        if excess > 0 {
            self.entries.drain(HALF..HALF + excess);
            self.omitted += excess;
        }
        self
    }
}

fn names(line: &[u8]) -> Option<Names<'_>> {
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn of_what_came_of_a_message_so_much_is_followed_and_that_there_is_more_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for number in 0..20 {
            let report = format!(
                r#"{{"at":"2026-11-28T12:00:{number:02}Z","event":"queued","queue_id":"report{number}","parent":"newsletter","sender":"","recipients":["news@example.org"],"size":1,"why":"report"}}"#
            );
            writeln!(lines, "{report}").unwrap();
        }
        std::fs::write(folder.path().join("20261128T120000.000000-queue.jsonl"), lines).unwrap();
        let reader = Reader::open(folder.path()).unwrap();
        for wanted in ["news@example.org", "report0"] {
            let told = |most_names| {
                let found = reader.look_for_names(wanted, 5, most_names).unwrap();
                assert!(found.groups.known.len() <= most_names);
                let events: usize = found.stories().unwrap().iter().map(|story| story.entries.len()).sum();
                (events, found.groups.is_partial)
            };
            assert_eq!(told(21), (20, false), "{wanted}");
            assert!(told(11).1, "{wanted}");
        }
    }
}
