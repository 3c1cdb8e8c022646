use std::borrow::Cow;
use std::fmt::{self, Write as _};

use nom::bytes::complete::take_while_m_n;
use nom::character::complete::one_of;
use nom::combinator::{all_consuming, map, map_opt, opt, rest};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::Status;

/// What the server says: a code, the enhanced status code, and one or more lines of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// RFC 2034; greeting, EHLO and 3yz have none.
    status: Cow<'static, str>,
    lines: Vec<String>,
}

/// Octets of a line's text beside the codes and the line end: RFC 5321 §4.5.3.1.5.
const MAX_TEXT: usize = 490;
/// Octets of a whole line, with its line end.
const MAX_LINE: usize = 512;

/// What a server sent is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no SMTP reply")]
pub struct ReplyError;

impl Reply {
    /// One line with an enhanced status code such as `5.1.1`, or an empty one for none.
    #[must_use]
    pub fn new(code: u16, status: &'static str, text: impl Into<String>) -> Self {
        Self { code, status: Cow::Borrowed(status), lines: vec![text.into()] }
    }

    /// Several lines, each with the enhanced status code: RFC 2034 §4.
    #[must_use]
    pub const fn paragraph(code: u16, status: &'static str, lines: Vec<String>) -> Self {
        Self { code, status: Cow::Borrowed(status), lines }
    }

    /// Several lines, without enhanced status codes.
    #[must_use]
    pub const fn lines(code: u16, lines: Vec<String>) -> Self {
        Self { code, status: Cow::Borrowed(""), lines }
    }

    /// The same with a hint for people behind its text, which is cut where the line would be too long: RFC 5321 §4.5.3.1.5.
    #[must_use]
    pub fn with_hint(&self, hint: &str) -> Self {
        let mut hinted = self.clone();
        if let Some(last) = hinted.lines.last_mut() {
            let room = MAX_TEXT.saturating_sub(hint.len());
            last.truncate(last.floor_char_boundary(room));
            last.push_str("; ");
            last.push_str(hint);
        }
        hinted
    }

    /// The same with this enhanced status code in its own class, where it has none that agrees with it: RFC 2034 §4.
    #[must_use]
    pub fn or_status(mut self, subject: u16, detail: u16) -> Self {
        if self.status.is_empty() {
            for line in &mut self.lines {
                let begins = line.split_once(' ').filter(|(word, _)| word.parse::<Status>().is_ok());
                if let Some(rest) = begins.map(|(_, rest)| rest.to_owned()) {
                    *line = rest;
                }
            }
            self.status = Cow::Owned(format!("{}.{subject}.{detail}", self.class()));
        }
        self
    }

    /// The same with the name of who says it before its text, as RFC 5321 §4.2.2 has it for 220, 221 and 421.
    #[must_use]
    pub fn in_the_name_of(&self, hostname: &str) -> Self {
        let mut named = self.clone();
        if let Some(first) = named.lines.first_mut() {
            *first = format!("{hostname} {first}");
        }
        named
    }

    /// True for a refusal that people will read who have sent a message: not of a command that no program should send.
    #[must_use]
    pub fn concerns_people(&self) -> bool {
        self.is_negative() && self.status().is_some_and(|status| status.subject != 5)
    }

    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// True for 4yz and 5yz.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.code >= 400
    }

    /// The first digit: 2 done, 3 go on, 4 not now, 5 not so.
    #[must_use]
    pub const fn class(&self) -> u16 {
        self.code / 100
    }

    /// The enhanced status code, if there is one.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.status.parse().ok()
    }

    /// What the lines say behind the codes.
    #[must_use]
    pub fn text(&self) -> &[String] {
        &self.lines
    }

    /// True if a reply ends with this line, given without its CRLF.
    #[must_use]
    pub fn is_last_line(line: &[u8]) -> bool {
        line.get(3) != Some(&b'-')
    }

    /// Parses a whole reply, its lines given without their CRLFs. The code is that of the last line; an enhanced status code
    /// counts if it agrees with it (RFC 2034 §4).
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn parse<L: AsRef<[u8]>>(lines: &[L]) -> Result<Self, ReplyError> {
        let lines = lines.iter().map(|line| reply_line(line.as_ref()));
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        let (code, _) = *lines.last().ok_or(ReplyError)?;
        let mut lines: Vec<String> = lines.into_iter().map(|(_, text)| printable(text)).collect();
        let status = lines.first().and_then(|line| leading_status(line, code)).unwrap_or_default();
        lines.iter_mut().for_each(|line| take_status(line, &status));
        Ok(Self { code, status: Cow::Owned(status), lines })
    }

    /// `Reply-line`. RFC 5321 §4.2. A line that would be too long is cut, unless it is a challenge of AUTH (RFC 4954 §4).
    pub fn encode(&self, output: &mut String) {
        for (position, line) in self.lines.iter().enumerate() {
            let mark = if position + 1 == self.lines.len() { ' ' } else { '-' };
            let space = if self.status.is_empty() { "" } else { " " };
            let room = MAX_LINE - "250 ".len() - self.status.len() - space.len() - "\r\n".len();
            let most = if self.code == 334 { line.len() } else { line.floor_char_boundary(room) };
            let line = line.get(..most).unwrap_or(line);
            // Writing to a String can't fail.
            let _ = write!(output, "{}{mark}{}{space}{line}\r\n", self.code, self.status);
        }
    }
}

