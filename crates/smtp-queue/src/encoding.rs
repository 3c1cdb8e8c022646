//! Octets written as lines of ASCII. RFC 2045 §6.

use std::fmt::Write as _;

/// Octets of a line, its end not counted. RFC 2045 §6.7.
const WIDTH: usize = 76;

/// Text with CRLF line ends in quoted-printable, its last line ended as it was. RFC 2045 §6.7.
pub(crate) fn quoted_printable(text: &[u8], out: &mut String) {
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

/// A header field's text in encoded-words where it is not ASCII, the lines folded. RFC 2047 §2.
pub(crate) fn encoded_words(text: &str) -> String {
    /// Octets of text in one word: `=?utf-8?B?` and the rest leave 75 to 60 characters of base64.
    const MAX: usize = 42;
    if text.is_ascii() {
        return text.to_owned();
    }
    let (mut words, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(rest.floor_char_boundary(MAX));
        words
            .push(format!("=?utf-8?B?{}?=", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, word)));
        rest = behind;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut quoted = String::new();
        quoted_printable(text.as_bytes(), &mut quoted);
        assert_eq!(quoted, expected);
    }

    #[test]
    fn what_is_not_ascii_is_quoted_and_lines_stay_short() {
        check("a=b\r\né \r\n\tx\t", "a=3Db\r\n=C3=A9=20\r\n\tx=09");
        check("", "");
        check("\r\n\r\n", "\r\n\r\n");
        check("a\rb\0", "a=0Db=00");
        check(&"x".repeat(80), &format!("{}=\r\n{}", "x".repeat(75), "x".repeat(5)));
        let mut quoted = String::new();
        quoted_printable("é".repeat(200).as_bytes(), &mut quoted);
        assert!(quoted.is_ascii() && quoted.split("\r\n").all(|line| line.len() <= WIDTH), "{quoted}");
    }

    #[test]
    fn a_subject_that_is_not_ascii_is_written_in_encoded_words() {
        assert_eq!(encoded_words("plain"), "plain");
        assert_eq!(encoded_words("não"), "=?utf-8?B?bsOjbw==?=");
        assert!(encoded_words(&"ção ".repeat(40)).split(' ').all(|word| word.len() <= 75));
    }
}
