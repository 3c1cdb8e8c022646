//! Annotations of mailboxes and of the server. RFC 5464 §5.

use mail_types::{MailboxName, MetadataEntry};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::combinator::{map, map_opt, opt, value};
use nom::multi::separated_list1;
use nom::sequence::{preceded, separated_pair, terminated};

use crate::expected::Noun;
use crate::grammar::{Parsed, decimal, expect, list1, literal8, mailbox, nstring, sp, text};
use crate::{Command, astring, quoted, string};

/// `scope-opt`: how far below the entries named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetadataDepth {
    /// `0`: only the entries themselves.
    #[default]
    Zero,
    /// `1`: and those immediately below.
    One,
    /// `infinity`: and all below.
    Infinity,
}

impl MetadataDepth {
    /// True if an entry so many levels below one that is named belongs to it.
    #[must_use]
    pub const fn reaches(self, levels: usize) -> bool {
        match self {
            Self::Zero => levels == 0,
            Self::One => levels <= 1,
            Self::Infinity => true,
        }
    }
}

/// `getmetadata-options`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetadataOptions {
    /// `MAXSIZE`: octets of the largest value wanted.
    pub max_size: Option<u64>,
    /// `DEPTH`
    pub depth: MetadataDepth,
}

/// `entry = astring`
pub(crate) fn entry(input: &[u8]) -> Parsed<'_, MetadataEntry> {
    expect(Noun::MetadataEntry, map_opt(text, |name| name.parse().ok())).parse(input)
}

/// `mailbox`, of which the empty string stands for the server.
fn mailbox_or_server<const UTF8: bool>(input: &[u8]) -> Parsed<'_, Option<MailboxName>> {
    let server = alt((tag("\"\""), tag("{0}\r\n"), tag("{0+}\r\n")));
    alt((value(None, server), map(mailbox::<UTF8>, Some))).parse(input)
}

/// `[SP getmetadata-options] SP mailbox SP entries`. The options may also stand behind the mailbox, and several entries without
/// parentheses: the standard's examples have them so.
pub(crate) fn getmetadata<const UTF8: bool>(input: &[u8]) -> Parsed<'_, Command> {
    let entries = alt((list1(Noun::Entry, entry), separated_list1(sp, entry)));
    let (rest, before) = opt(terminated(options, sp)).parse(input)?;
    let (rest, mailbox) = terminated(mailbox_or_server::<UTF8>, sp).parse(rest)?;
    let (rest, behind) =
        if before.is_none() { opt(terminated(options, sp)).parse(rest)? } else { (rest, None) };
    map(entries, |entries| {
        Command::GetMetadata(mailbox.clone(), before.or(behind).unwrap_or_default(), entries)
    })
    .parse(rest)
}

/// `"(" getmetadata-option *(SP getmetadata-option) ")"`; not a list of entries, which begin with a slash.
fn options(input: &[u8]) -> Parsed<'_, MetadataOptions> {
    if let [b'(', b'/' | b'"' | b'{', ..] = input {
        return Err(nom::Err::Error(nom::error::ParseError::from_char(input, '(')));
    }
    let depth = alt((
        value(MetadataDepth::Zero, tag("0")),
        value(MetadataDepth::One, tag("1")),
        value(MetadataDepth::Infinity, tag_no_case("infinity")),
    ));
    let option = alt((
        map(preceded((tag_no_case("MAXSIZE"), sp), decimal), |size| (Some(size), None)),
        map(preceded((tag_no_case("DEPTH"), sp), expect(Noun::Depth, depth)), |depth| (None, Some(depth))),
    ));
    map(list1(Noun::MetadataOption, option), |options| MetadataOptions {
        max_size: options.iter().find_map(|(size, _)| *size),
        depth: options.iter().find_map(|(_, depth)| *depth).unwrap_or_default(),
    })
    .parse(input)
}

/// What SETMETADATA changes.
type Changes = (Option<MailboxName>, Vec<(MetadataEntry, Option<Vec<u8>>)>);

/// `mailbox SP entry-values`
pub(crate) fn setmetadata<const UTF8: bool>(input: &[u8]) -> Parsed<'_, Changes> {
    let entry_value = separated_pair(entry, sp, entry_value);
    separated_pair(mailbox_or_server::<UTF8>, sp, list1(Noun::EntryAndValue, entry_value)).parse(input)
}

/// `value = nstring / literal8`
fn entry_value(input: &[u8]) -> Parsed<'_, Option<Vec<u8>>> {
    alt((map(literal8, |octets| Some(octets.to_vec())), nstring)).parse(input)
}

/// `"METADATA" SP mailbox SP entry-values`, at least one; the mailbox's name is encoded already, the server's is empty.
#[must_use]
pub fn metadata_response(mailbox: &str, values: &[(&MetadataEntry, Option<&[u8]>)]) -> Vec<u8> {
    let mut response = format!("METADATA {} (", quoted(mailbox)).into_bytes();
    for (position, (entry, octets)) in values.iter().enumerate() {
        let space = if position == 0 { "" } else { " " };
        response.extend_from_slice(format!("{space}{} ", astring(entry.as_str())).as_bytes());
        match octets {
            None => response.extend_from_slice(b"NIL"),
            Some(octets) if octets.contains(&0) => {
                response.extend_from_slice(format!("~{{{}}}\r\n", octets.len()).as_bytes());
                response.extend_from_slice(octets);
            }
            Some(octets) => response.extend_from_slice(&string(octets)),
        }
    }
    response.push(b')');
    response
}

