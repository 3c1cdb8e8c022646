//! The fields of a header block.

use std::io::{self, Read};
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

/// Octets read at first: most headers are shorter.
const READ: u64 = 8 * 1024;

/// U+FFFD.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Makes one line of a folded value, without the blanks around it: a line end with the blanks beside it is one blank
/// (RFC 5322 §3.2.2). U+FFFD stands for NUL, which no IMAP string may hold.
pub(crate) fn unfold(raw: &[u8]) -> Vec<u8> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let mut line = Vec::with_capacity(raw.len());
    for run in raw.trim_ascii().chunk_by(|a, b| is_blank(a) == is_blank(b)) {
        match run.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            true => line.push(b' '),
            false => line.extend_from_slice(run),
        }
    }
    if memchr(0, &line).is_none() {
        line
    } else {
        line.split(|byte| *byte == 0).collect::<Vec<_>>().join(REPLACEMENT)
    }
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

/// Reads the header block that a message starts with, its empty line included.
///
/// # Errors
/// What the reader says.
pub fn read(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    let mut at = 0;
    // Twice as much each time, so that a line of any length is looked through a bounded number of times.
    let mut most = READ;
    while reader.by_ref().take(most).read_to_end(&mut header)? > 0 {
        most = most.saturating_mul(2);
        while let Some(line) =
            line_at(&header, at).filter(|line| slice(&header, line.clone()).ends_with(b"\n"))
        {
            at = line.end;
            if is_empty_line(slice(&header, line)) {
                header.truncate(at);
                return Ok(header);
            }
        }
    }
    Ok(header)
}

/// The first field `name` in the header block that `bytes` starts with.
pub fn find<'a>(bytes: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(bytes).find(|field| field.is(name))
}

/// How many fields `name` the header block has: of Received, how many hops the message took (RFC 5321 §6.3).
pub fn count(bytes: &[u8], name: &str) -> usize {
    fields(bytes).filter(|field| field.is(name)).count()
}

/// The fields of the header block that `bytes` starts with whose names are `wanted`, as they stand there, and the
/// empty line, if there is one: what HEADER.FIELDS and HEADER.FIELDS.NOT mean (RFC 3501 §6.4.5).
pub fn select(bytes: &[u8], wanted: impl Fn(&Field<'_>) -> bool) -> Vec<u8> {
    let mut fields = fields(bytes);
    let mut selected = Vec::new();
    for field in fields.by_ref().filter(wanted) {
        selected.extend_from_slice(slice(bytes, field.range));
    }
    let empty_line = line_at(bytes, fields.at).unwrap_or_default();
    selected.extend_from_slice(slice(bytes, empty_line));
    selected
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
        check("A: b\r\n\tc\r\nD :e\r\n\r\nF: g\r\n", &[("A", "b c"), ("D", "e")]);
        check("A: b  \r\n \r\n\t c  d\r\n", &[("A", "b c  d")]);
        check("A:\r\n b\r c\0d\r\n", &[("A", "b c\u{fffd}d")]);
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
    fn a_header_is_read_without_its_body() {
        let check = |message: &[u8], rest: usize| {
            let mut left = message;
            assert_eq!(read(&mut left).unwrap(), message.get(..header_end(message)).unwrap());
            assert_eq!(left.len(), rest);
        };
        check(b"A: b\r\n\r\nbody", 0);
        check(b"A: b\n\nbody", 0);
        check(b"A: b", 0);
        check(b"", 0);
        let long = format!("A: {}\r\n", "x".repeat(9000)).repeat(3);
        check(format!("{long}\r\n{}", "y".repeat(100_000)).as_bytes(), 100_000 - (7 * 8192 - long.len() - 2));
        check(long.as_bytes(), 0);
    }

    #[test]
    fn selected_fields_stand_as_they_are_before_an_empty_line() {
        let header = b"A: b\r\n c\r\nD: e\r\na: f\n\r\nA: body";
        assert_eq!(select(header, |field| field.is("a")), b"A: b\r\n c\r\na: f\n\r\n");
        assert_eq!(select(header, |_| false), b"\r\n");
        assert_eq!(select(b"A: b\r\nC: d", |field| field.is("c")), b"C: d");
    }

    #[test]
    fn received_fields_are_counted_in_the_header_only() {
        assert_eq!(count(b"Received: a\r\nX: y\r\nRECEIVED: b\r\n\r\nReceived: c\r\n", "received"), 2);
    }
}
