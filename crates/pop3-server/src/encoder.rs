/// Turns a message's octets into a POP3 multi-line response: each line ended by CRLF, dots stuffed, the end marked.
/// RFC 1939 §3. Works on chunks of any size and holds none of them.
///
/// Deviates: RFC 1939 says nothing about NUL, which no message may hold (RFC 5322 §3.5) and which hangs Outlook; it goes out as 0x80.
#[derive(Debug)]
pub(crate) struct Encoder {
    line: Line,
    part: Part,
}

/// Where the last octet left us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Start,
    /// The line is a CR so far.
    OnlyCr,
    Middle,
    AfterCr,
}

/// What of the message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Everything,
    /// The header of TOP; so many lines of the body are to follow.
    Header {
        lines: u64,
    },
    /// The body of TOP; so many lines are left.
    Body {
        lines: u64,
    },
}

impl Encoder {
    /// For RETR.
    pub(crate) const fn whole() -> Self {
        Self { line: Line::Start, part: Part::Everything }
    }

    /// For TOP: the header and `lines` lines of the body.
    pub(crate) const fn top(lines: u64) -> Self {
        Self { line: Line::Start, part: Part::Header { lines } }
    }

    /// True once nothing more of the message is wanted.
    pub(crate) const fn is_complete(&self) -> bool {
        matches!(self.part, Part::Body { lines: 0 })
    }

    /// Adds the encoding of the message's next octets to `out`.
    pub(crate) fn encode(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() + chunk.len() / 32);
        while !chunk.is_empty() && !self.is_complete() {
            let end = chunk.iter().position(|c| matches!(c, b'\n' | b'\r' | 0)).unwrap_or(chunk.len());
            let (plain, rest) = chunk.split_at(end);
            self.plain(plain, out);
            let Some((special, rest)) = rest.split_first() else { return };
            self.special(*special, out);
            chunk = rest;
        }
    }

    /// Ends the last line where that is missing, and the response.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        match self.line {
            Line::Start => {}
            Line::Middle => out.extend_from_slice(b"\r\n"),
            Line::OnlyCr | Line::AfterCr => out.push(b'\n'),
        }
        if matches!(self.part, Part::Header { .. }) {
            // Outlook Express and Netscape want the line between header and body even where a message has none.
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }

    /// Octets within a line.
    fn plain(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let Some(first) = octets.first() else { return };
        if self.line == Line::Start && *first == b'.' {
            out.push(b'.');
        }
        out.extend_from_slice(octets);
        self.line = Line::Middle;
    }

    fn special(&mut self, octet: u8, out: &mut Vec<u8>) {
        match octet {
            b'\n' => self.end_line(out),
            b'\r' => {
                out.push(b'\r');
                self.line = if self.line == Line::Start { Line::OnlyCr } else { Line::AfterCr };
            }
            _ => self.plain(&[0x80], out),
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        match self.line {
            Line::Start | Line::Middle => out.extend_from_slice(b"\r\n"),
            Line::OnlyCr | Line::AfterCr => out.push(b'\n'),
        }
        let blank = matches!(self.line, Line::Start | Line::OnlyCr);
        self.line = Line::Start;
        self.part = match self.part {
            Part::Header { lines } if blank => Part::Body { lines },
            Part::Body { lines } => Part::Body { lines: lines.saturating_sub(1) },
            Part::Everything | Part::Header { .. } => self.part,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes in one chunk and octet by octet, which must not differ.
    #[track_caller]
    fn check(encoder: fn() -> Encoder, message: &[u8], expected: &[u8]) {
        for size in [1, message.len().max(1)] {
            let (mut encoder, mut out) = (encoder(), Vec::new());
            for chunk in message.chunks(size) {
                encoder.encode(chunk, &mut out);
            }
            encoder.finish(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(expected), "chunks of {size}");
        }
    }

    #[test]
    fn dots_at_the_start_of_a_line_are_stuffed() {
        check(Encoder::whole, b".a\r\n..\r\nb.c\r\n.", b"..a\r\n...\r\nb.c\r\n..\r\n.\r\n");
    }

    #[test]
    fn every_line_ends_with_crlf() {
        check(Encoder::whole, b"a\n\nb\r\nc", b"a\r\n\r\nb\r\nc\r\n.\r\n");
        check(Encoder::whole, b"a\rb\r", b"a\rb\r\n.\r\n");
        check(Encoder::whole, b"", b".\r\n");
    }

    #[test]
    fn nul_goes_out_as_another_octet() {
        check(Encoder::whole, b"a\0b\r\n", &[b'a', 0x80, b'b', b'\r', b'\n', b'.', b'\r', b'\n']);
    }

    #[test]
    fn top_sends_the_header_the_blank_line_and_so_many_lines() {
        let message = b"A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\n";
        check(|| Encoder::top(0), message, b"A: 1\r\nB: 2\r\n\r\n.\r\n");
        check(|| Encoder::top(2), message, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n.\r\n");
        check(|| Encoder::top(9), message, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\n.\r\n");
    }

    #[test]
    fn top_adds_the_blank_line_that_a_message_lacks() {
        check(|| Encoder::top(5), b"A: 1\r\n", b"A: 1\r\n\r\n.\r\n");
    }
}
