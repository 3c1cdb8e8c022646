//! A message that milters look at and change.

use milter_proto::Change;
use tracing::warn;

use super::body::Body;

/// Octets that milters may make of a header.
const MAX_HEADER: usize = 1 << 20;

/// The message as it will be stored, without the fields that we put before it.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// Fields that come before our own.
    above: Vec<Field>,
    fields: Vec<Field>,
    /// What stands between header and body: the empty line, if there is one.
    separator: Vec<u8>,
    pub(crate) body: Body,
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// As it is stored, with its line end.
    raw: Vec<u8>,
    /// Octets before the colon.
    name: usize,
}

impl Field {
    /// `None` if no field can be made of it: as little as one that is none may a milter put the end of the header into it.
    fn new(name: &[u8], value: &[u8], has_space: bool) -> Option<Self> {
        let is_name = !name.is_empty() && name.iter().all(|octet| octet.is_ascii_graphic() && *octet != b':');
        if !is_name {
            return None;
        }
        let mut raw = name.to_vec();
        raw.push(b':');
        if !has_space {
            raw.push(b' ');
        }
        let clean = |line: &[u8]| -> Vec<u8> {
            line.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\0')).collect()
        };
        for (number, line) in value.split(|octet| *octet == b'\n').map(clean).enumerate() {
            // RFC 5322 §2.2.3: what goes on begins with a blank, and has something behind it.
            if number > 0 && line.trim_ascii().is_empty() {
                continue;
            }
            if number > 0 {
                raw.extend_from_slice(b"\r\n");
                if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                    raw.push(b'\t');
                }
            }
            raw.extend_from_slice(&line);
        }
        raw.extend_from_slice(b"\r\n");
        Some(Self { raw, name: name.len() })
    }

    fn name(&self) -> &[u8] {
        self.raw.get(..self.name).unwrap_or_default().trim_ascii_end()
    }

    /// As a milter gets it: lines ended by LF, without the last line end.
    fn value(&self, has_space: bool) -> Vec<u8> {
        let behind = self.raw.get(self.name + 1..).unwrap_or_default();
        let value = behind.strip_suffix(b"\r\n").unwrap_or(behind);
        let value = if has_space { value } else { value.strip_prefix(b" ").unwrap_or(value) };
        value.iter().copied().filter(|octet| *octet != b'\r').collect()
    }
}

