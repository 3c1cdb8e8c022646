//! What SEARCH can ask for. RFC 3501 §6.4.4.

use std::fmt;
use std::ops::Range;

use mail_types::{Flag, Keyword, SeqSet, UidSet};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, map, map_opt, opt, value, verify};
use nom::multi::separated_list1;
use nom::sequence::{delimited, preceded, separated_pair, terminated};

use crate::command::SearchRequest;
use crate::condstore::search_mod_seq;
use crate::expected::{Expected, Noun};
use crate::fetch::{FetchItem, fetch_att};
use crate::grammar::{
    Mismatch, Parsed, astring, atom, date, decimal, expect, list0, list1, name, number, sequence_set, sp,
};

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
    /// `SAVEDBEFORE`. RFC 8514.
    SavedBefore(i64),
    /// `SAVEDON`. RFC 8514.
    SavedOn(i64),
    /// `SAVEDSINCE`. RFC 8514.
    SavedSince(i64),
    /// `SENTBEFORE`
    SentBefore(i64),
    /// `SENTON`
    SentOn(i64),
    /// `SENTSINCE`
    SentSince(i64),
    /// `EMAILID`. RFC 8474.
    EmailId(String),
    /// `THREADID`. RFC 8474.
    ThreadId(String),
    /// `FILTER`: what is kept under this name, in lower case. RFC 5466.
    Filter(String),
    /// `OLDER`: than so many seconds, by the internal date. RFC 5032.
    Older(u32),
    /// `YOUNGER`
    Younger(u32),
    /// `LARGER`
    Larger(u64),
    /// `SMALLER`
    Smaller(u64),
    /// `MODSEQ`: this mod-sequence or a higher one. RFC 7162 §3.1.5.
    ModSeq(u64),
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
    /// `FUZZY`: what comes near is enough. RFC 6203.
    Fuzzy(Box<Self>),
}

impl SearchKey {
    /// The keys that `text` holds, if that is what it holds: the value of a filter (RFC 5466 §3.2).
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        all_consuming(search_keys).parse(text).ok().map(|(_, key)| key)
    }

    /// True if `holds` is true of this key or of one within it.
    pub fn any(&self, holds: &impl Fn(&Self) -> bool) -> bool {
        let within: Vec<&Self> = if let Self::And(keys) = self {
            keys.iter().collect()
        } else if let Self::Or(left, right) = self {
            vec![left, right]
        } else if let Self::Not(key) | Self::Fuzzy(key) = self {
            vec![key]
        } else {
            Vec::new()
        };
        holds(self) || within.into_iter().any(|key| key.any(holds))
    }
}

const SEARCH_KEY: Noun = Noun::SearchKey;

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
        return Err(nom::Err::Failure(Mismatch::TooDeep));
    }
    match input.first() {
        Some(b'(') => delimited(char('('), |input| keys_at(depth + 1, input), char(')')).parse(input),
        Some(b'$') => value(SearchKey::Saved, char('$')).parse(input),
        Some(b'0'..=b'9' | b'*') => map(sequence_set, SearchKey::Seq).parse(input),
        _ => {
            let word = take_while1(|c: u8| c.is_ascii_alphabetic());
            let (rest, name) = expect(SEARCH_KEY, word).parse(input)?;
            match named(&name.to_ascii_uppercase(), depth, rest) {
                Some(found) => found,
                None => fail(SEARCH_KEY, input),
            }
        }
    }
}

const fn fail<T>(what: Noun, input: &[u8]) -> Parsed<'static, T> {
    Err(nom::Err::Error(Mismatch::Expected(Expected::Named { noun: what }, input.len())))
}

