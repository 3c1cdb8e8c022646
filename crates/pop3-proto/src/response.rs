use std::borrow::Cow;
use std::fmt::Write as _;

use line_codec::mail_data::DotStuffer;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};
use nom::combinator::{all_consuming, map, opt, rest, value};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

/// Why a command failed, for programs. RFC 2449 §8, RFC 3206, RFC 6856 §5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCode {
    /// The maildrop is in use by another session. RFC 2449 §8.1.2.
    InUse,
    /// The credentials are wrong. RFC 3206 §5.
    Auth,
    /// A failure of ours that will pass. RFC 3206 §4.
    SysTemp,
    /// A failure that will not pass by itself. RFC 3206 §4.
    SysPerm,
    /// UTF-8 mode is needed. RFC 6856 §5.
    Utf8,
}

impl ResponseCode {
    /// As it stands between the brackets.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "IN-USE",
            Self::Auth => "AUTH",
            Self::SysTemp => "SYS/TEMP",
            Self::SysPerm => "SYS/PERM",
            Self::Utf8 => "UTF8",
        }
    }
}

/// What goes back to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// `+OK text`
    Ok(Cow<'static, str>),
    /// `-ERR [code] text`
    Failed {
        /// For programs.
        code: Option<ResponseCode>,
        /// For people.
        text: Cow<'static, str>,
    },
    /// `+ base64`, a step of SASL. RFC 5034 §4.
    Challenge(String),
    /// `+OK text`, lines, and the terminating octet.
    Listing {
        /// Of the first line.
        text: Cow<'static, str>,
        /// Each ended by CRLF.
        lines: String,
    },
}

impl Response {
    /// `+OK text`
    #[must_use]
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Ok(text.into())
    }

    /// `-ERR text`
    #[must_use]
    pub fn failed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed { code: None, text: text.into() }
    }

    /// `-ERR [code] text`
    #[must_use]
    pub fn failed_with(code: ResponseCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed { code: Some(code), text: text.into() }
    }

    /// `+OK text` and these lines.
    pub fn listing<L: std::fmt::Display>(
        text: impl Into<Cow<'static, str>>,
        lines: impl IntoIterator<Item = L>,
    ) -> Self {
        let mut listed = String::new();
        for line in lines {
            // Writing to a String does not fail.
            let _ = write!(listed, "{line}\r\n");
        }
        Self::Listing { text: text.into(), lines: listed }
    }

    /// Parses a response's first line, given without its CRLF. Whether lines follow depends on the command.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        all_consuming(response).parse(line).ok().map(|(_, response)| response)
    }

    /// Everything to send, line ends and dot-stuffing included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ok(text) => first_line("+OK", text),
            Self::Failed { code: None, text } => first_line("-ERR", text),
            Self::Failed { code: Some(code), text } => {
                first_line("-ERR", &format!("[{}] {text}", code.as_str()))
            }
            Self::Challenge(challenge) => format!("+ {challenge}\r\n").into_bytes(),
            Self::Listing { text, lines } => {
                let mut encoded = first_line("+OK", text);
                let mut stuffer = DotStuffer::new();
                stuffer.write(lines.as_bytes(), &mut encoded);
                stuffer.finish(&mut encoded);
                encoded
            }
        }
    }
}

fn first_line(status: &str, text: &str) -> Vec<u8> {
    let space = if text.is_empty() { "" } else { " " };
    format!("{status}{space}{text}\r\n").into_bytes()
}

/// `response = "+OK" [SP text] / "-ERR" [SP "[" resp-code "]"] [SP text] / "+" SP base64`
fn response(input: &str) -> IResult<&str, Response> {
    let positive = map(preceded(tag_no_case("+OK"), text), |text| Response::Ok(text.to_owned().into()));
    let negative = map(preceded(tag_no_case("-ERR"), (opt(resp_code), text)), |(code, text)| {
        Response::Failed { code, text: text.to_owned().into() }
    });
    let challenge =
        map(preceded(tag("+"), preceded(tag(" "), rest)), |text: &str| Response::Challenge(text.to_owned()));
    alt((positive, negative, challenge)).parse(input)
}

fn text(input: &str) -> IResult<&str, &str> {
    map(opt(preceded(tag(" "), rest)), Option::unwrap_or_default).parse(input)
}

/// `"[" resp-code "]"`, one that we know; another stays part of the text. RFC 2449 §8.
fn resp_code(input: &str) -> IResult<&str, ResponseCode> {
    let known = alt((
        value(ResponseCode::InUse, tag_no_case("IN-USE")),
        value(ResponseCode::Auth, tag_no_case("AUTH")),
        value(ResponseCode::SysTemp, tag_no_case("SYS/TEMP")),
        value(ResponseCode::SysPerm, tag_no_case("SYS/PERM")),
        value(ResponseCode::Utf8, tag_no_case("UTF8")),
    ));
    delimited(tag(" ["), known, tag("]")).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(response: &Response, encoded: &str) {
        assert_eq!(String::from_utf8(response.encode()).unwrap(), encoded);
    }

    #[test]
    fn a_status_line_holds_its_code_in_brackets() {
        check(&Response::ok(""), "+OK\r\n");
        check(&Response::ok("2 320"), "+OK 2 320\r\n");
        check(&Response::failed("no such message"), "-ERR no such message\r\n");
        check(&Response::failed_with(ResponseCode::InUse, "busy"), "-ERR [IN-USE] busy\r\n");
        check(&Response::Challenge(String::new()), "+ \r\n");
    }

    #[test]
    fn a_listing_is_dot_stuffed_and_ended() {
        check(&Response::listing("2", ["1 120", ".2"]), "+OK 2\r\n1 120\r\n..2\r\n.\r\n");
        check(&Response::listing("0", [""; 0]), "+OK 0\r\n.\r\n");
    }

    #[test]
    fn an_unknown_code_stays_in_the_text() {
        assert_eq!(Response::parse("-ERR [X-NEW] so"), Some(Response::failed("[X-NEW] so")));
        assert_eq!(Response::parse("-ERR [auth] no"), Some(Response::failed_with(ResponseCode::Auth, "no")));
        assert_eq!(Response::parse("* OK"), None);
    }
}
