use std::io::{self, BufRead, Read as _};

use crate::header::{fields, is_empty_line};
use crate::mime::boundary_param;
use crate::mime_field;
use crate::scanner::Allowance;

/// Octets of a line that are read at once.
const PIECE: u64 = 64 * 1024;
/// Octets kept of the fields that say what an entity is.
const MAX_KEPT: usize = 16 * 1024;
/// How deep multiparts may lie in multiparts; what lies deeper is opaque.
const MAX_OPEN: usize = 50;

/// What stands in the headers of a message: its own, those of its parts, and those of the messages within it. RFC 6531 §3.2, §3.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum HeaderText {
    /// Nothing but ASCII.
    #[default]
    Ascii,
    /// UTF-8: the message is internationalized. RFC 6532.
    Utf8,
    /// Octets that are not even that.
    Other,
}

impl HeaderText {
    /// Reads a message as far as it has headers, in bounded memory.
    ///
    /// # Errors
    /// What the reader says.
    pub fn of(message: &mut impl BufRead) -> io::Result<Self> {
        let mut scan = Scan {
            found: Self::Ascii,
            open: Vec::new(),
            header: Some(Vec::new()),
            keeps: false,
            is_digest: false,
        };
        let (mut line, mut is_start) = (Vec::new(), true);
        while !scan.is_over() {
            let read = message.by_ref().take(PIECE).read_until(b'\n', &mut line)?;
            let is_whole = line.ends_with(b"\n");
            // A character that is cut there goes on in the next piece.
            let is_cut = !is_whole && u64::try_from(read).is_ok_and(|read| read == PIECE);
            let rest = line.split_off(line.len() - if is_cut { begun_character(&line) } else { 0 });
            if is_start {
                scan.line(&line);
            } else {
                scan.field(&line);
            }
            if read == 0 {
                break;
            }
            (line, is_start) = (rest, is_whole);
        }
        Ok(scan.found)
    }

    fn of_line(line: &[u8]) -> Self {
        match std::str::from_utf8(line) {
            Ok(_) if line.is_ascii() => Self::Ascii,
            Ok(_) => Self::Utf8,
            Err(_) => Self::Other,
        }
    }
}

/// A message passing by, line by line.
struct Scan {
    found: HeaderText,
    /// The open multiparts, outermost first.
    open: Vec<Multipart>,
    /// In a header: its fields that say what the entity is.
    header: Option<Vec<u8>>,
    /// The last field is one of those.
    keeps: bool,
    /// The entity is a message if it does not say what it is. RFC 2046 §5.1.5.
    is_digest: bool,
}

struct Multipart {
    boundary: Vec<u8>,
    is_digest: bool,
}

impl Scan {
    /// True if no header can come any more, or nothing in one would matter.
    fn is_over(&self) -> bool {
        self.found == HeaderText::Other || (self.header.is_none() && self.open.is_empty())
    }

