//! Whether a message holds what SEARCH asks for (RFC 3501 §6.4.4): texts are found in the decoded text, in any case.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use memchr::memmem;

use crate::fuzzy::Nearness;
use crate::header::{self, Field, slice};
pub use crate::needle::Needle;
use crate::scanner::Allowance;
use crate::{BodyStructure, Content, address_list, digest, text};

/// What [`SearchedMessage::texts`] shows and what [`crate::casemap`] makes of it: to be raised with every change of these, or
/// of [`crate::fuzzy::for_each_word`], so that what was kept of them is made anew.
pub const TEXTS_VERSION: u16 = 2;

/// A message that is searched; its structure is read at most once.
#[derive(Debug)]
pub struct SearchedMessage {
    octets: Vec<u8>,
    structure: OnceCell<BodyStructure>,
}

impl SearchedMessage {
    /// A whole message, or the header of one if only that is asked about.
    pub const fn new(octets: Vec<u8>) -> Self {
        Self { octets, structure: OnceCell::new() }
    }

    /// The message, as it was given.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Its structure.
    pub fn structure(&self) -> &BodyStructure {
        self.structure.get_or_init(|| BodyStructure::parse(&self.octets))
    }

    /// Whether a field `name` holds the text. The empty text is in every field that exists.
    pub fn header_holds(&self, name: &str, needle: &Needle) -> bool {
        let mut fields = header::fields(&self.octets).filter(|field| field.is(name));
        fields.any(|field| of_field(&field).any(|text| needle.is_in(&text)))
    }

    /// Whether a text part holds the text, or the header of an encapsulated message.
    pub fn body_holds(&self, needle: &Needle) -> bool {
        self.holds(needle, Within::Body)
    }

    /// Whether the header or the body holds the text, the parts' own headers included.
    pub fn text_holds(&self, needle: &Needle) -> bool {
        self.holds(needle, Within::Text)
    }

    fn holds(&self, needle: &Needle, within: Within) -> bool {
        let found =
            |text: &str| if needle.is_in(text) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        needle.is_empty() || self.texts(within, &mut |_, text| found(text)).is_break()
    }

    /// Has a fuzzy search look at the values of the fields `name`.
    pub fn header_nears(&self, name: &str, nearness: &mut Nearness<'_>) {
        let fields = header::fields(&self.octets).filter(|field| field.is(name));
        fields.flat_map(|field| of_field(&field)).for_each(|text| nearness.see(&text));
    }

    /// Has a fuzzy search look at every text that a search `within` looks through.
    pub fn nears(&self, within: Within, nearness: &mut Nearness<'_>) {
        let _ = self.texts(within, &mut |_, text| {
            nearness.see(text);
            ControlFlow::Continue(())
        });
    }

    /// Shows every text that a search `within` looks through, with the narrowest search that does so, until `see` breaks off.
    /// What is looked for must stand in one of them.
    pub fn texts(
        &self,
        within: Within,
        see: &mut dyn FnMut(Within, &str) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut texts = Texts { message: &self.octets, within, see };
        if within == Within::Text {
            texts.fields(Within::Text, slice(&self.octets, 0..header::header_end(&self.octets)))?;
        }
        texts.body(self.structure())
    }

    /// The Date field's day on the calendar, its time and zone left out, in days since 1970-01-01.
    pub fn sent_day(&self) -> Option<i64> {
        let date = digest::date(&header::find(&self.octets, "Date")?)?;
        Some(date.to_timestamp_local().div_euclid(86_400))
    }
}

/// What a search in a field looks at: its value and, of addresses, what ENVELOPE has of them too (RFC 9051 §6.4.4).
pub(crate) fn of_field(field: &Field<'_>) -> impl Iterator<Item = String> + use<> {
    let value = field.value();
    let is_of_addresses = ["From", "To", "Cc", "Bcc"].iter().any(|name| field.is(name));
    let hidden = if is_of_addresses { hidden_addresses(&value) } else { Vec::new() };
    let hidden = (!hidden.is_empty()).then(|| text::of_value(&hidden.join(&b", "[..])));
    std::iter::once(text::of_value(&value)).chain(hidden)
}

