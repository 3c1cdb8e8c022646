//! A client's commands. RFC 3501 §6 and the extensions offered.

use mail_types::{Flags, MailboxName, MailboxNameError, MetadataEntry, Secret, SeqSet, UidSet};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, cut, map, opt, value};
use nom::multi::separated_list1;
use nom::sequence::{preceded, separated_pair, terminated};

use crate::acl::{RightsChange, of_identifier, setacl};
use crate::append::{AppendRequest, append, replace};
use crate::condstore::{FetchModifiers, SelectParams, fetch_modifiers, select_params};
use crate::esearch::{MailboxFilter, esearch};
use crate::expected::{Expected, Noun};
use crate::fetch::fetch_items;
use crate::grammar::{
    Mismatch, Parsed, atom, bound, list0, mailbox, nstring, sequence_set, sp, string, text,
};
use crate::language::{LanguageRange, lang_range_quoted};
use crate::list::{ListRequest, list, lsub};
use crate::metadata::{MetadataOptions, getmetadata, setmetadata};
use crate::notify::{NotifyRequest, notify};
use crate::quota::{quota_root_name, setquota};
use crate::search::{SearchReturns, search_program};
use crate::sort::{SortCriterion, ThreadAlgorithm, sort, thread};
use crate::status::{StatusItem, status};
use crate::store::{StoreMode, store};
use crate::{FetchItem, MessageSet, SearchKey, Tag};

/// A command with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What its answer carries.
    pub tag: Tag,
    /// What is asked.
    pub command: Command,
}

/// Why a command is answered BAD.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// There is no tag to answer with.
    #[error("a command begins with a tag")]
    NoTag,
    /// No such command.
    #[error("unknown command")]
    UnknownCommand(Tag),
    /// The command's arguments are not what its grammar says.
    #[error("expected {expected} at octet {octet}")]
    Arguments {
        /// To answer with.
        tag: Tag,
        /// What the grammar wanted.
        expected: Expected,
        /// Where, counted from 1 at the tag.
        octet: usize,
    },
    /// The command is well formed, but names a mailbox as none can be named: answer NO.
    #[error("{1}")]
    Name(Tag, MailboxNameError),
    /// The command asks for things too deep in each other: answer NO.
    #[error("too much nesting")]
    TooDeep(Tag),
}

impl ParseError {
    /// The tag to answer with.
    #[must_use]
    pub const fn tag(&self) -> Option<&Tag> {
        match self {
            Self::NoTag => None,
            Self::UnknownCommand(tag)
            | Self::Arguments { tag, .. }
            | Self::Name(tag, _)
            | Self::TooDeep(tag) => Some(tag),
        }
    }
}

