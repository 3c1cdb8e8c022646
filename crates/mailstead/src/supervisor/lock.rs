use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use nix::unistd::User;

use crate::data_dir::give_to;

/// Held by the one supervisor over a data dir; the system frees it however the supervisor ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a data dir, which belongs to `owner`: the next supervisor may be started as that user.
    pub(crate) fn take(data_dir: &Path, owner: Option<&User>) -> anyhow::Result<Self> {
        let path = data_dir.join("supervisor.lock");
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.with_context(|| format!("can't open {}", path.display()))?;
        give_to(&path, owner)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let (dir, pid) = (data_dir.display(), holder.trim());
                bail!(
                    "another mailstead runs over the data dir {dir} (process {pid}): stop it, or use another data dir"
                );
            }
            Err(TryLockError::Error(source)) => {
                return Err(source).with_context(|| format!("can't lock {}", path.display()));
            }
        }
        write_pid(&mut file).with_context(|| format!("can't write {}", path.display()))?;
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
