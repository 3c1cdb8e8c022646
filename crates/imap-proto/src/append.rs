//! What APPEND and REPLACE say beside the octets of their messages. RFC 3501 §6.3.11, RFC 3502 §3, RFC 4469 §5, RFC 6855 §4,
//! RFC 8508 §5.

use mail_types::{Flags, InternalDate, MailboxName};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::character::complete::char;
use nom::combinator::{map, opt, value};
use nom::sequence::{preceded, separated_pair, terminated};

use crate::MessageSet;
use crate::grammar::{Parsed, append_flags, date_time, mailbox, sp, text};

/// An APPEND or REPLACE up to its first literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendRequest {
    /// Which message is to go, for REPLACE: one number.
    pub replaces: Option<MessageSet>,
    /// Where to.
    pub mailbox: MailboxName,
    /// What comes before the literal.
    pub script: AppendScript,
}

/// What stands between two literals, and before and behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendScript {
    /// What to do, one after the other.
    pub steps: Vec<AppendStep>,
    /// What follows.
    pub next: AppendNext,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendStep {
    /// Another message begins.
    Begin {
        /// Its flags.
        flags: Flags,
        /// Its date; now when `None`.
        date: Option<InternalDate>,
    },
    /// What this URL names is the next part of the message. RFC 4469 §3.
    Url(String),
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendNext {
    /// A literal.
    Literal(Within),
    /// The end of the command.
    End,
}

/// What a literal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// A whole message.
    Message,
    /// A whole message in `UTF8 (…)`. RFC 6855 §4.
    Utf8,
    /// A part of a message in `CATENATE (…)`.
    Catenation,
    /// A part of a message in `UTF8 (…)` within `CATENATE (…)`. RFC 6855 §4.
    CatenatedUtf8,
}

impl AppendScript {
    /// What stands behind a literal, up to the one that is `announced` or to the end; `None` if the grammar does not allow it.
    #[must_use]
    pub fn behind(literal: Within, announced: bool, input: &[u8]) -> Option<Self> {
        let mut script = Self { steps: Vec::new(), next: AppendNext::End };
        let parsed = match literal {
            Within::Message => Ok((input, ())),
            Within::Utf8 => value((), (opt(sp), char(')'))).parse(input),
            Within::Catenation => script.parts(false, input),
            Within::CatenatedUtf8 => {
                preceded((opt(sp), char(')')), |input| script.parts(false, input)).parse(input)
            }
        };
        let (rest, ()) = parsed.ok()?;
        let (rest, ()) = script.more_messages(announced, rest).ok()?;
        let is_whole = rest.iter().all(|c| *c == b' ') && announced == (script.next != AppendNext::End);
        is_whole.then_some(script)
    }

