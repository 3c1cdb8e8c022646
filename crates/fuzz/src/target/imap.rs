use arbitrary::{Arbitrary as _, Unstructured};
use bytes::BytesMut;
use imap_codec::CommandCodec;
use imap_codec::encode::Encoder as _;
use imap_codec::imap_types::command::{Command, CommandBody};
use imap_codec::imap_types::fetch::MacroOrMessageDataItemNames;
use imap_proto::{ParseError, Request};
use line_codec::imap::{Event, ImapFramer, ImapLimits};

use crate::cut::pieces;

/// Small, so that inputs come to them.
const SMALL: ImapLimits = ImapLimits { max_line: 200, max_literals: 300, max_append: 400 };

/// As a client that has logged in has them.
const LARGE: ImapLimits = ImapLimits { max_line: 64 << 10, max_literals: 1 << 20, max_append: 64 << 20 };

/// What a connection sees of a client's octets; the pieces of a message put together.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Event(Event),
    Message(Vec<u8>),
}

fn events<'a>(limits: ImapLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let (mut framer, mut buffer, mut seen) = (ImapFramer::new(limits), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            while let Some(octets) = framer.message(&mut buffer) {
                match seen.last_mut() {
                    Some(Seen::Message(message)) => message.extend_from_slice(&octets),
                    _ => seen.push(Seen::Message(octets.to_vec())),
                }
            }
            let Some(event) = framer.next(&mut buffer) else { break };
            let is_last = event == Event::Flood;
            seen.push(Seen::Event(event));
            if is_last {
                return seen;
            }
        }
    }
    seen
}

/// However the octets are cut, they frame the same.
pub(crate) fn framer(octets: &[u8]) {
    for limits in [SMALL, LARGE] {
        let whole = events(limits, [octets]);
        assert_eq!(events(limits, pieces(octets)), whole);
        assert_eq!(events(limits, octets.chunks(1)), whole);
        for seen in &whole {
            if let Seen::Event(Event::Command(line)) = seen {
                command(line);
            }
        }
    }
}

/// Any octets are parsed or refused, and a refusal points into them.
pub(crate) fn command(octets: &[u8]) {
    let octets = octets.strip_suffix(b"\r\n").unwrap_or(octets);
    for result in [Request::parse(octets), Request::parse_utf8(octets)] {
        match result {
            Ok(request) => assert!(octets.starts_with(request.tag.to_string().as_bytes())),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                if let ParseError::Arguments { octet, .. } = error {
                    assert!((1..=octets.len() + 1).contains(&octet), "{error} of {}", octets.len());
                }
            }
        }
    }
}

/// Every command that another implementation can write, of those that we offer, is one frame, and is understood.
pub(crate) fn client(octets: &[u8]) {
    let Ok(command) = Command::arbitrary(&mut Unstructured::new(octets)) else { return };
    if !is_offered(&command.body) {
        return;
    }
    let written = CommandCodec::default().encode(&command).dump();
    if has_number_of_64_bits(&written) || knows_any_uid(&written) || is_conditional_twice(&written) {
        return;
    }
    let seen = events(LARGE, [written.as_slice()]);
    let shown = written.escape_ascii();
    let mut lines = seen.iter().filter(|seen| !matches!(seen, Seen::Event(Event::Continue)));
    match (lines.next(), &command.body) {
        (Some(Seen::Event(Event::Command(line))), _) => {
            let request = Request::parse(line);
            let is_understood = match &request {
                Ok(request) => request.tag.to_string() == command.tag.as_ref(),
                // Well formed, but no mailbox can have this name.
                Err(ParseError::Name(..)) => true,
                // User names, passwords and quota roots are text.
                Err(error) => error.to_string().contains("in UTF-8"),
            };
            assert!(is_understood, "{request:?} of {shown}");
            assert_eq!(lines.next(), None, "{shown}");
        }
        (Some(Seen::Event(Event::Append { .. })), CommandBody::Append { .. }) => {}
        (first, _) => panic!("{first:?} of {shown}"),
    }
}

/// Mod-sequences have 63 bits (RFC 7162 §7), but the other implementation writes 64.
fn has_number_of_64_bits(written: &[u8]) -> bool {
    let numbers = written.split(|octet| !octet.is_ascii_digit());
    numbers
        .filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .any(|number: u64| i64::try_from(number).is_err())
}

/// The known UIDs and numbers of QRESYNC are no `*` (RFC 7162 §7), but the other implementation writes that too.
fn knows_any_uid(written: &[u8]) -> bool {
    let mark = b"QRESYNC (";
    let at = written.windows(mark.len()).position(|it| it == mark);
    at.and_then(|at| written.get(at..)).is_some_and(|behind| behind.contains(&b'*'))
}

/// A STORE has one UNCHANGEDSINCE at most (RFC 7162 §7), but the other implementation writes several.
fn is_conditional_twice(written: &[u8]) -> bool {
    let mark = b"UNCHANGEDSINCE ";
    written.windows(mark.len()).filter(|it| it == mark).count() > 1
}

/// Not those that the other implementation writes against the grammar.
#[allow(clippy::wildcard_enum_match_arm, reason = "of another implementation, which adds to them")]
fn is_offered(body: &CommandBody<'_>) -> bool {
    match body {
        CommandBody::GetMetadata { .. } | CommandBody::SetMetadata { .. } => false,
        // By algorithms of any name.
        CommandBody::Thread { .. } => false,
        CommandBody::Status { item_names, .. } => !item_names.is_empty(),
        CommandBody::Fetch {
            macro_or_item_names: MacroOrMessageDataItemNames::MessageDataItemNames(items),
            ..
        } => !items.is_empty(),
        _ => true,
    }
}
