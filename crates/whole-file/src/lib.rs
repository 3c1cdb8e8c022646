//! Small files, such as keys and configs, that are there as a whole or not at all, whatever ends the process or the machine; and databases that
//! are made anew where they are damaged.

mod expendable;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

pub use expendable::{BESIDE, Expendable, beside, is_damage, set_aside_in, set_aside_unless};

/// Makes a file with this content and these permissions (`0o600`, whatever the umask), in place of one that may be there, and has the disk
/// keep it; its name only if the caller sees to that. Blocks.
///
/// # Errors
/// What the file system says.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The umask has had its say in `mode`.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Puts a file with this content and these permissions in the place of `path`, by way of `path` with `.new` behind it, and has the disk keep
/// it and its name. Blocks.
///
/// # Errors
/// What the file system says; then the file is as it was.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = path.with_added_extension("new");
    create(&unfinished, content, mode)?;
    fs::rename(&unfinished, path)?;
    keep_names_beside(path)
}

/// Has the disk keep what was made, renamed or removed in the folder of `path`. Blocks.
///
/// # Errors
/// What the file system says.
pub fn keep_names_beside(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        // What a process left that was ended, for nobody to write to.
        fs::write(folder.path().join("key.new"), "half").unwrap();
        fs::set_permissions(folder.path().join("key.new"), Permissions::from_mode(0o400)).unwrap();
        for (content, mode) in [("one", 0o600), ("two", 0o640)] {
            replace(&path, content.as_bytes(), mode).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        assert!(replace(&folder.path().join("none/key"), b"", 0o600).is_err());
    }
}
