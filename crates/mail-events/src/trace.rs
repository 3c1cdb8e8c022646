use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use memchr::memmem::Finder;
use serde::Deserialize;

use crate::{Entry, EventError, Reader};

/// All that happened to one message, in order: what its client said, what became of it in the queue, and of the messages that came of
/// it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// At least one.
    pub entries: Vec<Entry>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// Oldest first.
    pub stories: Vec<Story>,
    /// Older ones that are left out.
    pub more: usize,
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
    /// The group in which each one has gone up, or itself.
    above: Vec<usize>,
    /// When each group was last heard of.
    last: Vec<Option<Timestamp>>,
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

    /// Puts the names into one group; true if that tells something new.
    fn join(&mut self, names: &Names<'_>) -> bool {
        let before = self.known.len();
        let target = names.all().find_map(|name| self.group(name)).unwrap_or_else(|| {
            self.above.push(self.above.len());
            self.last.push(None);
            self.above.len() - 1
        });
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
        let mut groups = Groups::default();
        self.find(wanted, &mut groups)?;
        if groups.known.is_empty() {
            return Ok(Trace::default());
        }
        // What came of a message may stand before it: another process wrote it.
        while self.join(&mut groups)? {}
        let (chosen, more) = groups.latest(limit);
        let mut stories = BTreeMap::<usize, Vec<Entry>>::new();
        self.lines(|line| {
            let Some(names) = names(line) else { return };
            let group = names.all().find_map(|name| groups.group(name)).filter(|it| chosen.contains(it));
            if let (Some(group), Ok(entry)) = (group, serde_json::from_slice(line)) {
                stories.entry(group).or_default().push(entry);
            }
        })?;
        let mut stories: Vec<Story> = stories.into_values().map(Story::of).collect();
        stories.sort_by_key(|story| story.entries.first().map(|entry| entry.at));
        Ok(Trace { stories, more })
    }

    fn find(&self, wanted: &str, groups: &mut Groups) -> Result<(), EventError> {
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
            }
        })
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

impl Story {
    fn of(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| entry.at);
        Self { entries }
    }
}

fn names(line: &[u8]) -> Option<Names<'_>> {
    serde_json::from_slice(line).ok()
}
