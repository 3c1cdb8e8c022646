use std::fmt;

use mail_types::Address;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, tag_no_case, take_till, take_while};
use nom::combinator::{map, map_res, opt, recognize, value};
use nom::multi::separated_list1;
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use crate::{RcptParameters, Return, Xclient, dsn, xtext};

/// Where a message comes from; `None` for `<>`.
pub type ReversePath = Option<Address>;

/// Whom RCPT names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// Any address.
    Address(Address),
    /// `<postmaster>` without a domain. RFC 5321 §4.1.1.3.
    Postmaster,
}

/// `BODY=`, each with what those before it have. RFC 6152 §2, RFC 3030 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Body {
    /// 7BIT
    #[default]
    SevenBit,
    /// 8BITMIME
    EightBit,
    /// BINARYMIME: octets that are no lines.
    Binary,
}

impl Body {
    /// The parameter, behind a space; nothing for what is understood anyway.
    const fn parameter(self) -> &'static str {
        match self {
            Self::SevenBit => "",
            Self::EightBit => " BODY=8BITMIME",
            Self::Binary => " BODY=BINARYMIME",
        }
    }
}

/// What may stand behind the path in MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// RFC 1870, octets.
    pub size: Option<u64>,
    /// RFC 6152.
    pub body: Body,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461 §4.3.
    pub ret: Option<Return>,
    /// `ENVID`, decoded. RFC 3461 §4.4.
    pub envelope_id: Option<String>,
}

/// A client's command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the verbs of RFC 5321 §4.1.1")]
pub enum Command {
    Ehlo(String),
    /// RFC 2033 §4.1.
    Lhlo(String),
    Helo(String),
    Mail {
        from: ReversePath,
        parameters: MailParameters,
    },
    Rcpt {
        to: Recipient,
        parameters: RcptParameters,
    },
    Data,
    /// RFC 3030 §2.
    Bdat {
        size: u64,
        last: bool,
    },
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    /// A command of a standard that is not offered, by its verb: ETRN (RFC 1985), ATRN (RFC 2645), BURL (RFC 4468), and those that
    /// RFC 5321 §F.1 and §F.6 did away with.
    NotOffered(&'static str),
    /// RFC 3207.
    StartTls,
    /// RFC 4954; the initial response is still in base64.
    Auth {
        mechanism: String,
        initial: Option<Vec<u8>>,
    },
    /// From proxies of ours.
    Xclient(Box<Xclient>),
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// 500
    #[error("no such command")]
    UnknownCommand,
    /// A request of HTTP: a browser was made to send it here. 421
    #[error("HTTP")]
    Http,
    /// 501
    #[error("syntax error in the arguments")]
    Arguments,
    /// 555
    #[error("unknown parameter of MAIL or RCPT")]
    Parameter,
}

/// See [`Command::NotOffered`].
const NOT_OFFERED: [&str; 7] = ["ETRN", "ATRN", "TURN", "BURL", "SEND", "SOML", "SAML"];
/// RFC 9110 §9.3.
const HTTP: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl Command {
    /// True for a command that others must not be sent behind before its reply is here, and whose reply must not wait for theirs.
    /// RFC 2920 §3.1, §3.2; BDAT is no such one, RFC 3030 §2.
    #[must_use]
    pub const fn ends_group(&self) -> bool {
        match self {
            Self::Mail { .. } | Self::Rcpt { .. } | Self::Rset | Self::Bdat { .. } => false,
            Self::Ehlo(_)
            | Self::Lhlo(_)
            | Self::Helo(_)
            | Self::Data
            | Self::Noop
            | Self::Quit
            | Self::Vrfy
            | Self::Expn
            | Self::Help
            | Self::NotOffered(_)
            | Self::StartTls
            | Self::Auth { .. }
            | Self::Xclient(_) => true,
        }
    }

    /// Parses one line, given without its CRLF.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let line =
            std::str::from_utf8(line).map_err(|_| ParseError::Arguments)?.trim_end_matches([' ', '\t']);
        let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let arguments = arguments.trim_matches(' ');
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => host(arguments).map(Self::Ehlo),
            "HELO" => host(arguments).map(Self::Helo),
            "LHLO" => host(arguments).map(Self::Lhlo),
            "MAIL" => mail(arguments),
            "RCPT" => rcpt(arguments),
            "DATA" => bare(arguments, Self::Data),
            "BDAT" => bdat(arguments),
            "RSET" => bare(arguments, Self::Rset),
            "QUIT" => bare(arguments, Self::Quit),
            "STARTTLS" => bare(arguments, Self::StartTls),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" if !arguments.is_empty() => Ok(Self::Vrfy),
            "EXPN" if !arguments.is_empty() => Ok(Self::Expn),
            "AUTH" => auth(arguments),
            "XCLIENT" => Xclient::parse(arguments).map(|client| Self::Xclient(Box::new(client))),
            "VRFY" | "EXPN" => Err(ParseError::Arguments),
            other if HTTP.contains(&other) => Err(ParseError::Http),
            other => {
                let verb = NOT_OFFERED.into_iter().find(|verb| *verb == other);
                verb.map(Self::NotOffered).ok_or(ParseError::UnknownCommand)
            }
        }
    }
}