impl Mail {
    /// Of a header, with what of the body stands behind it already, and the rest of the body.
    pub(crate) fn new(header: &[u8], mut body: Body) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        let mut rest = header;
        while let Some((line, behind)) = next_line(rest) {
            let colon = memchr::memchr(b':', line).filter(|_| line.first().is_some_and(u8::is_ascii_graphic));
            match (fields.last_mut(), colon) {
                (Some(last), _) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                    last.raw.extend_from_slice(line)
                }
                (_, Some(name)) => fields.push(Field { raw: line.to_vec(), name }),
                (_, None) => break,
            }
            rest = behind;
        }
        let separator = if rest.starts_with(b"\r\n") { b"\r\n".to_vec() } else { Vec::new() };
        body.put_before(rest.get(separator.len()..).unwrap_or_default());
        Self { above: Vec::new(), fields, separator, body }
    }

    /// Name and value of each field, in order.
    pub(crate) fn fields(&self, has_space: bool) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
        self.fields.iter().map(move |field| (field.name(), field.value(has_space)))
    }

    /// What comes before our own fields.
    pub(crate) fn above(&self) -> Vec<u8> {
        self.above.iter().flat_map(|field| &field.raw).copied().collect()
    }

    /// The header, with the empty line behind it.
    pub(crate) fn header(&self) -> Vec<u8> {
        let fields = self.fields.iter().flat_map(|field| &field.raw);
        fields.chain(&self.separator).copied().collect()
    }

    pub(crate) fn replace_body(&mut self, body: Body) {
        self.separator = b"\r\n".to_vec();
        self.body = body;
    }

    /// Changes the header. False if it would get too long.
    pub(crate) fn change(&mut self, change: &Change, has_space: bool) -> bool {
        match change {
            Change::AddHeader { name, value } => self.insert(None, Field::new(name, value, has_space)),
            Change::InsertHeader { index, name, value } => {
                self.insert(usize::try_from(*index).ok(), Field::new(name, value, has_space));
            }
            Change::ChangeHeader { index, name, value } => {
                self.replace(usize::try_from(*index).unwrap_or(usize::MAX), name, value, has_space);
            }
            Change::Body(_)
            | Change::AddRecipient(_)
            | Change::DeleteRecipient(_)
            | Change::ChangeFrom(_)
            | Change::Quarantine(_) => {}
        }
        self.fields.iter().chain(&self.above).map(|field| field.raw.len()).sum::<usize>() <= MAX_HEADER
    }

    /// Behind so many fields, of which our own Received field is the first; at the end for `None`.
    fn insert(&mut self, index: Option<usize>, field: Option<Field>) {
        let Some(field) = field else { return warn!("a filter adds what is no header field") };
        match index {
            Some(0) => self.above.insert(0, field),
            Some(index) => self.fields.insert((index - 1).min(self.fields.len()), field),
            None => self.fields.push(field),
        }
    }

    /// The field of this name and number, from 1; one that is not there is added, as Sendmail does. Without a value it goes.
    fn replace(&mut self, index: usize, name: &[u8], value: &[u8], has_space: bool) {
        let is_meant = |field: &&mut Field| field.name().eq_ignore_ascii_case(name);
        let number = index.max(1) - 1;
        let found = self.fields.iter_mut().enumerate().filter(|(_, field)| is_meant(field)).nth(number);
        match (found, Field::new(name, value, has_space)) {
            (Some((position, _)), _) if value.is_empty() => drop(self.fields.remove(position)),
            (Some((_, field)), Some(new)) => *field = new,
            (None, _) if value.is_empty() => {}
            (None, new) => self.insert(None, new),
            (Some(_), None) => warn!("a filter changes what is no header field"),
        }
    }
}

