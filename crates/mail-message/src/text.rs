//! Octets as text: transfer encodings, charsets and encoded words undone.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use memchr::{memchr, memmem};

use crate::BodyStructure;
use crate::header::{Field, slice};
use crate::mime::param;

/// Longer encoded words are none; RFC 2047 §2 has 75 octets.
const MAX_ENCODED_WORD: usize = 4096;

/// The text of a part, and for HTML what of it is to be seen. `message` is what `part` is a part of.
pub(crate) fn of_part<'a>(message: &'a [u8], part: &BodyStructure) -> Vec<Cow<'a, str>> {
    let octets = decoded(slice(message, part.body.clone()), &part.encoding);
    let text = in_charset(octets, param(&part.params, "charset").unwrap_or_default());
    if part.subtype.eq_ignore_ascii_case(b"html") {
        let visible = html_to_text(&text);
        return vec![text, visible.into()];
    }
    vec![text]
}

/// The octets without their transfer encoding; lines that break its rules, such as those that mailing lists add, as they
/// are.
fn decoded<'a>(octets: &'a [u8], encoding: &[u8]) -> Cow<'a, [u8]> {
    let decode = match encoding.to_ascii_lowercase().as_slice() {
        b"base64" => base64_decode,
        b"quoted-printable" => quoted_printable_decode,
        _ => return octets.into(),
    };
    let line_by_line = || {
        let lines = octets.split_inclusive(|byte| *byte == b'\n');
        lines.flat_map(|line| decode(line).unwrap_or_else(|| line.to_vec())).collect()
    };
    Cow::Owned(decode(octets).unwrap_or_else(line_by_line))
}

/// Octets in the charset that they are said to be in. Much mail says ASCII, or nothing, of what is UTF-8.
fn in_charset<'a>(octets: Cow<'a, [u8]>, charset: &[u8]) -> Cow<'a, str> {
    let is_unsaid = [&b""[..], b"us-ascii", b"ascii", b"utf-8", b"utf8"]
        .iter()
        .any(|it| charset.eq_ignore_ascii_case(it));
    match charset_decoder(charset) {
        Some(decoder) if !is_unsaid => decoder(&octets).into(),
        _ => undeclared(octets),
    }
}

/// UTF-8, or else what most mailers that say no charset write.
///
/// Deviates: RFC 5255 §4.6 would have octets that are no UTF-8, where that is said, compared as octets and sorted last. So they are found by
/// what a person reads in them.
fn undeclared(octets: Cow<'_, [u8]>) -> Cow<'_, str> {
    let western =
        |octets: &[u8]| encoding_rs::WINDOWS_1252.decode_without_bom_handling(octets).0.into_owned();
    match octets {
        Cow::Borrowed(octets) => {
            std::str::from_utf8(octets).map_or_else(|_| western(octets).into(), Cow::Borrowed)
        }
        Cow::Owned(octets) => {
            String::from_utf8(octets).unwrap_or_else(|error| western(error.as_bytes())).into()
        }
    }
}

/// Whether a field's text is what stands there: on one line, without encoded words, in UTF-8.
pub(crate) fn is_plain(field: &Field<'_>) -> bool {
    let value = field.raw_value.trim_ascii();
    memchr(b'\n', value).is_none()
        && memmem::find(value, b"=?").is_none()
        && std::str::from_utf8(value).is_ok()
}

/// A field, name and all, on one line, with its encoded words decoded.
pub(crate) fn of_field(field: &Field<'_>) -> String {
    format!("{}: {}", String::from_utf8_lossy(field.name), of_value(&field.value()))
}

/// A field's value with its encoded words (RFC 2047) decoded.
pub(crate) fn of_value(value: &[u8]) -> String {
    let mut words = Words::default();
    let mut rest = value;
    while let Some(at) = memmem::find(rest, b"=?") {
        let (before, word) = rest.split_at(at);
        if let Some((charset, octets, length)) = encoded_word(word) {
            words.plain_before_encoded(before);
            words.encoded(charset, octets);
            rest = slice(word, length..word.len());
        } else {
            words.plain(slice(rest, 0..at + 2));
            rest = slice(word, 2..word.len());
        }
    }
    words.plain(rest);
    words.flush();
    words.text
}

/// Text as it comes out of words. Encoded ones beside each other are put together before their charset is decoded: many
/// mailers split them within a character.
#[derive(Default)]
struct Words<'a> {
    text: String,
    charset: &'a [u8],
    octets: Vec<u8>,
    after_encoded: bool,
}

