//! What sorting, threads and searches look at in a header, in few octets, so that it can be kept beside the message.

use std::fmt;

use mail_parser::DateTime;

use crate::header::{self, Field};
use crate::search::of_field;
use crate::text::of_value;
use crate::{Envelope, EnvelopeAddress};

/// References of which the links are kept: the first ones and the last ones of more.
const MOST_REFERENCES: usize = 200;
/// The longest text of a field, in octets, that is kept to be searched.
const LONGEST: usize = 1024;
/// The most octets of such texts.
const MOST_OCTETS: usize = 4096;

/// Octets of a [`ThreadKey`].
const KEY: usize = 16;
/// Octets of a message id's hash.
const ID: usize = 8;

/// What a text in a digest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DigestText {
    /// A field's value, one line, its encoded words decoded.
    Subject = 1,
    /// The same and, where it has addresses that don't stand there as they are meant, these once more.
    From,
    /// The same.
    To,
    /// The same.
    Cc,
    /// The same.
    Bcc,
    /// The same.
    MessageId,
    /// The local part of the first address in From.
    FromMailbox,
    /// The same of To.
    ToMailbox,
    /// The same of Cc.
    CcMailbox,
    /// How the first address in From is shown: its name or else itself. RFC 5957 §3.
    FromName,
    /// The same of To.
    ToName,
}

impl DigestText {
    /// The fields whose values are kept.
    const FIELDS: [Self; 6] = [Self::Subject, Self::From, Self::To, Self::Cc, Self::Bcc, Self::MessageId];

    /// That of a header field, if its values are kept.
    pub fn of_field(name: &str) -> Option<Self> {
        Self::FIELDS.into_iter().find(|it| it.field().eq_ignore_ascii_case(name))
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Subject => "Subject",
            Self::From | Self::FromMailbox | Self::FromName => "From",
            Self::To | Self::ToMailbox | Self::ToName => "To",
            Self::Cc | Self::CcMailbox => "Cc",
            Self::Bcc => "Bcc",
            Self::MessageId => "Message-ID",
        }
    }
}

/// By which a message's thread is known, whatever else is in the store: from the first of its References, which is the message
/// that began the thread, or else In-Reply-To, or else its own Message-ID. A message without any is a thread of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThreadKey(pub [u8; KEY]);

/// In hexadecimal digits.
impl fmt::Display for ThreadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The hash of a normalized message id; none is 0.
pub type MessageIdHash = u64;

/// A digest, as [`Digest::write`] makes it.
#[derive(Debug, Clone, Copy)]
pub struct Digest<'a> {
    octets: &'a [u8],
}

/// Octets before the references: seconds, day, own id, thread, number of references.
const FIXED: usize = 8 + 8 + ID + KEY + 1;
/// Instead of a time that there isn't.
const NEVER: i64 = i64::MIN;
/// Marks a field of which not all values are kept.
const CUT: u8 = 0x80;

impl<'a> Digest<'a> {
    /// That of the header block that `header` starts with. Only a short one is worth keeping: then long texts are left out.
    pub fn write(header: &[u8], is_short: bool) -> Vec<u8> {
        let envelope = Envelope::parse(header);
        let date = header::find(header, "Date").and_then(|field| date(&field));
        let ids = Ids::read(header);
        let mut out = Vec::with_capacity(512);
        out.extend(date.as_ref().map_or(NEVER, DateTime::to_timestamp).to_le_bytes());
        let day = |it: &DateTime| it.to_timestamp_local().div_euclid(86_400);
        out.extend(date.as_ref().map_or(NEVER, day).to_le_bytes());
        out.extend(ids.own.as_deref().map_or(0, hash).to_le_bytes());
        out.extend(ids.thread(header).0);
        let references = ids.references();
        out.push(u8::try_from(references.len()).unwrap_or(u8::MAX));
        references.iter().for_each(|id| out.extend(hash(id).to_le_bytes()));
        write_addresses(&mut out, &envelope);
        write_fields(&mut out, header, is_short);
        out
    }

