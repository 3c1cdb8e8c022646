//! APPEND. RFC 3501 §6.3.11, RFC 3502, RFC 4315 §3.

use std::io::Write;
use std::sync::Arc;

use mail_store::{Account, Append, Mailbox, StoreError};
use mail_types::{Flags, InternalDate, MailboxName, UidSet, Usage};
use tracing::{error, info};

use crate::answer::Failure;
use crate::session::Session;

/// Messages on their way into a mailbox. Dropped uncommitted, they leave nothing.
#[derive(Debug)]
pub(crate) struct Appending {
    name: MailboxName,
    account: Arc<Account>,
    mailbox: Arc<Mailbox>,
    messages: Vec<Append>,
    /// Of the messages, as announced.
    announced: Usage,
}

impl Appending {
    /// Opens the mailbox that the messages go to.
    pub(crate) fn start(session: &Session, name: MailboxName) -> Result<Self, Failure> {
        session.limit()?;
        let account = Arc::clone(session.account()?);
        let mailbox = account.open(&name).map_err(|error| Failure::from(error).try_create())?;
        Ok(Self { name, account, mailbox, messages: Vec::new(), announced: Usage::default() })
    }

    /// Begins a message of `size` octets.
    pub(crate) fn begin(
        &mut self,
        flags: Flags,
        date: Option<InternalDate>,
        size: u64,
    ) -> Result<(), Failure> {
        if size == 0 {
            // RFC 3502 §6.3.11 cancels so, and a message of no octets makes Thunderbird delete it.
            return Err(Failure::no("[CANNOT] A message can't be empty"));
        }
        self.announced = self.announced + Usage::message(size);
        self.account.check_room(self.announced)?;
        let message = self.mailbox.append(flags, date);
        self.messages.push(message.map_err(|error| Failure::from(error).try_create())?);
        Ok(())
    }

    /// Takes the next piece of the message begun last. Blocks.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let Some(message) = self.messages.last_mut() else { return Ok(()) };
        message.write_all(piece).map_err(|error| {
            error!(%error, mailbox = %self.name, "a message can't be written");
            Failure::no("[SERVERBUG] The mail store failed; try again later")
        })
    }

    /// Makes the messages durable, all or none. Blocks.
    pub(crate) fn commit(self) -> Result<String, Failure> {
        let uids = Append::commit_all(self.messages);
        let uids = uids.map_err(|error: StoreError| Failure::from(error).try_create())?;
        info!(mailbox = %self.name, messages = uids.len(), "appended");
        let uids = UidSet::from_ascending(uids);
        Ok(format!("[APPENDUID {} {uids}] Appended", self.mailbox.uid_validity()))
    }
}
