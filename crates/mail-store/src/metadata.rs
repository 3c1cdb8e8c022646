//! `mailstead-metadata`: the annotations of a mailbox, or a user's own ones of the server. RFC 5464. What is private in another's
//! mailbox stands beside it, in a file for each user.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use mail_types::{MetadataEntry, MetadataScope};

use crate::disk;
use crate::error::StoreError;

/// In the folder of a mailbox, whose fate it shares.
pub(crate) const OF_MAILBOX: &str = "mailstead-metadata";
/// The names of the files begin so that have the private ones of others than the owner.
pub(crate) const OF_READER: &str = "mailstead-metadata-";
/// In the Maildir, for the server.
pub(crate) const OF_SERVER: &str = "mailstead-server-metadata";

const FIRST_LINE: &str = "mailstead-metadata 1";

/// Annotations by name; a value is any octets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    values: BTreeMap<MetadataEntry, Vec<u8>>,
}

impl Metadata {
    /// The value of an entry.
    #[must_use]
    pub fn get(&self, entry: &MetadataEntry) -> Option<&[u8]> {
        self.values.get(entry).map(Vec::as_slice)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&MetadataEntry, &[u8])> {
        self.values.iter().map(|(entry, octets)| (entry, octets.as_slice()))
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Gives an entry a value, or takes it away. True if that is a change.
    pub(crate) fn set(&mut self, entry: &MetadataEntry, octets: Option<&[u8]>) -> bool {
        let before = match octets {
            Some(octets) => self.values.insert(entry.clone(), octets.to_vec()),
            None => self.values.remove(entry),
        };
        before.as_deref() != octets
    }

    /// What everybody sees, and of what is private that which is in `personal`.
    pub(crate) fn seen_with(mut self, personal: Self) -> Self {
        self.values.retain(|entry, _| entry.scope() == MetadataScope::Shared);
        self.values.extend(personal.values);
        self
    }

    /// No file is no annotations. A damaged one is an error, so that nobody writes over what may be mended.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        let Some(content) = disk::read_optional(path)? else { return Ok(Self::default()) };
        let damaged = || StoreError::Io {
            context: "this file of annotations is damaged, mend or remove it:",
            path: path.to_owned(),
            source: std::io::ErrorKind::InvalidData.into(),
        };
        std::str::from_utf8(&content).ok().and_then(Self::parse).ok_or_else(damaged)
    }

    /// Durably and as a whole; without annotations there is no file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        if !self.values.is_empty() {
            return disk::replace(path, self.format().as_bytes());
        }
        match disk::remove(path) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => path.parent().map_or(Ok(()), disk::sync_dir),
        }
    }

    /// A line for each: the name, a space, the value; what is not visible ASCII is written `%XX`, spaces in values excepted.
    fn format(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        for (entry, octets) in &self.values {
            escape(&mut text, entry.as_str().as_bytes(), false);
            text.push(' ');
            escape(&mut text, octets, true);
            text.push('\n');
        }
        text.push_str("end\n");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?.strip_suffix("end\n")?;
        let value = |line: &str| {
            let (entry, octets) = line.split_once(' ')?;
            let entry = String::from_utf8(unescape(entry)?).ok()?.parse().ok()?;
            Some((entry, unescape(octets)?))
        };
        Some(Self { values: lines.lines().map(value).collect::<Option<_>>()? })
    }
}

fn escape(text: &mut String, octets: &[u8], keeps_spaces: bool) {
    for octet in octets {
        match octet {
            b'%' => text.push_str("%25"),
            b'!'..=b'~' => text.push(char::from(*octet)),
            b' ' if keeps_spaces => text.push(' '),
            _ => {
                let _ = write!(text, "%{octet:02X}"); // into a `String`, which can't fail
            }
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    octets.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        octets.push(u8::from_str_radix(code, 16).ok()?);
        octets.extend_from_slice(rest.as_bytes());
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_value_comes_back(values in proptest::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let mut metadata = Metadata::default();
            for (number, octets) in values.iter().enumerate() {
                metadata.set(&format!("/shared/my comment{number}").parse().unwrap(), Some(octets));
            }
            prop_assert_eq!(Metadata::parse(&metadata.format()), Some(metadata));
        }
    }

    #[test]
    fn an_administrator_can_read_it() {
        let mut metadata = Metadata::default();
        metadata.set(&"/private/Comment".parse().unwrap(), Some(b"100 %\r\n"));
        assert_eq!(metadata.format(), "mailstead-metadata 1\n/private/comment 100 %25%0D%0A\nend\n");
    }

    #[test]
    fn a_file_that_is_cut_off_or_garbled_is_damaged() {
        let whole = "mailstead-metadata 1\n/private/comment x\nend\n";
        assert!(Metadata::parse(whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(Metadata::parse(&whole[..cut]), None, "{cut}");
        }
        for line in [
            "comment x",
            "/private/comment",
            "/private/comment %",
            "/private/comment %4",
            "/private/comment %zz",
        ] {
            assert_eq!(Metadata::parse(&format!("{FIRST_LINE}\n{line}\nend\n")), None, "{line}");
        }
    }
}