/// The longest list of addresses, in octets, in which each is looked for.
const LOOKED_THROUGH: usize = 8192;

/// The addresses of a list that don't stand in it as they are meant: with comments within, quoted pairs, or more blanks. All of a long list,
/// so that the time stays in proportion.
fn hidden_addresses(list: &[u8]) -> Vec<Vec<u8>> {
    let addresses = address_list::parse(list, &mut Allowance::default());
    let stands_there = |text: &[u8]| list.len() <= LOOKED_THROUGH && memmem::find(list, text).is_some();
    let hidden = addresses.into_iter().filter_map(|address| {
        let whole =
            [address.mailbox?, address.host.filter(|it| it != address_list::MISSING_HOST)?].join(&b'@');
        match address.name {
            Some(name) => {
                let shown = [&name, &b" <"[..], &whole, b">"].concat();
                (!(stands_there(&name) && stands_there(&whole))).then_some(shown)
            }
            None => (!stands_there(&whole)).then_some(whole),
        }
    });
    hidden.collect()
}

/// What a search looks through. RFC 3501 §6.4.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Within {
    /// BODY: the text parts and the headers of encapsulated messages.
    Body,
    /// TEXT: the header and those of the parts too.
    Text,
}

/// The texts of a message, as they are shown.
struct Texts<'a, 'b> {
    message: &'a [u8],
    within: Within,
    see: &'b mut dyn FnMut(Within, &str) -> ControlFlow<()>,
}

impl Texts<'_, '_> {
    /// The depth of parts in parts is bounded by [`BodyStructure::parse`].
    fn body(&mut self, part: &BodyStructure) -> ControlFlow<()> {
        match &part.content {
            Content::Multipart { parts } => parts.iter().try_for_each(|part| self.header_and_body(part)),
            Content::Message { structure, .. } if part.is_encoded() => {
                self.text(part)?;
                self.body(structure)
            }
            Content::Message { structure, .. } => {
                self.fields(Within::Body, slice(self.message, structure.header.clone()))?;
                self.body(structure)
            }
            Content::Text { .. } => self.text(part),
            // A delivery status is text, and the like.
            Content::Basic if part.media_type.eq_ignore_ascii_case(b"message") => self.text(part),
            Content::Basic => ControlFlow::Continue(()),
        }
    }

    fn header_and_body(&mut self, part: &BodyStructure) -> ControlFlow<()> {
        if self.within == Within::Text {
            self.fields(Within::Text, slice(self.message, part.header.clone()))?;
        }
        self.body(part)
    }

    fn text(&mut self, part: &BodyStructure) -> ControlFlow<()> {
        text::of_part(self.message, part).iter().try_for_each(|text| (self.see)(Within::Body, text))
    }

