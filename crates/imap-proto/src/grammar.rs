//! The terminals and small rules of RFC 3501 §9 that several commands share.

use std::borrow::Cow;

use mail_types::{Bound, Flags, InternalDate, MailboxName, MailboxNameError, Number, NumberSet};
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take, take_while, take_while_m_n, take_while1};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{cut, map, map_opt, map_res, opt, recognize, value, verify};
use nom::error::{ErrorKind, FromExternalError, ParseError};
use nom::multi::{separated_list0, separated_list1};
use nom::sequence::{delimited, pair, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use crate::expected::{Expected, Noun};

/// Why input is not what a grammar says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Something else was expected where so many octets were left.
    Expected(Expected, usize),
    /// The command is well formed, but this is no name for a mailbox.
    Name(MailboxNameError),
    /// It may be well formed, but lists lie too deep in each other.
    TooDeep,
}

impl ParseError<&[u8]> for Mismatch {
    fn from_error_kind(input: &[u8], kind: ErrorKind) -> Self {
        let expected = if kind == ErrorKind::Eof { Expected::End } else { Expected::Word };
        Self::Expected(expected, input.len())
    }

    fn from_char(input: &[u8], char: char) -> Self {
        Self::Expected(Expected::Char { char }, input.len())
    }

    fn append(_: &[u8], _: ErrorKind, inner: Self) -> Self {
        inner
    }

    /// Of two ways to read it, the one that came further tells more.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Expected(_, one), Self::Expected(_, two)) if one < two => self,
            _ => other,
        }
    }
}

impl<E> FromExternalError<&[u8], E> for Mismatch {
    fn from_external_error(input: &[u8], kind: ErrorKind, _: E) -> Self {
        Self::from_error_kind(input, kind)
    }
}

/// Says what `parser` expects, where it fails at its first octet.
pub(crate) fn expect<'a, T>(
    what: Noun,
    parser: impl Parser<&'a [u8], Output = T, Error = Mismatch>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    labelled(Expected::Named { noun: what }, parser)
}

fn labelled<'a, T>(
    what: Expected,
    mut parser: impl Parser<&'a [u8], Output = T, Error = Mismatch>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    move |input| {
        parser.parse(input).map_err(|error| {
            error.map(|mismatch| {
                let at_once = matches!(mismatch, Mismatch::Expected(_, left) if left == input.len());
                if at_once { Mismatch::Expected(what, input.len()) } else { mismatch }
            })
        })
    }
}

/// `"(" [item *(SP item)] ")"`
pub(crate) fn list0<'a, T>(
    what: Noun,
    item: impl Parser<&'a [u8], Output = T, Error = Mismatch>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, Vec<T>> {
    in_parentheses(what, separated_list0(sp, item))
}

/// `"(" item *(SP item) ")"`
pub(crate) fn list1<'a, T>(
    what: Noun,
    item: impl Parser<&'a [u8], Output = T, Error = Mismatch>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, Vec<T>> {
    in_parentheses(what, separated_list1(sp, expect(what, item)))
}

fn in_parentheses<'a, T>(
    what: Noun,
    items: impl Parser<&'a [u8], Output = Vec<T>, Error = Mismatch>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, Vec<T>> {
    let end = (opt(sp), labelled(Expected::Item { noun: what }, char(')')));
    // Nothing else begins with a parenthesis where a list may stand, so that what is wrong within it is what is wrong.
    let mut list = preceded(char('('), cut(delimited(opt(sp), items, end)));
    move |input| list.parse(input)
}

pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Mismatch>;

