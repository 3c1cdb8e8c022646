mod devices;

use std::fmt;

use mail_types::Address;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, tag_no_case, take_till, take_while};
use nom::combinator::{map, map_res, opt, recognize, value};
use nom::multi::separated_list1;
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use crate::{DeliverBy, Hold, Priority, RcptParameters, Return, Xclient, dsn, xtext};

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
    /// What these octets are, be they lines or not: a NUL is in no line. RFC 2045 §2.7–2.9.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        if octets.contains(&0) {
            Self::Binary
        } else if octets.is_ascii() {
            Self::SevenBit
        } else {
            Self::EightBit
        }
    }

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
    /// It must go over TLS all its way. RFC 8689 §2.
    pub require_tls: bool,
    /// RFC 2852.
    pub deliver_by: Option<DeliverBy>,
    /// RFC 6710.
    pub priority: Option<Priority>,
    /// RFC 4865.
    pub hold: Option<Hold>,
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
    /// 501, the path of MAIL
    #[error("no reverse path")]
    ReversePath,
    /// 501, the path of RCPT
    #[error("no forward path")]
    ForwardPath,
    /// 555
    #[error("unknown parameter of MAIL or RCPT")]
    Parameter,
    /// BDAT that does not say how long its chunk is: what follows may be mail data, and must not be taken for commands. 501, and the end
    #[error("no size of a chunk")]
    ChunkSize,
}

/// See [`MailParameters`].
const MAIL_PARAMETERS: [&str; 11] = [
    "SIZE",
    "BODY",
    "SMTPUTF8",
    "AUTH",
    "RET",
    "ENVID",
    "REQUIRETLS",
    "BY",
    "MT-PRIORITY",
    "HOLDFOR",
    "HOLDUNTIL",
];
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

    /// True for a command that brings no message nearer.
    #[must_use]
    pub const fn leads_nowhere(&self) -> bool {
        match self {
            Self::Ehlo(_)
            | Self::Lhlo(_)
            | Self::Helo(_)
            | Self::Rset
            | Self::Noop
            | Self::Vrfy
            | Self::Expn
            | Self::Help
            | Self::NotOffered(_)
            | Self::Bdat { size: 0, last: false } => true,
            Self::Mail { .. }
            | Self::Rcpt { .. }
            | Self::Data
            | Self::Bdat { .. }
            | Self::Quit
            | Self::StartTls
            | Self::Auth { .. }
            | Self::Xclient(_) => false,
        }
    }

    /// Parses one line, given without its CRLF.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let is_bdat = line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"));
        Self::parse_any(line).map_err(|error| if is_bdat { ParseError::ChunkSize } else { error })
    }

    fn parse_any(line: &[u8]) -> Result<Self, ParseError> {
        let line =
            std::str::from_utf8(line).map_err(|_| ParseError::Arguments)?.trim_end_matches([' ', '\t']);
        let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let arguments = arguments.trim_matches(' ');
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => greeting(arguments).map(Self::Ehlo),
            "HELO" => greeting(arguments).map(Self::Helo),
            "LHLO" => greeting(arguments).map(Self::Lhlo),
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
        if let Some(id) = &self.envelope_id {
            write!(f, " ENVID={}", xtext::encode(id))?;
        }
        if self.require_tls {
            f.write_str(" REQUIRETLS")?;
        }
        if let Some(by) = self.deliver_by {
            write!(f, " BY={by}")?;
        }
        if let Some(priority) = self.priority {
            write!(f, " MT-PRIORITY={priority}")?;
        }
        self.hold.map_or(Ok(()), |hold| write!(f, " {hold}"))
    }
}

fn bare(arguments: &str, command: Command) -> Result<Command, ParseError> {
    if arguments.is_empty() { Ok(command) } else { Err(ParseError::Arguments) }
}

/// The name in a greeting. What stands behind it is taken and means nothing: RFC 5321 §4.1.1.1.
fn greeting(arguments: &str) -> Result<String, ParseError> {
    host(arguments.split_once(' ').map_or(arguments, |(name, _)| name))
}

