use std::io;
use std::path::Path;

/// The octets that are free for a server on the disk where this folder is. Blocks.
///
/// # Errors
/// What the file system says.
pub fn free_on_disk(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
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
}