    /// `*(SP append-message)` up to a literal; behind spaces there must be one if it may have been announced.
    fn more_messages<'a>(&mut self, announced: bool, input: &'a [u8]) -> Parsed<'a, ()> {
        let mut input = input;
        let goes_on =
            |rest: &[u8]| if announced { !rest.is_empty() } else { rest.iter().any(|c| *c != b' ') };
        while self.next == AppendNext::End && goes_on(input) {
            (input, ()) = preceded(sp, |input| self.message(input)).parse(input)?;
        }
        Ok((input, ()))
    }

    /// `append-message`, its literals left out.
    fn message<'a>(&mut self, input: &'a [u8]) -> Parsed<'a, ()> {
        let options = (opt(terminated(append_flags, sp)), opt(terminated(date_time, sp)));
        let (rest, (flags, date)) = { options }.parse(input)?;
        self.steps.push(AppendStep::Begin { flags: flags.unwrap_or_default(), date });
        if rest.is_empty() {
            self.next = AppendNext::Literal(Within::Message);
            return Ok((rest, ()));
        }
        let utf8 = (tag_no_case("UTF8"), sp, char('('), opt(sp));
        let catenation = (tag_no_case("CATENATE"), sp, char('('));
        let (rest, within) =
            alt((value(Within::Utf8, utf8), value(Within::Catenation, catenation))).parse(rest)?;
        if within == Within::Catenation {
            let (rest, ()) = opt(sp).map(|_| ()).parse(rest)?;
            return self.parts(true, rest);
        }
        self.next = AppendNext::Literal(within);
        Ok((rest, ()))
    }

    /// `*(SP cat-part) ")"`, or the first of them without its space.
    fn parts<'a>(&mut self, mut is_first: bool, input: &'a [u8]) -> Parsed<'a, ()> {
        let mut input = input;
        loop {
            let end: Parsed<'a, _> = preceded(opt(sp), char(')')).parse(input);
            if let (false, Ok((rest, _))) = (is_first, end) {
                return Ok((rest, ()));
            }
            if !is_first {
                (input, ()) = sp(input)?;
            }
            is_first = false;
            let (rest, part) = cat_part(input)?;
            match part {
                Part::Url(url) => self.steps.push(AppendStep::Url(url)),
                Part::Literal(within) => {
                    self.next = AppendNext::Literal(within);
                    return Ok((rest, ()));
                }
            }
            input = rest;
        }
    }
}

/// A part in `CATENATE (…)`.
#[derive(Debug, Clone)]
enum Part {
    Url(String),
    Literal(Within),
}

/// `cat-part = text-literal / url / utf8-literal`, the literals left out.
fn cat_part(input: &[u8]) -> Parsed<'_, Part> {
    let utf8 = (tag_no_case("UTF8"), sp, char('('), opt(sp));
    alt((
        value(Part::Literal(Within::Catenation), (tag_no_case("TEXT"), sp)),
        value(Part::Literal(Within::CatenatedUtf8), utf8),
        map(preceded((tag_no_case("URL"), sp), text), Part::Url),
    ))
    .parse(input)
}

/// `SP mailbox 1*(SP append-message)`
pub(crate) fn append<const UTF8: bool>(input: &[u8]) -> Parsed<'_, AppendRequest> {
    request::<UTF8>(None, input)
}

/// `SP seq-number SP mailbox SP append-message`. One message takes the place of one.
pub(crate) fn replace<'a, const UTF8: bool>(
    number: impl Parser<&'a [u8], Output = MessageSet, Error = crate::grammar::Mismatch>,
    input: &'a [u8],
) -> Parsed<'a, AppendRequest> {
    let (rest, number) = terminated(number, sp).parse(input)?;
    request::<UTF8>(Some(number), rest)
}

