use std::fs::{File, remove_file};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// Tells a process where its small disk is.
const VARIABLE: &str = "MAILSTEAD_TEST_SMALL_DISK";
/// Mounts the disk of the size `$1` at `$2`, and becomes the program that is named behind these.
const MOUNT: &str = "mount -t tmpfs -o \"size=$1,mode=0755\" small-disk \"$2\" && shift 2 && exec \"$@\"";
/// How a process gets mounts of its own: as root, and as anybody where the system lets users have namespaces.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
/// Octets written at once.
const PIECE: usize = 4096;

/// A real file system that is soon full (tmpfs, in a mount namespace of the process that uses it, so that it is gone with that).
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

/// Whether a test had a small disk.
#[derive(Debug)]
#[must_use]
pub enum OnSmallDisk {
    /// It had one, and passed.
    Passed,
    /// Nothing may be mounted here, for this reason.
    NotHere(String),
}

impl SmallDisk {
    /// Runs an ignored test of the calling test program, by its whole name, in a process that has a small disk of this size, such as `8m`. Temporary
    /// files of that process lie on it.
    ///
    /// # Errors
    /// The test failed: with all that it said.
    pub fn run(test: &str, size: &str) -> Result<OnSmallDisk> {
        let folder = tempfile::tempdir()?;
        let mut why = String::new();
        for way in WAYS {
            match command(way, size, folder.path()).arg("true").output() {
                Ok(tried) if tried.status.success() => {
                    run_there(test, command(way, size, folder.path()), folder.path())?;
                    return Ok(OnSmallDisk::Passed);
                }
                Ok(tried) => why = String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
                Err(error) => why = error.to_string(),
            }
        }
        Ok(OnSmallDisk::NotHere(why))
    }

    /// The small disk of this process; `None` where [`Self::run`] did not start it.
    #[must_use]
    pub fn here() -> Option<Self> {
        std::env::var_os(VARIABLE).map(|folder| Self { folder: folder.into() })
    }

    /// Its root.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes all room that is left.
    ///
    /// # Errors
    /// It can't be filled.
    pub fn fill(&self) -> io::Result<Filling> {
        let path = self.folder.join("filling");
        let mut file = File::create(&path)?;
        let filling = Filling { path };
        loop {
            match file.write_all(&[0; PIECE]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(filling),
                Err(error) => return Err(error),
            }
        }
    }
}

fn command(way: &[&str], size: &str, folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).args(["sh", "-c", MOUNT, "sh", size]).arg(folder);
    command
}

fn run_there(test: &str, mut command: Command, folder: &Path) -> Result<()> {
    let output = command
        .arg(std::env::current_exe()?)
        .args(["--quiet", "--ignored", "--nocapture", "--exact", test])
        .env(VARIABLE, folder)
        .env("TMPDIR", folder)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.contains(" 1 passed"),
        "{test} on a small disk: {said}\n{errors}"
    );
    Ok(())
}

/// All that was left of a [`SmallDisk`]; there is room again when it is dropped.
#[derive(Debug)]
pub struct Filling {
    path: PathBuf,
}

impl Drop for Filling {
    fn drop(&mut self) {
        let _ = remove_file(&self.path);
    }
}
