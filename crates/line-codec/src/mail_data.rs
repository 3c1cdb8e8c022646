//! Mail data as SMTP and POP3 carry it: lines with a dot doubled at their start, ended by a lone dot.

use bytes::{Buf, BufMut, BytesMut};

/// Takes the dots out of DATA. RFC 5321 §4.5.2.
///
/// Only CRLF, dot, CRLF ends the data. A bare CR or LF ends no line and is remembered, so that the message can be refused
/// when its true end is reached: what two servers read differently could smuggle a second message.
#[derive(Debug, Clone)]
pub struct DataDecoder {
    at: At,
    bare: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    /// Behind a dot at the start of a line.
    Dot,
    /// Behind that dot and a CR.
    DotCr,
    Middle,
    Cr,
    End,
}

impl Default for DataDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl DataDecoder {
    /// At the start of the data.
    #[must_use]
    pub const fn new() -> Self {
        Self { at: At::LineStart, bare: false }
    }

    /// True if a CR or LF stood alone.
    #[must_use]
    pub const fn has_bare_cr_or_lf(&self) -> bool {
        self.bare
    }

    /// Moves what `input` holds of the message to `output`. True once the end was read: what is left in `input` is behind it.
    pub fn decode(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> bool {
        while self.at != At::End && !input.is_empty() {
            if self.at == At::Middle {
                self.copy_lines(input, output);
            } else {
                let octet = input.get_u8();
                self.step(octet, output);
            }
        }
        self.at == At::End
    }

    /// Copies up to the first CR or LF behind which something else may happen than that a line begins with neither a dot nor its end.
    fn copy_lines(&mut self, input: &mut BytesMut, output: &mut BytesMut) {
        let end = plain(input);
        output.extend_from_slice(input.get(..end).unwrap_or_default());
        input.advance(end);
        if !input.is_empty() {
            let octet = input.get_u8();
            self.step(octet, output);
        }
    }

    fn step(&mut self, octet: u8, output: &mut BytesMut) {
        self.at = match (self.at, octet) {
            (At::LineStart, b'.') => At::Dot,
            (At::Dot, b'\r') => At::DotCr,
            (At::DotCr, b'\n') => At::End,
            (At::Cr, b'\n') => {
                output.extend_from_slice(b"\r\n");
                At::LineStart
            }
            (At::LineStart | At::Middle, b'\r') => At::Cr,
            (At::Cr | At::DotCr, _) => {
                self.bare = true;
                output.extend_from_slice(b"\r");
                self.at = At::Middle;
                return self.step(octet, output);
            }
            (At::LineStart | At::Dot | At::Middle | At::End, _) => {
                self.bare |= octet == b'\n';
                output.extend_from_slice(&[octet]);
                At::Middle
            }
        };
    }
}

/// How much of `input` goes on as it is, from the middle of a line on: up to the last CRLF behind which stands no line like others.
fn plain(input: &[u8]) -> usize {
    let mut end = 0;
    while let Some(found) = input.get(end..).and_then(|rest| memchr::memchr2(b'\r', b'\n', rest)) {
        end += found;
        match input.get(end..) {
            Some([b'\r', b'\n', next, ..]) if !b".\r\n".contains(next) => end += 3,
            _ => return end,
        }
    }
    input.len()
}

/// Writes a message for DATA and for POP3's multi-line responses: a dot at a line's start is doubled, the end is a line with a
/// dot. RFC 5321 §4.5.2, RFC 1939 §3.
///
/// A bare LF counts as a line's end too, so that no reader can be made to see the end early.
#[derive(Debug, Clone)]
pub struct DotStuffer {
    at_line_start: bool,
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl DotStuffer {
    /// At the start of a message.
    #[must_use]
    pub const fn new() -> Self {
        Self { at_line_start: true }
    }

    /// Adds the encoding of the next octets to `out`.
    pub fn write(&mut self, data: &[u8], out: &mut impl BufMut) {
        let Some(last) = data.last() else { return };
        if self.at_line_start && data.starts_with(b".") {
            out.put_u8(b'.');
        }
        let mut written = 0;
        for line_end in memchr::memmem::find_iter(data, b"\n.") {
            let dot = line_end + 1;
            out.put_slice(data.get(written..dot).unwrap_or_default());
            out.put_u8(b'.');
            written = dot;
        }
        out.put_slice(data.get(written..).unwrap_or_default());
        self.at_line_start = *last == b'\n';
    }

    /// Ends the last line where that is missing, and the data.
    pub fn finish(self, out: &mut impl BufMut) {
        out.put_slice(if self.at_line_start { b".\r\n" } else { b"\r\n.\r\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decoded data, whether something was bare, what is left; `None` without an end.
    fn decode(input: &[u8], size: usize) -> Option<(Vec<u8>, bool, Vec<u8>)> {
        let (mut decoder, mut buffer, mut output) = (DataDecoder::new(), BytesMut::new(), BytesMut::new());
        let mut done = false;
        for chunk in input.chunks(size) {
            buffer.extend_from_slice(chunk);
            done = done || decoder.decode(&mut buffer, &mut output);
        }
        done.then(|| (output.to_vec(), decoder.has_bare_cr_or_lf(), buffer.to_vec()))
    }

    #[track_caller]
    fn check(input: &[u8], message: &[u8], bare: bool) {
        let whole = [input, b"\r\n.\r\nQUIT\r\n"].concat();
        for size in [1, 2, 3, whole.len()] {
            let expected = [message, b"\r\n"].concat();
            assert_eq!(
                decode(&whole, size),
                Some((expected, bare, b"QUIT\r\n".to_vec())),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn only_a_lone_dot_between_crlfs_ends_the_data() {
        check(b"a\r\n..b\r\n.c", b"a\r\n.b\r\nc", false);
        assert_eq!(decode(b".\r\n", 1), Some((Vec::new(), false, Vec::new())));
        for smuggled in ["\n.\r\n", "\r\n.\n", "\n.\n", "\r.\r\n", "\r\n.\r", "\r.\r", "\r\n.\r\r\n"] {
            let input = format!("a{smuggled}MAIL FROM:<x@y.z>");
            for size in [1, 2, 64] {
                assert_eq!(decode(input.as_bytes(), size), None, "{smuggled:?}");
                let ended = [input.as_bytes(), b"\r\n.\r\n"].concat();
                assert!(decode(&ended, size).unwrap().1, "{smuggled:?} must be reported");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_stuffed_comes_back(lines in prop::collection::vec("[.a-c]{0,4}", 0..8), size in 1_usize..9, cut in 1_usize..9) {
            let message: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
            let (mut stuffer, mut wire) = (DotStuffer::new(), BytesMut::new());
            for piece in message.as_bytes().chunks(cut) {
                stuffer.write(piece, &mut wire);
            }
            stuffer.finish(&mut wire);
            prop_assert_eq!(decode(&wire, size), Some((message.into_bytes(), false, Vec::new())));
        }
    }

    #[track_caller]
    fn check_stuffed(pieces: &[&str], expected: &str) {
        let (mut stuffer, mut out) = (DotStuffer::new(), BytesMut::new());
        pieces.iter().for_each(|piece| stuffer.write(piece.as_bytes(), &mut out));
        stuffer.finish(&mut out);
        assert_eq!(out, expected.as_bytes());
    }

    #[test]
    fn dots_at_the_start_of_lines_are_doubled() {
        check_stuffed(&[], ".\r\n");
        check_stuffed(&["a\r\n.b\r\n..\r\nc.\r\n"], "a\r\n..b\r\n...\r\nc.\r\n.\r\n");
        check_stuffed(&[".", "\r", "\n", ".", "x"], "..\r\n..x\r\n.\r\n");
        check_stuffed(&["a\n.\r\nb"], "a\n..\r\nb\r\n.\r\n");
        check_stuffed(&["a\n.\n.\n", "", "."], "a\n..\n..\n..\r\n.\r\n");
    }
}
