use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A file that is written again: as long as it holds what is written, nothing is.
pub(super) struct Resumed {
    file: File,
    /// What it holds from `position` on, unless it has differed.
    held: Option<BufReader<File>>,
    position: u64,
    may_change: bool,
    out: Vec<u8>,
}

/// What is collected before it is written.
const BLOCK: usize = 256 << 10;

impl Resumed {
    /// A file that is made where it is missing, and whatever it holds else goes.
    pub(super) fn of_part(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Self::new(file, true)
    }

    /// A file that is whole, and must not hold anything else.
    pub(super) fn of_whole(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?, false)
    }

    fn new(file: File, may_change: bool) -> io::Result<Self> {
        let held = Some(BufReader::new(file.try_clone()?));
        Ok(Self { file, held, position: 0, may_change, out: Vec::new() })
    }

    /// What was written, in octets.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// True as long as nothing had to be written.
    pub(super) const fn is_same(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if !self.holds(data)? {
            self.out.extend_from_slice(data);
        }
        self.position += data.len() as u64;
        if self.out.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn holds(&mut self, data: &[u8]) -> io::Result<bool> {
        let Some(held) = &mut self.held else { return Ok(false) };
        let mut there = Vec::with_capacity(data.len());
        held.take(data.len() as u64).read_to_end(&mut there)?;
        if there == data {
            return Ok(true);
        }
        self.differs()?;
        Ok(false)
    }

    /// From `position` on it is written anew.
    fn differs(&mut self) -> io::Result<()> {
        if !self.may_change {
            return Err(io::Error::other(
                "it is there and holds something else; remove it, or export elsewhere",
            ));
        }
        self.held = None;
        self.file.set_len(self.position)?;
        self.file.seek(SeekFrom::Start(self.position)).map(drop)
    }

    /// Takes back what was written behind `position`.
    pub(super) fn go_back(&mut self, position: u64) -> io::Result<()> {
        self.flush()?;
        self.position = position;
        self.differs()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Brings it to the disk; it holds nothing else.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        if self.file.metadata()?.len() != self.position {
            self.differs()?;
        }
        self.file.sync_all()
    }
}