    /// Reads what [`Self::write`] made.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { octets }
    }

    fn at<const N: usize>(&self, start: usize) -> Option<[u8; N]> {
        self.octets.get(start..)?.first_chunk().copied()
    }

    fn time(&self, start: usize) -> Option<i64> {
        self.at(start).map(i64::from_le_bytes).filter(|it| *it != NEVER)
    }

    /// The sent date in seconds since 1970, UTC; `None` if there is none that can be read. RFC 5256 §2.2.
    pub fn sent(&self) -> Option<i64> {
        self.time(0)
    }

    /// The Date field's day on the calendar, its time and zone left out, in days since 1970-01-01.
    pub fn sent_day(&self) -> Option<i64> {
        self.time(8)
    }

    /// The message's own id.
    pub fn message_id(&self) -> Option<MessageIdHash> {
        self.at(16).map(u64::from_le_bytes).filter(|it| *it != 0)
    }

    /// By which its thread is known.
    pub fn thread(&self) -> Option<ThreadKey> {
        self.at(16 + ID).map(ThreadKey)
    }

    /// The ids of the messages that it refers to, the oldest first. RFC 5256 §3, THREAD=REFERENCES.
    pub fn references(&self) -> impl Iterator<Item = MessageIdHash> + use<'a> {
        let (ids, _) = self.variable().0.as_chunks::<ID>();
        ids.iter().map(|id| u64::from_le_bytes(*id))
    }

    /// References and texts.
    fn variable(&self) -> (&'a [u8], &'a [u8]) {
        let count = self.octets.get(FIXED - 1).map_or(0, |it| usize::from(*it));
        self.octets.get(FIXED..).and_then(|it| it.split_at_checked(count * ID)).unwrap_or_default()
    }

    /// The texts of one kind; `None` if they are not all in here.
    pub fn texts(&self, kind: DigestText) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let texts = Texts { octets: self.variable().1 };
        let wanted = kind as u8;
        let is_cut = texts.clone().any(|(kind, _)| kind == wanted | CUT);
        let texts = texts.filter(move |(kind, _)| *kind == wanted);
        (!is_cut).then(|| texts.filter_map(|(_, text)| std::str::from_utf8(text).ok()))
    }

    /// The text of a kind that there is one of, the last of several; empty if there is none, `None` if it is not in here.
    pub fn text(&self, kind: DigestText) -> Option<&'a str> {
        self.texts(kind).map(|texts| texts.last().unwrap_or_default())
    }
}

/// Kind, length in four octets, text.
#[derive(Clone)]
struct Texts<'a> {
    octets: &'a [u8],
}

impl<'a> Iterator for Texts<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.octets.split_first_chunk::<5>()?;
        let [kind, length @ ..] = *head;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(length) as usize)?;
        self.octets = rest;
        Some((kind, text))
    }
}

fn write_text(out: &mut Vec<u8>, kind: u8, text: &str) {
    let Ok(length) = u32::try_from(text.len()) else { return };
    out.push(kind);
    out.extend(length.to_le_bytes());
    out.extend(text.as_bytes());
}

fn write_addresses(out: &mut Vec<u8>, envelope: &Envelope) {
    let mut write = |kind: DigestText, text: String| {
        if !text.is_empty() {
            write_text(out, kind as u8, &text);
        }
    };
    let (from, to, cc) = (envelope.from.first(), envelope.to.first(), envelope.cc.first());
    write(DigestText::FromMailbox, mailbox(from));
    write(DigestText::ToMailbox, mailbox(to));
    write(DigestText::CcMailbox, mailbox(cc));
    write(DigestText::FromName, shown(from));
    write(DigestText::ToName, shown(to));
}

fn mailbox(address: Option<&EnvelopeAddress>) -> String {
    address.and_then(|it| it.mailbox.as_deref()).map(of_value).unwrap_or_default()
}

