//! What is imported, seen as one tree of files, whether it lies in folders or in an archive.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::archive;
use crate::store::trouble::Trouble;

/// A source, as named on the command line.
pub(super) struct Tree {
    pub(super) path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Zip,
    Tar,
    TarGz,
}

/// A file or folder in a tree.
pub(super) struct Entry<'a> {
    /// The names that lead to it, none of which leads elsewhere. They are names only: nothing is opened by them.
    pub(super) path: Vec<String>,
    /// Seconds since the Unix epoch.
    pub(super) modified: Option<i64>,
    /// In octets.
    pub(super) size: u64,
    pub(super) content: Content<'a>,
}

pub(super) enum Content<'a> {
    Folder,
    File(&'a mut dyn Read),
    Unreadable(String),
}

/// What looks at each entry.
pub(super) type Visit<'a> = dyn FnMut(Entry<'_>) -> Result<(), Trouble> + 'a;

impl Tree {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let kind = if path.is_dir() { Kind::Folder } else { kind_of(path)? };
        Ok(Self { path: path.to_owned(), kind })
    }

    pub(super) fn is_archive(&self) -> bool {
        matches!(self.kind, Kind::Zip | Kind::Tar | Kind::TarGz)
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// Visits all there is, folders before what they hold. A message as the error says that the rest can't be read.
    pub(super) fn walk(&self, visit: &mut Visit<'_>) -> Result<(), Trouble> {
        match self.kind {
            Kind::Folder => folder(&self.path, &[], visit),
            Kind::File => file(&self.path, &[], visit),
            Kind::Zip => archive::zip(&self.path, visit),
            Kind::Tar => archive::tar(&self.path, visit),
            Kind::TarGz => archive::tar_gz(&self.path, visit),
        }
    }
}

fn kind_of(path: &Path) -> io::Result<Kind> {
    let mut start = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut start)?;
    let is_tar = || is_tar(path).unwrap_or(false);
    Ok(match start.as_slice() {
        b"PK\x03\x04" | b"PK\x05\x06" => Kind::Zip,
        [0x1f, 0x8b, ..] => Kind::TarGz,
        _ if is_tar() => Kind::Tar,
        _ => Kind::File,
    })
}

/// POSIX.1 `ustar`, and GNU's form of it.
fn is_tar(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(257))?;
    let mut magic = [0; 5];
    file.read_exact(&mut magic)?;
    Ok(&magic == b"ustar")
}

/// The names in a path of an archive; absolute ones and those that lead upwards lose what makes them so.
pub(super) fn names(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !matches!(*name, "" | "." | "..")).map(ToOwned::to_owned).collect()
}

/// Opened when it is first read.
struct Lazy<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl Read for Lazy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.read(buffer),
            None => self.file.insert(File::open(self.path)?).read(buffer),
        }
    }
}

fn folder(path: &Path, above: &[String], visit: &mut Visit<'_>) -> Result<(), Trouble> {
    let mut children = match children(path) {
        Ok(children) => children,
        Err(error) => return visit(entry(above.to_vec(), None, Content::Unreadable(error.to_string()))),
    };
    children.sort_by_cached_key(sort_key);
    for child in children {
        let path = path.join(&child);
        let names = [above, &[child.to_string_lossy().into_owned()]].concat();
        match path.symlink_metadata() {
            Err(error) => visit(entry(names, None, Content::Unreadable(error.to_string())))?,
            Ok(it) if it.is_dir() => {
                visit(entry(names.clone(), Some(&it), Content::Folder))?;
                folder(&path, &names, visit)?;
            }
            Ok(it) if it.is_file() => file(&path, above, visit)?,
            Ok(it) if it.is_symlink() => {
                let text = "it is a symbolic link; name what it points to, to import that".to_owned();
                visit(entry(names, None, Content::Unreadable(text)))?;
            }
            Ok(_) => {} // a socket, a pipe
        }
    }
    Ok(())
}

fn children(path: &Path) -> io::Result<Vec<OsString>> {
    path.read_dir()?.map(|child| child.map(|child| child.file_name())).collect()
}

/// Names in a Maildir begin with the time: so they come in the order of arrival.
fn sort_key(name: &OsString) -> (u64, OsString) {
    let text = name.to_string_lossy();
    let digits = text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    (digits.parse().unwrap_or_default(), name.clone())
}

fn file(path: &Path, above: &[String], visit: &mut Visit<'_>) -> Result<(), Trouble> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = [above, &[name]].concat();
    match path.metadata() {
        Err(error) => visit(entry(names, None, Content::Unreadable(error.to_string()))),
        Ok(it) => visit(entry(names, Some(&it), Content::File(&mut Lazy { path, file: None }))),
    }
}

fn entry<'a>(path: Vec<String>, metadata: Option<&Metadata>, content: Content<'a>) -> Entry<'a> {
    let size = metadata.map_or(0, Metadata::len);
    Entry { path, modified: metadata.map(MetadataExt::mtime), size, content }
}
