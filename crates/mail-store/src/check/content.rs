//! Every message read to its end, and its hash compared with the one it had.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::file::Found;
use super::finding::{Findings, Problem};
use crate::content_hash::{ContentHash, Hasher};
use crate::disk;
use crate::error::StoreError;
use crate::message_file::bare_lfs;
use crate::names::FileName;

const BUFFER: usize = 256 << 10;

/// Hashes of messages whose names have none, since another program gave these: from the first check on that read them.
#[derive(Debug)]
pub(super) struct Remembered {
    path: PathBuf,
    known: BTreeMap<String, ContentHash>,
    seen: BTreeMap<String, ContentHash>,
}

impl Remembered {
    /// Lines of hash and name, as `b3sum --length 16` checks them: `<hash>  <base>`.
    pub(super) fn read(home: &Path) -> Result<Self, StoreError> {
        let path = home.join("content-hashes");
        let text = disk::read_optional(&path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let line = |line: &str| {
            line.split_once("  ").map(|(hash, base)| Some((base.to_owned(), hash.parse().ok()?)))
        };
        Ok(Self { path, known: text.lines().filter_map(line).flatten().collect(), seen: BTreeMap::new() })
    }

    /// Keeps what this check saw, and forgets messages that are gone.
    pub(super) fn write(&self) -> Result<(), StoreError> {
        if self.seen == self.known {
            return Ok(());
        }
        let text: String = self.seen.iter().map(|(base, hash)| format!("{hash}  {base}\n")).collect();
        disk::replace(&self.path, text.as_bytes())
    }

    /// What the hash of a message is to be; of one that has none yet, from now on what it is.
    fn expected(&mut self, name: &FileName<'_>, found: ContentHash) -> ContentHash {
        if let Some(hash) = name.hash {
            return hash;
        }
        let known = self.known.get(name.base.as_ref()).copied().unwrap_or(found);
        self.seen.insert(name.base.clone().into_owned(), known);
        known
    }
}

/// Reads a message and compares what its content and its name say.
pub(super) fn judge(file: &Found, remembered: &mut Remembered, findings: &mut Findings) {
    let name = FileName::parse(&file.name);
    let read = match read(&file.path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match renamed(file) {
            Some(path) => read(&path),
            None => return, // expunged meanwhile
        },
        result => result,
    };
    let content = match read {
        Ok(content) => content,
        Err(error) => return findings.add(&file.path, Problem::Unreadable(error.to_string())),
    };
    let expected = remembered.expected(&name, content.hash);
    if expected != content.hash {
        findings.add(&file.path, Problem::content(expected, content.hash));
    } else if let Some(named) = file.named_wire().filter(|named| *named != content.wire && !name.is_binary())
    {
        findings.add(&file.path, Problem::WireSizeDiffers { named, found: content.wire });
    }
}

/// What reading a message to its end showed.
struct Content {
    hash: ContentHash,
    wire: u64,
}

fn read(path: &Path) -> std::io::Result<Content> {
    let mut file = File::open(path)?;
    let (mut hasher, mut wire, mut last) = (Hasher::default(), 0, 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        };
        let piece = buffer.get(..count).unwrap_or_default();
        let Some(end) = piece.last() else { break };
        hasher.update(piece);
        wire += count as u64 + bare_lfs(piece, last);
        last = *end;
    }
    Ok(Content { hash: hasher.finish(), wire })
}

/// Where a message lies now that was renamed since.
fn renamed(file: &Found) -> Option<PathBuf> {
    let folder = file.path.parent()?.parent()?;
    let parts = ["cur", "new"].into_iter().filter_map(|part| std::fs::read_dir(folder.join(part)).ok());
    let is_it = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| FileName::parse(name).base == file.base)
    };
    parts.flatten().flatten().find(is_it).map(|entry| entry.path())
}