/// `"METADATA" SP mailbox SP entry-list`: these have changed.
#[must_use]
pub fn metadata_changed(mailbox: &str, entries: &[MetadataEntry]) -> String {
    let entries: Vec<String> = entries.iter().map(|entry| astring(entry.as_str())).collect();
    format!("METADATA {} {}", quoted(mailbox), entries.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::accepted;

    fn name(text: &str) -> MetadataEntry {
        text.parse().unwrap()
    }

    #[track_caller]
    fn got(line: &str) -> (Option<MailboxName>, MetadataOptions, Vec<MetadataEntry>) {
        match accepted(line) {
            Some(Command::GetMetadata(mailbox, options, entries)) => (mailbox, options, entries),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn getmetadata_of_the_standards_examples() {
        let (comment, private) = (name("/shared/comment"), name("/private/comment"));
        let inbox = || Some(MailboxName::inbox());
        let none = MetadataOptions::default();
        assert_eq!(got("GETMETADATA \"\" /shared/comment"), (None, none, vec![comment.clone()]));
        assert_eq!(got("GETMETADATA {0+}\r\n /shared/comment").0, None);
        let both = vec![comment.clone(), private.clone()];
        assert_eq!(
            got("GETMETADATA \"INBOX\" (/shared/comment /Private/Comment)"),
            (inbox(), none, both.clone())
        );
        assert_eq!(
            got("GETMETADATA \"INBOX\" /shared/comment /private/comment"),
            (inbox(), none, both.clone())
        );
        let small = MetadataOptions { max_size: Some(1024), ..none };
        assert_eq!(
            got("GETMETADATA \"INBOX\" (MAXSIZE 1024) (/shared/comment /private/comment)"),
            (inbox(), small, both)
        );
        let deep = MetadataOptions { depth: MetadataDepth::One, ..none };
        assert_eq!(
            got("GETMETADATA (depth 1) INBOX (\"/private/filters/values\")"),
            (inbox(), deep, vec![name("/private/filters/values")])
        );
        let options = MetadataOptions { max_size: Some(0), depth: MetadataDepth::Infinity };
        assert_eq!(got("GETMETADATA (MAXSIZE 0 DEPTH Infinity) INBOX /private/comment").1, options);
    }

    #[test]
    fn setmetadata_takes_any_octets() {
        let set = |line: &str| match accepted(line) {
            Some(Command::SetMetadata(mailbox, changes)) => (mailbox, changes),
            other => panic!("{line}: {other:?}"),
        };
        let (mailbox, changes) =
            set("SETMETADATA INBOX (/private/comment {4+}\r\na\r\nb /shared/comment NIL)");
        assert_eq!(mailbox, Some(MailboxName::inbox()));
        let expected =
            vec![(name("/private/comment"), Some(b"a\r\nb".to_vec())), (name("/shared/comment"), None)];
        assert_eq!(changes, expected);
        let (mailbox, changes) = set("SETMETADATA \"\" (/private/vendor/x/y ~{3+}\r\na\0b)");
        assert_eq!((mailbox, changes[0].1.as_deref()), (None, Some(&b"a\0b"[..])));
        assert_eq!(set("SETMETADATA a (/private/comment \"\")").1[0].1.as_deref(), Some(&b""[..]));
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for line in [
            "GETMETADATA INBOX",
            "GETMETADATA INBOX ()",
            "GETMETADATA INBOX /comment",
            "GETMETADATA INBOX /private/a*",
            "GETMETADATA INBOX /private//a",
            "GETMETADATA (DEPTH 2) INBOX /private/a",
            "GETMETADATA (DEPTH) INBOX /private/a",
            "GETMETADATA (MAXSIZE -1) INBOX /private/a",
            "GETMETADATA (WIDTH 1) INBOX /private/a",
            "GETMETADATA (DEPTH 1) INBOX (DEPTH 1) /private/a",
            "SETMETADATA INBOX ()",
            "SETMETADATA INBOX /private/comment x",
            "SETMETADATA INBOX (/private/comment)",
            "SETMETADATA INBOX (/private/comment x)",
            "SETMETADATA INBOX (/private/comment/ \"x\")",
        ] {
            assert_eq!(accepted(line), None, "{line}");
        }
    }

    #[test]
    fn values_are_written_as_they_can_be() {
        let (comment, spaced) = (name("/shared/comment"), name("/private/my comment"));
        let values = [(&comment, Some(&b"Its \"sunny\""[..])), (&spaced, None)];
        assert_eq!(
            metadata_response("INBOX", &values),
            b"METADATA \"INBOX\" (/shared/comment \"Its \\\"sunny\\\"\" \"/private/my comment\" NIL)"
        );
        assert_eq!(
            metadata_response("", &[(&comment, Some(&b"a\r\n\xff"[..]))]),
            b"METADATA \"\" (/shared/comment {4}\r\na\r\n\xff)"
        );
        assert_eq!(
            metadata_response("", &[(&comment, Some(&b"a\0"[..]))]),
            b"METADATA \"\" (/shared/comment ~{2}\r\na\0)"
        );
        assert_eq!(
            metadata_changed("a", &[comment, spaced]),
            "METADATA \"a\" /shared/comment \"/private/my comment\""
        );
    }
}
