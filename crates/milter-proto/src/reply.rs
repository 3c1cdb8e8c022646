use bytes::Bytes;
use nom::bytes::complete::{tag, take_till};
use nom::combinator::{all_consuming, map, rest, value};
use nom::multi::{many0, many1};
use nom::number::complete::be_u32;
use nom::sequence::terminated;
use nom::{IResult, Parser};

use crate::Offer;

/// What a milter says: `SMFIR_…`, and its answer to the negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// What it wants.
    Negotiated(Offer),
    /// Go on.
    Continue,
    /// Take it, and ask no more.
    Accept,
    /// Say yes to the client and throw the message away.
    Discard,
    /// Refuse for good: 550 5.7.1.
    Reject,
    /// Refuse for now: 451 4.7.1.
    TempFail,
    /// Refuse with this.
    ReplyCode(smtp_proto::Reply),
    /// Refuse and close the connection: 421.
    Shutdown,
    /// It has lost its connection to somebody else: refuse for now.
    ConnectionFailed,
    /// Send no more of the body.
    Skip,
    /// It is still at work.
    Progress,
    /// Before its last word on a message: change it.
    Change(Change),
}

/// What a milter changes in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A header field more, at the end.
    AddHeader {
        /// Before the colon.
        name: Vec<u8>,
        /// Behind the colon, lines ended by LF.
        value: Vec<u8>,
    },
    /// A header field more.
    InsertHeader {
        /// How many fields stand before it.
        index: u32,
        /// Before the colon.
        name: Vec<u8>,
        /// Behind the colon, lines ended by LF.
        value: Vec<u8>,
    },
    /// Another value for a header field.
    ChangeHeader {
        /// Which one of this name, from 1.
        index: u32,
        /// Before the colon.
        name: Vec<u8>,
        /// Behind the colon, lines ended by LF; if it is empty, the field goes.
        value: Vec<u8>,
    },
    /// A piece of the body that takes the place of the other.
    Body(Bytes),
    /// A recipient more.
    AddRecipient(Vec<u8>),
    /// A recipient less.
    DeleteRecipient(Vec<u8>),
    /// Another reverse path.
    ChangeFrom(Vec<u8>),
    /// To be put aside, and why.
    Quarantine(String),
}

/// What a milter sent is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no reply of a milter: {}", char::from(*.0).escape_default())]
pub struct ReplyError(u8);

impl Reply {
    /// Parses a packet, given without its length.
    ///
    /// # Errors
    /// It is none that this side knows, or not as it should be.
    pub fn parse(packet: &Bytes) -> Result<Self, ReplyError> {
        let (code, data) = packet.split_first().ok_or(ReplyError(0))?;
        let parsed = match code {
            b'O' => all(data, map(Offer::parse, Self::Negotiated)),
            b'c' => all(data, value(Self::Continue, rest)),
            b'a' => all(data, value(Self::Accept, rest)),
            b'd' => all(data, value(Self::Discard, rest)),
            b'r' => all(data, value(Self::Reject, rest)),
            b't' => all(data, value(Self::TempFail, rest)),
            b'4' => all(data, value(Self::Shutdown, rest)),
            b'f' => all(data, value(Self::ConnectionFailed, rest)),
            b's' => all(data, value(Self::Skip, rest)),
            b'p' => all(data, value(Self::Progress, rest)),
            b'y' => all(data, text).and_then(reply_code).map(Self::ReplyCode),
            b'b' => Some(Self::Change(Change::Body(packet.slice(1..)))),
            _ => change(*code, data).map(Self::Change),
        };
        parsed.ok_or(ReplyError(*code))
    }
}

/// The packets of what is changed, but for the body's.
fn change(code: u8, data: &[u8]) -> Option<Change> {
    let owned = |text: &[u8]| text.to_vec();
    match code {
        b'h' => all(data, (text, text))
            .map(|(name, value)| Change::AddHeader { name: owned(name), value: owned(value) }),
        b'i' => all(data, (be_u32, text, text)).map(|(index, name, value)| Change::InsertHeader {
            index,
            name: owned(name),
            value: owned(value),
        }),
        b'm' => all(data, (be_u32, text, text)).map(|(index, name, value)| Change::ChangeHeader {
            index,
            name: owned(name),
            value: owned(value),
        }),
        b'+' => all(data, text).map(|address| Change::AddRecipient(owned(address))),
        b'2' => all(data, (text, many0(text))).map(|(address, _)| Change::AddRecipient(owned(address))),
        b'-' => all(data, text).map(|address| Change::DeleteRecipient(owned(address))),
        b'e' => all(data, many1(text)).and_then(|texts| Some(Change::ChangeFrom(owned(texts.first()?)))),
        b'q' => {
            all(data, text).map(|reason| Change::Quarantine(String::from_utf8_lossy(reason).into_owned()))
        }
        _ => None,
    }
}

