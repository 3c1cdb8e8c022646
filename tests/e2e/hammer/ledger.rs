//! What everybody did and was told, to be compared with what is there at the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use super::truth::{Stored, Truth};

/// A message in a mailbox: UIDVALIDITY and UID.
pub(crate) type Place = (u32, u32);

/// How many messages must have been written, moved, expunged and marked for a run to prove anything.
const ENOUGH: usize = 100;

/// What all who hammer share.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Entries>,
    is_over: AtomicBool,
    /// What all sessions have done.
    steps: Mutex<usize>,
    stepped: Condvar,
    /// The store may fail for a moment.
    pub(crate) is_patient: bool,
}

#[derive(Debug, Default)]
struct Entries {
    /// How many messages were written, by which the next one gets its id.
    count: usize,
    /// What was sent, by id.
    texts: HashMap<String, String>,
    /// How many files of a message were acknowledged.
    acknowledged: HashMap<String, usize>,
    /// Messages that somebody may have removed on purpose, or of which it is open whether they were written.
    may_go: HashSet<String>,
    /// Messages that somebody copied or tried to.
    copied: HashSet<String>,
    /// Whose a UID ever was.
    bound: HashMap<Place, String>,
    /// Places that somebody moved a message away from, or tried to.
    left: HashSet<Place>,
    /// Places that a session was told are empty.
    expunged: HashSet<Place>,
    dates: HashMap<String, String>,
    /// What another program did, and to which message.
    notes: Vec<(String, String)>,
    /// Flags that only one changes, as last set by that one.
    owned: BTreeMap<(Place, String), bool>,
    /// Places whose flags were replaced, the owned ones too.
    replaced: HashSet<Place>,
}

