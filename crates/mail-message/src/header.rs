//! The fields of a header block.

use std::ops::Range;

use memchr::memchr;

/// One field of a header block, as byte ranges of the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, without the colon and blanks before it; empty for a line that has no colon.
    pub name: &'a [u8],
    /// The value as it stands, folded, with the line end.
    pub raw_value: &'a [u8],
    /// The whole field, name to last line end.
    pub range: Range<usize>,
}

impl Field<'_> {
    /// Whether this is the field `name`, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value on one line, without the blanks around it.
    pub fn value(&self) -> Vec<u8> {
        unfold(self.raw_value)
    }
}

/// Removes the line ends of a folded value and the blanks around it (RFC 5322 §2.2.3). NULs, which no IMAP string
/// may hold, go as well.
pub(crate) fn unfold(raw: &[u8]) -> Vec<u8> {
    raw.trim_ascii().iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)).collect()
}

/// The fields of the header block that `bytes` starts with, up to the empty line or the end.
///
/// A line without a colon is a field without a name, so that no byte of the block is lost.
pub fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { bytes, at: 0 }
}

/// Where the header block that `bytes` starts with ends, behind its empty line.
pub fn header_end(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(line) = line_at(bytes, at) {
        at = line.end;
        if is_empty_line(slice(bytes, line)) {
            break;
        }
    }
    at
}

/// The first field `name` in the header block that `bytes` starts with.
pub fn find<'a>(bytes: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(bytes).find(|field| field.is(name))
}

/// How many fields `name` the header block has: of Received, how many hops the message took (RFC 5321 §6.3).
pub fn count(bytes: &[u8], name: &str) -> usize {
    fields(bytes).filter(|field| field.is(name)).count()
}

/// The fields of the header block that `bytes` starts with whose names are `wanted`, as they stand there, and an empty
/// line: what HEADER.FIELDS and HEADER.FIELDS.NOT mean (RFC 3501 §6.4.5).
pub fn select(bytes: &[u8], wanted: impl Fn(&Field<'_>) -> bool) -> Vec<u8> {
    let selected = fields(bytes).filter(wanted).flat_map(|field| slice(bytes, field.range));
    selected.chain(b"\r\n").copied().collect()
}

/// Iterator of [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let first = line_at(self.bytes, self.at)?;
        if is_empty_line(slice(self.bytes, first.clone())) {
            return None;
        }
        let mut end = first.end;
        while let Some(line) = line_at(self.bytes, end).filter(|line| self.continues(line)) {
            end = line.end;
        }
        self.at = end;
        Some(field(self.bytes, first, end))
    }
}

impl Fields<'_> {
    fn continues(&self, line: &Range<usize>) -> bool {
        matches!(self.bytes.get(line.start), Some(b' ' | b'\t'))
    }
}

fn field(bytes: &[u8], first: Range<usize>, end: usize) -> Field<'_> {
    let range = first.start..end;
    let whole = slice(bytes, range.clone());
    let (name, raw_value) = match memchr(b':', slice(bytes, first)) {
        Some(colon) => (slice(whole, 0..colon).trim_ascii_end(), slice(whole, colon + 1..whole.len())),
        None => (&[][..], whole),
    };
    Field { name, raw_value, range }
}

/// The line that starts at `at`, with its line end; `None` at the end.
pub(crate) fn line_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    let length = memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
    Some(at..at + length)
}

pub(crate) fn is_empty_line(line: &[u8]) -> bool {
    line == b"\r\n" || line == b"\n"
}

/// `bytes[range]`, or nothing where the range lies outside.
pub(crate) fn slice(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: &[(&str, &str)]) {
        let got: Vec<_> = fields(header.as_bytes())
            .map(|f| (String::from_utf8(f.name.to_vec()).unwrap(), String::from_utf8(f.value()).unwrap()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        assert_eq!(got, expected, "{header:?}");
    }

    #[test]
    fn fields_are_unfolded_and_end_at_the_empty_line() {
        check("A: b\r\n\tc\r\nD :e\r\n\r\nF: g\r\n", &[("A", "b\tc"), ("D", "e")]);
        check("A: b\nC:d", &[("A", "b"), ("C", "d")]);
        check("", &[]);
        check("\r\nA: b\r\n", &[]);
        check("no colon\r\nA: b\r\n", &[("", "no colon"), ("A", "b")]);
    }

    #[test]
    fn header_ends_behind_the_empty_line() {
        assert_eq!(header_end(b"A: b\r\n\r\nbody"), 8);
        assert_eq!(header_end(b"A: b\nC: d"), 9);
        assert_eq!(header_end(b"\nbody"), 1);
    }

    #[test]
    fn selected_fields_stand_as_they_are_before_an_empty_line() {
        let header = b"A: b\r\n c\r\nD: e\r\na: f\n\r\nA: body";
        assert_eq!(select(header, |field| field.is("a")), b"A: b\r\n c\r\na: f\n\r\n");
        assert_eq!(select(header, |_| false), b"\r\n");
    }

    #[test]
    fn received_fields_are_counted_in_the_header_only() {
        assert_eq!(count(b"Received: a\r\nX: y\r\nRECEIVED: b\r\n\r\nReceived: c\r\n", "received"), 2);
    }
}
