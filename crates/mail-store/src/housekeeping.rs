//! What need not be done at once is done beside the work, by one thread for the process: sweeping up, verifying.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::mailbox::Mailbox;

/// After this time nobody writes a file in `tmp/` any more: the rule of Maildir.
const STALE: Duration = Duration::from_secs(36 * 60 * 60);

/// The name of a folder below an account's that is being deleted begins so.
pub(crate) const DELETED: &str = "deleted-";

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Stale files of a mailbox's folder.
    Mailbox(PathBuf),
    /// Folders below an account's whose deletion was cut short, and what its mailboxes say of others' rights.
    Account(PathBuf),
    /// A deleted mailbox.
    Remove(PathBuf),
    /// A mailbox in which another program may have done something unseen.
    Verify(Weak<Mailbox>),
}

/// Has it done before long.
pub(crate) fn later(chore: Chore) {
    static CHORES: OnceLock<Option<Sender<Chore>>> = OnceLock::new();
    let chores = CHORES.get_or_init(|| {
        let (chores, received) = channel();
        std::thread::Builder::new()
            .name("mailbox-chores".to_owned())
            .spawn(move || run(&received))
            .inspect_err(
                |error| tracing::warn!(%error, "no thread to sweep up stale files and to verify mailboxes"),
            )
            .ok()
            .map(|_| chores)
    });
    // What isn't done now is found again at a later open.
    let _ = chores.as_ref().map(|chores| chores.send(chore));
}

fn run(chores: &Receiver<Chore>) {
    for chore in chores {
        match chore {
            Chore::Mailbox(folder) => sweep_mailbox(&folder, SystemTime::now()),
            Chore::Account(home) => {
                sweep_account(&home);
                note_shares(&home);
            }
            Chore::Remove(folder) => remove(&folder),
            Chore::Verify(mailbox) => mailbox.upgrade().iter().for_each(|it| it.verify()),
        }
    }
}

/// Removes stale files from `tmp/`, and the folder's own stale `*.tmp`.
pub(crate) fn sweep_mailbox(folder: &Path, now: SystemTime) {
    for path in stale(folder, now) {
        tracing::info!(path = %path.display(), "a stale temporary file is removed");
        crate::disk::discard(&path);
    }
}

/// The stale files of a mailbox's folder.
pub(crate) fn stale(folder: &Path, now: SystemTime) -> impl Iterator<Item = PathBuf> + use<> {
    let in_tmp = files(&folder.join("tmp"));
    let own = files(folder).filter(|path| path.extension().is_some_and(|it| it == "tmp"));
    in_tmp.chain(own).filter(move |path| is_stale(path, now))
}

/// Removes the folders whose deletion was cut short.
pub(crate) fn sweep_account(home: &Path) {
    let is_deleted =
        |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(DELETED.as_bytes());
    for entry in std::fs::read_dir(home).into_iter().flatten().flatten().filter(is_deleted) {
        remove(&entry.path());
    }
}

/// Lists of rights may have come with a Maildir from elsewhere.
fn note_shares(home: &Path) {
    if let Err(error) = crate::shares::note(home) {
        tracing::warn!(home = %home.display(), %error, "to whom mailboxes are shared can't be noted");
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "a deleted mailbox can't be removed; it is tried again later");
    }
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|it| it.file_type().is_ok_and(|kind| kind.is_file())).map(|it| it.path())
}

/// By the time of its last change of any kind: the modification time of a message is that of its arrival.
fn is_stale(path: &Path, now: SystemTime) -> bool {
    let Ok(data) = std::fs::symlink_metadata(path) else { return false };
    let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(data.ctime()).unwrap_or_default());
    now.duration_since(changed).is_ok_and(|age| age > STALE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stale_in_tmp_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        crate::account::create_maildir(dir.path()).unwrap();
        let at = |path: &str| dir.path().join(path);
        let files = ["tmp/a", "mailstead-mailbox.tmp", "cur/b", "new/c", "mailstead-mailbox"];
        files.iter().for_each(|path| std::fs::write(at(path), "x").unwrap());
        let old = std::fs::File::options().write(true).open(at("tmp/a")).unwrap();
        old.set_modified(UNIX_EPOCH).unwrap(); // an APPEND of an old message that is on its way
        let there = || files.map(|path| at(path).exists());
        sweep_mailbox(dir.path(), SystemTime::now());
        assert_eq!(there(), [true; 5]);
        sweep_mailbox(dir.path(), SystemTime::now() + STALE + Duration::from_secs(60));
        assert_eq!(there(), [false, false, true, true, true]);
    }

    #[test]
    fn a_deletion_that_was_cut_short_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("deleted-1/cur")).unwrap();
        std::fs::create_dir_all(dir.path().join("Maildir")).unwrap();
        sweep_account(dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