fn all<'d, O>(
    data: &'d [u8],
    parser: impl Parser<&'d [u8], Output = O, Error = nom::error::Error<&'d [u8]>>,
) -> Option<O> {
    all_consuming(parser).parse(data).ok().map(|(_, parsed)| parsed)
}

/// `*OCTET NUL`
fn text(input: &[u8]) -> IResult<&[u8], &[u8]> {
    terminated(take_till(|octet| octet == 0), tag(&b"\0"[..])).parse(input)
}

/// One line or several of an SMTP reply that refuses, in which `%` stands twice, as Sendmail wants it.
fn reply_code(text: &[u8]) -> Option<smtp_proto::Reply> {
    let text = String::from_utf8_lossy(text).replace("%%", "%");
    let clean = |line: &str| {
        line.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' }).collect()
    };
    let lines: Vec<String> = text.lines().map(clean).collect();
    smtp_proto::Reply::parse(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        .ok()
        .filter(|reply| (400..600).contains(&reply.code()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actions, Stage, Steps};

    #[track_caller]
    fn check(packet: &'static [u8], expected: Reply) {
        assert_eq!(Reply::parse(&Bytes::from_static(packet)), Ok(expected));
    }

    #[track_caller]
    fn check_change(packet: &'static [u8], expected: Change) {
        check(packet, Reply::Change(expected));
    }

    /// As libmilter sends them.
    #[test]
    fn replies_are_parsed() {
        check(b"c", Reply::Continue);
        check(b"a", Reply::Accept);
        check(b"d", Reply::Discard);
        check(b"r", Reply::Reject);
        check(b"t", Reply::TempFail);
        check(b"s", Reply::Skip);
        check(b"p", Reply::Progress);
        check(b"4", Reply::Shutdown);
        check(b"f", Reply::ConnectionFailed);
        let gone = smtp_proto::Reply::parse(&["550 5.7.1 Gone 100%"]).unwrap();
        check(b"y550 5.7.1 Gone 100%%\0", Reply::ReplyCode(gone));
        let lines = smtp_proto::Reply::parse(&["451-4.7.1 a", "451 4.7.1 b"]).unwrap();
        check(b"y451-4.7.1 a\r\n451 4.7.1 b\0", Reply::ReplyCode(lines));
        let offer = Offer {
            version: 6,
            actions: Actions(0x11),
            steps: Steps::NO_BODY,
            macros: vec![(Stage::Connect, vec!["j".to_owned(), "{daemon_name}".to_owned()])],
        };
        check(b"O\0\0\0\x06\0\0\0\x11\0\0\0\x10\0\0\0\0j {daemon_name}\0", Reply::Negotiated(offer));
    }

    #[test]
    fn changes_are_parsed() {
        let (name, value) = (b"X-Spam".to_vec(), b"Yes".to_vec());
        check_change(b"hX-Spam\0Yes\0", Change::AddHeader { name: name.clone(), value: value.clone() });
        let inserted = Change::InsertHeader { index: 1, name: name.clone(), value };
        check_change(b"i\0\0\0\x01X-Spam\0Yes\0", inserted);
        check_change(b"m\0\0\0\x02X-Spam\0\0", Change::ChangeHeader { index: 2, name, value: Vec::new() });
        check_change(b"ba\0b", Change::Body(Bytes::from_static(b"a\0b")));
        check_change(b"b", Change::Body(Bytes::new()));
        check_change(b"+<a@b.c>\0", Change::AddRecipient(b"<a@b.c>".to_vec()));
        check_change(b"2<a@b.c>\0NOTIFY=NEVER\0", Change::AddRecipient(b"<a@b.c>".to_vec()));
        check_change(b"-<a@b.c>\0", Change::DeleteRecipient(b"<a@b.c>".to_vec()));
        check_change(b"e<a@b.c>\0", Change::ChangeFrom(b"<a@b.c>".to_vec()));
        check_change(b"qa virus\0", Change::Quarantine("a virus".to_owned()));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let packets: [&[u8]; 8] =
            [b"", b"x", b"O\0\0\0\x06", b"hX-Spam\0Yes", b"y250 OK\0", b"yno\0", b"m\0\0X\0Y\0", b"+<a@b.c>"];
        for packet in packets {
            let packet = Bytes::copy_from_slice(packet);
            assert!(Reply::parse(&packet).is_err(), "{packet:?}");
        }
    }

    /// A reply ends where the client would take it to end.
    #[test]
    fn a_reply_code_brings_no_line_of_its_own_into_the_dialogue() {
        assert!(Reply::parse(&Bytes::from_static(b"y550 5.7.1 a\r\n250 OK\0")).is_err());
        let Ok(Reply::ReplyCode(reply)) = Reply::parse(&Bytes::from_static(b"y550 5.7.1 a\rb\xE9\0")) else {
            panic!("not parsed")
        };
        assert!(reply.to_string().is_ascii() && !reply.to_string().contains('\r'));
    }
}
