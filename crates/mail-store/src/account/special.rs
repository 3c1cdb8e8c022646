use std::path::{Path, PathBuf};

use mail_types::{MailboxName, SpecialUse};
use unicode_normalization::UnicodeNormalization as _;

use crate::error::{IoContext as _, StoreError};
use crate::mailbox_file::MailboxFile;

/// The folder in a Maildir of the mailbox that has this special use; the Maildir itself, which is INBOX, if none has. The usual name
/// is looked at first. Opens no index.
pub(crate) fn folder_for(maildir: &Path, wanted: SpecialUse) -> Result<PathBuf, StoreError> {
    let has_it = |folder: &Path| {
        // A damaged file is that of one mailbox: opening this one says what is wrong.
        let file = MailboxFile::read(folder).ok().flatten();
        file.is_some_and(|file| file.special_use == Some(wanted)) && folder.join("cur").is_dir()
    };
    let usual = maildir.join(format!(".{}", wanted.as_str().trim_start_matches('\\')));
    if has_it(&usual) {
        return Ok(usual);
    }
    for entry in std::fs::read_dir(maildir).context("reading the folder", maildir)? {
        let entry = entry.context("reading the folder", maildir)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") && has_it(&entry.path()) {
            return Ok(entry.path());
        }
    }
    Ok(maildir.to_owned())
}

/// The folder in a Maildir of the mailbox that a detail names (see [`crate::Store::deliver`]); the Maildir itself, which is INBOX, if it
/// names none. Opens no index.
pub(crate) fn folder_named(maildir: &Path, detail: &str) -> Result<PathBuf, StoreError> {
    let composed: String = detail.nfc().collect();
    let Ok(wanted) = MailboxName::from_imap(composed.as_bytes()) else { return Ok(maildir.to_owned()) };
    if wanted.is_inbox() {
        return Ok(maildir.to_owned());
    }
    let exact = maildir.join(wanted.to_maildir());
    let cur = exact.join("cur");
    if cur.try_exists().context("looking at", &cur)? {
        return Ok(if is_plain(&exact) { exact } else { maildir.to_owned() });
    }
    let folded = folded(&wanted);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(maildir).context("reading the folder", maildir)? {
        let entry = entry.context("reading the folder", maildir)?;
        let is_meant = named(&entry).is_some_and(|name| self::folded(&name) == folded);
        if is_meant && entry.path().join("cur").is_dir() {
            found.push(entry.path());
        }
    }
    Ok(match found.as_slice() {
        [only] if is_plain(only) => only.clone(),
        _ => maildir.to_owned(),
    })
}

/// The mailbox of which this is the folder.
fn named(entry: &std::fs::DirEntry) -> Option<MailboxName> {
    let folder = entry.file_name();
    let folder = folder.to_str()?;
    MailboxName::from_maildir(folder).ok().filter(|name| name.to_maildir() == folder)
}

fn folded(name: &MailboxName) -> String {
    name.as_str().nfc().collect::<String>().to_lowercase()
}

/// True if the mailbox is known to have no special use.
fn is_plain(folder: &Path) -> bool {
    MailboxFile::read(folder).is_ok_and(|file| file.is_none_or(|file| file.special_use.is_none()))
}
