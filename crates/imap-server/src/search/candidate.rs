use std::cell::{OnceCell, RefCell};
use std::io;

use mail_message::search::SearchedMessage;
use mail_message::{Digest, DigestText, header};
use mail_store::{EmailId, Message, MessageFile, StoreError};
use mail_types::InternalDate;

use crate::contents::unreadable;
use crate::selected::SelectedMailbox;
use crate::summaries::{KeptDigest, Summaries, is_field, summary};

/// One message that is looked at; its header and its file are read at most once.
pub(crate) struct Candidate<'a> {
    pub(crate) seq: usize,
    pub(crate) message: Message,
    selected: &'a SelectedMailbox,
    summaries: &'a RefCell<Summaries>,
    digest: OnceCell<Option<KeptDigest>>,
    /// The digest of its header, with all that a kept one may lack.
    made: OnceCell<Vec<u8>>,
    /// The header fields that were kept of it.
    fields: OnceCell<Option<SearchedMessage>>,
    header: OnceCell<SearchedMessage>,
    whole: OnceCell<SearchedMessage>,
}

impl<'a> Candidate<'a> {
    pub(super) const fn new(
        selected: &'a SelectedMailbox,
        summaries: &'a RefCell<Summaries>,
        seq: usize,
        message: Message,
    ) -> Self {
        Self {
            seq,
            message,
            selected,
            summaries,
            digest: OnceCell::new(),
            made: OnceCell::new(),
            fields: OnceCell::new(),
            header: OnceCell::new(),
            whole: OnceCell::new(),
        }
    }

    /// What was kept of its header.
    pub(super) fn kept_digest(&self) -> Option<Digest<'_>> {
        let find = || self.summaries.borrow_mut().digest(self.selected.mailbox(), &self.message);
        self.digest.get_or_init(find).as_ref().map(KeptDigest::view)
    }

    /// What sorting and threads look at in its header, all texts of these kinds included.
    pub(crate) fn digest(&self, kinds: &[DigestText]) -> Result<Digest<'_>, StoreError> {
        let is_whole = |digest: &Digest<'_>| kinds.iter().all(|kind| digest.texts(*kind).is_some());
        if let Some(digest) = self.kept_digest().filter(is_whole) {
            return Ok(digest);
        }
        let header = self.header()?;
        Ok(Digest::new(self.made.get_or_init(|| Digest::write(header.octets(), false))))
    }

    /// Only a message of which the content was never hashed, and which came in the same second, is read.
    pub(super) fn has_email_id(&self, id: &EmailId) -> Result<bool, StoreError> {
        let seconds = self.message.internal_date.unix_seconds();
        if seconds != id.seconds() {
            return Ok(false);
        }
        let mailbox = self.selected.mailbox();
        let known = self.summaries.borrow_mut().email_id(mailbox, &self.message);
        let own = match known {
            Some(known) => known,
            None => {
                let file = mailbox.open_message(self.message.uid)?;
                let content = file.content_hash().map_err(|error| unreadable(self.message.uid, error))?;
                EmailId::new(content, seconds)
            }
        };
        Ok(own == *id)
    }

    /// The id of the message's thread, as FETCH tells it.
    pub(super) fn thread_id(&self) -> Result<Option<String>, StoreError> {
        Ok(self.digest(&[])?.thread().map(|key| format!("T{key}")))
    }

    /// The day, since 1970, on which the mailbox got it.
    pub(super) fn saved_day(&self) -> Result<i64, StoreError> {
        let (mailbox, uid) = (self.selected.mailbox(), self.message.uid);
        let known = self.summaries.borrow_mut().save_date(mailbox, uid);
        let date = known.map_or_else(|| mailbox.save_date(uid), Ok)?;
        Ok(InternalDate::from_unix(date).day())
    }

    pub(super) fn sent_day(&self) -> Result<Option<i64>, StoreError> {
        match self.kept_digest() {
            Some(digest) => Ok(digest.sent_day()),
            None => Ok(self.fields("Date")?.sent_day()),
        }
    }

    /// Those of the message's header fields at least that have this name.
    pub(super) fn fields(&self, name: &str) -> Result<&SearchedMessage, StoreError> {
        if !is_field(name) {
            return self.header();
        }
        match self.fields.get_or_init(|| self.kept_fields()) {
            Some(fields) => Ok(fields),
            None => self.header(),
        }
    }

    fn kept_fields(&self) -> Option<SearchedMessage> {
        let summary = self.summaries.borrow_mut().find(self.selected.mailbox(), &self.message)?;
        summary.fields.map(SearchedMessage::new)
    }

    /// The message's header at least.
    fn header(&self) -> Result<&SearchedMessage, StoreError> {
        match self.whole.get() {
            Some(whole) => Ok(whole),
            None => self.read(&self.header, |file| self.read_header(file)),
        }
    }

    /// Reads the header, of which what clients ask for is kept unless it is.
    fn read_header(&self, mut file: MessageFile) -> io::Result<Vec<u8>> {
        let lines = header::read(&mut file.file)?;
        let header = file.on_the_wire(lines);
        let is_unknown = matches!(self.fields.get(), Some(None)) || matches!(self.digest.get(), Some(None));
        if is_unknown {
            self.summaries.borrow_mut().add(&self.message, &summary(&header, None));
        }
        Ok(header)
    }

    pub(super) fn whole(&self) -> Result<&SearchedMessage, StoreError> {
        self.read(&self.whole, MessageFile::read)
    }

    fn read<'b>(
        &self,
        cell: &'b OnceCell<SearchedMessage>,
        read: impl FnOnce(MessageFile) -> io::Result<Vec<u8>>,
    ) -> Result<&'b SearchedMessage, StoreError> {
        if let Some(read) = cell.get() {
            return Ok(read);
        }
        let uid = self.message.uid;
        let file = self.selected.mailbox().open_message(uid)?;
        let octets = read(file).map_err(|error| unreadable(uid, error))?;
        Ok(cell.get_or_init(|| SearchedMessage::new(octets)))
    }
}
