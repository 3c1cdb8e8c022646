//! What one reading of a message's file gives: its texts and its summary.

use std::fs::File;
use std::io::{ErrorKind, Result as IoResult};

use mail_message::search::SearchedMessage;

use super::database::Database;
use super::summaries::Summaries;
use super::texts::Texts;
use crate::account::Account;
use crate::content_hash::ContentHash;
use crate::error::StoreError;
use crate::index::MessageRow;
use crate::mark::Mark;
use crate::message_file::MessageFile;
use crate::names;

/// A longer file is left to the scan: it would have to be in memory.
const MOST_OCTETS: u64 = 32 * 1024 * 1024;

/// A folder's messages, as they are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) account: &'a Account,
    pub(super) database: &'a Database,
    pub(super) folder: &'a str,
    /// By what names of files say that they are the folder's.
    pub(super) mark: Mark,
}

impl Reader<'_> {
    /// Indexes a message and summarizes it, unless it is. False if its file is not where the index has it.
    pub(super) fn learn(
        &self,
        row: &MessageRow,
        summaries: Option<&mut Summaries>,
    ) -> Result<bool, StoreError> {
        let lacks_texts = self.database.document(row)?.is_none();
        let summaries = match summaries {
            Some(summaries) if summaries.lacks(self.account, row)? => Some(summaries),
            Some(_) | None => None,
        };
        if !lacks_texts && summaries.is_none() {
            return Ok(true);
        }
        let Some(file) = self.find(row)? else { return Ok(false) };
        let message = file.and_then(|file| read(row, file)).unwrap_or_else(|error| {
            let (folder, base) = (self.folder, &row.base);
            tracing::warn!(folder, base, %error, "this message can't be read; it is not in the full-text index");
            None
        });
        if lacks_texts {
            let texts = message.as_ref().and_then(|(message, _)| Texts::of(message));
            self.database.add(row, texts.as_ref())?;
        }
        if let Some((summaries, (message, content))) = summaries.zip(message) {
            summaries.add(row, &message, content);
        }
        Ok(true)
    }

    /// A message's file; `None` if it is not where the index has it.
    fn find(&self, row: &MessageRow) -> Result<Option<IoResult<MessageFile>>, StoreError> {
        let is_missing =
            |file: &IoResult<_>| file.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        let mut file = self.open(row);
        if is_missing(&file) {
            // Perhaps its flags have just been changed.
            let now = self.account.read(|index| index.message(self.folder, row.uid))?;
            let Some(now) = now.filter(|it| it.base == row.base) else { return Ok(None) };
            file = self.open(&now);
        }
        Ok((!is_missing(&file)).then_some(file))
    }

    fn open(&self, row: &MessageRow) -> IoResult<MessageFile> {
        let folder = self.account.folder_of(self.folder).join("cur");
        let file = File::open(folder.join(row.name(self.mark)))?;
        let file_size = file.metadata()?.len();
        Ok(MessageFile { file, file_size, wire_size: row.wire })
    }
}

/// A message, and the hash of its file where the name doesn't say that. `None` if there is too much of it.
fn read(row: &MessageRow, file: MessageFile) -> IoResult<Option<(SearchedMessage, Option<ContentHash>)>> {
    if file.file_size > MOST_OCTETS {
        return Ok(None);
    }
    let is_unsaid = names::content_hash(&row.base).is_none();
    let content = is_unsaid.then(|| file.content_hash()).transpose()?;
    Ok(Some((SearchedMessage::new(file.read()?), content)))
}
