//! What SEARCH can ask for. RFC 3501 §6.4.4.

use mail_types::{Flag, Keyword, SeqSet, UidSet};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while1};
use nom::character::complete::char;
use nom::combinator::{map, map_opt, opt, value};
use nom::multi::{separated_list0, separated_list1};
use nom::sequence::{delimited, preceded, terminated};

use crate::grammar::{Mismatch, Parsed, astring, atom, date, decimal, sequence_set, sp};

/// Deeper keys are refused: they would take as much stack.
const MAX_DEPTH: usize = 100;

/// A header that has a search key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// `BCC`
    Bcc,
    /// `CC`
    Cc,
    /// `FROM`
    From,
    /// `SUBJECT`
    Subject,
    /// `TO`
    To,
}

impl Header {
    /// The field's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bcc => "Bcc",
            Self::Cc => "Cc",
            Self::From => "From",
            Self::Subject => "Subject",
            Self::To => "To",
        }
    }
}

/// `search-key`. Strings are octets in the charset of the command. Dates are days since 1970-01-01.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// `ANSWERED`, `DELETED`, `DRAFT`, `FLAGGED`, `SEEN`; their opposites stand in [`Self::Not`].
    Flag(Flag),
    /// `KEYWORD`
    Keyword(Keyword),
    /// `RECENT`
    Recent,
    /// A sequence set.
    Seq(SeqSet),
    /// `UID`
    Uid(UidSet),
    /// `$` and `UID $`: what the last SEARCH saved. RFC 5182.
    Saved,
    /// `BEFORE`
    Before(i64),
    /// `ON`
    On(i64),
    /// `SINCE`
    Since(i64),
    /// `SENTBEFORE`
    SentBefore(i64),
    /// `SENTON`
    SentOn(i64),
    /// `SENTSINCE`
    SentSince(i64),
    /// `LARGER`
    Larger(u64),
    /// `SMALLER`
    Smaller(u64),
    /// `BCC`, `CC`, `FROM`, `SUBJECT`, `TO`
    Address(Header, Vec<u8>),
    /// `HEADER`
    Header(String, Vec<u8>),
    /// `BODY`
    Body(Vec<u8>),
    /// `TEXT`
    Text(Vec<u8>),
    /// Several keys side by side: all must hold.
    And(Vec<Self>),
    /// `OR`
    Or(Box<Self>, Box<Self>),
    /// `NOT`
    Not(Box<Self>),
}

/// `search-key *(SP search-key)`
pub(crate) fn search_keys(input: &[u8]) -> Parsed<'_, SearchKey> {
    keys_at(0, input)
}

fn keys_at(depth: usize, input: &[u8]) -> Parsed<'_, SearchKey> {
    let (rest, mut keys) = separated_list1(sp, |input| search_key(depth, input)).parse(input)?;
    let only = if keys.len() == 1 { keys.pop() } else { None };
    Ok((rest, only.unwrap_or(SearchKey::And(keys))))
}

fn search_key(depth: usize, input: &[u8]) -> Parsed<'_, SearchKey> {
    if depth > MAX_DEPTH {
        return fail();
    }
    match input.first() {
        Some(b'(') => delimited(char('('), |input| keys_at(depth + 1, input), char(')')).parse(input),
        Some(b'$') => value(SearchKey::Saved, char('$')).parse(input),
        Some(b'0'..=b'9' | b'*') => map(sequence_set, SearchKey::Seq).parse(input),
        _ => {
            let (rest, name) = take_while1(|c: u8| c.is_ascii_alphabetic()).parse(input)?;
            named(&name.to_ascii_uppercase(), depth, rest)
        }
    }
}

const fn fail<T>() -> Parsed<'static, T> {
    Err(nom::Err::Error(Mismatch::Syntax))
}

/// The keys that stand for themselves.
fn plain(name: &[u8]) -> Option<SearchKey> {
    let not = |key| SearchKey::Not(Box::new(key));
    Some(match name {
        b"ALL" => SearchKey::All,
        b"ANSWERED" => SearchKey::Flag(Flag::Answered),
        b"DELETED" => SearchKey::Flag(Flag::Deleted),
        b"DRAFT" => SearchKey::Flag(Flag::Draft),
        b"FLAGGED" => SearchKey::Flag(Flag::Flagged),
        b"SEEN" => SearchKey::Flag(Flag::Seen),
        b"UNANSWERED" => not(SearchKey::Flag(Flag::Answered)),
        b"UNDELETED" => not(SearchKey::Flag(Flag::Deleted)),
        b"UNDRAFT" => not(SearchKey::Flag(Flag::Draft)),
        b"UNFLAGGED" => not(SearchKey::Flag(Flag::Flagged)),
        b"UNSEEN" => not(SearchKey::Flag(Flag::Seen)),
        b"RECENT" => SearchKey::Recent,
        b"OLD" => not(SearchKey::Recent),
        b"NEW" => SearchKey::And(vec![SearchKey::Recent, not(SearchKey::Flag(Flag::Seen))]),
        _ => return None,
    })
}