impl Entries {
    fn notes_of(&self, id: &str) -> String {
        let of_it = self.notes.iter().filter(|(known, _)| known == id);
        of_it.map(|(_, text)| format!("\n  {text}")).collect()
    }
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True once all are to stop: the work is done, or one found a mistake.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        let _steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.store(true, Ordering::Relaxed);
        self.stepped.notify_all();
    }

    /// A session has done something.
    pub(crate) fn step(&self) {
        *self.steps.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.stepped.notify_all();
    }

    /// How much the sessions have done.
    pub(crate) fn steps(&self) -> usize {
        *self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the sessions have done so much in all, or everybody is to stop: who works beside them is not to do more on a
    /// slow machine than on a fast one.
    pub(crate) fn wait_for(&self, goal: usize) {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stepped.wait_while(steps, |steps| *steps < goal && !self.is_over());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// A new message: its id and its text with CRLF.
    pub(crate) fn write(&self, by: &str, lines: usize) -> (String, String) {
        let mut entries = self.entries();
        entries.count += 1;
        let id = format!("{by}-{}", entries.count);
        let mut text = format!("X-Id: {id}\r\nSubject: number {}\r\n\r\n", entries.count);
        text.extend((0..lines).map(|line| format!("line {line} of {id}\r\n")));
        entries.texts.insert(id.clone(), text.clone());
        (id, text)
    }

    pub(crate) fn acknowledge(&self, id: &str) {
        *self.entries().acknowledged.entry(id.to_owned()).or_default() += 1;
    }

    pub(crate) fn may_go(&self, id: &str) {
        self.entries().may_go.insert(id.to_owned());
    }

    pub(crate) fn copies(&self, id: &str) {
        self.entries().copied.insert(id.to_owned());
    }

    pub(crate) fn leaves(&self, place: Place) {
        self.entries().left.insert(place);
    }

    pub(crate) fn replaces(&self, place: Place) {
        self.entries().replaced.insert(place);
    }

    pub(crate) fn note(&self, id: &str, text: String) {
        self.entries().notes.push((id.to_owned(), text));
    }

    pub(crate) fn expunged(&self, place: Place) {
        self.entries().expunged.insert(place);
    }

    /// Says what a flag is that nobody else changes.
    pub(crate) fn owns(&self, place: Place, flag: &str, is_set: bool) {
        self.entries().owned.insert((place, flag.to_owned()), is_set);
    }

    /// The message known to be at a place, unless it has been copied: then another program's file may bear its name.
    pub(crate) fn only(&self, place: Place, id: &str) -> bool {
        let entries = self.entries();
        !entries.copied.contains(id) && entries.bound.get(&place).is_some_and(|known| known == id)
    }

    /// Whose the UID is, said by anybody at any time: it must never have been another's.
    pub(crate) fn bind(&self, place: Place, id: &str) -> Result<()> {
        let mut entries = self.entries();
        ensure!(entries.texts.contains_key(id), "{place:?} is {id:?}, which nobody wrote");
        let known = entries.bound.entry(place).or_insert_with(|| id.to_owned());
        ensure!(known == id, "UID {place:?} was {known} and is {id} now");
        Ok(())
    }

    /// A copy or move from one place to another, said by COPYUID. The copy is a file more.
    pub(crate) fn transferred(&self, from: Place, to: Place, is_copy: bool) -> Result<()> {
        let known = self.entries().bound.get(&from).cloned();
        let id = known.with_context(|| format!("COPYUID tells of {from:?}, which nobody named"))?;
        if is_copy {
            self.acknowledge(&id);
        }
        self.bind(to, &id)
    }

    /// The text of a message as it came, with what a server put before it.
    pub(crate) fn read(&self, text: &[u8]) -> Result<String> {
        let id = id_of(text)
            .with_context(|| format!("a message without its id: {:?}", String::from_utf8_lossy(text)))?;
        let entries = self.entries();
        let sent = entries.texts.get(&id).with_context(|| format!("{id} was never written"))?;
        ensure!(text.ends_with(sent.as_bytes()), "{id} is {:?}", String::from_utf8_lossy(text));
        Ok(id)
    }

    pub(crate) fn date(&self, id: &str, date: &str) -> Result<()> {
        let mut entries = self.entries();
        let known = entries.dates.entry(id.to_owned()).or_insert_with(|| date.to_owned());
        ensure!(known == date, "{id} had the date {known} and has {date} now");
        Ok(())
    }

    /// Compares with what lies there at the end.
    pub(crate) fn check(&self, truth: &Truth) -> Result<()> {
        for (place, Stored { id, .. }) in truth.places() {
            self.bind(place, id)?;
        }
        let there: BTreeMap<Place, &Stored> = truth.places().collect();
        let mut files: HashMap<&str, usize> = HashMap::new();
        there.values().for_each(|stored| *files.entry(&stored.id).or_default() += 1);
        let entries = self.entries();
        let done = [entries.count, entries.left.len(), entries.expunged.len(), entries.owned.len()];
        ensure!(done.iter().all(|count| *count > ENOUGH), "too little was done: {done:?}");
        for (id, count) in entries.acknowledged.iter().filter(|(id, _)| !entries.may_go.contains(*id)) {
            let found = files.get(id.as_str()).copied().unwrap_or_default();
            ensure!(
                found == *count,
                "{id} was written {count} times and is there {found} times: {}",
                entries.notes_of(id)
            );
        }
        for (place, id) in &entries.bound {
            let may_be_away = entries.left.contains(place) || entries.may_go.contains(id);
            ensure!(may_be_away || there.contains_key(place), "{id} was {place:?} and has left that");
        }
        let back = entries.expunged.iter().find(|place| there.contains_key(place));
        ensure!(back.is_none(), "{back:?} was told to be gone and is there");
        for ((place, flag), is_set) in &entries.owned {
            let Some(stored) = there.get(place).filter(|_| !entries.replaced.contains(place)) else {
                continue;
            };
            let found = stored.flags.contains(flag);
            ensure!(
                found == *is_set,
                "{place:?}, {}: {flag} was left {is_set} and is {found}: {}",
                stored.id,
                entries.notes_of(&stored.id)
            );
        }
        Ok(())
    }
}

/// What stands in a message's own header field.
pub(crate) fn id_of(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("X-Id: "))?;
    Some(line.trim_end().to_owned())
}
