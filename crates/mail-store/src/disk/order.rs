//! Where a journal brings changes to the disk in their order, so that a name is never there without the content of its file.
//!
//! A name made after its file's content was written and waited for is in the same transaction of the journal as the
//! content's place in the file and its length, or in a later one, and before it commits a transaction the journal flushes the cache
//! of the disk, in which the content may still be. So one commit does for both, where otherwise each needs its own. Without a
//! journal, as ext4 can be, the system may write the name at any moment; btrfs notes the place of a content after who waited for
//! it has gone on, and its flush of a folder brings names of files without their length.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fiemap::{Fiemap, FiemapExtentFlags, FiemapFlags};
use rustix::fs::{major, minor};

/// What this process sees mounted: proc_pid_mountinfo(5).
const MOUNTS: &str = "/proc/self/mountinfo";
/// An extent of which the content is not there.
const PENDING: FiemapExtentFlags =
    FiemapExtentFlags::UNKNOWN.union(FiemapExtentFlags::DELALLOC).union(FiemapExtentFlags::UNWRITTEN);

/// True if the file system of this file is known to keep the order. What a device has is found out once: to mount it
/// differently means to end this process, which has files open there.
pub(super) fn is_kept_for(file: &File) -> bool {
    static KNOWN: Mutex<BTreeMap<u64, bool>> = Mutex::new(BTreeMap::new());
    let Ok(device) = file.metadata().map(|data| data.dev()) else { return false };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(device).or_insert_with(|| {
        let mounts = fs::read(MOUNTS).unwrap_or_default();
        let device = format!("{}:{}", major(device), minor(device));
        is_kept(&String::from_utf8_lossy(&mounts), &device, has_own_journal)
    })
}

/// The same of a device, `major:minor`, among these mounts; `has_own_journal` says of one with ext4 that the journal is on it.
fn is_kept(mounts: &str, device: &str, has_own_journal: impl Fn(&str) -> bool) -> bool {
    let Some((system, options)) = mounts.lines().find_map(|mount| mounted(mount, device)) else {
        return false;
    };
    let is_set = |option: &str| options.split(',').any(|set| set.split('=').next() == Some(option));
    match system {
        // Such a commit doesn't wait for the content in the disk's cache, nor does one on another device.
        "ext4" => !is_set("journal_async_commit") && has_own_journal(device),
        // Content on the device for real time lies in a cache that the log doesn't flush.
        "xfs" => !is_set("rtdev"),
        _ => false,
    }
}

/// The type of what is mounted there, and its options, if the line is of this device.
fn mounted<'a>(line: &'a str, device: &str) -> Option<(&'a str, &'a str)> {
    let (mount, system) = line.split_once(" - ")?;
    mount.split(' ').nth(2).filter(|of| *of == device)?;
    let mut system = system.split(' ');
    Some((system.next()?, system.nth(1)?))
}

/// True if the ext4 of this device has its journal in itself: then that is inode 8.
fn has_own_journal(device: &str) -> bool {
    let link = fs::read_link(Path::new("/sys/dev/block").join(device)).unwrap_or_default();
    let name = link.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| Path::new("/proc/fs/jbd2").join(format!("{name}-8")).exists())
}

/// Has the content of a file written, waits for it, and is true if it is said to be all in its place: not yet flushed, nor
/// is the place. An error is told by the flush that must follow.
pub(super) fn write_out(file: &File) -> bool {
    let size = file.metadata().map(|data| data.len());
    let written: std::io::Result<u64> = Fiemap::with_flags(file, FiemapFlags::SYNC)
        .map(|extent| extent.map(|it| if it.fe_flags.intersects(PENDING) { 0 } else { it.fe_length }))
        .sum();
    matches!((written, size), (Ok(written), Ok(size)) if written >= size)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard,resuid=65534
43 27 7:0 /a /mnt/a\\040-\\040b rw,relatime - xfs /dev/loop0 rw,inode64,noquota
44 27 7:1 / /mnt/b rw - xfs /dev/loop1 rw,rtdev=/dev/loop2,noquota
45 27 7:3 / /mnt/c rw - ext4 /dev/loop3 rw,journal_async_commit,data=writeback
46 27 0:40 / /mnt/d rw - btrfs /dev/loop4 rw,space_cache=v2
47 27 0:41 / /mnt/e rw - overlay overlay rw,lowerdir=/l,upperdir=/u
48 27 0:42 / /mnt/f rw - nfs4 host:/export rw,vers=4.2
49 27 0:43 / /mnt/g rw - tmpfs none rw
50 27 7:5 / /mnt/h rw - ext3 /dev/loop5 rw
51 27 254:01";

    #[test]
    fn the_order_is_kept_by_ext4_with_its_journal_and_by_xfs_and_said_of_nothing_else() {
        let kept = |device: &str, has_journal: bool| is_kept(MOUNTS, device, |_| has_journal);
        assert!(kept("254:0", true) && !kept("254:0", false));
        assert!(kept("7:0", false));
        for device in ["7:1", "7:3", "0:40", "0:41", "0:42", "0:43", "7:5", "254:01", "9:9"] {
            assert!(!kept(device, true), "{device}");
        }
        assert!(!is_kept("", "254:0", |_| true));
    }

    #[test]
    fn content_is_in_its_place_once_it_was_written_out_where_the_system_tells() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; 300_001]).unwrap();
        let tells = Fiemap::with_flags(&file, FiemapFlags::SYNC).all(|extent| extent.is_ok());
        assert_eq!(write_out(&file), tells);
        // A hole is no content.
        file.set_len(900_000).unwrap();
        assert!(!write_out(&file));
    }
}