impl<'a> Words<'a> {
    /// RFC 2047 §6.2: blanks between encoded words are not shown.
    fn plain_before_encoded(&mut self, text: &[u8]) {
        if !self.after_encoded || !text.trim_ascii().is_empty() {
            self.plain(text);
        }
    }

    fn plain(&mut self, text: &[u8]) {
        self.flush();
        self.text.push_str(&undeclared(text.into()));
        self.after_encoded = false;
    }

    fn encoded(&mut self, charset: &'a [u8], octets: Vec<u8>) {
        if !self.charset.eq_ignore_ascii_case(charset) {
            self.flush();
        }
        self.charset = charset;
        self.octets.extend(octets);
        self.after_encoded = true;
    }

    fn flush(&mut self) {
        let octets = std::mem::take(&mut self.octets);
        self.text.push_str(&in_charset(octets.into(), self.charset));
    }
}

/// `"=?" charset ["*" language] "?" encoding "?" encoded-text "?="` (RFC 2231 §5) at the start of `text`: its charset, its
/// octets and its length.
fn encoded_word(text: &[u8]) -> Option<(&[u8], Vec<u8>, usize)> {
    let text = slice(text, 0..text.len().min(MAX_ENCODED_WORD));
    let charset_end = 2 + memchr(b'?', text.get(2..)?)?;
    let charset = text.get(2..charset_end)?.split(|byte| *byte == b'*').next()?;
    let encoded = text.get(charset_end + 3..).filter(|_| text.get(charset_end + 2) == Some(&b'?'))?;
    let length = 2 + memmem::find(encoded, b"?=")?;
    let mut stream = MessageStream::new(encoded.get(..length)?);
    let octets = match text.get(charset_end + 1)?.to_ascii_lowercase() {
        b'b' => stream.decode_base64_word(),
        b'q' => stream.decode_quoted_printable_word(),
        _ => None,
    };
    Some((charset, octets?, charset_end + 3 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &[u8], expected: &str) {
        assert_eq!(of_value(value), expected, "{:?}", String::from_utf8_lossy(value));
    }

    #[test]
    fn encoded_words_of_rfc_2047() {
        check(b"=?ISO-8859-1?Q?a?=", "a");
        check(b"=?ISO-8859-1?Q?a?= b", "a b");
        check(b"=?ISO-8859-1?Q?a?=  =?UTF-8?b?Yg==?=", "ab");
        check(b"=?ISO-8859-1?Q?a_b?=", "a b");
        check(b"Re: =?iso-8859-1*en?q?J=FCrgen?= <j@x>", "Re: J\u{fc}rgen <j@x>");
        check(b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\u{65e5}\u{672c}");
    }

    #[test]
    fn a_character_may_be_split_between_words() {
        check(b"=?utf-8?q?J=C3?= =?UTF-8?q?=BCrgen?=", "J\u{fc}rgen");
        check(b"=?utf-8?b?ww==?= =?utf-8?b?vA==?=", "\u{fc}");
    }

    #[test]
    fn what_is_no_encoded_word_stays() {
        for value in ["=?", "a =?b", "=?utf-8?x?a?=", "=?utf-8?q?a", "=?utf-8?q?=ZZ?= b", "=?=?=?="] {
            check(value.as_bytes(), value);
        }
        check(b"=? =?utf-8?q?a?=", "=? a");
    }

    #[test]
    fn octets_without_a_charset_are_utf_8_or_western() {
        check("J\u{fc}rgen".as_bytes(), "J\u{fc}rgen");
        check(b"J\xfcrgen", "J\u{fc}rgen");
        check(b"=?x-unknown?q?J=FCrgen?=", "J\u{fc}rgen");
    }
}