/// The keys that stand for themselves.
fn plain(name: &[u8]) -> Option<SearchKey> {
    let not = |key| SearchKey::Not(Box::new(key));
    Some(match name {
        // Every mailbox keeps when it got a message (RFC 8514 §4.3).
        b"ALL" | b"SAVEDATESUPPORTED" => SearchKey::All,
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

/// A key by its name, in capitals, and what follows it; `None` if there is none of this name.
fn named<'a>(name: &[u8], depth: usize, behind: &'a [u8]) -> Option<Parsed<'a, SearchKey>> {
    if let Some(key) = plain(name) {
        return Some(Ok((behind, key)));
    }
    let space = sp(behind);
    let rest = space.as_ref().map_or(behind, |(rest, ())| rest);
    let octets =
        |make: fn(Vec<u8>) -> SearchKey| map(astring, move |octets| make(octets.into_owned())).parse(rest);
    let address = |header| map(astring, move |it| SearchKey::Address(header, it.into_owned())).parse(rest);
    let keyword = || map_opt(atom, |name| name.parse().ok().map(SearchKey::Keyword)).parse(rest);
    let found = match name {
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
        b"SAVEDBEFORE" => map(date, SearchKey::SavedBefore).parse(rest),
        b"SAVEDON" => map(date, SearchKey::SavedOn).parse(rest),
        b"SAVEDSINCE" => map(date, SearchKey::SavedSince).parse(rest),
        b"SENTBEFORE" => map(date, SearchKey::SentBefore).parse(rest),
        b"SENTON" => map(date, SearchKey::SentOn).parse(rest),
        b"SENTSINCE" => map(date, SearchKey::SentSince).parse(rest),
        b"EMAILID" => map(object_id, SearchKey::EmailId).parse(rest),
        b"THREADID" => map(object_id, SearchKey::ThreadId).parse(rest),
        b"FILTER" => map(filter_name, SearchKey::Filter).parse(rest),
        b"OLDER" => map(nz_number, SearchKey::Older).parse(rest),
        b"YOUNGER" => map(nz_number, SearchKey::Younger).parse(rest),
        b"LARGER" => map(decimal, SearchKey::Larger).parse(rest),
        b"SMALLER" => map(decimal, SearchKey::Smaller).parse(rest),
        b"MODSEQ" => map(search_mod_seq, SearchKey::ModSeq).parse(rest),
        b"UID" => alt((value(SearchKey::Saved, char('$')), map(sequence_set, SearchKey::Uid))).parse(rest),
        b"NOT" => search_key(depth + 1, rest).map(|(rest, key)| (rest, SearchKey::Not(Box::new(key)))),
        b"FUZZY" => search_key(depth + 1, rest).map(|(rest, key)| (rest, SearchKey::Fuzzy(Box::new(key)))),
        b"OR" => or(depth, rest),
        _ => return None,
    };
    Some(space.and(found))
}

/// `"HEADER" SP header-fld-name SP astring`
fn header(input: &[u8]) -> Parsed<'_, SearchKey> {
    map((name, preceded(sp, astring)), |(name, octets)| SearchKey::Header(name, octets.into_owned()))
        .parse(input)
}

/// `"OR" SP search-key SP search-key`
fn or(depth: usize, input: &[u8]) -> Parsed<'_, SearchKey> {
    let (rest, left) = search_key(depth + 1, input)?;
    let (rest, right) = preceded(sp, |input| search_key(depth + 1, input)).parse(rest)?;
    Ok((rest, SearchKey::Or(Box::new(left), Box::new(right))))
}

/// `filter-name = 1*<any ATOM-CHAR except "/">`. RFC 5466 §4.
fn filter_name(input: &[u8]) -> Parsed<'_, String> {
    map(verify(atom, |name: &str| !name.contains('/')), str::to_ascii_lowercase).parse(input)
}

/// `objectid = 1*255(ALPHA / DIGIT / "_" / "-")`. RFC 8474 §7.
fn object_id(input: &[u8]) -> Parsed<'_, String> {
    let is_part = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    map_opt(take_while_m_n(1, 255, is_part), |id: &[u8]| String::from_utf8(id.to_vec()).ok()).parse(input)
}

/// `nz-number`
fn nz_number(input: &[u8]) -> Parsed<'_, u32> {
    verify(number, |number| *number > 0).parse(input)
}

/// `partial-range`: some of the results, by their position. RFC 9394 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialRange {
    /// From 1.
    pub first: u32,
    /// The last one, included; it may be the lower one.
    pub last: u32,
    /// Counted from the end.
    pub from_end: bool,
}

impl PartialRange {
    /// What it means of so many results.
    #[must_use]
    pub fn of(&self, results: usize) -> Range<usize> {
        let low = self.first.min(self.last).saturating_sub(1) as usize;
        let high = self.first.max(self.last) as usize;
        let (low, high) = (low.min(results), high.min(results));
        if self.from_end { results - high..results - low } else { low..high }
    }
}