/// RFC 5957 §3.
fn shown(address: Option<&EnvelopeAddress>) -> String {
    let name = address.and_then(|it| it.name.as_deref()).map(of_value).unwrap_or_default();
    if !name.is_empty() {
        return name;
    }
    match address.and_then(|it| it.host.as_deref()) {
        Some(host) => format!("{}@{}", mailbox(address), String::from_utf8_lossy(host)),
        None => mailbox(address),
    }
}

fn write_fields(out: &mut Vec<u8>, header: &[u8], is_short: bool) {
    let mut octets = 0;
    for field in header::fields(header) {
        let Some(kind) = DigestText::FIELDS.into_iter().find(|it| field.is(it.field())) else { continue };
        // Before it is decoded: what is long then is so before, and a header may be.
        let is_long = |length: usize| is_short && (length > LONGEST || octets + length > MOST_OCTETS);
        let texts: Option<Vec<String>> =
            (!is_long(field.raw_value.len())).then(|| of_field(&field).collect());
        match texts.filter(|texts| !is_long(texts.iter().map(String::len).sum())) {
            Some(texts) => {
                for text in texts {
                    octets += text.len();
                    write_text(out, kind as u8, &text);
                }
            }
            None => write_text(out, kind as u8 | CUT, ""),
        }
    }
}

/// What a Date field says; an invalid time is taken for midnight (RFC 5256 §2.2).
pub(crate) fn date(field: &Field<'_>) -> Option<DateTime> {
    let value = field.value();
    let mut date = DateTime::parse_rfc822(&format!("{}\r\n", String::from_utf8_lossy(&value)))?;
    if date.hour > 23 || date.minute > 59 || date.second > 60 {
        (date.hour, date.minute, date.second) = (0, 0, 0);
    }
    date.second = date.second.min(59);
    date.is_valid().then_some(date)
}

/// The ids that a header names, normalized.
#[derive(Default)]
struct Ids {
    own: Option<Vec<u8>>,
    references: Vec<Vec<u8>>,
    in_reply_to: Option<Vec<u8>>,
}

impl Ids {
    fn read(header: &[u8]) -> Self {
        let mut ids = Self::default();
        for field in header::fields(header) {
            if field.is("Message-ID") {
                ids.own = ids.own.or_else(|| message_ids(&field.value()).next());
            } else if field.is("References") {
                ids.references.extend(message_ids(&field.value()));
            } else if field.is("In-Reply-To") {
                ids.in_reply_to = ids.in_reply_to.or_else(|| message_ids(&field.value()).next());
            }
        }
        ids
    }

    /// RFC 5256 §3: the first id in In-Reply-To, where References has none.
    fn references(&self) -> Vec<&[u8]> {
        let all = self.references.iter();
        let all: Vec<&[u8]> = match (all.len(), &self.in_reply_to) {
            (0, Some(parent)) => vec![parent],
            _ => all.map(Vec::as_slice).collect(),
        };
        let cut = all.len().saturating_sub(MOST_REFERENCES);
        let (first, rest) = all.split_at(all.len().min(MOST_REFERENCES / 2));
        first.iter().chain(rest.iter().skip(cut)).copied().collect()
    }

    fn thread(&self, header: &[u8]) -> ThreadKey {
        let root = self.references.first().or(self.in_reply_to.as_ref()).or(self.own.as_ref());
        let root = root.map_or_else(|| slice_of_header(header), Vec::as_slice);
        let mut key = [0; KEY];
        key.copy_from_slice(blake3::hash(root).as_bytes().first_chunk::<KEY>().unwrap_or(&[0; KEY]));
        ThreadKey(key)
    }
}

fn slice_of_header(header: &[u8]) -> &[u8] {
    header::slice(header, 0..header::header_end(header))
}

fn hash(id: &[u8]) -> MessageIdHash {
    let hash = blake3::hash(id);
    u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; ID])).max(1)
}

