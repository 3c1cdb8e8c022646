//! Messages as hosts take them that let only lines of ASCII pass. RFC 2045 §6, RFC 6152 §3, RFC 3030 §3.

use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::header::{fields, slice};
use crate::{BodyStructure, Content};

/// Octets that make one line of base64. RFC 2045 §6.8.
const OCTETS_A_LINE: usize = 57;
/// Octets of a line in quoted-printable, its end not counted. RFC 2045 §6.7.
const WIDTH: usize = 76;
/// Octets of any line, its end not counted. RFC 5321 §4.5.3.1.6.
const MAX_LINE: usize = 998;

/// The message in 7-bit MIME: what is not ASCII or no lines gets a transfer encoding, nothing else changes. `None` where that can't be
/// done without a loss: its header is not ASCII, what would change is signed or encrypted (RFC 1847 §2.1) or is a fragment of a message
/// (RFC 2046 §5.2.2), or it stands where no encoding can be named.
#[must_use]
pub fn seven_bit(message: &[u8]) -> Option<Vec<u8>> {
    let structure = BodyStructure::parse(message);
    let mut encoder =
        Encoder { message, out: Vec::with_capacity(message.len() + message.len() / 2), copied: 0 };
    let is_mime = fields(slice(message, structure.header.clone())).any(|field| field.is("MIME-Version"));
    encoder.entity(&structure, !is_mime)?;
    encoder.copy_to(message.len())?;
    is_lines_of_ascii(&encoder.out).then_some(encoder.out)
}

/// True for ASCII without NULs in which CR and LF stand together only.
#[must_use]
pub fn is_lines_of_ascii(octets: &[u8]) -> bool {
    octets.is_ascii() && is_text(octets)
}

/// True if no NUL is there, and no CR or LF that stands alone.
#[must_use]
pub fn is_text(octets: &[u8]) -> bool {
    let is_end = |position: usize| octets.get(position) == Some(&b'\n');
    memchr::memchr3_iter(0, b'\r', b'\n', octets).all(|position| match octets.get(position) {
        Some(b'\r') => is_end(position + 1),
        Some(b'\n') => position.checked_sub(1).is_some_and(|before| octets.get(before) == Some(&b'\r')),
        Some(_) | None => false,
    })
}

struct Encoder<'a> {
    message: &'a [u8],
    out: Vec<u8>,
    copied: usize,
}

impl Encoder<'_> {
    /// Goes through an entity. `is_bare` for a message that has no MIME header yet.
    fn entity(&mut self, part: &BodyStructure, is_bare: bool) -> Option<()> {
        let body = self.message.get(part.body.clone())?;
        let is_labelled = [&b"8bit"[..], b"binary"].iter().any(|it| part.encoding.eq_ignore_ascii_case(it));
        match &part.content {
            Content::Basic | Content::Text { .. } if is_fit(part, body) => Some(()),
            Content::Basic | Content::Text { .. } => self.leaf(part, body, is_bare),
            Content::Multipart { .. } if is_sealed(part) => is_passable(part, self.message).then_some(()),
            Content::Multipart { parts } => {
                if is_labelled {
                    self.label(&part.header, "7bit", false)?;
                }
                parts.iter().try_for_each(|inner| self.entity(inner, false))
            }
            Content::Message { structure, .. } => {
                if is_labelled {
                    self.label(&part.header, "7bit", false)?;
                }
                self.entity(structure, false)
            }
        }
    }

    fn leaf(&mut self, part: &BodyStructure, body: &[u8], is_bare: bool) -> Option<()> {
        let is_raw =
            [&b"7bit"[..], b"8bit", b"binary"].iter().any(|it| part.encoding.eq_ignore_ascii_case(it));
        let is_fragment = part.media_type.eq_ignore_ascii_case(b"message")
            && [&b"partial"[..], b"external-body"].iter().any(|it| part.subtype.eq_ignore_ascii_case(it));
        if !is_raw || is_fragment {
            return None;
        }
        let is_quoted = matches!(part.content, Content::Text { .. }) && is_text(body);
        self.label(&part.header, if is_quoted { "quoted-printable" } else { "base64" }, is_bare)?;
        self.copy_to(part.body.start)?;
        if is_quoted {
            let mut quoted = String::new();
            quoted_printable(body, &mut quoted);
            self.out.extend_from_slice(quoted.as_bytes());
        } else {
            base64_lines(body, &mut self.out);
        }
        self.copied = part.body.end;
        Some(())
    }

    /// Names the transfer encoding in a header; where it `is_bare` also, that this is MIME.
    fn label(&mut self, header: &Range<usize>, encoding: &str, is_bare: bool) -> Option<()> {
        let octets = self.message.get(header.clone())?;
        let of = |name: &str| fields(octets).find(|field| field.is(name));
        let mut added = format!("Content-Transfer-Encoding: {encoding}\r\n");
        if is_bare {
            added.push_str("MIME-Version: 1.0\r\n");
            if of("Content-Type").is_none() {
                // RFC 1428 §3
                added.push_str("Content-Type: text/plain; charset=unknown-8bit\r\n");
            }
        }
        let end = header.start + fields(octets).last().map_or(0, |field| field.range.end);
        let at = of("Content-Transfer-Encoding")
            .map_or(end..end, |field| header.start + field.range.start..header.start + field.range.end);
        self.copy_to(at.start)?;
        self.out.extend_from_slice(added.as_bytes());
        self.copied = at.end;
        Some(())
    }

    fn copy_to(&mut self, end: usize) -> Option<()> {
        self.out.extend_from_slice(self.message.get(self.copied..end)?);
        self.copied = end;
        Some(())
    }
}

