use line_codec::mail_data::DotStuffer;

/// Turns a message's octets into a POP3 multi-line response: each line ended by CRLF, dots stuffed, the end marked; for TOP, cut
/// behind so many lines. RFC 1939 §3. Works on chunks of any size and holds none of them.
///
/// Deviates: RFC 1939 says nothing about NUL, which no message may hold (RFC 5322 §3.5) and which hangs Outlook; it goes out as 0x80.
#[derive(Debug)]
pub(crate) struct Encoder {
    stuffer: DotStuffer,
    line: Line,
    part: Part,
}

/// What the line holds so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Nothing,
    OnlyCr,
    Text,
    TextAndCr,
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

impl Line {
    /// With these octets added, none of them LF.
    fn with(self, octets: &[u8]) -> Self {
        match (self, octets) {
            (_, []) => self,
            (Self::Nothing, b"\r") => Self::OnlyCr,
            (_, [.., b'\r']) => Self::TextAndCr,
            (_, _) => Self::Text,
        }
    }

    const fn ends_in_cr(self) -> bool {
        matches!(self, Self::OnlyCr | Self::TextAndCr)
    }

    const fn is_blank(self) -> bool {
        matches!(self, Self::Nothing | Self::OnlyCr)
    }
}

impl Encoder {
    /// For RETR.
    pub(crate) const fn whole() -> Self {
        Self::new(Part::Everything)
    }

    /// For TOP: the header and `lines` lines of the body.
    pub(crate) const fn top(lines: u64) -> Self {
        Self::new(Part::Header { lines })
    }

    const fn new(part: Part) -> Self {
        Self { stuffer: DotStuffer::new(), line: Line::Nothing, part }
    }

    /// True once nothing more of the message is wanted.
    pub(crate) const fn is_complete(&self) -> bool {
        matches!(self.part, Part::Body { lines: 0 })
    }

    /// Adds the encoding of the message's next octets to `out`.
    pub(crate) fn encode(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() + chunk.len() / 32);
        let (mut written, mut seen) = (0, 0);
        for at in memchr::memchr2_iter(b'\n', 0, chunk) {
            if self.is_complete() {
                break;
            }
            let octets = |from: usize| chunk.get(from..at).unwrap_or_default();
            self.line = self.line.with(octets(seen));
            seen = at + 1;
            if chunk.get(at) == Some(&0) {
                self.replace(octets(written), &[0x80], out);
                written = seen;
                self.line = Line::Text;
                continue;
            }
            if !self.line.ends_in_cr() {
                self.replace(octets(written), b"\r\n", out);
                written = seen;
            }
            self.end_line();
        }
        let end = if self.is_complete() { seen } else { chunk.len() };
        self.line = self.line.with(chunk.get(seen..end).unwrap_or_default());
        self.stuffer.write(chunk.get(written..end).unwrap_or_default(), out);
    }

    /// Writes what stands before an octet, and something else for that octet.
    fn replace(&mut self, before: &[u8], by: &[u8], out: &mut Vec<u8>) {
        self.stuffer.write(before, out);
        self.stuffer.write(by, out);
    }

    /// Ends the last line where that is missing, and the response.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        match self.line {
            Line::Nothing => {}
            Line::Text => self.stuffer.write(b"\r\n", out),
            Line::OnlyCr | Line::TextAndCr => self.stuffer.write(b"\n", out),
        }
        if matches!(self.part, Part::Header { .. }) {
            // RFC 1939 §7 promises the blank line, and old Outlooks wait for it, even where a message has none.
            self.stuffer.write(b"\r\n", out);
        }
        self.stuffer.finish(out);
    }

    fn end_line(&mut self) {
        self.part = match self.part {
            Part::Header { lines } if self.line.is_blank() => Part::Body { lines },
            Part::Body { lines } => Part::Body { lines: lines.saturating_sub(1) },
            Part::Everything | Part::Header { .. } => self.part,
        };
        self.line = Line::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes in one chunk and octet by octet, which must not differ.
    #[track_caller]
    fn check(encoder: fn() -> Encoder, message: &[u8], expected: &[u8]) {
        for size in [1, 2, 3, message.len().max(1)] {
            let (mut encoder, mut out) = (encoder(), Vec::new());
            for chunk in message.chunks(size) {
                encoder.encode(chunk, &mut out);
            }
            encoder.finish(&mut out);
            assert_eq!(
                out.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "chunks of {size}"
            );
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
    fn top_takes_messages_with_bare_lf_and_bodies_without_a_line_end() {
        check(|| Encoder::top(0), b"A: 1\n\n.one\ntwo", b"A: 1\r\n\r\n.\r\n");
        check(|| Encoder::top(1), b"A: 1\n\n.one\ntwo", b"A: 1\r\n\r\n..one\r\n.\r\n");
        check(|| Encoder::top(u64::MAX), b"A: 1\n\n\0\ntwo", b"A: 1\r\n\r\n\x80\r\ntwo\r\n.\r\n");
        check(|| Encoder::top(1), b"A: 1\r\n\rx\r\n\r\none", b"A: 1\r\n\rx\r\n\r\none\r\n.\r\n");
        check(|| Encoder::top(1), b"\r\none\r\ntwo\r\n", b"\r\none\r\n.\r\n");
    }

    #[test]
    fn top_adds_the_blank_line_that_a_message_lacks() {
        check(|| Encoder::top(5), b"", b"\r\n.\r\n");
        check(|| Encoder::top(5), b"A: 1", b"A: 1\r\n\r\n.\r\n");
        check(|| Encoder::top(5), b"A: 1\r\n", b"A: 1\r\n\r\n.\r\n");
    }
}
