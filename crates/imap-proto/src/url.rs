//! The URLs that CATENATE takes: a message or a part of it, in the session's own account. RFC 4469 §3, RFC 5092 §11.

use mail_types::{MailboxName, Uid, UidValidity};
use nom::Parser;
use nom::combinator::all_consuming;

use crate::Section;
use crate::fetch::section_spec;

/// A message, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageUrl {
    /// Where it is; the selected mailbox when `None`.
    pub mailbox: Option<MailboxName>,
    /// What the mailbox must still have.
    pub uid_validity: Option<UidValidity>,
    /// Which message.
    pub uid: Uid,
    /// Which part.
    pub section: Section,
    /// The first octet of the part, and how many at most.
    pub partial: Option<(u32, Option<u32>)>,
}

impl MessageUrl {
    /// Reads `/mailbox[;UIDVALIDITY=n]/;UID=n[/;SECTION=s][/;PARTIAL=first[.most]]`, or what begins at `;UID=`. `None` for all
    /// else: other servers, other users, what names no message.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (before, rest) = split_no_case(url, ";UID=")?;
        let (mailbox, uid_validity) = match before {
            "" => (None, None),
            path => mailbox(path.strip_prefix('/')?.strip_suffix('/')?)?,
        };
        let (rest, partial) = match split_no_case(rest, "/;PARTIAL=") {
            Some((rest, partial)) => (rest, Some(partial_range(partial)?)),
            None => (rest, None),
        };
        let (uid, section) = match split_no_case(rest, "/;SECTION=") {
            Some((uid, section)) => (uid, self::section(section)?),
            None => (rest, Section::default()),
        };
        Some(Self { mailbox, uid_validity, uid: Uid::try_from(number(uid)?).ok()?, section, partial })
    }
}

/// `enc-mailbox [uidvalidity]`
fn mailbox(path: &str) -> Option<(Option<MailboxName>, Option<UidValidity>)> {
    let (name, validity) = match split_no_case(path, ";UIDVALIDITY=") {
        Some((name, validity)) => (name, Some(UidValidity::try_from(number(validity)?).ok()?)),
        None => (path, None),
    };
    let name = String::from_utf8(decoded(name)?).ok()?;
    Some((Some(name.parse().ok()?), validity))
}

/// `enc-section`
fn section(text: &str) -> Option<Section> {
    let text = decoded(text)?;
    let (_, section) = all_consuming(section_spec).parse(&text).ok()?;
    Some(section)
}

/// `partial-range = number ["." nz-number]`
fn partial_range(text: &str) -> Option<(u32, Option<u32>)> {
    match text.split_once('.') {
        Some((first, most)) => Some((number(first)?, Some(number(most).filter(|most| *most > 0)?))),
        None => Some((number(text)?, None)),
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|c| c.is_ascii_digit()))
}

/// Names of parameters are the same in any case.
fn split_no_case<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let at = text
        .as_bytes()
        .windows(separator.len())
        .position(|it| it.eq_ignore_ascii_case(separator.as_bytes()))?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

/// RFC 3986 §2.1.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        octets.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SectionText;

    #[track_caller]
    fn check(url: &str, mailbox: Option<&str>, validity: Option<u32>, uid: u32) -> MessageUrl {
        let parsed = MessageUrl::parse(url).unwrap_or_else(|| panic!("{url}"));
        let name = parsed.mailbox.as_ref().map(MailboxName::as_str);
        let found = (name, parsed.uid_validity.map(UidValidity::value), parsed.uid.value());
        assert_eq!(found, (mailbox, validity, uid), "{url}");
        parsed
    }

    /// RFC 4469, appendix A.
    #[test]
    fn a_message_and_its_parts_have_urls() {
        let header = check(
            "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
            Some("Drafts"),
            Some(385_759_045),
            20,
        );
        assert_eq!(header.section, Section { part: Vec::new(), text: Some(SectionText::Header) });
        check("/Drafts/;UID=3002", Some("Drafts"), None, 3002);
        check("/a/b%20c/%E5%8F%B0%E5%8C%97/;uid=1", Some("a/b c/台北"), None, 1);
        let part = check(";UID=7/;SECTION=1.2/;PARTIAL=10.20", None, None, 7);
        assert_eq!((part.section.part, part.partial), (vec![1, 2], Some((10, Some(20)))));
        let fields = check("/x/;UID=7/;SECTION=HEADER.FIELDS%20(From%20To)/;PARTIAL=5", Some("x"), None, 7);
        assert!(matches!(fields.section.text, Some(SectionText::HeaderFields(names)) if names.len() == 2));
        assert_eq!(fields.partial, Some((5, None)));
    }

    #[test]
    fn what_names_no_message_of_this_account_is_none() {
        for url in [
            "",
            "/Drafts",
            "imap://example.org/Drafts/;UID=20",
            "//example.org/Drafts/;UID=20",
            "/Drafts/;UID=0",
            "/Drafts/;UID=+1",
            "/Drafts/;UID=20/;SECTION=NONSENSE",
            "/Drafts/;UID=20/;PARTIAL=1.0",
            "/Drafts/;UID=20;URLAUTH=anonymous:internal:abc",
            "/Dr%zzafts/;UID=20",
            "/Drafts;UIDVALIDITY=x/;UID=20",
            "Drafts/;UID=20",
        ] {
            assert_eq!(MessageUrl::parse(url), None, "{url}");
        }
    }
}