/// SEARCH's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchRequest {
    /// True to be answered with UIDs.
    pub uid: bool,
    /// What is to be told of the messages found; `None` for RFC 3501's answer.
    pub returns: Option<SearchReturns>,
    /// What the strings are written in, as the client names it.
    pub charset: Option<String>,
    /// What is looked for.
    pub key: SearchKey,
    /// With UPDATE: what is to be fetched of messages that arrive and are found. RFC 5465 §7.
    pub updates: Vec<FetchItem>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `CAPABILITY`
    Capability,
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `UNAUTHENTICATE`. RFC 8437.
    Unauthenticate,
    /// `ID`: pairs of field and value. RFC 2971.
    Id(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// `LANGUAGE`: the languages that the client would have, the best first, or none to be told which there are. RFC 5255 §3.2.
    Language(Vec<LanguageRange>),
    /// `STARTTLS`
    StartTls,
    /// `AUTHENTICATE`, with the initial response in base64. RFC 4959.
    Authenticate {
        /// The mechanism's name.
        mechanism: String,
        /// In base64, or `=`.
        initial: Option<Secret<Vec<u8>>>,
    },
    /// `LOGIN`
    Login {
        /// Who.
        username: String,
        /// Proven by.
        password: Secret<String>,
    },
    /// `ENABLE`. RFC 5161.
    Enable(Vec<String>),
    /// `SELECT`
    Select(MailboxName, SelectParams),
    /// `EXAMINE`
    Examine(MailboxName, SelectParams),
    /// `CREATE`, with its uses as the client names them (RFC 6154 §3).
    Create(MailboxName, Vec<String>),
    /// `DELETE`
    Delete(MailboxName),
    /// `RENAME`
    Rename(MailboxName, MailboxName),
    /// `SUBSCRIBE`
    Subscribe(MailboxName),
    /// `UNSUBSCRIBE`
    Unsubscribe(MailboxName),
    /// `LIST`
    List(ListRequest),
    /// `LSUB` with reference and pattern
    Lsub(Vec<u8>, Vec<u8>),
    /// `XLIST` with reference and pattern, as old Outlooks and Gmail's clients know it
    XList(Vec<u8>, Vec<u8>),
    /// `NAMESPACE`. RFC 2342.
    Namespace,
    /// `STATUS`
    Status(MailboxName, Vec<StatusItem>),
    /// `GETQUOTA` of a quota root. RFC 9208 §4.1.1.
    GetQuota(String),
    /// `GETQUOTAROOT`. RFC 9208 §4.1.2.
    GetQuotaRoot(MailboxName),
    /// `SETQUOTA` with a quota root and limits. RFC 9208 §4.1.3.
    SetQuota(String, Vec<(String, u64)>),
    /// `GETMETADATA` of a mailbox or, without one, of the server. RFC 5464 §4.2.
    GetMetadata(Option<MailboxName>, MetadataOptions, Vec<MetadataEntry>),
    /// `SETMETADATA` of a mailbox or the server; an entry without a value is removed. RFC 5464 §4.3.
    SetMetadata(Option<MailboxName>, Vec<(MetadataEntry, Option<Vec<u8>>)>),
    /// `SETACL` of an identifier. RFC 4314 §3.1.
    SetAcl(MailboxName, String, RightsChange),
    /// `DELETEACL` of an identifier. RFC 4314 §3.2.
    DeleteAcl(MailboxName, String),
    /// `GETACL`. RFC 4314 §3.3.
    GetAcl(MailboxName),
    /// `LISTRIGHTS` of an identifier. RFC 4314 §3.4.
    ListRights(MailboxName, String),
    /// `MYRIGHTS`. RFC 4314 §3.5.
    MyRights(MailboxName),
    /// `APPEND`, `REPLACE` and `UID REPLACE`, up to the first literal of the message
    Append(AppendRequest),
    /// `IDLE`. RFC 2177.
    Idle,
    /// `COMPRESS DEFLATE`. RFC 4978.
    Compress,
    /// `CHECK`
    Check,
    /// `CLOSE`
    Close,
    /// `UNSELECT`. RFC 3691.
    Unselect,
    /// `EXPUNGE`
    Expunge,
    /// `UID EXPUNGE`. RFC 4315.
    UidExpunge(MessageSet),
    /// `SEARCH` and `UID SEARCH`
    Search(SearchRequest),
    /// `ESEARCH` of several mailboxes. RFC 7377.
    Esearch(Vec<MailboxFilter>, SearchRequest),
    /// `CANCELUPDATE` of searches by their tags. RFC 5267 §4.3.5.
    CancelUpdate(Vec<String>),
    /// `NOTIFY`. RFC 5465.
    Notify(NotifyRequest),
    /// `SORT` and `UID SORT`. RFC 5256.
    Sort(Vec<SortCriterion>, SearchRequest),
    /// `THREAD` and `UID THREAD`. RFC 5256.
    Thread(ThreadAlgorithm, SearchRequest),
    /// `FETCH` and `UID FETCH`
    Fetch(MessageSet, Vec<FetchItem>, FetchModifiers),
    /// `STORE` and `UID STORE`
    Store {
        /// Whose flags.
        set: MessageSet,
        /// `UNCHANGEDSINCE`: only of messages whose mod-sequence is no higher. RFC 7162 §3.1.3.
        unchanged_since: Option<u64>,
        /// How they change.
        mode: StoreMode,
        /// True if the client wants no answer to its own change.
        silent: bool,
        /// Which.
        flags: Flags,
    },
    /// `COPY` and `UID COPY`
    Copy(MessageSet, MailboxName),
    /// `MOVE` and `UID MOVE`. RFC 6851.
    Move(MessageSet, MailboxName),
}

impl Request {
    /// Parses one command as the framer gives it, without its last CRLF.
    ///
    /// # Errors
    /// [`ParseError`], with the tag where there is one.
    pub fn parse(input: &[u8]) -> Result<Self, ParseError> {
        Self::parse_names::<false>(input)
    }