/// The first line, with its end, and what stands behind it; `None` for the empty line and at the end.
fn next_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() || text.starts_with(b"\r\n") {
        return None;
    }
    let end = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
    text.split_at_checked(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &[u8] = b"Subject: a\r\n\tb\r\nTo:c\r\nX-A: 1\r\nx-a : 2\r\n\r\n";

    fn changed(change: &Change) -> String {
        let mut mail = Mail::new(HEADER, Body::default());
        assert!(mail.change(change, false));
        let text = [mail.above(), b"|".to_vec(), mail.header()].concat();
        String::from_utf8(text).unwrap()
    }

    fn header(index: u32, name: &str, value: &str) -> (u32, Vec<u8>, Vec<u8>) {
        (index, name.as_bytes().to_vec(), value.as_bytes().to_vec())
    }

    #[track_caller]
    fn check_insert(index: u32, name: &str, value: &str, expected: &str) {
        let (index, name, value) = header(index, name, value);
        assert_eq!(changed(&Change::InsertHeader { index, name, value }), expected);
    }

    #[track_caller]
    fn check_change(index: u32, name: &str, value: &str, expected: &str) {
        let (index, name, value) = header(index, name, value);
        assert_eq!(changed(&Change::ChangeHeader { index, name, value }), expected);
    }

    #[test]
    fn a_milter_gets_the_fields_as_postfix_gives_them() {
        let mail = Mail::new(HEADER, Body::default());
        let fields: Vec<_> = mail.fields(false).collect();
        assert_eq!(fields[0], (&b"Subject"[..], b"a\n\tb".to_vec()));
        assert_eq!(fields[1], (&b"To"[..], b"c".to_vec()));
        assert_eq!(fields[3], (&b"x-a"[..], b"2".to_vec()));
        assert_eq!(mail.fields(true).next().unwrap().1, b" a\n\tb");
        assert_eq!(mail.header(), HEADER);
    }

    #[test]
    fn fields_are_added_where_the_milter_wants_them() {
        let rest = "Subject: a\r\n\tb\r\nTo:c\r\nX-A: 1\r\nx-a : 2\r\n";
        check_insert(0, "N", "v", &format!("N: v\r\n|{rest}\r\n"));
        check_insert(1, "N", "v\n w", &format!("|N: v\r\n w\r\n{rest}\r\n"));
        check_insert(2, "N", "v", &format!("|Subject: a\r\n\tb\r\nN: v\r\n{}\r\n", &rest[16..]));
        check_insert(99, "N", "v", &format!("|{rest}N: v\r\n\r\n"));
        let added = Change::AddHeader { name: b"N".to_vec(), value: b"v".to_vec() };
        assert_eq!(changed(&added), format!("|{rest}N: v\r\n\r\n"));
    }

    #[test]
    fn a_field_is_changed_by_its_number_among_those_of_its_name() {
        let before = "|Subject: a\r\n\tb\r\nTo:c\r\n";
        check_change(2, "X-A", "3", &format!("{before}X-A: 1\r\nX-A: 3\r\n\r\n"));
        check_change(0, "x-a", "", &format!("{before}x-a : 2\r\n\r\n"));
        check_change(3, "X-A", "3", &format!("{before}X-A: 1\r\nx-a : 2\r\nX-A: 3\r\n\r\n"));
        check_change(3, "X-A", "", &format!("{before}X-A: 1\r\nx-a : 2\r\n\r\n"));
    }

    #[test]
    fn no_value_ends_the_header() {
        check_insert(
            1,
            "N",
            "v\n\nbody\r\nX: y\n",
            &format!("|N: v\r\n\tbody\r\n\tX: y\r\n{}", &changed(&Change::Body(bytes::Bytes::new()))[1..]),
        );
        check_insert(1, "N\r\nX", "v", &changed(&Change::Body(bytes::Bytes::new())));
    }

    proptest! {
        /// Whatever a milter gives, it adds one field or none, and the header ends where it did.
        #[test]
        fn a_header_stays_one(
            name in proptest::collection::vec(any::<u8>(), 0..10),
            value in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), any::<u8>()], 0..40),
            index in 0_u32..9,
            has_space: bool,
            is_new: bool,
        ) {
            let mut mail = Mail::new(HEADER, Body::default());
            let change = if is_new {
                Change::InsertHeader { index, name, value }
            } else {
                Change::ChangeHeader { index, name: b"To".to_vec(), value }
            };
            prop_assert!(mail.change(&change, has_space));
            let text = [mail.above(), mail.header()].concat();
            let fields = text.strip_suffix(b"\r\n\r\n").unwrap();
            let lines: Vec<&[u8]> = fields.split(|octet| *octet == b'\n').collect();
            let (last, others) = lines.split_last().unwrap();
            prop_assert!(others.iter().all(|line| line.ends_with(b"\r")));
            for line in others.iter().map(|line| &line[..line.len() - 1]).chain([*last]) {
                prop_assert!(!line.contains(&b'\r') && !line.contains(&0));
                let name = line.split(|octet| *octet == b':').next().unwrap();
                let is_field = name.len() < line.len() && name.trim_ascii_end().iter().all(u8::is_ascii_graphic);
                let goes_on = matches!(line.first(), Some(b' ' | b'\t')) && !line.trim_ascii().is_empty();
                prop_assert!(is_field || goes_on, "{}", line.escape_ascii());
            }
            prop_assert!((3..=5).contains(&mail.fields(false).count()));
        }
    }

    #[test]
    fn what_of_the_body_came_with_the_header_stands_before_the_rest() {
        for (header, expected) in
            [("A: b\r\n\r\nhel", "A: b\r\n\r\n"), ("A: b\r\nhel", "A: b\r\n"), ("\r\nhel", "\r\n")]
        {
            let mail = Mail::new(header.as_bytes(), Body::new(None, b"lo".to_vec()));
            assert_eq!(mail.header(), expected.as_bytes());
            assert_eq!(mail.body.in_memory(), b"hello");
        }
    }
}
