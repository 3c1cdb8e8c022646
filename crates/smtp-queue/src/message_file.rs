use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use tokio::io::AsyncSeekExt as _;

/// Octets in which a Return-Path field at a file's start must end.
const HEAD: u64 = 4096;

/// A queued message, open for reading, without the Return-Path that a local delivery may have put at its start.
#[derive(Debug)]
pub(crate) struct MessageFile {
    file: File,
    start: u64,
    size: u64,
}

impl MessageFile {
    /// Blocks.
    pub(crate) fn new(mut file: File) -> io::Result<Self> {
        let mut head = Vec::new();
        (&file).take(HEAD).read_to_end(&mut head)?;
        let start = return_path_length(&head) as u64;
        let size = file.metadata()?.len().saturating_sub(start);
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { file, start, size })
    }

    /// Octets of the message.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// At the message's first octet. Blocks.
    pub(crate) fn rewound(&self) -> io::Result<&File> {
        (&self.file).seek(SeekFrom::Start(self.start))?;
        Ok(&self.file)
    }

    /// At the message's first octet, for reading without blocking. One at a time: they share their position.
    pub(crate) async fn reopen(&self) -> io::Result<tokio::fs::File> {
        let mut file = tokio::fs::File::from_std(self.file.try_clone()?);
        file.seek(SeekFrom::Start(self.start)).await?;
        Ok(file)
    }
}

/// How many octets at a file's start are a Return-Path field, which only the final delivery writes: RFC 5321 §4.4.
pub(crate) fn return_path_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"return-path:";
    if !head.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
        return 0;
    }
    let mut end = 0;
    for line in head.split_inclusive(|octet| *octet == b'\n') {
        if end > 0 && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            return end;
        }
        end += line.len();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_path_at_the_start_is_found() {
        assert_eq!(return_path_length(b"Return-Path: <a@b>\r\nSubject: x\r\n"), 20);
        assert_eq!(return_path_length(b"RETURN-PATH:\r\n <a@b>\r\nSubject: x\r\n"), 22);
        assert_eq!(return_path_length(b"Subject: x\r\nReturn-Path: <a@b>\r\n"), 0);
        assert_eq!(return_path_length(b""), 0);
    }
}