/// True for a body that goes as it is.
fn is_fit(part: &BodyStructure, body: &[u8]) -> bool {
    let is_binary = part.encoding.eq_ignore_ascii_case(b"binary");
    let is_long = |line: &[u8]| line.len() > MAX_LINE + 1;
    !is_binary && is_lines_of_ascii(body) && !body.split(|octet| *octet == b'\n').any(is_long)
}

/// True for a multipart in which nothing may change. RFC 1847 §2.
fn is_sealed(part: &BodyStructure) -> bool {
    [&b"signed"[..], b"encrypted"].iter().any(|it| part.subtype.eq_ignore_ascii_case(it))
}

/// True if nothing in it would have to change.
fn is_passable(part: &BodyStructure, message: &[u8]) -> bool {
    match &part.content {
        Content::Basic | Content::Text { .. } => {
            message.get(part.body.clone()).is_some_and(|it| is_fit(part, it))
        }
        Content::Multipart { parts } => parts.iter().all(|inner| is_passable(inner, message)),
        Content::Message { structure, .. } => is_passable(structure, message),
    }
}

/// Octets in lines of base64, CRLF between them. RFC 2045 §6.8.
pub(crate) fn base64_lines(body: &[u8], out: &mut Vec<u8>) {
    for (position, line) in body.chunks(OCTETS_A_LINE).enumerate() {
        if position > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(STANDARD.encode(line).as_bytes());
    }
}

/// Text with CRLF line ends in quoted-printable, its last line ended as it was. RFC 2045 §6.7.
pub fn quoted_printable(text: &[u8], out: &mut String) {
    let mut lines = text.split(|octet| *octet == b'\n').peekable();
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        let line = if is_last { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
        quote_line(line, out);
        if !is_last {
            out.push_str("\r\n");
        }
    }
}

