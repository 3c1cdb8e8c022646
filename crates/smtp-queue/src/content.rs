use std::fs::File;
use std::io::{self, Cursor, Read};

use bytes::Bytes;

/// The octets of a queued message, being read.
#[derive(Debug)]
pub enum Content {
    /// Those of a large one.
    File(File),
    /// Those of a small one, which lies in the database.
    Memory(Cursor<Bytes>),
}

impl Content {
    /// Octets in it.
    pub(crate) fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.metadata().map(|metadata| metadata.len()),
            Self::Memory(octets) => Ok(octets.get_ref().len() as u64),
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Memory(octets) => octets.read(buffer),
        }
    }
}
