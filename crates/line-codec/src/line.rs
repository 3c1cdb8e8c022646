//! Lines that end in CRLF, of a bounded length.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// One line, without its CRLF, or why it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A whole line.
    Text(Bytes),
    /// It holds a CR or LF that is no part of a CRLF: never to be obeyed. RFC 5321 §2.3.8.
    BareCrOrLf,
    /// Longer than the limit; it was skipped to its end.
    TooLong,
}

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Crlf,
    CrlfOrLf,
}

/// Cuts bytes into lines. A line over the limit takes no memory: it is skipped, then reported.
#[derive(Debug, Clone)]
pub struct LineCodec {
    max: usize,
    line_end: LineEnd,
    /// How much of the buffer is known to hold no LF.
    searched: usize,
    skipping: bool,
}

impl LineCodec {
    /// `max` octets without the CRLF.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { max, line_end: LineEnd::Crlf, searched: 0, skipping: false }
    }

    /// As [`Self::new`], but a bare LF ends a line too. For dialogues in which nobody can gain by it: POP3's, which people type
    /// and old clients speak with a bare LF, and the replies of SMTP servers.
    #[must_use]
    pub const fn lenient(max: usize) -> Self {
        Self { line_end: LineEnd::CrlfOrLf, ..Self::new(max) }
    }

    /// The next line in `buffer`; `None` until there is a whole one.
    pub fn next_line(&mut self, buffer: &mut BytesMut) -> Option<Line> {
        let unsearched = buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', unsearched) else {
            self.searched = buffer.len();
            // One octet more may be the CR.
            if self.searched > self.max + 1 {
                self.skipping = true;
                self.searched = 0;
                buffer.clear();
            }
            return None;
        };
        let line = buffer.split_to(self.searched + found).freeze();
        buffer.advance(1);
        self.searched = 0;
        let skipped = std::mem::take(&mut self.skipping);
        Some(if skipped { Line::TooLong } else { self.judge(line) })
    }

    /// A line without its LF.
    fn judge(&self, mut line: Bytes) -> Line {
        match (line.last(), self.line_end) {
            (Some(b'\r'), _) => line.truncate(line.len() - 1),
            (_, LineEnd::CrlfOrLf) => {}
            (_, LineEnd::Crlf) => return Line::BareCrOrLf,
        }
        if line.len() > self.max {
            Line::TooLong
        } else if memchr::memchr(b'\r', &line).is_some() {
            Line::BareCrOrLf
        } else {
            Line::Text(line)
        }
    }
}

impl Decoder for LineCodec {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        Ok(self.next_line(buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines in `input`, fed octet by octet, and all at once: they must be the same.
    #[track_caller]
    fn check(input: &[u8], expected: &[Line]) {
        check_with(&LineCodec::new(8), input, expected);
    }

    #[track_caller]
    fn check_with(codec: &LineCodec, input: &[u8], expected: &[Line]) {
        for size in [1, 2, 3, input.len().max(1)] {
            let (mut codec, mut buffer, mut lines) = (codec.clone(), BytesMut::new(), Vec::new());
            for chunk in input.chunks(size) {
                buffer.extend_from_slice(chunk);
                while let Some(line) = codec.next_line(&mut buffer) {
                    lines.push(line);
                }
                assert!(size > 1 || buffer.len() <= 10, "bounded memory");
            }
            assert_eq!(lines, expected, "in pieces of {size}");
        }
    }

    fn text(line: &'static str) -> Line {
        Line::Text(Bytes::from_static(line.as_bytes()))
    }

    #[test]
    fn lines_end_in_crlf_and_in_nothing_else() {
        check(b"NOOP\r\n\r\nQUIT\r\nRE", &[text("NOOP"), text(""), text("QUIT")]);
        check(b"NO\nOP\r\n", &[Line::BareCrOrLf, text("OP")]);
        check(b"NO\rOP\r\nQUIT\r\n", &[Line::BareCrOrLf, text("QUIT")]);
        check(b"A\r\r\n", &[Line::BareCrOrLf]);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_to_its_end() {
        check(b"12345678\r\nA\r\n", &[text("12345678"), text("A")]);
        check(b"123456789\r\nA\r\n", &[Line::TooLong, text("A")]);
        check(b"1234567890123456789012345\r\nA\r\n", &[Line::TooLong, text("A")]);
    }
    #[test]
    fn a_lenient_codec_takes_a_bare_lf_for_a_line_end_but_no_bare_cr() {
        let lenient = LineCodec::lenient(8);
        check_with(&lenient, b"NOOP\n\nQUIT\r\nRE", &[text("NOOP"), text(""), text("QUIT")]);
        check_with(&lenient, b"NO\rOP\nA\n", &[Line::BareCrOrLf, text("A")]);
        check_with(&lenient, b"12345678\n123456789\nA\n", &[text("12345678"), Line::TooLong, text("A")]);
    }
}
