//! How much of a disk mail leaves free: so what makes room again, and what became of mail that is on its way, can be written on a disk that is
//! full of mail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::{debug, info, warn};

/// What mail leaves free of a large disk, in octets.
const STANDARD: u64 = 32 << 20;
/// Of a small one, the part of it.
const PART: u64 = 16;
/// Files that can still be made when mail is refused, unless the disk is small: then the same part of all that it can have.
const STANDARD_FILES: u64 = 1000;
/// Octets that mail must be able to take before the log has it that a shortage is over, and the part of what it leaves free, whichever is more.
const PLENTY: u64 = 64 << 10;
const PLENTY_PART: u64 = 8;

/// The file systems of which this process has told the log that mail is refused, by their ids.
static SHORT: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Octets that mail leaves free on a disk. By default the smaller of 32 MiB and a sixteenth of the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MinFree(Option<u64>);

impl MinFree {
    /// Mail takes all.
    pub const NOTHING: Self = Self(Some(0));

    /// So many octets.
    #[must_use]
    pub const fn octets(octets: u64) -> Self {
        Self(Some(octets))
    }

    /// The octets of this disk.
    #[must_use]
    pub fn of(self, disk: Disk) -> u64 {
        self.0.unwrap_or_else(|| STANDARD.min(disk.size / PART))
    }
}

/// True if an error says that there is no room left: on the disk, or of what the system lets its owner have of it.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file system, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// That of the file system.
    id: u64,
    /// Octets that are free for a server; [`u64::MAX`] where the file system does not know, as some that reach over a network do not.
    pub free: u64,
    /// Octets of all of it.
    pub size: u64,
    /// Files that can still be made; [`u64::MAX`] where there is no limit.
    free_files: u64,
    /// All that there can be.
    files: u64,
}

impl Disk {
    /// The one where this folder is. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(folder)?;
        // A file system of no size is none that is full.
        let free = if disk.f_blocks == 0 { u64::MAX } else { disk.f_bavail.saturating_mul(disk.f_frsize) };
        let free_files = if disk.f_files == 0 { u64::MAX } else { disk.f_favail };
        let size = disk.f_blocks.saturating_mul(disk.f_frsize);
        Ok(Self { id: disk.f_fsid, free, size, free_files, files: disk.f_files })
    }

    /// The octets that can be taken where `min_free`, divided by `share`, is to be left, and as great a part of the files.
    fn above(self, min_free: MinFree, share: u64) -> u64 {
        let files = STANDARD_FILES.min(self.files / PART);
        if self.free_files <= files / share && min_free != MinFree::NOTHING {
            return 0;
        }
        self.free.saturating_sub(min_free.of(self) / share)
    }
}

/// What there is room for on the disk of one folder.
#[derive(Debug)]
pub struct Room {
    folder: PathBuf,
    min_free: MinFree,
}

impl Room {
    /// On the disk where `folder` is, of which mail leaves so much free.
    #[must_use]
    pub const fn new(folder: PathBuf, min_free: MinFree) -> Self {
        Self { folder, min_free }
    }

