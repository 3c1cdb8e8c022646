use std::io::{self, Read};

/// What is read at once, and the longest piece of a line that is looked at as a whole.
const BLOCK: usize = 64 << 10;
/// The longest header that is looked into; what is longer counts as the body.
const HEADER: usize = 1 << 20;

/// A file that can be looked at before it is taken.
pub(super) struct Input<'a> {
    source: &'a mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    is_ended: bool,
}

impl<'a> Input<'a> {
    pub(super) fn new(source: &'a mut dyn Read) -> Self {
        Self { source, buffer: Vec::new(), start: 0, is_ended: false }
    }

    fn held(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// What comes next: at least `count` octets, unless it ends before.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.held().len() < count && !self.is_ended {
            self.fill()?;
        }
        Ok(self.held())
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let read = self.source.take(BLOCK as u64).read_to_end(&mut self.buffer)?;
        self.is_ended = read < BLOCK;
        Ok(())
    }

    /// The next line with its end, or the first piece of a long one, which does not divide a CRLF; nothing at the end.
    pub(super) fn line(&mut self) -> io::Result<&[u8]> {
        if memchr::memchr(b'\n', self.held()).is_none() {
            self.peek(BLOCK)?;
        }
        let held = self.held();
        let end = match memchr::memchr(b'\n', held) {
            Some(at) => at + 1,
            None if !self.is_ended && held.ends_with(b"\r") => held.len() - 1,
            None => held.len(),
        };
        Ok(held.get(..end).unwrap_or_default())
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.buffer.len().min(self.start + count);
    }

    /// Takes the header with the empty line at its end; before a line that `ends` says yes to, it ends too.
    pub(super) fn header(&mut self, ends: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        let mut header = Vec::new();
        let mut at_start = true;
        while header.len() < HEADER {
            let line = self.line()?;
            if line.is_empty() || (at_start && ends(line)) {
                break;
            }
            let is_last = at_start && is_blank(line);
            at_start = line.ends_with(b"\n");
            header.extend_from_slice(line);
            let length = line.len();
            self.consume(length);
            if is_last {
                break;
            }
        }
        Ok(header)
    }
}

pub(super) fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// A line without the `>` before it, of which a line of a message gets one more in an mbox when `From ` stands behind them.
pub(super) fn without_quotes(line: &[u8]) -> &[u8] {
    let quotes = line.iter().take_while(|octet| **octet == b'>').count();
    line.get(quotes..).unwrap_or_default()
}