fn request<const UTF8: bool>(replaces: Option<MessageSet>, input: &[u8]) -> Parsed<'_, AppendRequest> {
    let mut script = AppendScript { steps: Vec::new(), next: AppendNext::End };
    // What the framer leaves of the command may end in spaces, or without them where the literal stood close.
    let message = |input| script.message(input);
    let (rest, (mailbox, ())) =
        separated_pair(mailbox::<UTF8>, alt((sp, value((), tag("")))), message).parse(input)?;
    let (rest, ()) = script.more_messages(true, rest)?;
    Ok((rest, AppendRequest { replaces, mailbox, script }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn begun(input: &str) -> (Vec<AppendStep>, AppendNext) {
        let (rest, request) = append::<false>(input.as_bytes()).unwrap();
        assert!(rest.is_empty(), "{input}");
        (request.script.steps, request.script.next)
    }

    fn begin(flags: &str) -> AppendStep {
        let flags = flags.split_whitespace().map(|flag| flag.parse::<mail_types::Keyword>().unwrap());
        AppendStep::Begin { flags: Flags::from_parts(0, flags), date: None }
    }

    fn url(text: &str) -> AppendStep {
        AppendStep::Url(text.to_owned())
    }

    #[test]
    fn a_message_is_a_literal() {
        assert_eq!(begun("x "), (vec![begin("")], AppendNext::Literal(Within::Message)));
        assert_eq!(begun("x ($A $B) "), (vec![begin("$A $B")], AppendNext::Literal(Within::Message)));
        let more = AppendScript::behind(Within::Message, true, b" ($A) ").unwrap();
        assert_eq!(
            more,
            AppendScript { steps: vec![begin("$A")], next: AppendNext::Literal(Within::Message) }
        );
        let end = AppendScript { steps: Vec::new(), next: AppendNext::End };
        assert_eq!(AppendScript::behind(Within::Message, false, b" "), Some(end.clone()));
        let bare = AppendScript { steps: vec![begin("")], next: AppendNext::Literal(Within::Message) };
        assert_eq!(AppendScript::behind(Within::Message, true, b" "), Some(bare.clone()));
        assert_eq!(AppendScript::behind(Within::Catenation, true, b") "), Some(bare));
        assert_eq!(AppendScript::behind(Within::Utf8, false, b")"), Some(end));
        assert_eq!(begun("x UTF8 ("), (vec![begin("")], AppendNext::Literal(Within::Utf8)));
    }

    #[test]
    fn a_message_is_made_of_parts() {
        let literal = AppendNext::Literal(Within::Catenation);
        assert_eq!(
            begun("x CATENATE (URL \"/a/;UID=1\" TEXT "),
            (vec![begin(""), url("/a/;UID=1")], literal)
        );
        assert_eq!(begun("x catenate (text "), (vec![begin("")], literal));
        assert_eq!(begun("x CATENATE (URL /a)"), (vec![begin(""), url("/a")], AppendNext::End));
        let steps = vec![begin(""), url("/a"), begin("$A"), url("/b"), begin("")];
        let both = "x CATENATE (URL /a) ($A) CATENATE (URL /b) ";
        assert_eq!(begun(both), (steps, AppendNext::Literal(Within::Message)));
        let urls = vec![begin(""), url("/a"), begin(""), url("/b")];
        assert_eq!(begun("x CATENATE (URL /a) CATENATE (URL /b)"), (urls, AppendNext::End));
        let more = AppendScript::behind(Within::Catenation, true, b" URL {2}\r\n/b URL /c TEXT ").unwrap();
        assert_eq!(more, AppendScript { steps: vec![url("/b"), url("/c")], next: literal });
        let more =
            AppendScript::behind(Within::Catenation, true, b" URL \"/c\") ($A) CATENATE (TEXT ").unwrap();
        assert_eq!(more, AppendScript { steps: vec![url("/c"), begin("$A")], next: literal });
    }

    #[test]
    fn a_part_may_be_in_utf8() {
        let next = AppendNext::Literal(Within::CatenatedUtf8);
        assert_eq!(begun("x CATENATE (UTF8 ("), (vec![begin("")], next));
        let more = AppendScript::behind(Within::CatenatedUtf8, true, b") UTF8 (").unwrap();
        assert_eq!(more, AppendScript { steps: Vec::new(), next });
        let end = AppendScript::behind(Within::CatenatedUtf8, false, b") URL /c)").unwrap();
        assert_eq!(end, AppendScript { steps: vec![url("/c")], next: AppendNext::End });
        assert_eq!(AppendScript::behind(Within::CatenatedUtf8, false, b")"), None);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for refused in [" x", ")", " CATENATE (", " CATENATE ()", " (\\Nonsense) "] {
            for announced in [false, true] {
                let parsed = AppendScript::behind(Within::Message, announced, refused.as_bytes());
                assert_eq!(parsed, None, "{refused}");
            }
        }
        for refused in ["", " ", "URL /c)", " TEXT x", " URL /c"] {
            assert_eq!(
                AppendScript::behind(Within::Catenation, false, refused.as_bytes()),
                None,
                "{refused}"
            );
        }
        assert_eq!(AppendScript::behind(Within::Utf8, false, b""), None);
    }
}