impl fmt::Display for PartialRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.from_end { "-" } else { "" };
        write!(f, "{sign}{}:{sign}{}", self.first, self.last)
    }
}

/// `partial-range = nz-number ":" nz-number / MINUS nz-number ":" MINUS nz-number`
pub(crate) fn partial_range(input: &[u8]) -> Parsed<'_, PartialRange> {
    let minus = || preceded(char('-'), nz_number);
    let forwards = map(separated_pair(nz_number, char(':'), nz_number), |it| (it, false));
    let backwards = map(separated_pair(minus(), char(':'), minus()), |it| (it, true));
    map(alt((forwards, backwards)), |((first, last), from_end)| PartialRange { first, last, from_end })
        .parse(input)
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
    /// `UPDATE`: the client wants to hear of changes. RFC 5267 §4.3.
    pub update: bool,
    /// `PARTIAL`: as ALL, but only some. RFC 9394.
    pub partial: Option<PartialRange>,
    /// `RELEVANCY`: how near to what a FUZZY key asks for. RFC 6203 §4.
    pub relevancy: bool,
}

/// `"RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"`; none means ALL. Of ALL and PARTIAL there may be one, and
/// that once (RFC 9394 §3.1). With UPDATE may stand what is to be fetched (RFC 5465 §8, `modifier-update`).
pub(crate) fn search_returns(input: &[u8]) -> Parsed<'_, (SearchReturns, Vec<FetchItem>)> {
    let none = SearchReturns::default();
    let option = alt((
        value(SearchReturns { min: true, ..none }, tag_no_case("MIN")),
        value(SearchReturns { max: true, ..none }, tag_no_case("MAX")),
        value(SearchReturns { all: true, ..none }, tag_no_case("ALL")),
        value(SearchReturns { count: true, ..none }, tag_no_case("COUNT")),
        value(SearchReturns { save: true, ..none }, tag_no_case("SAVE")),
        value(SearchReturns { relevancy: true, ..none }, tag_no_case("RELEVANCY")),
        // A hint that the search will be made again (RFC 5267 §4.2): what that needs is kept anyway.
        value(none, tag_no_case("CONTEXT")),
        map(preceded((tag_no_case("PARTIAL"), sp), partial_range), |range| SearchReturns {
            partial: Some(range),
            ..none
        }),
    ));
    let items = opt(preceded(opt(sp), list1(Noun::FetchItem, fetch_att)));
    let update = map(preceded(tag_no_case("UPDATE"), items), |items| {
        (SearchReturns { update: true, ..none }, items.unwrap_or_default())
    });
    let option = alt((update, map(option, |option| (option, Vec::new()))));
    let options = list0(Noun::ResultOption, option);
    map_opt(preceded((tag_no_case("RETURN"), sp), options), |options| {
        let (options, updates): (Vec<SearchReturns>, Vec<Vec<FetchItem>>) = options.into_iter().unzip();
        let returns = SearchReturns {
            min: options.iter().any(|it| it.min),
            max: options.iter().any(|it| it.max),
            all: options.iter().any(|it| it.all) || options.is_empty(),
            count: options.iter().any(|it| it.count),
            save: options.iter().any(|it| it.save),
            update: options.iter().any(|it| it.update),
            partial: options.iter().find_map(|it| it.partial),
            relevancy: options.iter().any(|it| it.relevancy),
        };
        let partials = options.iter().filter(|it| it.partial.is_some()).count();
        let is_valid = partials == 0 || (partials == 1 && !returns.all);
        is_valid.then(|| (returns, updates.concat()))
    })
    .parse(input)
}

/// `[search-return-opts SP] ["CHARSET" SP astring SP] search-key *(SP search-key)`, to be answered with sequence numbers.
pub(crate) fn search_program(input: &[u8]) -> Parsed<'_, SearchRequest> {
    let charset = map_opt(delimited((tag_no_case("CHARSET"), sp), astring, sp), |name| {
        String::from_utf8(name.into_owned()).ok()
    });
    let program = (opt(terminated(search_returns, sp)), opt(charset), search_keys);
    map(program, |(returns, charset, key)| {
        let (returns, updates) = returns.unzip();
        SearchRequest { uid: false, returns, charset, key, updates: updates.unwrap_or_default() }
    })
    .parse(input)
}