impl fmt::Display for Command {
    /// As it is sent, but for what AUTH carries, which is nobody's business, and for words that mean nothing to us.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ehlo(name) => write!(f, "EHLO {name}"),
            Self::Helo(name) => write!(f, "HELO {name}"),
            Self::Lhlo(name) => write!(f, "LHLO {name}"),
            Self::Mail { from: Some(from), parameters } => write!(f, "MAIL FROM:<{from}>{parameters}"),
            Self::Mail { from: None, parameters } => write!(f, "MAIL FROM:<>{parameters}"),
            Self::Rcpt { to: Recipient::Address(address), parameters } => {
                write!(f, "RCPT TO:<{address}>{parameters}")
            }
            Self::Rcpt { to: Recipient::Postmaster, parameters } => {
                write!(f, "RCPT TO:<postmaster>{parameters}")
            }
            Self::Data => f.write_str("DATA"),
            Self::Bdat { size, last: true } => write!(f, "BDAT {size} LAST"),
            Self::Bdat { size, last: false } => write!(f, "BDAT {size}"),
            Self::Rset => f.write_str("RSET"),
            Self::Noop => f.write_str("NOOP"),
            Self::Quit => f.write_str("QUIT"),
            Self::Vrfy => f.write_str("VRFY …"),
            Self::Expn => f.write_str("EXPN …"),
            Self::Help => f.write_str("HELP"),
            Self::NotOffered(verb) => f.write_str(verb),
            Self::StartTls => f.write_str("STARTTLS"),
            Self::Xclient(client) => write!(f, "XCLIENT{client}"),
            Self::Auth { mechanism, initial: None } => write!(f, "AUTH {mechanism}"),
            Self::Auth { mechanism, initial: Some(_) } => write!(f, "AUTH {mechanism} …"),
        }
    }
}

impl fmt::Display for MailParameters {
    /// Each behind a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.size {
            write!(f, " SIZE={size}")?;
        }
        f.write_str(self.body.parameter())?;
        if self.smtputf8 {
            f.write_str(" SMTPUTF8")?;
        }
        if let Some(ret) = self.ret {
            write!(f, " RET={ret}")?;
        }
        self.envelope_id.as_ref().map_or(Ok(()), |id| write!(f, " ENVID={}", xtext::encode(id)))
    }
}

fn bare(arguments: &str, command: Command) -> Result<Command, ParseError> {
    if arguments.is_empty() { Ok(command) } else { Err(ParseError::Arguments) }
}

/// The name in a greeting: anything visible, as real clients send what they like.
pub(crate) fn host(arguments: &str) -> Result<String, ParseError> {
    let valid = !arguments.is_empty()
        && arguments.len() <= 255
        && !arguments.contains(|c: char| c.is_control() || c == ' ');
    if valid { Ok(arguments.to_owned()) } else { Err(ParseError::Arguments) }
}

/// `"BDAT" SP chunk-size [ SP "LAST" ]`. RFC 3030 §2.
fn bdat(arguments: &str) -> Result<Command, ParseError> {
    let (size, rest) = arguments.split_once(' ').unwrap_or((arguments, ""));
    let digits = !size.is_empty() && size.bytes().all(|c| c.is_ascii_digit());
    let last = rest.trim().eq_ignore_ascii_case("LAST");
    if !digits || !(last || rest.is_empty()) {
        return Err(ParseError::Arguments);
    }
    size.parse().map(|size| Command::Bdat { size, last }).map_err(|_| ParseError::Arguments)
}

