//! The data dir: made with the right owner, and checked before anything relies on it.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, bail};
use mail_config::Config;
use nix::unistd::{Uid, User, chown};

use crate::owner::{other_owner, with_the_rights_of};

/// Makes the data dir where it is missing, and checks that the servers can write to it.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<()> {
    let owner = other_owner(config.user.as_deref())?;
    make(&config.data_dir, owner.as_ref())?;
    if let Some(owner) = &owner {
        check_owner(&config.data_dir, owner)?;
    }
    with_the_rights_of(owner.as_ref(), || try_to_write(&config.data_dir))?.with_context(|| {
        let user = owner.as_ref().map(|owner| format!(" as the user {}", owner.name)).unwrap_or_default();
        let folder = config.data_dir.display();
        format!(
            "can't write to the data dir {folder}{user}: correct `data_dir`, or who may enter and write there"
        )
    })
}

/// Makes a folder that only its owner may enter. One that exists is left as it is.
pub(crate) fn make(folder: &Path, owner: Option<&User>) -> anyhow::Result<()> {
    let is_new = !folder.exists();
    if !is_new && !folder.is_dir() {
        bail!("{} is not a folder", folder.display());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("can't make the folder {}", folder.display()))?;
    if is_new { give_to(folder, owner) } else { Ok(()) }
}

/// Hands a file to the user that the servers become.
pub(crate) fn give_to(path: &Path, owner: Option<&User>) -> anyhow::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    chown(path, Some(owner.uid), Some(owner.gid))
        .with_context(|| format!("can't give {} to the user {}", path.display(), owner.name))
}

/// Lets the user that the servers become read a file that only root may change.
pub(crate) fn show_to(path: &Path, reader: Option<&User>) -> anyhow::Result<()> {
    let Some(reader) = reader else { return Ok(()) };
    chown(path, None, Some(reader.gid))
        .with_context(|| format!("can't let the user {} read {}", reader.name, path.display()))
}

/// Writes a file that is there as a whole or not at all.
pub(crate) fn write_whole(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    whole_file::replace(path, content, mode).with_context(|| format!("can't write {}", path.display()))
}

fn check_owner(folder: &Path, owner: &User) -> anyhow::Result<()> {
    let metadata = folder.metadata().with_context(|| format!("can't look at {}", folder.display()))?;
    if metadata.uid() == owner.uid.as_raw() {
        return Ok(());
    }
    let now = User::from_uid(Uid::from_raw(metadata.uid())).ok().flatten();
    let now = now.map_or_else(|| metadata.uid().to_string(), |user| user.name);
    bail!(
        "the data dir {folder} belongs to {now}, but the servers run as {name}: run chown -R {name}: {folder}",
        folder = folder.display(),
        name = owner.name,
    )
}

/// Writing is the only sure proof: permissions, a read-only file system, a full disk.
fn try_to_write(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    File::create(&probe).and_then(|_| std::fs::remove_file(&probe))
}
