use bytes::BytesMut;

/// Writes mail data for DATA: a dot at a line's start is doubled, the end is a line with a dot. RFC 5321 §4.5.2.
///
/// A bare LF counts as a line's end too, so that no server can be made to see the end early.
#[derive(Debug)]
pub(crate) struct DotStuffer {
    at_line_start: bool,
}

impl DotStuffer {
    pub(crate) const fn new() -> Self {
        Self { at_line_start: true }
    }

    pub(crate) fn write(&mut self, data: &[u8], out: &mut BytesMut) {
        out.reserve(data.len());
        for line in data.split_inclusive(|octet| *octet == b'\n') {
            if self.at_line_start && line.starts_with(b".") {
                out.extend_from_slice(b".");
            }
            out.extend_from_slice(line);
            self.at_line_start = line.ends_with(b"\n");
        }
    }

    pub(crate) fn finish(self, out: &mut BytesMut) {
        out.extend_from_slice(if self.at_line_start { b".\r\n" } else { b"\r\n.\r\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[&str], expected: &str) {
        let (mut stuffer, mut out) = (DotStuffer::new(), BytesMut::new());
        pieces.iter().for_each(|piece| stuffer.write(piece.as_bytes(), &mut out));
        stuffer.finish(&mut out);
        assert_eq!(out, expected.as_bytes());
    }

    #[test]
    fn dots_at_the_start_of_lines_are_doubled() {
        check(&[], ".\r\n");
        check(&["a\r\n.b\r\n..\r\nc.\r\n"], "a\r\n..b\r\n...\r\nc.\r\n.\r\n");
        check(&[".", "\r", "\n", ".", "x"], "..\r\n..x\r\n.\r\n");
        check(&["a\n.\r\nb"], "a\n..\r\nb\r\n.\r\n");
    }
}
