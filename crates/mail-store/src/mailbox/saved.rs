//! Copies of sent messages that the server itself has saved, beside clients that save one as well: there is to be one copy.
//!
//! A file in the account's `saved/`, of the name of the Message-ID's hash, says which message of which mailbox it is. A client that brings the
//! message within a day has its copy put into the place of ours: it has the Bcc field and what else the user's program keeps.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mail_message::Envelope;
use mail_types::Uid;

use super::Mailbox;
use super::append::Append;
use crate::disk;
use crate::error::StoreError;

/// For how long a client may bring its copy.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Octets of a message in which its Message-ID is looked for.
const HEAD: u64 = 64 * 1024;
/// The newest messages, among which a client's copy would be that was faster.
const NEWEST: usize = 20;

impl Append {
    /// As [`Self::commit`] for a copy that the server itself saves, unless a client has brought one already: then there is none of ours.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_saved(mut self) -> Result<Option<Uid>, StoreError> {
        let id = self.message_id();
        let mailbox = self.mailbox.clone();
        let uid = self.commit()?;
        let Some(id) = id else { return Ok(Some(uid)) };
        let folder = mailbox.saved();
        disk::create_dir(&folder)?;
        clear(&folder);
        let note = folder.join(name(&id));
        let place = format!("{}\n{}\n{uid}\n", mailbox.uid_validity(), mailbox.place.key);
        disk::replace(&note, place.as_bytes())?;
        // Who came before the note knew nothing of ours.
        let uids = mailbox.sync()?.uids().to_vec();
        let others = uids.iter().rev().take(NEWEST).filter(|other| **other != uid);
        for other in others {
            if mailbox.open_message(*other).is_ok_and(|it| message_id(&head(&it.file)) == Some(id.clone())) {
                disk::discard(&note);
                mailbox.expunge(&[uid])?;
                return Ok(None);
            }
        }
        Ok(Some(uid))
    }

    /// The message that the server has saved of this one, which a client brings now: to be replaced by it.
    pub fn saved_by_server(&mut self) -> Option<Uid> {
        let folder = self.mailbox.saved();
        if !folder.is_dir() {
            return None;
        }
        let note = folder.join(name(&self.message_id()?));
        let text = std::fs::read_to_string(&note).ok()?;
        let mut lines = text.lines();
        let is_here = lines.next()? == self.mailbox.uid_validity().to_string()
            && lines.next()? == self.mailbox.place.key;
        let uid = Uid::try_from(lines.next()?.parse::<u32>().ok()?).ok()?;
        let is_there = self.mailbox.sync().is_ok_and(|now| now.position(uid).is_some());
        (is_here && is_there).then_some(uid)
    }

    fn message_id(&mut self) -> Option<Vec<u8>> {
        std::io::Write::flush(&mut self.tmp).ok()?;
        let file = std::fs::File::open(&self.tmp.path).ok()?;
        message_id(&head(file))
    }
}

impl Mailbox {
    fn saved(&self) -> PathBuf {
        self.place.account.home().join("saved")
    }
}

/// The beginning of a message.
fn head(file: impl std::io::Read) -> Vec<u8> {
    let mut head = Vec::new();
    // What can't be read has no Message-ID that is known.
    let _ = file.take(HEAD).read_to_end(&mut head);
    head
}

fn message_id(head: &[u8]) -> Option<Vec<u8>> {
    Envelope::parse(head).message_id.map(|id| id.trim_ascii().to_vec()).filter(|id| !id.is_empty())
}

fn name(id: &[u8]) -> String {
    blake3::hash(id).to_hex().to_string()
}

/// Removes notes of messages of which no copy comes any more.
fn clear(folder: &Path) {
    let is_old = |entry: &std::fs::DirEntry| {
        let modified = entry.metadata().and_then(|it| it.modified()).ok();
        modified.and_then(|it| it.elapsed().ok()).is_some_and(|age| age > KEPT)
    };
    let old = std::fs::read_dir(folder).into_iter().flatten().flatten().filter(is_old);
    old.for_each(|entry| disk::discard(&entry.path()));
}