impl fmt::Display for Reply {
    /// In one line, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        let status = Some(&*self.status).filter(|status| !status.is_empty());
        status.into_iter().chain(self.lines.iter().map(String::as_str)).try_for_each(|it| write!(f, " {it}"))
    }
}

/// `Reply-code [ ("-" / SP) [ textstring ] ]`
fn reply_line(line: &[u8]) -> Result<(u16, &[u8]), ReplyError> {
    let text = map(opt(preceded(one_of("- "), rest)), Option::unwrap_or_default);
    let parsed = all_consuming((reply_code, text)).parse(line);
    parsed.map(|(_, line)| line).map_err(|_: nom::Err<nom::error::Error<&[u8]>>| ReplyError)
}

/// `Reply-code = %x32-35 %x30-35 %x30-39`; some servers' second digit is greater.
fn reply_code(input: &[u8]) -> IResult<&[u8], u16> {
    let digits = take_while_m_n(3, 3, |octet: u8| octet.is_ascii_digit());
    let code = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
    map_opt(digits, move |digits| code(digits).filter(|code| (200..600).contains(code))).parse(input)
}

/// The text as a person may see it.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The enhanced status code at a line's start, if it is of the class of `code`.
fn leading_status(line: &str, code: u16) -> Option<String> {
    let word = line.split(' ').next()?;
    let status: Status = word.parse().ok()?;
    (u16::from(status.class) == code / 100).then(|| word.to_owned())
}

