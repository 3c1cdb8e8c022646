use std::fmt;

use mail_types::Secret;
use nom::bytes::complete::take_while1;
use nom::character::complete::{digit1, space0, space1};
use nom::combinator::{all_consuming, map, map_opt, opt};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use crate::MessageNumber;

/// A command of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// RFC 2449 §5
    Capa,
    /// RFC 2595 §4
    Stls,
    /// Without a mechanism: list them, as Outlook asks before it chooses one.
    AuthList,
    /// RFC 5034 §4
    Auth {
        /// The mechanism's name as it came.
        mechanism: String,
        /// In base64 as it came, `=` for an empty one.
        initial: Option<Secret<String>>,
    },
    /// RFC 1939 §7
    User(String),
    /// RFC 1939 §7
    Pass(Secret<String>),
    /// RFC 6856 §2.1
    Utf8,
    /// RFC 6856 §3: the language asked for, or a list of them.
    Lang(Option<String>),
    /// RFC 1939 §5
    Stat,
    /// RFC 1939 §5
    List(Option<MessageNumber>),
    /// RFC 1939 §7
    Uidl(Option<MessageNumber>),
    /// RFC 1939 §5
    Retr(MessageNumber),
    /// RFC 1939 §7
    Top {
        /// Of which message.
        message: MessageNumber,
        /// Of its body.
        lines: u64,
    },
    /// RFC 1939 §5
    Dele(MessageNumber),
    /// RFC 1939 §5
    Rset,
    /// RFC 1939 §5
    Noop,
    /// RFC 1939 §4, §5, §6
    Quit,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The keyword is not known.
    #[error("unknown command")]
    UnknownCommand,
    /// The keyword is known, what follows does not fit it.
    #[error("the arguments don't fit the command")]
    Arguments,
}

impl Command {
    /// Parses one line, given without its line end.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let (keyword, rest) = split_keyword(line);
        match keyword.to_ascii_uppercase().as_slice() {
            b"CAPA" => bare(rest, Self::Capa),
            b"STLS" => bare(rest, Self::Stls),
            b"AUTH" => auth(rest),
            b"USER" => Ok(Self::User(verbatim(rest)?)),
            b"PASS" => Ok(Self::Pass(Secret::new(verbatim(rest)?))),
            b"UTF8" => bare(rest, Self::Utf8),
            b"LANG" => arguments(rest, map(opt(word), Self::Lang)),
            b"STAT" => bare(rest, Self::Stat),
            b"LIST" => arguments(rest, map(opt(message_number), Self::List)),
            b"UIDL" => arguments(rest, map(opt(message_number), Self::Uidl)),
            b"RETR" => arguments(rest, map(message_number, Self::Retr)),
            b"TOP" => arguments(rest, top),
            b"DELE" => arguments(rest, map(message_number, Self::Dele)),
            b"RSET" => bare(rest, Self::Rset),
            b"NOOP" => bare(rest, Self::Noop),
            b"QUIT" => bare(rest, Self::Quit),
            _ => Err(ParseError::UnknownCommand),
        }
    }

    /// The line to send, with its CRLF.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut line = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut line);
        line.push_str("\r\n");
        line.into_bytes()
    }

    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Capa => out.write_str("CAPA"),
            Self::Stls => out.write_str("STLS"),
            Self::AuthList => out.write_str("AUTH"),
            Self::Auth { mechanism, initial: None } => write!(out, "AUTH {mechanism}"),
            Self::Auth { mechanism, initial: Some(initial) } => {
                write!(out, "AUTH {mechanism} {}", initial.reveal())
            }
            Self::User(name) => write!(out, "USER {name}"),
            Self::Pass(password) => write!(out, "PASS {}", password.reveal()),
            Self::Utf8 => out.write_str("UTF8"),
            Self::Lang(None) => out.write_str("LANG"),
            Self::Lang(Some(language)) => write!(out, "LANG {language}"),
            Self::Stat => out.write_str("STAT"),
            Self::List(None) => out.write_str("LIST"),
            Self::List(Some(message)) => write!(out, "LIST {message}"),
            Self::Uidl(None) => out.write_str("UIDL"),
            Self::Uidl(Some(message)) => write!(out, "UIDL {message}"),
            Self::Retr(message) => write!(out, "RETR {message}"),
            Self::Top { message, lines } => write!(out, "TOP {message} {lines}"),
            Self::Dele(message) => write!(out, "DELE {message}"),
            Self::Rset => out.write_str("RSET"),
            Self::Noop => out.write_str("NOOP"),
            Self::Quit => out.write_str("QUIT"),
        }
    }
}

/// The keyword, and what follows the one space behind it.
fn split_keyword(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|c| *c == b' ') {
        Some(space) => (line.get(..space).unwrap_or_default(), line.get(space + 1..).unwrap_or_default()),
        None => (line, &[]),
    }
}

/// A command without arguments; trailing blanks are forgiven.
fn bare(rest: &[u8], command: Command) -> Result<Command, ParseError> {
    if rest.iter().all(|c| *c == b' ') { Ok(command) } else { Err(ParseError::Arguments) }
}

