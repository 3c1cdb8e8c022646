use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt as _;

use crate::content_hash::{ContentHash, Hasher};

/// Octets hashed at a time.
const PIECE: usize = 64 * 1024;

/// A message's file, open for reading.
#[derive(Debug)]
pub struct MessageFile {
    /// At its start.
    pub file: File,
    /// Octets in the file.
    pub file_size: u64,
    /// Octets on the wire; greater than `file_size` when a foreign program wrote bare LFs.
    pub wire_size: u64,
}

impl MessageFile {
    /// The whole message as it goes over the wire, each line ended by CRLF.
    ///
    /// # Errors
    /// What reading the file says.
    pub fn read(self) -> std::io::Result<Vec<u8>> {
        let mut content = vec![0; usize::try_from(self.file_size).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut content, 0).map_err(shrunk)?;
        Ok(self.on_the_wire(content))
    }

    /// The hash of the file as it is.
    ///
    /// # Errors
    /// What reading the file says.
    pub fn content_hash(&self) -> std::io::Result<ContentHash> {
        let mut hasher = Hasher::default();
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        loop {
            let read = self.file.read_at(&mut piece, at)?;
            if read == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(piece.get(..read).unwrap_or_default());
            at += read as u64;
        }
    }

    /// What lines of the file are on the wire.
    #[must_use]
    pub fn on_the_wire(&self, lines: Vec<u8>) -> Vec<u8> {
        if self.wire_size == self.file_size { lines } else { wire_form(&lines) }
    }
}

/// Says what happened when a file ended too early.
fn shrunk(error: Error) -> Error {
    if error.kind() == ErrorKind::UnexpectedEof {
        return Error::new(error.kind(), "the message's file shrank while it was read");
    }
    error
}

/// How many LFs without a CR a piece of a message holds; `last` is the octet before it.
pub(crate) fn bare_lfs(piece: &[u8], last: u8) -> u64 {
    let before = |at: usize| at.checked_sub(1).map_or(Some(&last), |it| piece.get(it));
    memchr::memchr_iter(b'\n', piece).filter(|at| before(*at) != Some(&b'\r')).count() as u64
}

fn wire_form(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + content.len() / 32);
    for line in content.split_inclusive(|c| *c == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                wire.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                wire.extend_from_slice(b"\r\n");
            }
            None => wire.extend_from_slice(line),
        }
    }
    wire
}
