//! The few changes the store makes to the file system. All of them go through here, so that tests can stop at each step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::{Scope, ScopedJoinHandle};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::error::{IoContext as _, StoreError};

mod order;

#[cfg(test)]
pub(crate) mod fault;
#[cfg(not(test))]
mod fault {
    #[inline]
    #[expect(clippy::unnecessary_wraps, reason = "the test's twin fails")]
    pub(super) fn check() -> std::io::Result<()> {
        Ok(())
    }

    #[inline]
    #[expect(clippy::unnecessary_wraps, reason = "the test's twin fails")]
    pub(super) fn admit(data: &[u8]) -> std::io::Result<&[u8]> {
        Ok(data)
    }

    #[inline]
    pub(super) fn order() -> Option<bool> {
        None
    }

    #[inline]
    pub(super) fn shared<T>(act: impl FnOnce() -> T + Send) -> impl FnOnce() -> T + Send {
        act
    }
}

/// A new file that only the owner may read.
#[derive(Debug)]
pub(crate) struct NewFile(File);

impl NewFile {
    pub(crate) const fn file(&self) -> &File {
        &self.0
    }

    pub(crate) fn into_file(self) -> File {
        self.0
    }
}

impl Write for NewFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        write(&self.0, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(mut file: &File, data: &[u8]) -> io::Result<usize> {
    file.write(fault::admit(data)?)
}

pub(crate) fn create_new(path: &Path) -> Result<NewFile, StoreError> {
    fault::check()
        .and_then(|()| OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path))
        .context("creating", path)
        .map(NewFile)
}

/// Makes a folder and those above it; that it is there already is fine.
pub(crate) fn create_dir(path: &Path) -> Result<(), StoreError> {
    fault::check()
        .and_then(|()| fs::DirBuilder::new().recursive(true).mode(0o700).create(path))
        .context("creating the folder", path)
}

/// Begins a thread whose changes of the disk are a part of those of this one.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    act: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    scope.spawn(fault::shared(act))
}

/// A folder in which many files get other names: its path is walked once.
#[derive(Debug)]
pub(crate) struct Folder {
    file: File,
    path: PathBuf,
}

impl Folder {
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::open(&path).context("opening", &path)?;
        Ok(Self { file, path })
    }

    /// As [`rename_new`], within the folder.
    pub(crate) fn rename_new(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let is_unable =
            |error: &io::Error| matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::NOSYS));
        let rename = || Ok(renameat_with(&self.file, from, &self.file, to, RenameFlags::NOREPLACE)?);
        match fault::check().and_then(|()| rename()) {
            Ok(()) => Ok(()),
            Err(error) if is_unable(&error) => rename_new(&self.path.join(from), &self.path.join(to)),
            Err(error) => Err(error).context("renaming", &self.path.join(from)),
        }
    }
}

/// Moves `from` to `to`, which must not be there.
///
/// Maildir names are unique, so a target that exists is another program's file: it must not be overwritten.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<(), StoreError> {
    fault::check().context("renaming", from)?;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => fs::rename(from, to).context("renaming", from),
        Err(errno) => Err(io::Error::from(errno)).context("renaming", from),
    }
}

/// How a file has got its second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    /// It is the same file, so on the same file system.
    Link,
    Copy,
}

/// A second name for a file; a copy where the file system can't.
pub(crate) fn link_or_copy(from: &Path, tmp: &Path, to: &Path) -> Result<Second, StoreError> {
    match fault::check().and_then(|()| fs::hard_link(from, to)) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::CrossesDevices
                    | ErrorKind::TooManyLinks
                    | ErrorKind::PermissionDenied
                    | ErrorKind::Unsupported
            ) =>
        {
            copy(from, tmp).and_then(|()| rename_new(tmp, to)).inspect_err(|_| discard(tmp))?;
            Ok(Second::Copy)
        }
        result => result.context("linking", to).map(|()| Second::Link),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut source = File::open(from).context("opening", from)?;
    let modified = source.metadata().and_then(|it| it.modified()).context("reading", from)?;
    let mut target = create_new(to)?;
    io::copy(&mut source, &mut target).context("copying", to)?;
    target.file().set_modified(modified).context("dating", to)?;
    sync_file(target.file(), to)
}

/// Adds a line to a file open for appending, by one write: after half a line another process may have added its own.
pub(crate) fn append(file: &File, path: &Path, line: &[u8]) -> Result<(), StoreError> {
    let written = write(file, line).context("writing", path)?;
    if written == line.len() {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::WriteZero, "only a part of a line was written")).context("writing", path)
}

/// Writes over the beginning of a file, which stays in memory for now.
pub(crate) fn overwrite(file: &File, path: &Path, data: &[u8]) -> Result<(), StoreError> {
    fault::check().and_then(|()| file.write_all_at(data, 0)).context("writing", path)
}

/// The machine's boot, by which a crash of the machine is known from one of a process.
pub(crate) fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        boot.trim().to_owned()
    })
}

/// Has the account of this home to itself, as long as what it returns is there.
pub(crate) fn lock(home: &Path) -> Result<File, StoreError> {
    let path = home.join("lock");
    let lock = File::open(&path).context("opening", &path)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from).context("locking", &path)?;
    Ok(lock)
}

/// Has a file's content written, and is true if the names that the file then gets on its file system may be flushed before it: none of
/// them is ever on the disk without the whole content (see [`order`]). It must be flushed all the same; where it is false, before.
pub(crate) fn write_out(file: &File) -> bool {
    let kept = || fault::order().unwrap_or_else(|| order::is_kept_for(file) && order::write_out(file));
    fault::check().is_ok() && kept()
}

/// Brings a file's content to the disk.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<(), StoreError> {
    fault::check().and_then(|()| file.sync_all()).context("flushing", path)
}

/// Brings a folder's names to the disk.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    fault::check().and_then(|()| File::open(path)?.sync_all()).context("flushing the folder", path)
}

/// Brings all that was written to the file system of this file to the disk.
pub(crate) fn sync_file_system(file: &File, path: &Path) -> Result<(), StoreError> {
    let sync = || Ok(rustix::fs::syncfs(file)?);
    fault::check().and_then(|()| sync()).context("flushing the file system of", path)
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    fault::check().and_then(|()| fs::remove_file(path)).context("removing", path)
}

/// What is about to be committed to an index counts as a change of the disk too.
pub(crate) fn before_commit(index: &Path) -> Result<(), StoreError> {
    fault::check().context("committing to", index)
}

/// Removes a temporary file; a stale one is swept later.
pub(crate) fn discard(path: &Path) {
    if let Err(error) = fault::check().and_then(|()| fs::remove_file(path))
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a temporary file stays behind");
    }
}

/// Replaces a small file as a whole, durably.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let tmp = folder.join(name);
    discard(&tmp);
    let mut file = create_new(&tmp)?;
    file.write_all(content).context("writing", &tmp)?;
    sync_file(file.file(), &tmp)?;
    fault::check().and_then(|()| fs::rename(&tmp, path)).context("replacing", path)?;
    sync_dir(folder)
}

/// The content of a small file, `None` if there is none.
pub(crate) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("reading", path),
    }
}