    fn line(&mut self, line: &[u8]) {
        if self.is_boundary(line) {
            return;
        }
        if self.header.is_some() && is_empty_line(line) {
            return self.enter_body();
        }
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            self.keeps = says_what_it_is(line);
        }
        self.field(line);
    }

    /// A line of a field, or a piece of one.
    fn field(&mut self, line: &[u8]) {
        let Some(kept) = &mut self.header else { return };
        self.found = self.found.max(HeaderText::of_line(line));
        if self.keeps && kept.len() + line.len() <= MAX_KEPT {
            kept.extend_from_slice(line);
        }
    }

    /// True for a boundary of an open multipart, the longest of those that the line starts with: RFC 2046 §5.1.1. Goes on behind it.
    fn is_boundary(&mut self, line: &[u8]) -> bool {
        let Some(rest) = line.strip_prefix(b"--") else { return false };
        let open = self.open.iter().enumerate().filter(|(_, it)| rest.starts_with(&it.boundary));
        let Some((level, multipart)) = open.max_by_key(|(_, it)| it.boundary.len()) else { return false };
        let is_last = rest.get(multipart.boundary.len()..).is_some_and(|rest| rest.starts_with(b"--"));
        self.is_digest = multipart.is_digest;
        self.header = (!is_last).then(Vec::new);
        self.open.truncate(if is_last { level } else { level + 1 });
        true
    }

    /// A header is over: what follows is parts, a message, or nothing that has a header.
    fn enter_body(&mut self) {
        let kept = self.header.take().unwrap_or_default();
        let value = |name: &str| fields(&kept).find(|field| field.is(name)).map(|field| field.value());
        let encoding = value("Content-Transfer-Encoding").and_then(|value| mime_field::encoding(&value));
        let is_encoded = encoding.is_some_and(|it| {
            [&b"base64"[..], b"quoted-printable"].iter().any(|known| it.eq_ignore_ascii_case(known))
        });
        let is_digest = std::mem::take(&mut self.is_digest);
        let is_message = match value("Content-Type") {
            None => is_digest,
            Some(value) => self.opens_message(&value),
        };
        if is_message && !is_encoded {
            self.header = Some(Vec::new());
        }
    }

    /// True if what has this Content-Type is a message; a multipart is open from now on.
    fn opens_message(&mut self, content_type: &[u8]) -> bool {
        let Some((media_type, subtype, params)) =
            mime_field::content_type(content_type, &mut Allowance::default())
        else {
            return false;
        };
        let is_subtype = |wanted: &[&[u8]]| wanted.iter().any(|it| subtype.eq_ignore_ascii_case(it));
        if media_type.eq_ignore_ascii_case(b"multipart") && self.open.len() < MAX_OPEN {
            let is_digest = is_subtype(&[b"digest"]);
            self.open.extend(boundary_param(&params).map(|boundary| Multipart { boundary, is_digest }));
        }
        media_type.eq_ignore_ascii_case(b"message") && is_subtype(&[b"rfc822", b"global"])
    }
}

/// The octets at the end that begin a character of UTF-8 and don't end it: three at most.
fn begun_character(piece: &[u8]) -> usize {
    match std::str::from_utf8(piece) {
        Err(error) if error.error_len().is_none() => piece.len() - error.valid_up_to(),
        _ => 0,
    }
}

