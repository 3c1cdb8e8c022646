use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{ConfigError, units};

/// What is expected where a network is named.
pub(crate) const NETWORK: &str = "a network or an address, such as \"192.0.2.0/24\"";

/// The text of a config and the mistakes found in it so far.
pub(crate) struct Source<'t> {
    pub(crate) file: &'t Path,
    pub(crate) text: &'t str,
    errors: RefCell<Vec<(usize, ConfigError)>>,
    /// Where the listeners stand, by name.
    places: RefCell<Vec<(String, usize)>>,
    /// Keys that somebody asked for and that are not in the text.
    #[cfg(test)]
    pub(crate) unset: RefCell<Vec<String>>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(file: &'t Path, text: &'t str) -> Self {
        Self {
            file,
            text,
            errors: RefCell::default(),
            places: RefCell::default(),
            #[cfg(test)]
            unset: RefCell::default(),
        }
    }

    /// Notes a mistake at an offset in the text, or in the file as a whole.
    pub(crate) fn report(&self, at: Option<usize>, message: impl Display) {
        let position = at.map(|offset| position(self.text, offset));
        let error = ConfigError {
            file: self.file.to_owned(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            message: message.to_string(),
        };
        self.errors.borrow_mut().push((at.unwrap_or(usize::MAX), error));
    }

    /// Where the last listener of this name stands; `None` for one that is there by default.
    pub(crate) fn last_place(&self, listener: &str) -> Option<usize> {
        self.places.borrow().iter().rev().find(|(name, _)| name == listener).map(|(_, at)| *at)
    }

    /// The mistakes in the order of the text.
    pub(crate) fn into_errors(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|(at, _)| *at);
        errors.into_iter().map(|(_, error)| error).collect()
    }

    /// A path as written, from the folder of the config on.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        // Without `./` in the middle, which `data_dir = "."` would bring into every message.
        self.file.parent().unwrap_or(Path::new("")).join(path).components().collect()
    }
}

/// Line and column, from 1, of an offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}

/// Reads one table key by key, notes what is wrong, and in the end every key that nobody asked for.
pub(crate) struct Reader<'s, 't> {
    source: &'s Source<'t>,
    /// `smtp` or `smtp.listener`; empty for the whole file.
    name: String,
    table: DeTable<'t>,
    at: Option<usize>,
    asked: Vec<&'static str>,
}

impl<'s, 't> Reader<'s, 't> {
    pub(crate) fn new(source: &'s Source<'t>, name: &str, table: DeTable<'t>, at: Option<usize>) -> Self {
        Self { source, name: name.to_owned(), table, at, asked: Vec::new() }
    }