/// The `msg-id`s in a value, without their angle brackets, quoting and blanks: `<"a"@b>` is `<a@b>` (RFC 5256 §3).
fn message_ids(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let start = memchr::memchr(b'<', rest)?;
            rest = header::slice(rest, start + 1..rest.len());
            let (id, length) = message_id(rest);
            rest = header::slice(rest, length..rest.len());
            if let Some(id) = id {
                return Some(id);
            }
        }
    })
}

/// The id up to its `>`, if it is one, and how much was read. One that is not ended ends where the next begins.
fn message_id(text: &[u8]) -> (Option<Vec<u8>>, usize) {
    let mut id = Vec::new();
    let (mut in_quotes, mut is_escaped) = (false, false);
    for (at, octet) in text.iter().enumerate() {
        match octet {
            _ if is_escaped => {
                id.push(*octet);
                is_escaped = false;
            }
            b'\\' if in_quotes => is_escaped = true,
            b'"' => in_quotes = !in_quotes,
            b'>' if !in_quotes => {
                let is_whole =
                    id.iter().position(|it| *it == b'@').is_some_and(|it| it > 0 && it + 1 < id.len());
                return (is_whole.then_some(id), at + 1);
            }
            b'<' if !in_quotes => return (None, at),
            b' ' | b'\t' if !in_quotes => {}
            _ => id.push(*octet),
        }
    }
    (None, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(header: &str) -> Vec<u8> {
        Digest::write(header.as_bytes(), true)
    }

    fn texts(digest: &[u8], kind: DigestText) -> Option<Vec<&str>> {
        Digest::new(digest).texts(kind).map(Iterator::collect)
    }

    #[test]
    fn texts_are_decoded_and_there_as_often_as_their_fields() {
        let digest = digest(
            "From: =?utf-8?q?J=C3=BCrgen?= <j@x.org>, k@y.org\r\nTo: a@b (A)\r\nTo: \"C\" <c@d>\r\nSubject: x\r\n y\r\n\r\nCc: no\r\n",
        );
        let check = |kind, expected: &[&str]| assert_eq!(texts(&digest, kind).as_deref(), Some(expected));
        check(DigestText::From, &["J\u{fc}rgen <j@x.org>, k@y.org"]);
        check(DigestText::To, &["a@b (A)", "\"C\" <c@d>"]);
        check(DigestText::Subject, &["x y"]);
        check(DigestText::Cc, &[]);
        check(DigestText::FromMailbox, &["j"]);
        check(DigestText::FromName, &["J\u{fc}rgen"]);
        check(DigestText::ToMailbox, &["a"]);
        check(DigestText::ToName, &["A"]);
    }

    #[test]
    fn addresses_that_do_not_stand_as_they_are_meant_are_there_once_more() {
        let digest = digest("From: ann (at work) @ x.org\r\nTo: a@b\r\n");
        assert_eq!(texts(&digest, DigestText::From), Some(vec!["ann (at work) @ x.org", "ann@x.org"]));
        assert_eq!(texts(&digest, DigestText::To), Some(vec!["a@b"]));
    }

    #[test]
    fn an_address_without_a_name_is_shown_itself() {
        let digest = digest("From: a@b\r\nTo: group: c@d;\r\n");
        assert_eq!(Digest::new(&digest).text(DigestText::FromName), Some("a@b"));
        assert_eq!(Digest::new(&digest).text(DigestText::ToName), Some("group"));
    }

    #[test]
    fn what_is_long_is_not_kept_and_said_to_be_missing() {
        let header = format!("Subject: s\r\nTo: {}\r\nCc: x@y\r\n", "a@b, ".repeat(500));
        let short = digest(&header);
        assert!(short.len() < 300, "{}", short.len());
        assert_eq!(texts(&short, DigestText::To), None);
        assert_eq!(texts(&short, DigestText::ToMailbox), Some(vec!["a"]));
        assert_eq!(texts(&short, DigestText::Subject), Some(vec!["s"]));
        let whole = Digest::write(header.as_bytes(), false);
        assert_eq!(texts(&whole, DigestText::To).map(|it| it.len()), Some(1));
    }

    #[test]
    fn dates_are_those_of_the_sender_or_of_utc() {
        let dates = |value: &str| {
            let digest = digest(&format!("Date: {value}\r\n"));
            let digest = Digest::new(&digest);
            (digest.sent(), digest.sent_day())
        };
        assert_eq!(dates("31 Dec 2000 16:01:33 -0800"), (Some(978_307_293), Some(11_322)));
        assert_eq!(dates("Thu, 1 Jan 1970 00:00:01 +0000"), (Some(1), Some(0)));
        assert_eq!(dates("2 Jan 1970 25:00:00 +0000"), (Some(86_400), Some(1)));
        assert_eq!(dates("nonsense"), (None, None));
        assert_eq!(dates("99 Jan 1970 00:00:00 +0000"), (None, None));
        assert_eq!(Digest::new(&digest("Subject: x\r\n")).sent(), None);
    }

    /// RFC 5256 §3: quoting makes no difference, and In-Reply-To counts only where References has no id.
    #[test]
    fn references_are_normalized() {
        let ids = |header: &str| Digest::new(&digest(header)).references().collect::<Vec<_>>();
        let hashes = |ids: &[&str]| ids.iter().map(|it| hash(it.as_bytes())).collect::<Vec<_>>();
        assert_eq!(
            ids("References: <\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>\r\n"),
            hashes(&["01KF8JCEOCBS0045PS@xxx.yyy.com"])
        );
        assert_eq!(
            ids("References: <a@b>\r\n\t<c@ d>x<e>\r\nIn-Reply-To: <f@g>\r\n"),
            hashes(&["a@b", "c@d"])
        );
        assert_eq!(ids("References: none\r\nIn-Reply-To: your message <f@g> of <h@i>\r\n"), hashes(&["f@g"]));
        assert_eq!(ids("References: <cut <a@b> <c@d\r\n"), hashes(&["a@b"]));
        assert_eq!(ids("In-Reply-To: <\"a>b\"@c>\r\n"), hashes(&["a>b@c"]));
        let many: String = (0..300).map(|it| format!("<{it}@x>")).collect();
        let kept = ids(&format!("References: {many}\r\n"));
        assert_eq!(
            (kept.len(), kept[99], kept[100], kept[199]),
            (200, hash(b"99@x"), hash(b"200@x"), hash(b"299@x"))
        );
    }

    #[test]
    fn a_thread_is_known_by_the_message_that_began_it() {
        let thread = |header: &str| Digest::new(&digest(header)).thread();
        let root = thread("Message-ID: <a@x>\r\n");
        assert_eq!(root, thread("Message-ID: <b@x>\r\nIn-Reply-To: <a@x>\r\n"));
        assert_eq!(root, thread("Message-ID: <c@x>\r\nReferences: <a@x> <b@x>\r\nIn-Reply-To: <b@x>\r\n"));
        assert_ne!(root, thread("Message-ID: <b@x>\r\n"));
        let alone = thread("Subject: x\r\n\r\nbody");
        assert_eq!(alone, thread("Subject: x\r\n\r\nanother"));
        assert_ne!(alone, thread("Subject: y\r\n\r\nbody"));
    }

    #[test]
    fn damaged_octets_are_an_empty_digest() {
        let whole = digest("From: a@b\r\nReferences: <a@b>\r\n");
        for end in 0..whole.len() {
            let cut = Digest::new(&whole[..end]);
            let _ = (
                cut.sent(),
                cut.message_id(),
                cut.references().count(),
                texts(&whole[..end], DigestText::From),
            );
        }
        assert_eq!(Digest::new(b"").text(DigestText::Subject), Some(""));
    }
}