/// The name of a client: anything visible, as real clients send what they like.
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
    let (rest, from) = behind("FROM:", arguments, ParseError::ReversePath, reverse_path)?;
    let (mut parameters, mut given) = (MailParameters::default(), Given::default());
    for (keyword, text) in esmtp_parameters(rest) {
        let keyword = given.next(keyword)?;
        parameters.set(&keyword, text)?;
    }
    Ok(Command::Mail { from, parameters })
}

impl MailParameters {
    /// Takes a parameter.
    fn set(&mut self, keyword: &str, text: Option<&str>) -> Result<(), ParseError> {
        match (keyword, text) {
            ("SIZE", Some(size)) => self.size = Some(size_value(size)?),
            ("BODY", Some(body)) => self.body = body_value(body)?,
            ("SMTPUTF8", None) => self.smtputf8 = true,
            // RFC 4954 §5: taken, and not passed on.
            ("AUTH", Some(mailbox)) if xtext::decode(mailbox).is_some() => {}
            ("RET", Some(ret)) => self.ret = Some(ret.parse()?),
            ("ENVID", Some(id)) => self.envelope_id = Some(dsn::envelope_id(id)?),
            ("REQUIRETLS", None) => self.require_tls = true,
            ("BY", Some(by)) => self.deliver_by = Some(by.parse()?),
            ("MT-PRIORITY", Some(priority)) => self.priority = Some(priority.parse()?),
            // RFC 4865 §4.2 (9): one of them only.
            ("HOLDFOR", Some(seconds)) if self.hold.is_none() => self.hold = Some(Hold::seconds(seconds)?),
            ("HOLDUNTIL", Some(moment)) if self.hold.is_none() => self.hold = Some(Hold::moment(moment)?),
            (keyword, _) if MAIL_PARAMETERS.contains(&keyword) => return Err(ParseError::Arguments),
            _ => return Err(ParseError::Parameter),
        }
        Ok(())
    }
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
    let (rest, to) = behind("TO:", arguments, ParseError::ForwardPath, recipient)?;
    let (mut parameters, mut given) = (RcptParameters::default(), Given::default());
    for (keyword, text) in esmtp_parameters(rest) {
        match (given.next(keyword)?.as_str(), text) {
            ("NOTIFY", Some(notify)) => parameters.notify = Some(notify.parse()?),
            ("ORCPT", Some(original)) => parameters.original = Some(original.parse()?),
            ("NOTIFY" | "ORCPT", _) => return Err(ParseError::Arguments),
            _ => return Err(ParseError::Parameter),
        }
    }
    Ok(Command::Rcpt { to, parameters })
}

/// A path behind `word`, and what stands behind it.
fn behind<'i, T>(
    word: &str,
    arguments: &'i str,
    no_path: ParseError,
    mut path: impl FnMut(&'i str) -> IResult<&'i str, T>,
) -> Result<(&'i str, T), ParseError> {
    let mut start = (tag_no_case(word), take_while(|c| c == ' '));
    let (rest, _) =
        start.parse(arguments).map_err(|_: nom::Err<nom::error::Error<&str>>| ParseError::Arguments)?;
    let (rest, path) = path(rest).map_err(|_| no_path)?;
    if rest.is_empty() || rest.starts_with(' ') { Ok((rest, path)) } else { Err(no_path) }
}

/// `esmtp-param *(SP esmtp-param)`, behind a space.
fn esmtp_parameters(rest: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    rest.split_ascii_whitespace().map(|word| match word.split_once('=') {
        Some((keyword, text)) => (keyword, Some(text)),
        None => (word, None),
    })
}

/// The keywords of one command so far. None may stand there twice: RFC 3461 §4.5 says so of its own, and of no other does a standard say
/// which of two would count.
#[derive(Debug, Default)]
struct Given(Vec<String>);

impl Given {
    /// The next one in upper case, if it is not there already.
    fn next(&mut self, keyword: &str) -> Result<String, ParseError> {
        let keyword = keyword.to_ascii_uppercase();
        if self.0.contains(&keyword) {
            return Err(ParseError::Arguments);
        }
        self.0.push(keyword.clone());
        Ok(keyword)
    }
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
mod tests;