    /// As [`Self::parse`] for clients that have enabled IMAP4rev2 or UTF8=ACCEPT: mailbox names are in UTF-8, not in modified UTF-7.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_utf8(input: &[u8]) -> Result<Self, ParseError> {
        Self::parse_names::<true>(input)
    }

    fn parse_names<const UTF8: bool>(input: &[u8]) -> Result<Self, ParseError> {
        let (tag, rest) = split_word(input);
        let tag = Tag::new(tag).ok_or(ParseError::NoTag)?;
        let (verb, arguments) = split_word(rest);
        match parse_verb::<UTF8>(&verb.to_ascii_uppercase(), arguments) {
            Some(Ok((_, command))) => Ok(Self { tag, command }),
            Some(Err(nom::Err::Error(mismatch) | nom::Err::Failure(mismatch))) => Err(match mismatch {
                Mismatch::Name(error) => ParseError::Name(tag, error),
                Mismatch::TooDeep => ParseError::TooDeep(tag),
                Mismatch::Expected(expected, left) => {
                    ParseError::Arguments { tag, expected, octet: input.len().saturating_sub(left) + 1 }
                }
            }),
            Some(Err(nom::Err::Incomplete(_))) => {
                Err(ParseError::Arguments { tag, expected: Expected::Word, octet: input.len() + 1 })
            }
            None => Err(ParseError::UnknownCommand(tag)),
        }
    }
}

/// The first word, and what stands behind the spaces after it.
fn split_word(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|c| *c == b' ').unwrap_or(input.len());
    let (word, rest) = input.split_at(end);
    let spaces = rest.iter().take_while(|c| **c == b' ').count();
    (word, rest.get(spaces..).unwrap_or_default())
}

/// The whole of `input` by `parser`; spaces at the end are let pass, but where a literal ends with them.
fn whole<'a, T>(
    input: &'a [u8],
    parser: impl Parser<&'a [u8], Output = T, Error = Mismatch>,
) -> Option<Parsed<'a, T>> {
    let mut parser = all_consuming(parser);
    let end = input.iter().rposition(|c| *c != b' ').map_or(0, |last| last + 1);
    let (arguments, spaces) = input.split_at(end);
    let counted = |mismatch| match mismatch {
        Mismatch::Expected(expected, left) => Mismatch::Expected(expected, left + spaces.len()),
        other @ (Mismatch::Name(_) | Mismatch::TooDeep) => other,
    };
    let parsed = parser.parse(arguments);
    if parsed.is_err() && !spaces.is_empty() {
        let whole = parser.parse(input);
        if matches!(whole, Ok(_) | Err(nom::Err::Failure(Mismatch::Name(_)))) {
            return Some(whole);
        }
    }
    Some(parsed.map_err(|error| error.map(counted)))
}

fn no_arguments(input: &[u8], command: Command) -> Option<Parsed<'_, Command>> {
    whole(input, value(command, tag("")))
}

