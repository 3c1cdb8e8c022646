//! mbox files: messages one after the other, each behind a line that begins with `From `. RFC 4155.

use std::io;

use crate::store::dates;
use crate::store::input::{Input, is_blank, without_quotes};
use crate::store::mbox_header::MboxHeader;

/// How far ahead a Content-Length is followed to see whether it holds.
const LOOKAHEAD: usize = 16 << 20;

/// An mbox, of which one message after the other is read.
pub(super) struct Mbox<'a> {
    input: Input<'a>,
    is_ended: bool,
    at_line_start: bool,
    after_blank: bool,
    /// An empty line that belongs to the message only if more of it follows.
    pending: Vec<u8>,
    /// A line end likewise, the message being one that has none at its end.
    owes_line_end: bool,
    is_unterminated: bool,
    /// Octets that the message still has by its Content-Length.
    left: Option<usize>,
    /// Octets that are taken as they are.
    verbatim: usize,
    piece: Vec<u8>,
}

/// A message in an mbox, before its body.
pub(super) struct Head {
    /// Seconds since the Unix epoch, from the `From ` line.
    pub(super) date: Option<i64>,
    pub(super) header: MboxHeader,
}

impl<'a> Mbox<'a> {
    pub(super) fn new(input: Input<'a>) -> Self {
        Self {
            input,
            is_ended: true,
            at_line_start: true,
            after_blank: true,
            pending: Vec::new(),
            owes_line_end: false,
            is_unterminated: false,
            left: None,
            verbatim: 0,
            piece: Vec::new(),
        }
    }

    /// The next message, whatever is left of the one before.
    pub(super) fn next(&mut self) -> io::Result<Option<Head>> {
        while self.body()?.is_some() {}
        let line = self.input.line()?;
        if line.is_empty() {
            return Ok(None);
        }
        let (date, length) = (dates::in_from_line(line), line.len());
        self.input.consume(length);
        let header = self.input.header(|line| is_from_line(line, false))?;
        let mut header = MboxHeader::parse(&header);
        self.begin(&mut header);
        Ok(Some(Head { date, header }))
    }

    fn begin(&mut self, header: &mut MboxHeader) {
        self.is_ended = false;
        self.at_line_start = true;
        self.after_blank = true;
        self.pending.clear();
        self.left = header.content_length;
        self.is_unterminated = header.is_unterminated;
        self.owes_line_end = false;
        if header.is_ours {
            self.begin_ours(&mut header.own);
        }
    }

    /// What we wrote is quoted from its first line on, and the empty line behind it may be that which ends its header.
    fn begin_ours(&mut self, own: &mut Vec<u8>) {
        let lines: Vec<&[u8]> = own.split_inclusive(|octet| *octet == b'\n').map(unquoted).collect();
        let mut lines = lines.concat();
        if lines == b"\n" || lines.ends_with(b"\n\n") {
            lines.pop();
            self.pending.push(b'\n');
        }
        if self.is_unterminated && lines.last() == Some(&b'\n') {
            lines.pop();
            self.owes_line_end = true;
        }
        *own = lines;
    }

    /// The next piece of the message's body, without the mbox's quotes; `None` at its end.
    pub(super) fn body(&mut self) -> io::Result<Option<&[u8]>> {
        self.piece.clear();
        while !self.is_ended && self.piece.is_empty() {
            if self.verbatim > 0 {
                self.take_verbatim()?;
            } else {
                self.take_line()?;
            }
        }
        Ok(Some(self.piece.as_slice()).filter(|piece| !piece.is_empty()))
    }

    fn take_verbatim(&mut self) -> io::Result<()> {
        let held = self.input.peek(1)?;
        let length = held.len().min(self.verbatim);
        self.piece.extend_from_slice(held.get(..length).unwrap_or_default());
        self.input.consume(length);
        self.verbatim -= length;
        self.is_ended = length == 0;
        Ok(())
    }

    fn take_line(&mut self) -> io::Result<()> {
        if self.at_line_start && self.is_content_length_needed()? {
            self.verbatim = self.left.take().unwrap_or_default();
            self.piece.append(&mut self.pending);
            self.after_blank = false;
            return Ok(());
        }
        let line = self.input.line()?;
        if line.is_empty() || (self.at_line_start && is_from_line(line, self.after_blank)) {
            self.is_ended = true;
            return Ok(());
        }
        let length = line.len();
        self.left = self.left.and_then(|left| left.checked_sub(length));
        if std::mem::take(&mut self.owes_line_end) {
            self.piece.push(b'\n');
        }
        self.piece.append(&mut self.pending);
        self.after_blank = self.at_line_start && is_blank(line);
        let target = if self.after_blank { &mut self.pending } else { &mut self.piece };
        target.extend_from_slice(if self.at_line_start { unquoted(line) } else { line });
        self.at_line_start = line.ends_with(b"\n");
        self.input.consume(length);
        if self.is_unterminated && self.piece.last() == Some(&b'\n') {
            self.piece.pop();
            self.owes_line_end = true;
        }
        Ok(())
    }

    /// True if a line that looks like the next message belongs to this one, since the Content-Length says so and holds: then no
    /// line of this message is quoted. Without such a line it may be quoted, and needs no length.
    fn is_content_length_needed(&mut self) -> io::Result<bool> {
        let Some(left) = self.left.filter(|left| *left <= LOOKAHEAD) else { return Ok(false) };
        if left == 0 || !without_quotes(self.input.line()?).starts_with(b"From ") {
            return Ok(false);
        }
        let held = self.input.peek(left + 8)?;
        let needed = held.split_at_checked(left).is_some_and(|(body, behind)| {
            let behind = behind.strip_prefix(b"\r").unwrap_or(behind);
            let behind = behind.strip_prefix(b"\n").unwrap_or(behind);
            let holds = behind.is_empty() || behind.starts_with(b"From ");
            holds && (body.starts_with(b"From ") || memchr::memmem::find(body, b"\nFrom ").is_some())
        });
        if !needed {
            self.left = None;
        }
        Ok(needed)
    }
}

/// Takes one `>` from a line that was quoted.
fn unquoted(line: &[u8]) -> &[u8] {
    match line.strip_prefix(b">") {
        Some(rest) if without_quotes(rest).starts_with(b"From ") => rest,
        _ => line,
    }
}

/// A sentence may begin with `From `: the line before a message has a date, or is one of Thunderbird's behind an empty line.
fn is_from_line(line: &[u8], after_blank: bool) -> bool {
    let Some(rest) = line.strip_prefix(b"From ") else { return false };
    let is_bare = rest.trim_ascii().is_empty() || rest.starts_with(b"- ");
    (after_blank && is_bare) || dates::in_from_line(line).is_some()
}
