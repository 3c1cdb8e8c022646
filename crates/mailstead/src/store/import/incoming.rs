use std::io::Write;

use anyhow::Context as _;
use mail_store::Append;
use sha2::{Digest as _, Sha256};

use crate::store::trouble::Trouble;

/// A message may have this many octets.
const LONGEST: u64 = 1 << 30;

/// What a message's content is known by.
pub(super) type Hash = [u8; 32];

/// A message on its way in, each line of which will end in CRLF.
pub(super) struct Incoming {
    /// `None` when only a look is asked for.
    append: Option<Append>,
    hash: Sha256,
    size: u64,
    last: u8,
    line_ends: LineEnds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// LF or CRLF.
    Any,
    /// LF; a CR before it is the line's own.
    Lf,
}

impl Incoming {
    pub(super) fn new(append: Option<Append>, line_ends: LineEnds) -> Self {
        Self { append, hash: Sha256::new(), size: 0, last: 0, line_ends }
    }

    pub(super) fn put(&mut self, data: &[u8]) -> Result<(), Trouble> {
        let mut done = 0;
        for at in memchr::memchr_iter(b'\n', data) {
            let before = at.checked_sub(1).and_then(|at| data.get(at)).copied().unwrap_or(self.last);
            if before != b'\r' || self.line_ends == LineEnds::Lf {
                self.write(data.get(done..at).unwrap_or_default())?;
                self.write(b"\r\n")?;
                done = at + 1;
            }
        }
        self.write(data.get(done..).unwrap_or_default())?;
        self.last = data.last().copied().unwrap_or(self.last);
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Trouble> {
        self.size += data.len() as u64;
        if self.size > LONGEST {
            return Err(Trouble::Message(format!("it is longer than {LONGEST} octets")));
        }
        self.hash.update(data);
        let Some(append) = &mut self.append else { return Ok(()) };
        Ok(append.write_all(data).context("can't write the message")?)
    }

    pub(super) fn finish(self) -> (Option<Append>, u64, Hash) {
        (self.append, self.size, self.hash.finalize().into())
    }
}
