//! Unix sockets in folders of any length: the path of a socket has 108 bytes at most, so it is given relative to an open folder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use mail_config::Config;
use nix::unistd::User;

use crate::data_dir;
use crate::owner::other_owner;

/// The path of `name` in a folder that is open as `descriptor` in the process that uses the path.
pub(super) fn path_below(descriptor: RawFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{descriptor}/{name}"))
}

/// Calls `with` with a short path to `socket`.
pub(super) fn with_short_path<T>(socket: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name().and_then(|name| name.to_str()))
    else {
        return with(socket);
    };
    let folder = File::open(folder)?;
    with(&path_below(folder.as_raw_fd(), name))
}

/// The folder of the sockets on which the servers tell the supervisor how they are.
pub(super) struct RunDir {
    path: PathBuf,
    folder: File,
    owner: Option<User>,
}

impl RunDir {
    /// Makes the folder, without what an earlier supervisor left there.
    pub(super) fn make(config: &Config) -> anyhow::Result<Self> {
        let path = config.data_dir.join("run");
        let owner = other_owner(config.user.as_deref())?;
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("can't clear {}", path.display()))?;
        }
        data_dir::make(&path, owner.as_ref())?;
        let folder = File::open(&path).with_context(|| format!("can't open {}", path.display()))?;
        Ok(Self { path, folder, owner })
    }

    /// A socket that a server, under its own user, may send to.
    pub(super) fn bind(&self, name: &str) -> anyhow::Result<tokio::net::UnixDatagram> {
        let socket = tokio::net::UnixDatagram::bind(path_below(self.folder.as_raw_fd(), name))
            .with_context(|| format!("can't make the socket {}", self.path.join(name).display()))?;
        data_dir::give_to(&self.path.join(name), self.owner.as_ref())?;
        Ok(socket)
    }

    /// Removes a socket's name. That it is gone already is no harm.
    pub(super) fn remove(&self, name: &str) {
        let _ = std::fs::remove_file(self.path.join(name));
    }
}

impl AsFd for RunDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}
