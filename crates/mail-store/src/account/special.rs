use std::path::{Path, PathBuf};

use mail_types::SpecialUse;

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