/// All that follows, blanks included: a password may hold and end with them (RFC 1939 §7, PASS).
fn verbatim(rest: &[u8]) -> Result<String, ParseError> {
    let text = std::str::from_utf8(rest).map_err(|_| ParseError::Arguments)?;
    if text.is_empty() { Err(ParseError::Arguments) } else { Ok(text.to_owned()) }
}

fn arguments<'a>(
    rest: &'a [u8],
    grammar: impl Parser<&'a [u8], Output = Command, Error = nom::error::Error<&'a [u8]>>,
) -> Result<Command, ParseError> {
    let (_, command) =
        all_consuming(delimited(space0, grammar, space0)).parse(rest).map_err(|_| ParseError::Arguments)?;
    Ok(command)
}

/// `AUTH [mechanism [initial-response]]`
fn auth(rest: &[u8]) -> Result<Command, ParseError> {
    let initial = map(preceded(space1, word), |response| Some(Secret::new(response)));
    let chosen = map((word, opt(initial)), |(mechanism, initial)| Command::Auth {
        mechanism,
        initial: initial.flatten(),
    });
    arguments(rest, map(opt(chosen), |chosen| chosen.unwrap_or(Command::AuthList)))
}

/// `TOP msg n`
fn top(input: &[u8]) -> IResult<&[u8], Command> {
    map((message_number, preceded(space1, number)), |(message, lines)| Command::Top { message, lines })
        .parse(input)
}

/// One argument: printing ASCII characters.
fn word(input: &[u8]) -> IResult<&[u8], String> {
    map(take_while1(|c: u8| c.is_ascii_graphic()), |word: &[u8]| String::from_utf8_lossy(word).into_owned())
        .parse(input)
}

fn message_number(input: &[u8]) -> IResult<&[u8], MessageNumber> {
    map_opt(number, |number| u32::try_from(number).ok()?.try_into().ok()).parse(input)
}

fn number(input: &[u8]) -> IResult<&[u8], u64> {
    map_opt(digit1, |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok()).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Command, ParseError>) {
        assert_eq!(Command::parse(line.as_bytes()), expected, "{line:?}");
    }

    fn message(number: u32) -> MessageNumber {
        number.try_into().unwrap()
    }

    #[test]
    fn keywords_may_have_any_case() {
        check("quit", Ok(Command::Quit));
        check("QuIt", Ok(Command::Quit));
        check("STAT  ", Ok(Command::Stat));
    }

    #[test]
    fn a_password_is_taken_as_it_stands() {
        check("PASS  two words ", Ok(Command::Pass(Secret::new(" two words ".to_owned()))));
        check("USER jörg@example.org", Ok(Command::User("jörg@example.org".to_owned())));
        check("PASS", Err(ParseError::Arguments));
        check("USER ", Err(ParseError::Arguments));
        assert_eq!(Command::parse(b"USER \xff"), Err(ParseError::Arguments));
    }

    #[test]
    fn auth_stands_alone_with_a_mechanism_or_with_an_initial_response() {
        check("AUTH", Ok(Command::AuthList));
        check("auth plain", Ok(Command::Auth { mechanism: "plain".to_owned(), initial: None }));
        check(
            "AUTH PLAIN AHRlc3Q=",
            Ok(Command::Auth {
                mechanism: "PLAIN".to_owned(),
                initial: Some(Secret::new("AHRlc3Q=".to_owned())),
            }),
        );
        check("AUTH PLAIN a b", Err(ParseError::Arguments));
    }

    #[test]
    fn message_numbers_start_at_one() {
        check("LIST", Ok(Command::List(None)));
        check("LIST 2", Ok(Command::List(Some(message(2)))));
        check("UIDL 7", Ok(Command::Uidl(Some(message(7)))));
        check("RETR 0002", Ok(Command::Retr(message(2))));
        check("TOP 1 0", Ok(Command::Top { message: message(1), lines: 0 }));
        for line in ["RETR", "RETR 0", "RETR -1", "RETR x", "RETR 1 2", "DELE 4294967296", "LIST 0"] {
            check(line, Err(ParseError::Arguments));
        }
        for line in ["TOP 1", "TOP 1 -1", "TOP", "TOP 0 1", "TOP 1 2 3", "STAT 1", "QUIT now"] {
            check(line, Err(ParseError::Arguments));
        }
    }

    #[test]
    fn what_is_not_offered_is_unknown() {
        for line in ["APOP bob 0123", "XTND XMIT", "LAST", "", " ", "STAT\t1", "EHLO x"] {
            check(line, Err(ParseError::UnknownCommand));
        }
    }

    #[test]
    fn a_language_is_asked_for_or_listed() {
        check("LANG", Ok(Command::Lang(None)));
        check("LANG en", Ok(Command::Lang(Some("en".to_owned()))));
        check("LANG *", Ok(Command::Lang(Some("*".to_owned()))));
    }
}