fn auth(arguments: &str) -> Result<Command, ParseError> {
    let mut words = arguments.split_ascii_whitespace();
    let mechanism = words.next().ok_or(ParseError::Arguments)?.to_owned();
    let initial = words.next().map(|word| word.as_bytes().to_vec());
    if words.next().is_some() { Err(ParseError::Arguments) } else { Ok(Command::Auth { mechanism, initial }) }
}

/// `"MAIL FROM:" Reverse-path [SP Mail-parameters]`, a space before the path forgiven.
fn mail(arguments: &str) -> Result<Command, ParseError> {
    let mut path = preceded((tag_no_case("FROM:"), take_while(|c| c == ' ')), reverse_path);
    let (rest, from) = path.parse(arguments).map_err(|_| ParseError::Arguments)?;
    let mut parameters = MailParameters::default();
    for (keyword, text) in esmtp_parameters(rest)? {
        match (keyword.to_ascii_uppercase().as_str(), text) {
            ("SIZE", Some(size)) => parameters.size = Some(size_value(size)?),
            ("BODY", Some(body)) => parameters.body = body_value(body)?,
            ("SMTPUTF8", None) => parameters.smtputf8 = true,
            // RFC 4954 §5: taken, and not passed on.
            ("AUTH", Some(_)) => {}
            // RFC 3461 §4.5: not twice.
            ("RET", Some(ret)) if parameters.ret.is_none() => parameters.ret = Some(ret.parse()?),
            ("ENVID", Some(id)) if parameters.envelope_id.is_none() => {
                parameters.envelope_id = Some(dsn::envelope_id(id)?);
            }
            ("SIZE" | "BODY" | "SMTPUTF8" | "AUTH" | "RET" | "ENVID", _) => {
                return Err(ParseError::Arguments);
            }
            _ => return Err(ParseError::Parameter),
        }
    }
    Ok(Command::Mail { from, parameters })
}

/// `size-value = 1*20DIGIT`; more than fits is the most. RFC 1870 §4.
fn size_value(text: &str) -> Result<u64, ParseError> {
    let valid = (1..=20).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if valid { Ok(text.parse().unwrap_or(u64::MAX)) } else { Err(ParseError::Arguments) }
}

fn body_value(text: &str) -> Result<Body, ParseError> {
    match text.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(Body::SevenBit),
        "8BITMIME" => Ok(Body::EightBit),
        "BINARYMIME" => Ok(Body::Binary),
        _ => Err(ParseError::Arguments),
    }
}

fn rcpt(arguments: &str) -> Result<Command, ParseError> {
    let mut path = preceded((tag_no_case("TO:"), take_while(|c| c == ' ')), recipient);
    let (rest, to) = path.parse(arguments).map_err(|_| ParseError::Arguments)?;
    let mut parameters = RcptParameters::default();
    for (keyword, text) in esmtp_parameters(rest)? {
        match (keyword.to_ascii_uppercase().as_str(), text) {
            // RFC 3461 §4.5: not twice.
            ("NOTIFY", Some(notify)) if parameters.notify.is_none() => {
                parameters.notify = Some(notify.parse()?)
            }
            ("ORCPT", Some(original)) if parameters.original.is_none() => {
                parameters.original = Some(original.parse()?);
            }
            ("NOTIFY" | "ORCPT", _) => return Err(ParseError::Arguments),
            _ => return Err(ParseError::Parameter),
        }
    }
    Ok(Command::Rcpt { to, parameters })
}

/// `esmtp-param *(SP esmtp-param)`, behind a space.
fn esmtp_parameters(rest: &str) -> Result<Vec<(&str, Option<&str>)>, ParseError> {
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(ParseError::Arguments);
    }
    let split = |word: &'_ str| -> usize { word.find('=').unwrap_or(word.len()) };
    Ok(rest
        .split_ascii_whitespace()
        .map(|word| {
            let (keyword, text) = word.split_at_checked(split(word)).unwrap_or((word, ""));
            (keyword, text.strip_prefix('='))
        })
        .collect())
}

/// `Reverse-path = Path / "<>"`
fn reverse_path(input: &str) -> IResult<&str, ReversePath> {
    alt((value(None, tag("<>")), map(path, Some))).parse(input)
}