/// `ATOM-CHAR`
pub(crate) const fn is_atom_char(c: u8) -> bool {
    c.is_ascii_graphic() && !matches!(c, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`
pub(crate) const fn is_astring_char(c: u8) -> bool {
    is_atom_char(c) || c == b']'
}

/// `SP`; some clients send several.
pub(crate) fn sp(input: &[u8]) -> Parsed<'_, ()> {
    expect(Noun::Space, value((), take_while1(|c| c == b' '))).parse(input)
}

/// `atom = 1*ATOM-CHAR`
pub(crate) fn atom(input: &[u8]) -> Parsed<'_, &str> {
    expect(Noun::Atom, map_res(take_while1(is_atom_char), std::str::from_utf8)).parse(input)
}

/// `number = 1*DIGIT`, of 32 bits.
pub(crate) fn number(input: &[u8]) -> Parsed<'_, u32> {
    decimal(input)
}

pub(crate) fn decimal<T: std::str::FromStr>(input: &[u8]) -> Parsed<'_, T> {
    let digits = map_opt(digit1, |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok());
    expect(Noun::Number, digits).parse(input)
}

/// `quoted = DQUOTE *QUOTED-CHAR DQUOTE`, with any octet but CR, LF and NUL inside.
fn quoted(input: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
    let (mut rest, _) = char('"').parse(input)?;
    let mut content = Cow::Borrowed(&b""[..]);
    loop {
        let plain = |c| !matches!(c, b'"' | b'\\' | b'\r' | b'\n' | 0);
        let (behind, piece) = take_while(plain).parse(rest)?;
        if content.is_empty() {
            content = Cow::Borrowed(piece);
        } else {
            content.to_mut().extend_from_slice(piece);
        }
        let (behind, end) = one_of("\"\\").parse(behind)?;
        rest = behind;
        if end == '"' {
            return Ok((rest, content));
        }
        let (behind, escaped) = verify(take(1_usize), |c: &[u8]| !matches!(c, b"\r" | b"\n")).parse(rest)?;
        content.to_mut().extend_from_slice(escaped);
        rest = behind;
    }
}

/// `literal = "{" number ["+"] "}" CRLF *CHAR8`
fn literal(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, size) = delimited(tag("{"), decimal::<usize>, (opt(char('+')), tag("}\r\n"))).parse(input)?;
    verify(take(size), |octets: &[u8]| !octets.contains(&0)).parse(rest)
}

/// `literal8 = "~{" number ["+"] "}" CRLF *OCTET`. RFC 3516 §7.
pub(crate) fn literal8(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, size) = delimited(tag("~{"), decimal::<usize>, (opt(char('+')), tag("}\r\n"))).parse(input)?;
    take(size).parse(rest)
}

/// `string = quoted / literal`
pub(crate) fn string(input: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
    expect(Noun::String, alt((quoted, map(literal, Cow::Borrowed)))).parse(input)
}

/// `astring = 1*ASTRING-CHAR / string`
pub(crate) fn astring(input: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
    expect(Noun::Astring, alt((map(take_while1(is_astring_char), Cow::Borrowed), string))).parse(input)
}

/// An `astring` in UTF-8.
pub(crate) fn text(input: &[u8]) -> Parsed<'_, String> {
    let utf8 = map_opt(astring, |octets| String::from_utf8(octets.into_owned()).ok());
    expect(Noun::Utf8Text, utf8).parse(input)
}

/// An `astring` that names something. What is not UTF-8 in it is read as U+FFFD, since the grammar has it, and nothing has such a name.
pub(crate) fn name(input: &[u8]) -> Parsed<'_, String> {
    map(astring, |octets| String::from_utf8_lossy(&octets).into_owned()).parse(input)
}

/// `nstring = string / nil`
pub(crate) fn nstring(input: &[u8]) -> Parsed<'_, Option<Vec<u8>>> {
    let octets = map(string, |octets| Some(octets.into_owned()));
    expect(Noun::Nstring, alt((value(None, tag_no_case("NIL")), octets))).parse(input)
}

/// `mailbox = "INBOX" / astring`. Octets beyond ASCII in an atom are let pass as some clients send them. In `UTF8` no name is in
/// modified UTF-7 (RFC 9051 §5.1, RFC 6855 §3).
pub(crate) fn mailbox<const UTF8: bool>(input: &[u8]) -> Parsed<'_, MailboxName> {
    let octets = alt((map(take_while1(|c| is_astring_char(c) || c >= 0x80), Cow::Borrowed), string));
    let (rest, name) = expect(Noun::MailboxName, octets).parse(input)?;
    let parsed = if UTF8 { MailboxName::from_utf8(&name) } else { MailboxName::from_imap(&name) };
    match parsed {
        Ok(name) => Ok((rest, name)),
        Err(error) => Err(nom::Err::Failure(Mismatch::Name(error))),
    }
}

/// `list-mailbox = 1*list-char / string`
pub(crate) fn list_mailbox(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    let list_char = |c| is_astring_char(c) || matches!(c, b'%' | b'*') || c >= 0x80;
    let octets = alt((map(take_while1(list_char), <[u8]>::to_vec), map(string, Cow::into_owned)));
    expect(Noun::MailboxNameOrPattern, octets).parse(input)
}

/// `seq-number = nz-number / "*"`
pub(crate) fn bound<T: Number>(input: &[u8]) -> Parsed<'_, Bound<T>> {
    let nz_number = map_opt(number, |number| T::try_from(number).ok().map(Bound::Number));
    alt((value(Bound::Star, char('*')), nz_number)).parse(input)
}

/// `sequence-set = (seq-number / seq-range) *("," sequence-set)`
pub(crate) fn sequence_set<T: Number>(input: &[u8]) -> Parsed<'_, NumberSet<T>> {
    let range = alt((separated_pair(bound, char(':'), bound), map(bound, |number| (number, number))));
    expect(Noun::MessageNumbers, map(separated_list1(char(','), range), NumberSet::from_ranges)).parse(input)
}

/// `flag`
fn flag(input: &[u8]) -> Parsed<'_, &str> {
    expect(Noun::Flag, map_res(recognize(pair(opt(char('\\')), atom)), std::str::from_utf8)).parse(input)
}

/// `None` if one is no flag that a client may set; `\Recent` is none (RFC 3501 §2.3.2).
fn flags_of(names: Vec<&str>) -> Option<Flags> {
    let mut flags = Flags::new();
    for name in names {
        if name.starts_with('\\') {
            flags.insert(name.parse().ok()?);
        } else {
            flags.insert_keyword(name.parse().ok()?);
        }
    }
    Some(flags)
}

/// `flag-list = "(" [flag *(SP flag)] ")"`
fn flag_names(input: &[u8]) -> Parsed<'_, Vec<&str>> {
    list0(Noun::Flag, flag).parse(input)
}

/// The flags of APPEND. `\Recent` is let pass and dropped: a sloppy client must not lose its message for it.
pub(crate) fn append_flags(input: &[u8]) -> Parsed<'_, Flags> {
    let can_be_set = |name: &&str| !name.eq_ignore_ascii_case("\\Recent");
    let flags = map_opt(flag_names, |names| flags_of(names.into_iter().filter(can_be_set).collect()));
    expect(Noun::FlagList, flags).parse(input)
}

/// `flag-list / (flag *(SP flag))`: the flags of STORE.
pub(crate) fn store_flags(input: &[u8]) -> Parsed<'_, Flags> {
    let flags = map_opt(alt((flag_names, separated_list1(sp, flag))), flags_of);
    expect(Noun::SettableFlags, flags).parse(input)
}

/// `date-month`
fn month(input: &[u8]) -> Parsed<'_, i8> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    map_opt(take(3_usize), |name: &[u8]| {
        let position = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
        i8::try_from(position + 1).ok()
    })
    .parse(input)
}

/// `date = date-text / DQUOTE date-text DQUOTE`, in days since 1970-01-01.
pub(crate) fn date(input: &[u8]) -> Parsed<'_, i64> {
    expect(Noun::Date, alt((delimited(char('"'), date_text, char('"')), date_text))).parse(input)
}

/// `date-text = date-day "-" date-month "-" date-year`
fn date_text(input: &[u8]) -> Parsed<'_, i64> {
    map_opt(
        (terminated(decimal::<i8>, char('-')), terminated(month, char('-')), year),
        |(day, month, year)| Some(days(jiff::civil::Date::new(year, month, day).ok()?)),
    )
    .parse(input)
}

fn days(date: jiff::civil::Date) -> i64 {
    let epoch = jiff::civil::date(1970, 1, 1);
    date.duration_since(epoch).as_secs() / 86_400
}

fn year(input: &[u8]) -> Parsed<'_, i16> {
    map_opt(digits(4), |digits| digits.try_into().ok()).parse(input)
}

/// Exactly `count` digits.
fn digits(count: usize) -> impl FnMut(&[u8]) -> Parsed<'_, u32> {
    move |input| {
        map_opt(take_while_m_n(count, count, |c: u8| c.is_ascii_digit()), |digits| {
            std::str::from_utf8(digits).ok()?.parse().ok()
        })
        .parse(input)
    }
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
pub(crate) fn date_time(input: &[u8]) -> Parsed<'_, InternalDate> {
    let day = preceded(opt(char(' ')), decimal::<i8>);
    let date = (terminated(day, char('-')), terminated(month, char('-')), year);
    let time = (terminated(digits(2), char(':')), terminated(digits(2), char(':')), digits(2));
    let zone = (one_of("+-"), digits(2), digits(2));
    let whole = (terminated(date, sp), terminated(time, sp), zone);
    map_opt(
        delimited(char('"'), whole, char('"')),
        |((day, month, year), (hour, minute, second), (sign, zone_hours, zone_minutes))| {
            let date = jiff::civil::Date::new(year, month, day).ok()?;
            if hour > 23 || minute > 59 || second > 60 || zone_hours > 23 || zone_minutes > 59 {
                return None;
            }
            let east = i16::try_from(zone_hours * 60 + zone_minutes).ok()?;
            let east = if sign == '-' { -east } else { east };
            let local = days(date) * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
            Some(InternalDate::from_unix(local - i64::from(east) * 60).with_offset(east))
        },
    )
    .parse(input)
}