/// `None` if there is no such command.
fn parse_verb<'a, const UTF8: bool>(verb: &[u8], input: &'a [u8]) -> Option<Parsed<'a, Command>> {
    match verb {
        b"CAPABILITY" => no_arguments(input, Command::Capability),
        b"NOOP" => no_arguments(input, Command::Noop),
        b"UNAUTHENTICATE" => no_arguments(input, Command::Unauthenticate),
        b"LOGOUT" => no_arguments(input, Command::Logout),
        b"STARTTLS" => no_arguments(input, Command::StartTls),
        b"NAMESPACE" => no_arguments(input, Command::Namespace),
        b"IDLE" => no_arguments(input, Command::Idle),
        b"CHECK" => no_arguments(input, Command::Check),
        b"CLOSE" => no_arguments(input, Command::Close),
        b"UNSELECT" => no_arguments(input, Command::Unselect),
        b"EXPUNGE" => no_arguments(input, Command::Expunge),
        b"ESEARCH" => {
            whole(input, map(esearch::<UTF8>, |(sources, request)| Command::Esearch(sources, request)))
        }
        b"CANCELUPDATE" => whole(input, map(separated_list1(sp, text), Command::CancelUpdate)),
        b"NOTIFY" => whole(input, map(notify::<UTF8>, Command::Notify)),
        b"ID" => whole(input, id),
        b"LANGUAGE" if input.is_empty() => no_arguments(input, Command::Language(Vec::new())),
        b"LANGUAGE" => whole(input, map(separated_list1(sp, cut(lang_range_quoted)), Command::Language)),
        b"AUTHENTICATE" => whole(input, authenticate),
        b"LOGIN" => whole(input, login),
        b"ENABLE" => whole(input, enable),
        b"SELECT" => whole(input, map(select::<UTF8>, |(name, params)| Command::Select(name, params))),
        b"EXAMINE" => whole(input, map(select::<UTF8>, |(name, params)| Command::Examine(name, params))),
        b"CREATE" => whole(input, create::<UTF8>),
        b"DELETE" => whole(input, map(mailbox::<UTF8>, Command::Delete)),
        b"RENAME" => whole(
            input,
            map(separated_pair(mailbox::<UTF8>, sp, mailbox::<UTF8>), |(from, to)| Command::Rename(from, to)),
        ),
        b"SUBSCRIBE" => whole(input, map(mailbox::<UTF8>, Command::Subscribe)),
        b"UNSUBSCRIBE" => whole(input, map(mailbox::<UTF8>, Command::Unsubscribe)),
        b"LIST" => whole(input, map(list, Command::List)),
        b"XLIST" => whole(input, map(lsub, |(reference, pattern)| Command::XList(reference, pattern))),
        b"LSUB" => whole(input, map(lsub, |(reference, pattern)| Command::Lsub(reference, pattern))),
        b"STATUS" => whole(input, map(status::<UTF8>, |(name, items)| Command::Status(name, items))),
        b"GETQUOTA" => whole(input, map(quota_root_name, Command::GetQuota)),
        b"GETQUOTAROOT" => whole(input, map(mailbox::<UTF8>, Command::GetQuotaRoot)),
        b"SETQUOTA" => whole(input, map(setquota, |(root, limits)| Command::SetQuota(root, limits))),
        b"GETMETADATA" => whole(input, getmetadata::<UTF8>),
        b"SETMETADATA" => whole(
            input,
            map(setmetadata::<UTF8>, |(mailbox, changes)| Command::SetMetadata(mailbox, changes)),
        ),
        b"SETACL" => whole(
            input,
            map(setacl::<UTF8>, |(name, identifier, change)| Command::SetAcl(name, identifier, change)),
        ),
        b"DELETEACL" => whole(
            input,
            map(of_identifier::<UTF8>, |(name, identifier)| Command::DeleteAcl(name, identifier)),
        ),
        b"GETACL" => whole(input, map(mailbox::<UTF8>, Command::GetAcl)),
        b"LISTRIGHTS" => whole(
            input,
            map(of_identifier::<UTF8>, |(name, identifier)| Command::ListRights(name, identifier)),
        ),
        b"MYRIGHTS" => whole(input, map(mailbox::<UTF8>, Command::MyRights)),
        b"COMPRESS" => whole(input, value(Command::Compress, tag_no_case("DEFLATE"))),
        b"APPEND" => Some(all_consuming(map(append::<UTF8>, Command::Append)).parse(input)),
        b"UID" => uid::<UTF8>(input),
        _ => message_command::<UTF8>(verb, input, false),
    }
}

/// `"UID" SP (copy / fetch / search / store / "EXPUNGE" …)`
fn uid<const UTF8: bool>(input: &[u8]) -> Option<Parsed<'_, Command>> {
    let (verb, arguments) = split_word(input);
    match verb.to_ascii_uppercase().as_slice() {
        b"EXPUNGE" => whole(arguments, map(|input| message_set(true, input), Command::UidExpunge)),
        verb => message_command::<UTF8>(verb, arguments, true),
    }
}