fn recipient(input: &str) -> IResult<&str, Recipient> {
    let postmaster = value(Recipient::Postmaster, tag_no_case("<postmaster>"));
    alt((postmaster, map(path, Recipient::Address))).parse(input)
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"`; the source route is ignored (RFC 5321 §4.1.1.3).
fn path(input: &str) -> IResult<&str, Address> {
    let route = terminated(separated_list1(tag(","), preceded(tag("@"), is_not(",:>"))), tag(":"));
    delimited((tag("<"), opt(route)), mailbox, tag(">")).parse(input)
}

/// `Mailbox = Local-part "@" ( Domain / address-literal )`
fn mailbox(input: &str) -> IResult<&str, Address> {
    let local_part = alt((quoted_string, is_not("@<>\" ")));
    let domain = take_till(|c| c == '>' || c == ' ');
    map_res(recognize((local_part, tag("@"), domain)), str::parse::<Address>).parse(input)
}

/// `Quoted-string`, with its quotes.
fn quoted_string(input: &str) -> IResult<&str, &str> {
    let content = nom::bytes::complete::escaped(is_not("\"\\"), '\\', nom::character::complete::anychar);
    recognize(delimited(tag("\""), opt(content), tag("\""))).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Notify, OriginalRecipient};

    #[track_caller]
    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn commands_are_read_in_every_form_that_clients_send() {
        let mail = |from: Option<&str>, parameters| Command::Mail { from: from.map(address), parameters };
        let plain = MailParameters::default;
        let rcpt = |to, parameters| Command::Rcpt { to, parameters };
        for (line, expected) in [
            ("EHLO [127.0.0.1]", Command::Ehlo("[127.0.0.1]".to_owned())),
            ("mail from:<bob@x.org>", mail(Some("bob@x.org"), plain())),
            ("MAIL FROM: <bob@x.org> ", mail(Some("bob@x.org"), plain())),
            ("MAIL FROM:<>", mail(None, plain())),
            ("MAIL FROM:<@a.org,@b.org:bob@x.org>", mail(Some("bob@x.org"), plain())),
            (
                "MAIL FROM:<\"a b>\"@x.org> SIZE=12 body=8bitmime SMTPUTF8 AUTH=<>",
                mail(
                    Some("\"a b>\"@x.org"),
                    MailParameters { size: Some(12), body: Body::EightBit, smtputf8: true, ..plain() },
                ),
            ),
            (
                "MAIL FROM:<bob@x.org> SIZE=99999999999999999999",
                mail(Some("bob@x.org"), MailParameters { size: Some(u64::MAX), ..plain() }),
            ),
            (
                "MAIL FROM:<bob@x.org> BODY=BinaryMime",
                mail(Some("bob@x.org"), MailParameters { body: Body::Binary, ..plain() }),
            ),
            ("MAIL FROM:<bob@[192.0.2.1]>", mail(Some("bob@[192.0.2.1]"), plain())),
            ("MAIL FROM:<bob@[IPv6:2001:db8::1]>", mail(Some("bob@[IPv6:2001:db8::1]"), plain())),
            ("MAIL FROM:<\"a\\\"@\"@x.org>", mail(Some("\"a\\\"@\"@x.org"), plain())),
            (
                "MAIL FROM:<> ret=hdrs ENVID=a+2Bb",
                mail(
                    None,
                    MailParameters {
                        ret: Some(Return::Headers),
                        envelope_id: Some("a+b".to_owned()),
                        ..plain()
                    },
                ),
            ),
            ("RCPT TO:<Postmaster>", rcpt(Recipient::Postmaster, RcptParameters::default())),
            ("RCPT TO:<é@x.org>", rcpt(Recipient::Address(address("é@x.org")), RcptParameters::default())),
            (
                "RCPT TO:<bob@x.org> notify=Never ORCPT=rfc822;Bob@x.org",
                rcpt(
                    Recipient::Address(address("bob@x.org")),
                    RcptParameters {
                        notify: Some(Notify::Never),
                        original: Some(OriginalRecipient::of(&address("Bob@x.org"))),
                    },
                ),
            ),
            ("BDAT 86 LAST", Command::Bdat { size: 86, last: true }),
            ("BDAT 0", Command::Bdat { size: 0, last: false }),
            (
                "AUTH PLAIN  AA==",
                Command::Auth { mechanism: "PLAIN".to_owned(), initial: Some(b"AA==".to_vec()) },
            ),
            ("NOOP x", Command::Noop),
            ("quit", Command::Quit),
            ("ETRN example.org", Command::NotOffered("ETRN")),
            ("turn", Command::NotOffered("TURN")),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Ok(expected), "{line}");
        }
    }

    /// RFC 2920 §3.1
    #[test]
    fn only_mail_rcpt_rset_and_bdat_go_on_in_a_group() {
        let inside =
            |line: &str| !Command::parse(line.as_bytes()).map(|it| it.ends_group()).unwrap_or_default();
        for line in ["MAIL FROM:<>", "RCPT TO:<postmaster>", "RSET", "BDAT 1 LAST"] {
            assert!(inside(line), "{line}");
        }
        for line in [
            "EHLO x", "HELO x", "DATA", "VRFY x", "EXPN x", "TURN", "QUIT", "NOOP", "AUTH X", "STARTTLS",
            "HELP",
        ] {
            assert!(!inside(line), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_decides_between_500_501_and_555() {
        for (line, expected) in [
            ("GET / HTTP/1.1", ParseError::Http),
            ("POST /x HTTP/1.1", ParseError::Http),
            ("", ParseError::UnknownCommand),
            ("XYZZY", ParseError::UnknownCommand),
            ("EHLO", ParseError::Arguments),
            ("DATA now", ParseError::Arguments),
            ("MAIL FROM:bob@x.org", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org>SIZE=1", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> SIZE=big", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> SIZE=", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> SIZE=+1", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> SIZE=123456789012345678901", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> SIZE", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> SMTPUTF8=1", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> BODY", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> AUTH", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> =1", ParseError::Parameter),
            ("MAIL", ParseError::Arguments),
            ("MAIL FROM", ParseError::Arguments),
            ("MAIL TO:<bob@x.org>", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org>>", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org><eve@x.org>", ParseError::Arguments),
            ("MAIL FROM:<bob @x.org>", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org@y.org>", ParseError::Arguments),
            ("MAIL FROM:<\"bob@x.org>", ParseError::Arguments),
            ("MAIL FROM:<bob@[1.2.3.4>", ParseError::Arguments),
            ("MAIL FROM:<bob@[1.2.3.400]>", ParseError::Arguments),
            ("MAIL FROM:<@a.org:>", ParseError::Arguments),
            ("RCPT", ParseError::Arguments),
            ("RCPT FROM:<bob@x.org>", ParseError::Arguments),
            ("EHLO two words", ParseError::Arguments),
            ("HELO", ParseError::Arguments),
            ("LHLO", ParseError::Arguments),
            ("RSET now", ParseError::Arguments),
            ("QUIT now", ParseError::Arguments),
            ("STARTTLS now", ParseError::Arguments),
            ("AUTH", ParseError::Arguments),
            ("AUTH PLAIN AAAA AAAA", ParseError::Arguments),
            ("EXPN", ParseError::Arguments),
            ("BDAT", ParseError::Arguments),
            ("BDAT LAST", ParseError::Arguments),
            ("BDAT 99999999999999999999", ParseError::Arguments),
            ("MAILFROM:<bob@x.org>", ParseError::UnknownCommand),
            (" NOOP", ParseError::UnknownCommand),
            ("DATA\0", ParseError::UnknownCommand),
            ("MAIL FROM:<bob@x.org> BODY=BINARY", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> RET=HALF", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> RET", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> RET=FULL RET=FULL", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> ENVID=a ENVID=b", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> ENVID=+00", ParseError::Arguments),
            ("MAIL FROM:<bob@x.org> NOTIFY=NEVER", ParseError::Parameter),
            ("RCPT TO:<bob>", ParseError::Arguments),
            ("RCPT TO:<>", ParseError::Arguments),
            ("RCPT TO:<bob@x.org> NOTIFY=NEVER,DELAY", ParseError::Arguments),
            ("RCPT TO:<bob@x.org> NOTIFY=DELAY NOTIFY=DELAY", ParseError::Arguments),
            ("RCPT TO:<bob@x.org> ORCPT=bob@x.org", ParseError::Arguments),
            ("RCPT TO:<bob@x.org> RET=FULL", ParseError::Parameter),
            ("BDAT -1", ParseError::Arguments),
            ("BDAT 1 FIRST", ParseError::Arguments),
            ("VRFY", ParseError::Arguments),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Err(expected), "{line}");
        }
    }
}
