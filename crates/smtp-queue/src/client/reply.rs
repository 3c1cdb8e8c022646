use bytes::{Buf as _, BytesMut};

use crate::{Diagnosis, Status};

/// The longest line taken; RFC 5321 §4.5.3.1.5 allows 512 octets, some hosts write more.
const MAX_LINE: usize = 4096;
/// The most lines of one reply.
const MAX_LINES: usize = 128;
/// How much of a reply's text is kept.
const MAX_TEXT: usize = 1024;

/// What a server answered. RFC 5321 §4.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// Its lines without the code.
    pub(crate) lines: Vec<String>,
}

/// Why bytes are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the server sent a line that is no SMTP reply")]
    Syntax,
    #[error("the server sent an endless reply")]
    TooLong,
}

impl Reply {
    /// Takes one whole reply from the front of `buffer`; `None` while it is incomplete. `lines` holds what was read of it.
    pub(crate) fn read(buffer: &mut BytesMut, lines: &mut Vec<String>) -> Result<Option<Self>, ReplyError> {
        while let Some(end) = memchr::memchr(b'\n', buffer) {
            let line = buffer.split_to(end);
            buffer.advance(1);
            let (code, last, text) = split(line.strip_suffix(b"\r").unwrap_or(&line))?;
            lines.push(text);
            if last {
                return Ok(Some(Self { code, lines: std::mem::take(lines) }));
            }
            if lines.len() >= MAX_LINES {
                return Err(ReplyError::TooLong);
            }
        }
        if buffer.len() > MAX_LINE { Err(ReplyError::TooLong) } else { Ok(None) }
    }

    /// The first digit: 2 done, 3 go on, 4 later, 5 never.
    pub(crate) const fn class(&self) -> u16 {
        self.code / 100
    }

    /// The enhanced status, RFC 2034 §4; else the bare class.
    pub(crate) fn status(&self) -> Status {
        let class = u8::try_from(self.class()).unwrap_or(4);
        let first = self.lines.first().and_then(|line| line.split(' ').next());
        first
            .and_then(|word| word.parse::<Status>().ok())
            .filter(|status| status.class == class)
            .unwrap_or(Status::new(class, 0, 0))
    }

    /// For the operator and the DSN: the reply in one line.
    pub(crate) fn diagnosis(&self, host: &str) -> Diagnosis {
        let mut text = format!("{} {}", self.code, self.lines.join(" "));
        if text.len() > MAX_TEXT {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text.push('…');
        }
        Diagnosis { status: self.status(), host: Some(host.to_owned()), text }
    }
}

/// `Reply-line = Reply-code [ ("-" / SP) textstring ]`: the code, whether it is the last line, the text.
fn split(line: &[u8]) -> Result<(u16, bool, String), ReplyError> {
    let (code, rest) = line.split_at_checked(3).ok_or(ReplyError::Syntax)?;
    let code = std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|c| c.is_ascii_digit()));
    let code: u16 = code.and_then(|code| code.parse().ok()).ok_or(ReplyError::Syntax)?;
    let last = match rest.first() {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return Err(ReplyError::Syntax),
    };
    if !(200..600).contains(&code) {
        return Err(ReplyError::Syntax);
    }
    let text = String::from_utf8_lossy(rest.get(1..).unwrap_or_default());
    Ok((code, last, text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Reply>, ReplyError> {
        Reply::read(&mut BytesMut::from(bytes), &mut Vec::new())
    }

    #[test]
    fn a_reply_may_come_in_pieces() {
        let (mut buffer, mut lines) = (BytesMut::new(), Vec::new());
        let whole = b"250-mx.example.org\r\n250-SIZE 1000\r\n250 HELP\r\n354";
        let mut replies = Vec::new();
        for octet in whole {
            buffer.extend_from_slice(&[*octet]);
            replies.extend(Reply::read(&mut buffer, &mut lines).unwrap());
        }
        let lines = ["mx.example.org", "SIZE 1000", "HELP"].map(str::to_owned).to_vec();
        assert_eq!(replies, [Reply { code: 250, lines }]);
        assert_eq!(&buffer[..], b"354");
    }

    #[test]
    fn a_status_is_taken_only_where_it_fits_the_code() {
        let status = |bytes: &[u8]| read(bytes).unwrap().unwrap().status().to_string();
        assert_eq!(status(b"550 5.7.26 no SPF\r\n"), "5.7.26");
        assert_eq!(status(b"550 4.7.1 confused\r\n"), "5.0.0");
        assert_eq!(status(b"450 try later\r\n"), "4.0.0");
        assert_eq!(status(b"250\r\n"), "2.0.0");
        assert_eq!(status(b"250\n"), "2.0.0");
    }

    #[test]
    fn a_diagnosis_is_one_printable_line() {
        let reply = read(b"550-5.1.1 no\x07 such\r\n550 5.1.1 user\xff\r\n").unwrap().unwrap();
        assert_eq!(reply.diagnosis("mx").text, "550 5.1.1 no  such 5.1.1 user\u{fffd}");
        let long = read(format!("550 {}\r\n", "é".repeat(2000)).as_bytes()).unwrap().unwrap();
        assert!(long.diagnosis("mx").text.len() <= MAX_TEXT + 3);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"25\r\n",
            b"2x0 ok\r\n",
            b"250_ok\r\n",
            b"150 ok\r\n",
            b"999 ok\r\n",
            b"HTTP/1.1 400\r\n",
        ] {
            assert_eq!(read(bytes), Err(ReplyError::Syntax), "{}", bytes.escape_ascii());
        }
        assert_eq!(read(&[b'2'; MAX_LINE + 1]), Err(ReplyError::TooLong));
        assert_eq!(read(&b"250-x\r\n".repeat(MAX_LINES + 1)), Err(ReplyError::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn any_chunking_gives_the_same_replies_and_no_bytes_panic(
            bytes in proptest::collection::vec(proptest::prop_oneof![
                proptest::strategy::Just(b"250-a\r\n".to_vec()),
                proptest::strategy::Just(b"250 5.1.1 b\r\n".to_vec()),
                proptest::collection::vec(proptest::num::u8::ANY, 0..8),
            ], 0..12),
            size in 1_usize..9,
        ) {
            let bytes = bytes.concat();
            let read_all = |chunk: usize| {
                let (mut buffer, mut lines, mut replies) = (BytesMut::new(), Vec::new(), Vec::new());
                for piece in bytes.chunks(chunk) {
                    buffer.extend_from_slice(piece);
                    loop {
                        match Reply::read(&mut buffer, &mut lines) {
                            Ok(Some(reply)) => replies.push(reply),
                            Ok(None) => break,
                            Err(error) => return (replies, Some(error)),
                        }
                    }
                }
                (replies, None)
            };
            proptest::prop_assert_eq!(read_all(size), read_all(bytes.len().max(1)));
        }
    }
}
