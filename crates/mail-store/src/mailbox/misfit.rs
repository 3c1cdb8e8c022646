//! What lies in a mailbox's folders but is no file that can be served under its name.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, FileType};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::disk;
use crate::names::{self, FileName};

/// The longest base that has room behind it for a UID, a mark and all flags; a file's name may have 255 octets.
const LONGEST: usize = 162;
/// So many paths are remembered as told of.
const TOLD: usize = 1000;

/// The file under a name that can be kept: UTF-8, without control characters, in the grammar, with room for a UID.
/// One of another kind is renamed, since the mail in it is mail all the same; its flags and UID stay. `None` if it can't be.
pub(super) fn with_usable_name(name: OsString, folder: &Path, is_new: bool) -> Option<String> {
    let (name, reason) = match name.into_string() {
        Ok(name) => match unusable(&name) {
            None => return Some(name),
            Some(reason) => (name.into(), reason),
        },
        Err(name) => (name, "it is not UTF-8"),
    };
    let path = folder.join(&name);
    let name = usable(&name, is_new);
    match disk::rename_new(&path, &folder.join(&name)) {
        Ok(()) => {
            tracing::warn!(from = %path.display(), to = name, reason, "renamed: no message can have such a file name");
            Some(name)
        }
        Err(error) if error.is_not_found() => None,
        Err(error) => {
            tell(
                &path,
                || tracing::error!(path = %path.display(), reason, %error, "not shown: its name can't be used and not be changed"),
            );
            None
        }
    }
}

/// Why a name can't be kept.
fn unusable(name: &str) -> Option<&'static str> {
    let parsed = FileName::parse(name);
    let is_long = parsed.base.len() > LONGEST;
    parsed.breach(name).or(is_long.then_some("it is too long for a UID and flags behind it"))
}

/// A name of ours with the flags, and with the UID, so that no client downloads again.
fn usable(name: &OsStr, is_new: bool) -> String {
    let text = name.to_string_lossy();
    let parsed = FileName::parse(&text);
    let info: String = parsed.info.chars().filter(char::is_ascii_alphabetic).collect();
    let uid = parsed.uid.map(|uid| format!(",U={uid}")).unwrap_or_default();
    let mark = parsed.mark.map(|mark| format!(",V={mark}")).unwrap_or_default();
    // The new name would say that the message came now.
    let saved = parsed.mark.and(parsed.saved.or_else(|| names::stamped(&parsed.base)));
    let saved = saved.map(|seconds| format!(",D={seconds}")).unwrap_or_default();
    let info = if is_new && info.is_empty() { String::new() } else { format!(":2,{info}") };
    format!("{}{uid}{mark}{saved}{info}", names::unique())
}

/// True for a plain file. What is none is never followed or opened: a link could lead out of the account.
pub(super) fn is_file(entry: &DirEntry, kind: FileType) -> bool {
    if !kind.is_file() {
        let path = entry.path();
        let what = if kind.is_symlink() {
            "a symbolic link"
        } else if kind.is_dir() {
            "a folder"
        } else {
            "a special file"
        };
        tell(
            &path,
            || tracing::warn!(path = %path.display(), "not shown: it is {what} where a message should be"),
        );
    }
    kind.is_file()
}

/// Tells it of each path only once, however often the folder is read.
pub(super) fn tell(path: &Path, log: impl FnOnce()) {
    static PATHS: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
    let mut told = PATHS.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() >= TOLD {
        told.clear();
    }
    if told.insert(path.to_owned()) {
        log();
    }
}