/// Leaves out the status, which servers repeat on each line.
fn take_status(line: &mut String, status: &str) {
    if status.is_empty() {
        return;
    }
    if let Some(text) = line.strip_prefix(status).filter(|text| text.is_empty() || text.starts_with(' ')) {
        *line = text.strip_prefix(' ').unwrap_or(text).to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reply: &Reply, expected: &str) {
        let mut output = String::new();
        reply.encode(&mut output);
        assert_eq!(output, expected);
    }

    #[test]
    fn all_lines_but_the_last_are_marked_with_a_hyphen() {
        check(&Reply::new(250, "2.1.0", "OK"), "250 2.1.0 OK\r\n");
        check(&Reply::new(354, "", "go on"), "354 go on\r\n");
        assert_eq!(Reply::new(550, "5.1.1", "No such user").to_string(), "550 5.1.1 No such user");
        let help = vec!["EHLO".to_owned(), "QUIT".to_owned()];
        check(&Reply::paragraph(214, "2.0.0", help), "214-2.0.0 EHLO\r\n214 2.0.0 QUIT\r\n");
        check(&Reply::lines(250, vec!["a".to_owned(), "SIZE".to_owned()]), "250-a\r\n250 SIZE\r\n");
    }

    /// RFC 5321 §4.2.2, §4.5.3.1.5
    #[test]
    fn a_reply_may_name_who_says_it_and_is_cut_where_its_line_would_be_too_long() {
        let bye = Reply::paragraph(421, "4.3.2", vec!["Goodbye".to_owned(), "to all".to_owned()]);
        check(&bye.in_the_name_of("mx.org"), "421-4.3.2 mx.org Goodbye\r\n421 4.3.2 to all\r\n");
        let length = |reply: Reply| {
            let mut output = String::new();
            reply.encode(&mut output);
            assert!(output.ends_with("\r\n"));
            output.len()
        };
        assert_eq!(length(Reply::new(550, "5.7.1", "x".repeat(600))), 512);
        assert_eq!(length(Reply::new(550, "", "x".repeat(506))), 512);
        assert_eq!(
            length(Reply::new(550, "5.7.1", format!("x{}", "é".repeat(300)))),
            511,
            "between characters"
        );
        assert_eq!(length(Reply::new(334, "", "x".repeat(600))), 606);
    }

    #[test]
    fn a_refusal_of_mail_takes_a_hint_for_people() {
        let refusal = Reply::new(550, "5.1.1", "No such user");
        assert_eq!(
            refusal.with_hint("see https://x.org").to_string(),
            "550 5.1.1 No such user; see https://x.org"
        );
        let long = Reply::new(550, "5.7.1", "é".repeat(400)).with_hint("see https://x.org");
        assert!(long.to_string().len() <= 510 && long.to_string().ends_with("; see https://x.org"));
        assert!(refusal.concerns_people());
        for other in [
            Reply::new(250, "2.1.5", "OK"),
            Reply::new(503, "5.5.1", "MAIL comes first"),
            Reply::new(354, "", "go"),
        ] {
            assert!(!other.concerns_people(), "{other}");
        }
    }

    /// RFC 2034 §4
    #[test]
    fn a_reply_without_a_status_of_its_class_gets_one() {
        for (lines, expected) in [
            (&["550 no"][..], "550 5.7.1 no\r\n"),
            (&["451-not", "451 now"], "451-4.7.1 not\r\n451 4.7.1 now\r\n"),
            (&["550 4.2.2 no"], "550 5.7.1 no\r\n"),
            (&["550 5.2.2 no"], "550 5.2.2 no\r\n"),
            (&["550"], "550 5.7.1 \r\n"),
        ] {
            check(&Reply::parse(lines).unwrap().or_status(7, 1), expected);
        }
    }

    /// The code, the status, and the text of a reply's lines.
    #[track_caller]
    fn check_parsed(lines: &[&[u8]], code: u16, status: Option<Status>, text: &[&str]) {
        let reply = Reply::parse(lines).unwrap();
        assert_eq!((reply.code(), reply.status()), (code, status));
        assert_eq!(reply.text(), text);
    }

    #[test]
    fn a_reply_has_one_code_and_status_and_the_text_of_all_its_lines() {
        check_parsed(
            &[b"550-5.7.26 no SPF", b"550 5.7.26 no mail"],
            550,
            Some(Status::new(5, 7, 26)),
            &["no SPF", "no mail"],
        );
        check_parsed(
            &[b"550-5.1.1 who?", b"550 5.1.10 who"],
            550,
            Some(Status::new(5, 1, 1)),
            &["who?", "5.1.10 who"],
        );
        check_parsed(&[b"250-mx", b"250-SIZE 10", b"250 HELP"], 250, None, &["mx", "SIZE 10", "HELP"]);
        check_parsed(&[b"450 5.1.1 confused"], 450, None, &["5.1.1 confused"]);
        check_parsed(&[b"250"], 250, None, &[""]);
        check_parsed(&[b"250 2.0.0"], 250, Some(Status::new(2, 0, 0)), &[""]);
        check_parsed(&[b"550 no\x07\xff"], 550, None, &["no \u{fffd}"]);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for line in [&b""[..], b"25", b"2x0 ok", b"250_ok", b"150 ok", b"999 ok", b"HTTP/1.1 400"] {
            assert_eq!(Reply::parse(&[line]), Err(ReplyError), "{}", line.escape_ascii());
        }
        assert_eq!(Reply::parse::<&[u8]>(&[]), Err(ReplyError));
        assert!(Reply::is_last_line(b"250 ok") && Reply::is_last_line(b"250"));
        assert!(!Reply::is_last_line(b"250-ok"));
    }

    proptest::proptest! {
        #[test]
        fn a_reply_comes_back_as_it_was_encoded(
            code in 200_u16..600,
            lines in proptest::collection::vec("[a-zA-Zé<>][ -~é]{0,40}|", 1..5),
            has_status in proptest::bool::ANY,
        ) {
            let status = match code / 100 { 2 => "2.0.0", 4 => "4.7.1", 5 => "5.1.10", _ => "" };
            let status = Cow::Borrowed(if has_status { status } else { "" });
            let reply = Reply { code, status, lines };
            let mut encoded = String::new();
            reply.encode(&mut encoded);
            let lines: Vec<_> = encoded.trim_end_matches("\r\n").split("\r\n").collect();
            proptest::prop_assert_eq!(Reply::parse(&lines), Ok(reply));
        }

        #[test]
        fn no_bytes_panic(line in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            let _ = Reply::parse(&[line]);
        }
    }
}
