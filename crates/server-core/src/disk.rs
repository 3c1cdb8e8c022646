use std::io;
use std::path::Path;

/// The octets that are free for a server on the disk where this folder is; [`u64::MAX`] where the file system does not know, as some that
/// reach over a network do not. Blocks.
///
/// # Errors
/// What the file system says.
pub fn free_on_disk(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    // A file system of no size is none that is full.
    Ok(if disk.f_blocks == 0 { u64::MAX } else { disk.f_bavail.saturating_mul(disk.f_frsize) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_so_much_room_and_no_folder_none() {
        let free = free_on_disk(&std::env::temp_dir()).unwrap();
        assert!(free > 0 && free < u64::MAX, "{free}");
        assert!(free_on_disk(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn a_file_system_that_does_not_know_its_size_is_not_full() {
        assert_eq!(free_on_disk(Path::new("/proc")).unwrap(), u64::MAX);
    }
}