/// A key by its name, in capitals, and what follows it.
fn named<'a>(name: &[u8], depth: usize, rest: &'a [u8]) -> Parsed<'a, SearchKey> {
    if let Some(key) = plain(name) {
        return Ok((rest, key));
    }
    let (rest, ()) = sp(rest)?;
    let octets =
        |make: fn(Vec<u8>) -> SearchKey| map(astring, move |octets| make(octets.into_owned())).parse(rest);
    let address = |header| map(astring, move |it| SearchKey::Address(header, it.into_owned())).parse(rest);
    let keyword = || map_opt(atom, |name| name.parse().ok().map(SearchKey::Keyword)).parse(rest);
    match name {
        b"BCC" => address(Header::Bcc),
        b"CC" => address(Header::Cc),
        b"FROM" => address(Header::From),
        b"SUBJECT" => address(Header::Subject),
        b"TO" => address(Header::To),
        b"BODY" => octets(SearchKey::Body),
        b"TEXT" => octets(SearchKey::Text),
        b"HEADER" => header(rest),
        b"KEYWORD" => keyword(),
        b"UNKEYWORD" => keyword().map(|(rest, key)| (rest, SearchKey::Not(Box::new(key)))),
        b"BEFORE" => map(date, SearchKey::Before).parse(rest),
        b"ON" => map(date, SearchKey::On).parse(rest),
        b"SINCE" => map(date, SearchKey::Since).parse(rest),
        b"SENTBEFORE" => map(date, SearchKey::SentBefore).parse(rest),
        b"SENTON" => map(date, SearchKey::SentOn).parse(rest),
        b"SENTSINCE" => map(date, SearchKey::SentSince).parse(rest),
        b"LARGER" => map(decimal, SearchKey::Larger).parse(rest),
        b"SMALLER" => map(decimal, SearchKey::Smaller).parse(rest),
        b"UID" => alt((value(SearchKey::Saved, char('$')), map(sequence_set, SearchKey::Uid))).parse(rest),
        b"NOT" => search_key(depth + 1, rest).map(|(rest, key)| (rest, SearchKey::Not(Box::new(key)))),
        b"OR" => or(depth, rest),
        _ => fail(),
    }
}

/// `"HEADER" SP header-fld-name SP astring`
fn header(input: &[u8]) -> Parsed<'_, SearchKey> {
    let name = map_opt(astring, |name| String::from_utf8(name.into_owned()).ok());
    map((name, preceded(sp, astring)), |(name, octets)| SearchKey::Header(name, octets.into_owned()))
        .parse(input)
}

/// `"OR" SP search-key SP search-key`
fn or(depth: usize, input: &[u8]) -> Parsed<'_, SearchKey> {
    let (rest, left) = search_key(depth + 1, input)?;
    let (rest, right) = preceded(sp, |input| search_key(depth + 1, input)).parse(rest)?;
    Ok((rest, SearchKey::Or(Box::new(left), Box::new(right))))
}

/// `search-return-opts`: what ESEARCH tells of the messages found. RFC 4731 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the standard, in any combination")]
pub struct SearchReturns {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
    /// `SAVE`: later commands may say `$`. RFC 5182.
    pub save: bool,
}

/// `"RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"`; none means ALL.
fn search_returns(input: &[u8]) -> Parsed<'_, SearchReturns> {
    let option = alt((
        tag_no_case("MIN"),
        tag_no_case("MAX"),
        tag_no_case("ALL"),
        tag_no_case("COUNT"),
        tag_no_case("SAVE"),
    ));
    let options = delimited((char('('), opt(sp)), separated_list0(sp, option), (opt(sp), char(')')));
    map(preceded((tag_no_case("RETURN"), sp), options), |options: Vec<&[u8]>| {
        let has = |name: &[u8]| options.iter().any(|option| option.eq_ignore_ascii_case(name));
        SearchReturns {
            min: has(b"MIN"),
            max: has(b"MAX"),
            all: has(b"ALL") || options.is_empty(),
            count: has(b"COUNT"),
            save: has(b"SAVE"),
        }
    })
    .parse(input)
}

/// What follows SEARCH: what to return, the charset, and the keys.
type Program = (Option<SearchReturns>, Option<String>, SearchKey);

/// `[search-return-opts SP] ["CHARSET" SP astring SP] search-key *(SP search-key)`
pub(crate) fn search_program(input: &[u8]) -> Parsed<'_, Program> {
    let charset = map_opt(delimited((tag_no_case("CHARSET"), sp), astring, sp), |name| {
        String::from_utf8(name.into_owned()).ok()
    });
    (opt(terminated(search_returns, sp)), opt(charset), search_keys).parse(input)
}
