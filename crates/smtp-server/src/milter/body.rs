//! A body that may be longer than memory should hold.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smtp_proto::Body as Octets;

use crate::blocking::blocking;
use crate::incoming::PIECE;

/// What came first in memory, then a file without a name, then the end in memory again.
#[derive(Debug, Default)]
pub(crate) struct Body {
    start: Vec<u8>,
    file: Option<Arc<File>>,
    end: Vec<u8>,
    /// What a milter has put into it.
    pub(crate) holds: Octets,
}

impl Body {
    pub(crate) fn new(file: Option<File>, end: Vec<u8>) -> Self {
        Self { start: Vec::new(), file: file.map(Arc::new), end, holds: Octets::SevenBit }
    }

    pub(crate) fn put_before(&mut self, start: &[u8]) {
        self.start = start.to_vec();
    }

    pub(crate) fn put_behind(&mut self, end: Vec<u8>) {
        self.end = end;
    }

    /// Shows all of it, in blocks. Blocks.
    pub(crate) fn each<E: From<io::Error>>(
        &self,
        mut see: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        see(&self.start)?;
        let mut at = 0;
        while let Some(block) = read(self.file.as_deref(), at)? {
            at += u64::try_from(block.len()).unwrap_or_default();
            see(&block)?;
        }
        see(&self.end)
    }

    /// The block that stands behind `position`, and where the next one is. `None` at the end.
    pub(crate) async fn next(&self, position: Position) -> io::Result<Option<(Vec<u8>, Position)>> {
        match position {
            Position::Start => Ok(Some((self.start.clone(), Position::InFile(0)))),
            Position::InFile(at) => {
                let file = self.file.clone();
                let block = match file {
                    Some(_) => {
                        blocking(move || read(file.as_deref(), at)).await.map_err(io::Error::other)??
                    }
                    None => None,
                };
                Ok(Some(match block {
                    Some(block) => {
                        let next = at + u64::try_from(block.len()).unwrap_or_default();
                        (block, Position::InFile(next))
                    }
                    None => (self.end.clone(), Position::Over),
                }))
            }
            Position::Over => Ok(None),
        }
    }

    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> Vec<u8> {
        [self.start.clone(), self.end.clone()].concat()
    }
}

/// How far a body has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    Start,
    InFile(u64),
    Over,
}

fn read(file: Option<&File>, at: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = file else { return Ok(None) };
    let mut block = vec![0; PIECE];
    let read = file.read_at(&mut block, at)?;
    block.truncate(read);
    Ok((read > 0).then_some(block))
}

/// A body that a milter sends, piece by piece. Its lines end in CRLF whatever it sends: RFC 5321 §2.3.8.
#[derive(Debug)]
pub(crate) struct NewBody {
    folder: PathBuf,
    file: Option<File>,
    end: Vec<u8>,
    size: u64,
    after_cr: bool,
    holds: Octets,
}

impl NewBody {
    /// `folder` is on the disk where messages are.
    pub(crate) fn new(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self { folder, file: None, end: Vec::new(), size: 0, after_cr: false, holds: Octets::SevenBit }
    }

    /// Octets so far.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) async fn add(mut self, piece: &[u8]) -> io::Result<Self> {
        for octet in piece {
            match octet {
                b'\n' if self.after_cr => {}
                b'\r' | b'\n' => self.end.extend_from_slice(b"\r\n"),
                other => self.end.push(*other),
            }
            self.after_cr = *octet == b'\r';
        }
        self.holds = self.holds.max(Octets::of(piece));
        self.size += u64::try_from(piece.len()).unwrap_or_default();
        if self.end.len() < PIECE {
            return Ok(self);
        }
        blocking(move || self.spill()).await.map_err(io::Error::other)?
    }

    fn spill(mut self) -> io::Result<Self> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(&self.folder)?,
        };
        file.write_all(&self.end)?;
        self.end.clear();
        Ok(Self { file: Some(file), ..self })
    }

    pub(crate) fn finish(self) -> Body {
        Body { holds: self.holds, ..Body::new(self.file, self.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_body_has_whole_lines_and_any_length() {
        let folder = tempfile::tempdir().unwrap();
        let mut body = NewBody::new(folder.path());
        for piece in [&b"a\r"[..], b"\nb\n", b"\r", b"c\r\n"] {
            body = body.add(piece).await.unwrap();
        }
        assert_eq!(body.finish().in_memory(), b"a\r\nb\r\n\r\nc\r\n");
        let mut body = NewBody::new(folder.path());
        let long = vec![b'x'; PIECE - 1];
        for _ in 0..5 {
            body = body.add(&long).await.unwrap();
        }
        let body = body.finish();
        let (mut size, mut position) = (0, Position::Start);
        while let Some((block, next)) = body.next(position).await.unwrap() {
            (size, position) = (size + block.len(), next);
        }
        assert_eq!(size, 5 * long.len());
        let mut seen = 0;
        body.each(|block| {
            seen += block.len();
            io::Result::Ok(())
        })
        .unwrap();
        assert_eq!(seen, size);
    }
}