fn quote_line(line: &[u8], out: &mut String) {
    let mut width = 0;
    for (position, octet) in line.iter().enumerate() {
        let is_at_end = position + 1 == line.len();
        let is_plain =
            matches!(octet, b'!'..=b'~' if *octet != b'=') || (matches!(octet, b' ' | b'\t') && !is_at_end);
        let length = if is_plain { 1 } else { 3 };
        // There must be room for the `=` of a soft line break.
        if width + length >= WIDTH {
            out.push_str("=\r\n");
            width = 0;
        }
        if is_plain {
            out.push(char::from(*octet));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "={octet:02X}");
        }
        width += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::decoded;

    #[track_caller]
    fn check(message: &[u8], expected: &str) {
        let encoded = seven_bit(message).unwrap();
        assert_eq!(String::from_utf8_lossy(&encoded), expected);
        let [before, after] = [message, &encoded].map(leaves);
        assert_eq!(before, after, "a body has changed");
        assert_eq!(seven_bit(&encoded).unwrap(), encoded, "once is enough");
    }

    /// What its bodies hold, decoded.
    fn leaves(message: &[u8]) -> Vec<Vec<u8>> {
        fn add(part: &BodyStructure, message: &[u8], found: &mut Vec<Vec<u8>>) {
            match &part.content {
                Content::Multipart { parts } => parts.iter().for_each(|inner| add(inner, message, found)),
                Content::Message { structure, .. } => add(structure, message, found),
                Content::Basic | Content::Text { .. } => {
                    found.push(decoded(message, part).unwrap().into_owned())
                }
            }
        }
        let mut found = Vec::new();
        add(&BodyStructure::parse(message), message, &mut found);
        found
    }

    #[test]
    fn text_is_quoted_and_the_rest_becomes_base64() {
        check(
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\ncontent-transfer-encoding:\r\n 8bit\r\nA: b\r\n\r\né = e\r\n".as_bytes(),
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\nA: b\r\n\r\n=C3=A9 =3D e\r\n",
        );
        check(
            b"MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n\n",
            "MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAA0KCg==",
        );
        check(b"Subject: a\r\n\r\nplain\r\n", "Subject: a\r\n\r\nplain\r\n");
    }

    /// RFC 1428 §3
    #[test]
    fn what_does_not_say_that_it_is_mime_is_made_so() {
        check(
            "Subject: a\r\n\r\né".as_bytes(),
            "Subject: a\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=unknown-8bit\r\n\r\n=C3=A9",
        );
    }

    /// RFC 2045 §6.4
    #[test]
    fn only_the_parts_that_need_it_change_and_what_holds_them_says_7bit() {
        let long = "x".repeat(1000);
        check(
            format!(
                "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
                 --b\r\n\r\nplain\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\né\r\n\
                 --b\r\nContent-Type: application/x\r\n\r\n{long}\r\n--b--\r\n"
            )
            .as_bytes(),
            &format!(
                "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
                 --b\r\n\r\nplain\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\
                 Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n\
                 --b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
                long.as_bytes().chunks(57).map(|line| STANDARD.encode(line)).collect::<Vec<_>>().join("\r\n"),
            ),
        );
    }

    #[test]
    fn what_must_not_change_is_refused() {
        let signed = |body: &str| {
            format!(
                "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n{body}\r\n--b--\r\n"
            )
        };
        assert!(seven_bit(signed("plain").as_bytes()).is_some());
        for message in [
            signed("é"),
            "Subject: é\r\n\r\nplain".to_owned(),
            "Content-Type: message/partial; id=a\r\n\r\né".to_owned(),
            "Content-Transfer-Encoding: base64\r\n\r\né".to_owned(),
            "Content-Type: multipart/mixed; boundary=b\r\n\r\né\r\n--b\r\n\r\nx\r\n--b--\r\n".to_owned(),
        ] {
            assert_eq!(seven_bit(message.as_bytes()), None, "{message}");
        }
    }

    #[test]
    fn lines_end_in_crlf_and_hold_no_nul() {
        for (text, expected) in [
            ("", true),
            ("a\r\n\r\nb", true),
            ("a\n", false),
            ("\ra", false),
            ("a\r", false),
            ("\r\r\n", false),
            ("\0", false),
        ] {
            assert_eq!(is_text(text.as_bytes()), expected, "{text:?}");
        }
        assert!(!is_lines_of_ascii("é".as_bytes()));
    }

    #[track_caller]
    fn check_quoted(text: &str, expected: &str) {
        let mut quoted = String::new();
        quoted_printable(text.as_bytes(), &mut quoted);
        assert_eq!(quoted, expected);
    }

    #[test]
    fn what_is_not_ascii_is_quoted_and_lines_stay_short() {
        check_quoted("a=b\r\né \r\n\tx\t", "a=3Db\r\n=C3=A9=20\r\n\tx=09");
        check_quoted("", "");
        check_quoted("\r\n\r\n", "\r\n\r\n");
        check_quoted("a\rb\0", "a=0Db=00");
        check_quoted(&"x".repeat(80), &format!("{}=\r\n{}", "x".repeat(75), "x".repeat(5)));
        let mut quoted = String::new();
        quoted_printable("é".repeat(200).as_bytes(), &mut quoted);
        assert!(quoted.is_ascii() && quoted.split("\r\n").all(|line| line.len() <= WIDTH), "{quoted}");
    }
}