/// The commands that have a UID form.
fn message_command<'a, const UTF8: bool>(
    verb: &[u8],
    input: &'a [u8],
    uid: bool,
) -> Option<Parsed<'a, Command>> {
    let set = move |input| message_set(uid, input);
    match verb {
        b"FETCH" => whole(
            input,
            map(
                (terminated(set, sp), fetch_items, opt(preceded(sp, fetch_modifiers))),
                |(set, items, modifiers)| Command::Fetch(set, items, modifiers.unwrap_or_default()),
            ),
        ),
        b"STORE" => whole(input, move |input| store(uid, input)),
        b"REPLACE" => {
            let number = move |input| message_number(uid, input);
            Some(all_consuming(map(|input| replace::<UTF8>(number, input), Command::Append)).parse(input))
        }
        b"COPY" => {
            whole(input, map(separated_pair(set, sp, mailbox::<UTF8>), |(set, to)| Command::Copy(set, to)))
        }
        b"MOVE" => {
            whole(input, map(separated_pair(set, sp, mailbox::<UTF8>), |(set, to)| Command::Move(set, to)))
        }
        b"SORT" => whole(
            input,
            map(move |input| sort(uid, input), |(criteria, request)| Command::Sort(criteria, request)),
        ),
        b"THREAD" => whole(
            input,
            map(move |input| thread(uid, input), |(algorithm, request)| Command::Thread(algorithm, request)),
        ),
        b"SEARCH" => whole(
            input,
            map(search_program, move |request| Command::Search(SearchRequest { uid, ..request })),
        ),
        _ => None,
    }
}

/// `sequence-set`, or `$` (RFC 5182 §3).
pub(crate) fn message_set(uid: bool, input: &[u8]) -> Parsed<'_, MessageSet> {
    let saved = value(MessageSet::Saved(uid), char('$'));
    if uid {
        alt((saved, map(sequence_set, MessageSet::Uid))).parse(input)
    } else {
        alt((saved, map(sequence_set, MessageSet::Seq))).parse(input)
    }
}

/// `seq-number` or `uniqueid`: a set of one.
fn message_number(uid: bool, input: &[u8]) -> Parsed<'_, MessageSet> {
    if uid {
        map(bound, |number| MessageSet::Uid(UidSet::from_ranges(vec![(number, number)]))).parse(input)
    } else {
        map(bound, |number| MessageSet::Seq(SeqSet::from_ranges(vec![(number, number)]))).parse(input)
    }
}

/// `id_params_list = "(" *(string SPACE nstring) ")" / nil`. RFC 2971 §4.
fn id(input: &[u8]) -> Parsed<'_, Command> {
    let field = separated_pair(map(string, |name| name.into_owned()), sp, nstring);
    let list = list0(Noun::IdField, field);
    map(alt((list, value(Vec::new(), tag_no_case("NIL")))), Command::Id).parse(input)
}

/// `"AUTHENTICATE" SP auth-type [SP (base64 / "=")]`. RFC 4959 §3.
fn authenticate(input: &[u8]) -> Parsed<'_, Command> {
    let initial = opt(preceded(sp, map(take_while1(is_base64), |it: &[u8]| Secret::new(it.to_vec()))));
    map((atom, initial), |(mechanism, initial)| Command::Authenticate {
        mechanism: mechanism.to_owned(),
        initial,
    })
    .parse(input)
}

const fn is_base64(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=')
}

/// `"LOGIN" SP userid SP password`
fn login(input: &[u8]) -> Parsed<'_, Command> {
    map(separated_pair(text, sp, text), |(username, password)| Command::Login {
        username,
        password: Secret::new(password),
    })
    .parse(input)
}

/// `"ENABLE" 1*(SP capability)`. RFC 5161 §4.
fn enable(input: &[u8]) -> Parsed<'_, Command> {
    map(separated_list1(sp, map(atom, str::to_ascii_uppercase)), Command::Enable).parse(input)
}

/// `"SELECT" SP mailbox [SP select-params]`. RFC 4466 §2.1.
fn select<const UTF8: bool>(input: &[u8]) -> Parsed<'_, (MailboxName, SelectParams)> {
    map((mailbox::<UTF8>, opt(preceded(sp, select_params))), |(name, params)| {
        (name, params.unwrap_or_default())
    })
    .parse(input)
}

/// `"CREATE" SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"]`. RFC 6154 §6.
fn create<const UTF8: bool>(input: &[u8]) -> Parsed<'_, Command> {
    let use_attr = map(preceded(char('\\'), atom), |name| format!("\\{name}"));
    let list = list0(Noun::SpecialUse, use_attr);
    let uses = preceded((sp, tag_no_case("(USE"), sp), cut(terminated(list, char(')'))));
    map((mailbox::<UTF8>, opt(uses)), |(name, uses)| Command::Create(name, uses.unwrap_or_default()))
        .parse(input)
}

#[cfg(test)]
pub(crate) mod tests;
