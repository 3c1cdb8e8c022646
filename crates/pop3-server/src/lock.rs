use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use mail_types::Address;

/// The exclusive access to a maildrop that a POP3 session has from login to its end, in every process that shares the data
/// folder. RFC 1939 §4.
///
/// IMAP and deliveries don't ask for it: POP3 removes by UID, so nothing that they do can be mistaken.
#[derive(Debug)]
pub(crate) struct MaildropLock {
    /// Unlocked when it is closed, also by a crash.
    _file: File,
}

impl MaildropLock {
    /// Takes the lock of `owner`, a file in `folder`; `None` while another session has it. Blocks only for the file system.
    ///
    /// The file stays for good: removing it would let two sessions lock two files of one name.
    pub(crate) fn take(folder: &Path, owner: &Address) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(file_name(owner));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The address in lower case, with what has a meaning in paths written as `%XX`.
fn file_name(owner: &Address) -> String {
    let mut name = String::new();
    for octet in owner.to_lowercase().to_string().bytes() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'@' | b'.' | b'-' | b'_' | b'+' => name.push(char::from(octet)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maildrop_has_one_session_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let [bob, alice] =
            ["bob@example.org", "alice@example.org"].map(|name| name.parse::<Address>().unwrap());
        let first = MaildropLock::take(folder.path(), &bob).unwrap();
        assert!(first.is_some());
        assert!(MaildropLock::take(folder.path(), &"BOB@example.org".parse().unwrap()).unwrap().is_none());
        assert!(MaildropLock::take(folder.path(), &alice).unwrap().is_some());
        drop(first);
        assert!(MaildropLock::take(folder.path(), &bob).unwrap().is_some());
    }

    #[test]
    fn no_address_leaves_the_folder() {
        let name = file_name(&"\"../../etc/x\"@example.org".parse().unwrap());
        assert!(!name.contains('/'), "{name}");
    }
}