fn says_what_it_is(line: &[u8]) -> bool {
    let name = line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii_end();
    [&b"Content-Type"[..], b"Content-Transfer-Encoding"].iter().any(|it| name.eq_ignore_ascii_case(it))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[track_caller]
    fn check(message: &[u8], expected: HeaderText) {
        for capacity in [1, 7, 8192] {
            let found = HeaderText::of(&mut BufReader::with_capacity(capacity, message)).unwrap();
            assert_eq!(found, expected, "{}", message.escape_ascii());
        }
    }

    const MIXED: &str = "Content-Type: multipart/mixed;\r\n\tboundary=\"b b\"\r\n\r\nprä\r\n";

    /// RFC 6531 §3.2: at any level of the MIME structure.
    #[test]
    fn text_of_headers_is_found_at_every_level_and_that_of_bodies_is_not() {
        for (message, expected) in [
            ("Subject: x\r\n\r\nplain\r\n", HeaderText::Ascii),
            ("Subject: x\r\n\r\nSübject: x\r\n", HeaderText::Ascii),
            ("Subject: Grüße\r\n\r\nplain\r\n", HeaderText::Utf8),
            ("Subject: x\r\n\tGrüße", HeaderText::Utf8),
            ("", HeaderText::Ascii),
        ] {
            check(message.as_bytes(), expected);
        }
        for (part, expected) in [
            ("--b b\r\nContent-Type: text/plain\r\n\r\nGrüße\r\n--b b--\r\nGrüße: x\r\n", HeaderText::Ascii),
            (
                "--b b\r\nContent-Disposition: attachment; filename=Grüße\r\n\r\nx\r\n--b b--\r\n",
                HeaderText::Utf8,
            ),
            ("--b b\r\n\r\nx\r\n--b b\r\nX: é\r\n--b b--\r\n", HeaderText::Utf8),
            ("--b b\r\n\r\nX: é\r\n--b b\r\n\r\n--c\r\nX: é\r\n\r\n", HeaderText::Ascii),
            (
                "--b b\r\nContent-type : MESSAGE/rfc822\r\n\r\nSubject: é\r\n\r\nx\r\n--b b--\r\n",
                HeaderText::Utf8,
            ),
            (
                "--b b\r\nContent-Type: message/rfc822\r\n\r\nSubject: e\r\n\r\né\r\n--b b--\r\n",
                HeaderText::Ascii,
            ),
            (
                "--b b\r\nContent-Type: message/global\r\n\r\nSubject: é\r\n\r\nx\r\n--b b--\r\n",
                HeaderText::Utf8,
            ),
            (
                "--b b\r\nContent-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\né: x\r\n--b b--\r\n",
                HeaderText::Ascii,
            ),
            (
                "--b b\r\nContent-Type: multipart/digest; boundary=c\r\n\r\n--c\r\n\r\nSubject: é\r\n\r\nx\r\n--c--\r\n--b b--\r\n",
                HeaderText::Utf8,
            ),
            (
                "--b b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nSubject: é\r\n\r\nx\r\n--b b--\r\n",
                HeaderText::Ascii,
            ),
            (
                "--b b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b b\r\nX: é\r\n\r\n",
                HeaderText::Utf8,
            ),
        ] {
            check(format!("{MIXED}{part}").as_bytes(), expected);
        }
        check("Content-Type: message/rfc822\r\n\r\nSubject: é\r\n\r\nx".as_bytes(), HeaderText::Utf8);
    }

    #[test]
    fn what_is_no_utf8_is_told_from_it() {
        check(b"Subject: Gr\xfc\xdfe\r\n\r\nplain\r\n", HeaderText::Other);
        check("X: é\r\nY: \u{e9}\r\n".as_bytes(), HeaderText::Utf8);
        check(&[MIXED.as_bytes(), b"--b b\r\nX: \xe9\r\n\r\n"].concat(), HeaderText::Other);
    }

    #[test]
    fn a_character_may_stand_across_the_end_of_a_piece() {
        let piece = usize::try_from(PIECE).unwrap();
        for character in ["é", "€", "😀"] {
            for before in 0..=character.len() {
                let long = format!("X: {}", "x".repeat(piece - before - 3));
                check(format!("{long}{character}\r\n\r\nx").as_bytes(), HeaderText::Utf8);
                check(format!("{long}{}\r\n\r\nx", character.repeat(piece)).as_bytes(), HeaderText::Utf8);
                let cut = &character.as_bytes()[..character.len() - 1];
                check(&[long.as_bytes(), cut, b"\r\n\r\nx"].concat(), HeaderText::Other);
                check(&[long.as_bytes(), cut].concat(), HeaderText::Other);
            }
        }
    }

    #[test]
    fn hostile_lines_and_depths_stay_bounded() {
        let piece = usize::try_from(PIECE).unwrap();
        check(format!("X: {}é\r\n\r\nx", "x".repeat(3 * piece)).as_bytes(), HeaderText::Utf8);
        check(
            format!("Content-Type: multipart/mixed;{}boundary=c\r\n\r\n--c\r\n\r\n", " ".repeat(MAX_KEPT))
                .as_bytes(),
            HeaderText::Ascii,
        );
        let nested: String = (0..2 * MAX_OPEN)
            .map(|it| format!("Content-Type: multipart/mixed; boundary=b{it}x\r\n\r\n--b{it}x\r\n"))
            .collect();
        check(format!("{nested}\r\n--b0x\r\nX: é\r\n").as_bytes(), HeaderText::Utf8);
    }
}
