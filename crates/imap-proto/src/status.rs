//! What STATUS can ask for. RFC 3501 §6.3.10.

use mail_types::MailboxName;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag_no_case;
use nom::combinator::value;
use nom::sequence::separated_pair;

use crate::expected::Noun;
use crate::grammar::{Parsed, list1, mailbox, sp};

/// What STATUS can ask for. RFC 3501 §6.3.10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT`
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
    /// `SIZE`. RFC 8438.
    Size,
    /// `HIGHESTMODSEQ`. RFC 7162 §3.1.7.
    HighestModSeq,
    /// `MAILBOXID`. RFC 8474.
    MailboxId,
    /// `APPENDLIMIT`. RFC 7889 §3.1.
    AppendLimit,
    /// `DELETED`: messages with `\\Deleted`. RFC 9208 §4.1.4.
    Deleted,
    /// `DELETED-STORAGE`: their octets. RFC 9208 §4.1.4.
    DeletedStorage,
}

/// `"STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"`
pub(crate) fn status<const UTF8: bool>(input: &[u8]) -> Parsed<'_, (MailboxName, Vec<StatusItem>)> {
    separated_pair(mailbox::<UTF8>, sp, status_items).parse(input)
}

/// `"(" status-att *(SP status-att) ")"`. SIZE is RFC 8438's, DELETED and DELETED-STORAGE are RFC 9208's.
pub(crate) fn status_items(input: &[u8]) -> Parsed<'_, Vec<StatusItem>> {
    let item = alt((
        value(StatusItem::Messages, tag_no_case("MESSAGES")),
        value(StatusItem::Recent, tag_no_case("RECENT")),
        value(StatusItem::UidNext, tag_no_case("UIDNEXT")),
        value(StatusItem::UidValidity, tag_no_case("UIDVALIDITY")),
        value(StatusItem::Unseen, tag_no_case("UNSEEN")),
        value(StatusItem::Size, tag_no_case("SIZE")),
        value(StatusItem::HighestModSeq, tag_no_case("HIGHESTMODSEQ")),
        value(StatusItem::MailboxId, tag_no_case("MAILBOXID")),
        value(StatusItem::AppendLimit, tag_no_case("APPENDLIMIT")),
        value(StatusItem::DeletedStorage, tag_no_case("DELETED-STORAGE")),
        value(StatusItem::Deleted, tag_no_case("DELETED")),
    ));
    list1(Noun::StatusItem, item).parse(input)
}