    /// Where mail takes all.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(PathBuf::new(), MinFree::NOTHING)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The octets that mail may take now. The log is told once, by whoever in this process looks, when that is nothing, and once when it is over.
    /// Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn for_mail(&self) -> io::Result<u64> {
        self.look().map(|(_, room)| room)
    }

    /// The disk, and the octets of it that mail may take.
    fn look(&self) -> io::Result<(Disk, u64)> {
        let disk = Disk::of(&self.folder)?;
        let room = disk.above(self.min_free, 1);
        if room == 0 || room >= self.plenty(disk) {
            self.tell(disk, room == 0);
        }
        Ok((disk, room))
    }

    /// Mail is about to take so many octets more. What can't be found out holds up nobody. Blocks for about a microsecond, but where a
    /// disk is reached over a network.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`]: too little would be left.
    pub fn admit_mail(&self, octets: u64) -> io::Result<()> {
        if self.min_free == MinFree::NOTHING {
            return Ok(());
        }
        match self.look() {
            Ok((disk, room)) if octets > room || room == 0 => {
                if room < self.plenty(disk) {
                    self.tell(disk, true);
                }
                Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "mail leaves the last of the disk free (limits.min_free)",
                ))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                debug!(folder = %self.folder.display(), %error, "the room on the disk can't be found out");
                Ok(())
            }
        }
    }

    /// True if a cache may take so many octets: it leaves what mail leaves. Blocks as [`Self::admit_mail`].
    #[must_use]
    pub fn admits_cache(&self, octets: u64) -> bool {
        self.min_free == MinFree::NOTHING
            || Disk::of(&self.folder).map_or(true, |disk| disk.above(self.min_free, 1) >= octets)
    }

    /// True if no more is left than half of what mail leaves free, which is for what can't wait. Blocks as [`Self::admit_mail`].
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.min_free != MinFree::NOTHING
            && Disk::of(&self.folder).is_ok_and(|disk| disk.above(self.min_free, 2) == 0)
    }

    /// What is wrong with the disk, for an operator, if mail is refused now. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn shortage(&self) -> io::Result<Option<Shortage>> {
        let disk = Disk::of(&self.folder)?;
        let is_short = disk.above(self.min_free, 1) == 0;
        Ok(is_short.then(|| Shortage { free: disk.free, min_free: self.min_free.of(disk) }))
    }

    fn plenty(&self, disk: Disk) -> u64 {
        PLENTY.max(self.min_free.of(disk) / PLENTY_PART)
    }

    fn tell(&self, disk: Disk, is_short: bool) {
        let mut short = SHORT.lock().unwrap_or_else(PoisonError::into_inner);
        let told = short.iter().position(|id| *id == disk.id);
        let (folder, free, min_free) = (self.folder.display(), disk.free, self.min_free.of(disk));
        match (told, is_short) {
            (None, true) => {
                short.push(disk.id);
                warn!(%folder, free, min_free, "mail is refused for now: too little is free on the disk");
            }
            (Some(position), false) => {
                short.swap_remove(position);
                info!(%folder, free, min_free, "the disk has room for mail again");
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}

/// A disk that has no room for mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// Octets that are free.
    pub free: u64,
    /// Octets that mail leaves free.
    pub min_free: u64,
}

impl Shortage {
    /// True if the disk lacks names for files, not octets.
    #[must_use]
    pub const fn is_of_files(self) -> bool {
        self.free > self.min_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const DISK: Disk = Disk { id: 0, free: 40 * MIB, size: 1 << 40, free_files: 5000, files: 1 << 20 };

    #[test]
    fn a_disk_has_so_much_room_and_no_folder_none() {
        let disk = Disk::of(&std::env::temp_dir()).unwrap();
        assert!(disk.free > 0 && disk.free <= disk.size, "{disk:?}");
        assert!(Disk::of(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn a_file_system_that_does_not_know_its_size_is_not_full() {
        assert_eq!(Disk::of(Path::new("/proc")).unwrap().above(MinFree::default(), 1), u64::MAX);
    }

    #[test]
    fn mail_leaves_32_mib_or_a_sixteenth_of_a_small_disk_or_what_is_said() {
        let small = Disk { size: 64 * MIB, ..DISK };
        for (disk, min_free, room) in [
            (DISK, MinFree::default(), 8 * MIB),
            (small, MinFree::default(), 36 * MIB),
            (DISK, MinFree::octets(10 * MIB), 30 * MIB),
            (DISK, MinFree::octets(50 * MIB), 0),
            (DISK, MinFree::NOTHING, 40 * MIB),
        ] {
            assert_eq!(disk.above(min_free, 1), room, "{disk:?} {min_free:?}");
        }
    }

    #[test]
    fn half_of_it_is_for_what_can_not_wait() {
        let disk = Disk { free: 17 * MIB, ..DISK };
        assert_eq!([1, 2].map(|share| disk.above(MinFree::default(), share)), [0, MIB]);
    }

    #[test]
    fn where_no_more_files_can_be_made_there_is_no_room_either() {
        let room = |free_files| Disk { free_files, ..DISK }.above(MinFree::default(), 1);
        assert_eq!([1001, 1000, 0].map(room), [8 * MIB, 0, 0]);
        assert_eq!(Disk { free_files: 7, files: 100, ..DISK }.above(MinFree::default(), 1), 8 * MIB);
        assert_eq!(Disk { free_files: 0, ..DISK }.above(MinFree::NOTHING, 1), 40 * MIB);
    }

    #[test]
    fn mail_is_admitted_as_long_as_enough_is_left() {
        let folder = std::env::temp_dir();
        let full = |error: io::Error| error.kind() == io::ErrorKind::StorageFull;
        let room = |min_free| Room::new(folder.clone(), min_free);
        assert!(room(MinFree::octets(1)).admit_mail(1).is_ok());
        assert!(room(MinFree::octets(1)).admit_mail(1 << 60).is_err_and(full));
        assert!(room(MinFree::octets(1 << 60)).admit_mail(0).is_err_and(full));
        assert!(room(MinFree::NOTHING).admit_mail(1 << 60).is_ok(), "the disk itself says no");
        assert!(Room::new("/nowhere".into(), MinFree::octets(1 << 60)).admit_mail(1).is_ok());
        assert!(room(MinFree::octets(1 << 60)).is_scarce() && !room(MinFree::octets(1)).is_scarce());
        let admits = |min_free, octets| room(min_free).admits_cache(octets);
        assert!(admits(MinFree::octets(1), 1) && admits(MinFree::NOTHING, 1 << 60));
        assert!(!admits(MinFree::octets(1), 1 << 60));
        let shortage = room(MinFree::octets(1 << 60)).shortage().unwrap().unwrap();
        assert!(shortage.min_free == 1 << 60 && !shortage.is_of_files());
        assert_eq!(room(MinFree::octets(1)).shortage().unwrap(), None);
    }
}