    /// The fields as they stand, and as they are meant where that is not the same.
    fn fields(&mut self, within: Within, header: &[u8]) -> ControlFlow<()> {
        (self.see)(within, &String::from_utf8_lossy(header))?;
        let mut fields = header::fields(header).filter(|field| !text::is_plain(field));
        fields.try_for_each(|field| (self.see)(within, &text::of_field(&field)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"From: =?utf-8?q?J=C3=BCrgen?= <j@x.org>\r\nSubject: Plan\r\nX-TUID: abc\r\n\
        Date: Thu, 1 Jan 1970 23:59:00 -0800\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ==\r\n";
    const PARTS: &str = "Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        <p class=3D\"marked\">Gr=FC&szlig;e <b>ge</b>sandt</p>\r\n\
        --b\r\nContent-Type: text/x-log; name=first.log\r\n\r\nlogged\r\n\
        --b\r\nContent-Type: image/png; name=second.png\r\n\r\npixels\r\n\
        --b\r\nContent-Type: message/delivery-status\r\n\r\nAction: delayed\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nforwarded\r\n\
        --b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogaGlkZGVu\r\n--b--\r\n";

    fn message(octets: impl AsRef<[u8]>) -> SearchedMessage {
        SearchedMessage::new(octets.as_ref().to_vec())
    }

    #[test]
    fn texts_are_found_decoded_and_in_any_case() {
        let message = message(MESSAGE);
        assert!(message.header_holds("from", &Needle::new("J\u{dc}RGEN")));
        assert!(message.header_holds("X-TUID", &Needle::new("abc")));
        assert!(message.header_holds("subject", &Needle::new("")));
        assert!(!message.header_holds("Cc", &Needle::new("")));
        assert!(message.body_holds(&Needle::new("gr\u{fc}\u{df}e")));
        assert!(!message.body_holds(&Needle::new("plan")));
        assert!(message.text_holds(&Needle::new("Subject: plan")));
        assert!(message.text_holds(&Needle::new("from: j\u{fc}rgen")));
    }

    /// RFC 9051 §6.4.4: FROM and the like are about what ENVELOPE has.
    #[test]
    fn addresses_are_found_as_envelope_has_them() {
        let message = message(
            "From: ann (at work) @ (the) x.org\r\nTo: \"Joe \\\"J\\\"  Doe\" <joe@x.org>, group: <a . b@y.org>;\r\nCc: x\r\n\r\n",
        );
        for there in ["ann@x.org", "at work", "ann (at"] {
            assert!(message.header_holds("From", &Needle::new(there)), "{there}");
        }
        for there in ["joe \"j\" ", "joe@x.org>", "a.b@y.org", "a . b", "group"] {
            assert!(message.header_holds("To", &Needle::new(there)), "{there}");
        }
        assert!(!message.header_holds("Cc", &Needle::new("missing")));
        let long = format!("{}c @ z.org", "a@b.org, ".repeat(2000));
        let hidden = hidden_addresses(long.as_bytes());
        assert_eq!((hidden.len(), hidden.last().map(Vec::as_slice)), (2001, Some(&b"c@z.org"[..])));
        assert_eq!(
            hidden_addresses(b"Ann <ann@x.org>, =?utf-8?q?J=C3=BC?= <j@x.org>, b@y (Bob)"),
            Vec::<Vec<u8>>::new()
        );
    }

    #[test]
    fn a_body_is_its_texts_and_what_its_messages_hold() {
        let message = message(PARTS);
        for there in [
            "gr\u{fc}\u{df}e gesandt",
            "class=\"marked\"",
            "logged",
            "delayed",
            "inner",
            "forwarded",
            "hidden",
            "",
        ] {
            assert!(message.body_holds(&Needle::new(there)), "{there}");
        }
        for not_there in ["outer", "pixels", "first.log", "second.png", "--b"] {
            assert!(!message.body_holds(&Needle::new(not_there)), "{not_there}");
        }
    }

    #[test]
    fn a_text_is_the_header_too_and_those_of_the_parts() {
        let message = message(PARTS);
        for there in ["outer", "logged", "first.log", "name=second", "inner", ""] {
            assert!(message.text_holds(&Needle::new(there)), "{there}");
        }
        assert!(!message.text_holds(&Needle::new("pixels")));
    }

    #[test]
    fn lines_that_break_an_encoding_are_searched_as_they_stand() {
        let body = |encoding: &str, body: &str| {
            message(format!("Content-Transfer-Encoding: {encoding}\r\n\r\n{body}"))
        };
        assert!(body("base64", "no base64!").body_holds(&Needle::new("base64!")));
        assert!(body("quoted-printable", "a=ZZ b").body_holds(&Needle::new("a=zz")));
        let footer = body("base64", "R3LDvMOfZQ==\r\n-- \r\nThe list: a\r\n");
        assert!(
            footer.body_holds(&Needle::new("gr\u{fc}\u{df}e"))
                && footer.body_holds(&Needle::new("the list:"))
        );
        let footer = body("quoted-printable", "Gr=C3=BC=C3=\r\n=9Fe\r\nx?a=y");
        assert!(
            footer.body_holds(&Needle::new("gr\u{fc}\u{df}e")) && footer.body_holds(&Needle::new("?a=y"))
        );
        assert!(body("x-unknown", "words").body_holds(&Needle::new("words")));
    }

    #[test]
    fn the_day_of_sending_leaves_out_time_and_zone() {
        assert_eq!(message(MESSAGE).sent_day(), Some(0));
        assert_eq!(message("Subject: x\r\n\r\n").sent_day(), None);
        assert_eq!(message("Date: nonsense\r\n\r\n").sent_day(), None);
    }
}
