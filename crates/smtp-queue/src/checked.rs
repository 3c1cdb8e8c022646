//! A message's file while it is read: handed out as long as it may be what was queued, its last octets only if it is. So what was damaged in between is
//! never sent to its end, and costs no reading of its own to be found.

use std::io::{self, ErrorKind, Read};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use crc32fast::Hasher;
use tokio::io::{AsyncRead, ReadBuf};

/// Why a message's file is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// It has other octets, or more, or less.
    #[error("it is not what was queued")]
    Altered,
    /// By what the system says.
    #[error("{0}")]
    Unreadable(String),
}

/// What a file is to hold, and whether it was found to hold something else, or to be unreadable: all that read it share that.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    /// Of what stands before where it is read from.
    before: Hasher,
    /// Octets from there on.
    octets: u64,
    /// CRC-32 of all of it; `None` if that isn't known, so that only its length counts.
    checksum: Option<u32>,
    flaw: Arc<OnceLock<Flaw>>,
}

impl Whole {
    /// A file of so many octets behind `before`.
    pub(crate) fn new(before: &[u8], octets: u64, checksum: Option<u32>) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(before);
        Self { before: hasher, octets, checksum, flaw: Arc::default() }
    }

    /// What was found to be wrong with the file.
    pub(crate) fn flaw(&self) -> Option<&Flaw> {
        self.flaw.get()
    }

    /// The file, read from where this says.
    pub(crate) fn of<R>(&self, source: R) -> Checked<R> {
        Checked { source, hasher: self.before.clone(), left: self.octets, whole: self.clone() }
    }
}

/// True if these are the octets of which the checksum is known.
pub(crate) fn is_intact(octets: &[u8], checksum: Option<u32>) -> bool {
    checksum.is_none_or(|checksum| crc32fast::hash(octets) == checksum)
}

/// Reads a file, and fails instead of giving out its last octets if it is not what was queued.
#[derive(Debug)]
pub(crate) struct Checked<R> {
    source: R,
    hasher: Hasher,
    left: u64,
    whole: Whole,
}

impl<R> Checked<R> {
    /// Judges what was read; nothing, if this is the end.
    fn judge(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.whole.checksum.is_some() {
            self.hasher.update(octets);
        }
        let left = self.left.checked_sub(octets.len() as u64);
        let is_altered = match left {
            None => true,
            Some(0) => self.whole.checksum.is_some_and(|checksum| self.hasher.clone().finalize() != checksum),
            Some(_) => octets.is_empty(),
        };
        if is_altered {
            return Err(self.flawed(Flaw::Altered));
        }
        self.left = left.unwrap_or_default();
        Ok(())
    }

    fn failed(&self, error: io::Error) -> io::Error {
        if error.kind() != ErrorKind::Interrupted {
            let _ = self.whole.flaw.set(Flaw::Unreadable(error.to_string()));
        }
        error
    }

    fn flawed(&self, flaw: Flaw) -> io::Error {
        let _ = self.whole.flaw.set(flaw.clone());
        io::Error::new(ErrorKind::InvalidData, flaw)
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer).map_err(|error| self.failed(error))?;
        if !buffer.is_empty() {
            self.judge(buffer.get(..length).unwrap_or_default())?;
        }
        Ok(length)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Checked<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let read = ready!(Pin::new(&mut this.source).poll_read(context, buffer));
        let judged = read.map_err(|error| this.failed(error)).and_then(|()| match has_room {
            true => this.judge(buffer.filled().get(before..).unwrap_or_default()),
            false => Ok(()),
        });
        if judged.is_err() {
            buffer.set_filled(before);
        }
        Poll::Ready(judged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of reading `found` where `queued` is expected behind `before`, in pieces of so many octets.
    #[track_caller]
    fn check(before: &[u8], queued: &[u8], found: &[u8], piece: usize) {
        let checksum = crc32fast::hash(&[before, queued].concat());
        let is_whole = queued == found;
        for is_async in [false, true] {
            let whole = Whole::new(before, queued.len() as u64, Some(checksum));
            let mut octets = Vec::new();
            let result = if is_async {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let (mut reader, mut block) = (whole.of(found), vec![0; piece]);
                    loop {
                        match tokio::io::AsyncReadExt::read(&mut reader, &mut block).await {
                            Ok(0) => return Ok(()),
                            Ok(length) => octets.extend_from_slice(&block[..length]),
                            Err(error) => return Err(error),
                        }
                    }
                })
            } else {
                let (mut reader, mut block) = (whole.of(found), vec![0; piece]);
                loop {
                    match reader.read(&mut block) {
                        Ok(0) => break Ok(()),
                        Ok(length) => octets.extend_from_slice(&block[..length]),
                        Err(error) => break Err(error),
                    }
                }
            };
            assert_eq!(result.is_ok(), is_whole, "{found:?} in pieces of {piece}");
            assert_eq!(whole.flaw(), (!is_whole).then_some(&Flaw::Altered));
            assert_eq!(octets == queued, is_whole, "{found:?} in pieces of {piece}");
        }
    }

    #[test]
    fn the_end_of_a_file_is_read_only_if_it_is_what_was_queued() {
        let queued = b"Subject: x\r\n\r\nabc\r\n";
        for piece in [1, 2, 5, 19, 100] {
            for before in [&b""[..], b"Return-Path: <a@b>\r\n"] {
                check(before, queued, queued, piece);
                check(before, queued, b"Subject: y\r\n\r\nabc\r\n", piece);
                check(before, queued, b"Subject: x\r\n\r\nabc\r\0", piece);
                check(before, queued, b"Subject: x\r\n", piece);
                check(before, queued, b"", piece);
            }
        }
    }

    /// What is more than was queued comes behind what is right: whoever reads to the end fails there.
    #[test]
    fn what_has_become_longer_has_no_end() {
        let whole = Whole::new(b"", 3, Some(crc32fast::hash(b"abc")));
        let mut octets = Vec::new();
        assert!(whole.of(&b"abcd"[..]).read_to_end(&mut octets).is_err());
        assert_eq!(whole.flaw(), Some(&Flaw::Altered));
    }

    #[test]
    fn of_what_has_no_checksum_the_length_counts() {
        let whole = Whole::new(b"", 3, None);
        let mut octets = Vec::new();
        assert_eq!(whole.of(&b"xyz"[..]).read_to_end(&mut octets).unwrap(), 3);
        assert_eq!(whole.flaw(), None);
        assert!(whole.of(&b"ab"[..]).read_to_end(&mut octets).is_err());
    }

    #[test]
    fn that_a_file_can_not_be_read_is_known_to_all_that_share_it() {
        let folder = std::fs::File::open("/").unwrap();
        let whole = Whole::new(b"", 3, None);
        assert!(whole.of(folder).read_to_end(&mut Vec::new()).is_err());
        assert!(matches!(whole.clone().flaw(), Some(Flaw::Unreadable(_))));
    }
}