    /// The full name of a key, for messages.
    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// True if the key is there, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.position_of(key).is_some()
    }

    /// Notes that this table is the listener `name`.
    pub(crate) fn place(&self, name: &str) {
        self.source.places.borrow_mut().extend(self.at.map(|at| (name.to_owned(), at)));
    }

    fn take(&mut self, key: &'static str) -> Option<(Range<usize>, DeValue<'t>)> {
        self.asked.push(key);
        #[cfg(test)]
        if !self.has(key) {
            self.source.unset.borrow_mut().push(self.full(key));
        }
        let found = self.table.keys().find(|known| known.get_ref() == key).cloned()?;
        let value = self.table.remove(&found)?;
        Some((value.span(), value.into_inner()))
    }

    /// The value of `key` as `convert` reads it; otherwise a mistake that says what was `expected`.
    fn value<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let (span, value) = self.take(key)?;
        let converted = convert(&value);
        if converted.is_none() {
            let shown = self.source.text.get(span.clone()).unwrap_or_default();
            self.source
                .report(Some(span.start), format!("{} = {shown}: expected {expected}", self.full(key)));
        }
        converted
    }

    pub(crate) fn string(&mut self, key: &'static str) -> Option<String> {
        self.value(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.value(key, expected, |value| value.as_str().and_then(parse))
    }

    pub(crate) fn bool(&mut self, key: &'static str, default: bool) -> bool {
        self.value(key, "true or false", DeValue::as_bool).unwrap_or(default)
    }

    /// A whole number of at least `least`.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, key: &'static str, least: u64, default: T) -> T {
        let convert = |value: &DeValue<'_>| integer(value).filter(|number| *number >= least)?.try_into().ok();
        self.value(key, &format!("a whole number of at least {least}"), convert).unwrap_or(default)
    }

    /// A whole number within bounds.
    pub(crate) fn number_within(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        let within = |number: &usize| bounds.contains(number);
        let convert = |value: &DeValue<'_>| usize::try_from(integer(value)?).ok().filter(within);
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.value(key, &expected, convert).unwrap_or(default)
    }

    /// Octets, as a number or with a unit.
    pub(crate) fn size<T: TryFrom<u64>>(&mut self, key: &'static str, least: u64, default: T) -> T {
        let convert = |value: &DeValue<'_>| {
            let octets = integer(value).or_else(|| value.as_str().and_then(units::size))?;
            T::try_from(Some(octets).filter(|octets| *octets >= least)?).ok()
        };
        self.value(key, &format!("a size of at least {least} octets, such as \"50 MiB\""), convert)
            .unwrap_or(default)
    }

    pub(crate) fn duration(&mut self, key: &'static str, least: Duration, default: Duration) -> Duration {
        self.duration_of(key, least, "", default)
    }

    /// A time for which a standard sets the least.
    pub(crate) fn duration_for(
        &mut self,
        key: &'static str,
        least: Duration,
        standard: &str,
        default: Duration,
    ) -> Duration {
        self.duration_of(key, least, &format!(" ({standard})"), default)
    }

    fn duration_of(&mut self, key: &'static str, least: Duration, why: &str, default: Duration) -> Duration {
        let shown = units::show(least);
        let expected = format!("a time of at least {shown}{why}, such as \"30s\", \"5m\" or \"1h\"");
        self.parsed(key, &expected, |text| units::duration(text).filter(|duration| *duration >= least))
            .unwrap_or(default)
    }

    /// A path, taken from the folder of the config on.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.string(key).map(|path| self.source.resolve(&path))
    }

    /// The path of a file that must be readable now.
    pub(crate) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let at = self.position_of(key);
        let path = self.path(key)?;
        match std::fs::File::open(&path) {
            Ok(_) => Some(path),
            Err(error) => {
                self.source.report(at, format!("{}: can't read {}: {error}", self.full(key), path.display()));
                None
            }
        }
    }

    /// Every string of an array as `parse` reads it.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (span, value) = self.take(key)?;
        let Some(array) = value.as_array() else {
            self.source.report(
                Some(span.start),
                format!("{}: expected an array, each entry {expected}", self.full(key)),
            );
            return None;
        };
        let mut entries = Vec::new();
        for entry in array.iter() {
            match entry.get_ref().as_str().and_then(&parse) {
                Some(entry) => entries.push(entry),
                None => {
                    let shown = self.source.text.get(entry.span()).unwrap_or_default();
                    self.source.report(
                        Some(entry.span().start),
                        format!("{}: {shown}: expected {expected}", self.full(key)),
                    );
                }
            }
        }
        Some(entries)
    }

    /// Reads the table `[key]`, which may be missing.
    pub(crate) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Reader<'s, 't>) -> T) -> T {
        let (at, table) = match self.take(key) {
            Some((span, DeValue::Table(table))) => (Some(span.start), table),
            Some((span, _)) => {
                self.source.report(
                    Some(span.start),
                    format!("{}: expected a table, [{}]", self.full(key), self.full(key)),
                );
                (None, DeTable::new())
            }
            None => (None, DeTable::new()),
        };
        let mut reader = Reader::new(self.source, &self.full(key), table, at);
        let result = read(&mut reader);
        reader.finish();
        result
    }

    /// Reads every table `[[key]]`; `None` if there is none.
    pub(crate) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Reader<'s, 't>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (span, value) = self.take(key)?;
        let DeValue::Array(array) = value else {
            self.source.report(Some(span.start), format!("{0}: expected a table, [[{0}]]", self.full(key)));
            return None;
        };
        let mut results = Vec::new();
        for entry in array {
            let span = entry.span();
            let DeValue::Table(table) = entry.into_inner() else {
                self.source
                    .report(Some(span.start), format!("{0}: expected a table, [[{0}]]", self.full(key)));
                continue;
            };
            let mut reader = Reader::new(self.source, &self.full(key), table, Some(span.start));
            results.extend(read(&mut reader));
            reader.finish();
        }
        Some(results)
    }

    /// Notes that `key`, which there is no default for, is missing.
    pub(crate) fn missing(&self, key: &str, advice: &str) {
        self.source.report(self.at, format!("{} is missing: {advice}", self.full(key)));
    }

    /// Notes a mistake in this table as a whole.
    pub(crate) fn wrong(&self, message: impl Display) {
        let name = if self.name.is_empty() { String::new() } else { format!("[{}]: ", self.name) };
        self.source.report(self.at, format!("{name}{message}"));
    }

    fn position_of(&self, key: &str) -> Option<usize> {
        self.table.iter().find(|(known, _)| known.get_ref() == key).map(|(_, value)| value.span().start)
    }

    /// Notes every key left over.
    pub(crate) fn finish(self) {
        for key in self.table.keys().map(Spanned::clone) {
            let similar = self.asked.iter().min_by_key(|asked| distance(asked, key.get_ref()));
            let similar = similar.filter(|asked| distance(asked, key.get_ref()) <= asked.len() / 3);
            let hint = similar.map(|asked| format!("; did you mean {asked}?")).unwrap_or_default();
            self.source.report(
                Some(key.span().start),
                format!("{}: there is no such key{hint}", self.full(key.get_ref())),
            );
        }
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// How many letters must change to get from one key to the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, l) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        for (cell, r) in row.iter_mut().skip(1).zip(&right) {
            let changed = diagonal + usize::from(l != *r);
            diagonal = *cell;
            before = changed.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
