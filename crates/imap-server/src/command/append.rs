//! APPEND. RFC 3501 §6.3.11, RFC 4315 §3.

use std::io::Write;
use std::sync::Arc;

use imap_proto::Command;
use mail_store::{Append, Mailbox, StoreError};

use crate::answer::Failure;
use crate::session::Session;

/// A message on its way into a mailbox.
#[derive(Debug)]
pub(crate) struct Appending {
    mailbox: Arc<Mailbox>,
    append: Append,
}

/// Opens the mailbox that the message goes to.
pub(crate) fn start(session: &Session, command: Command) -> Result<Appending, Failure> {
    let Command::Append { mailbox, flags, date } = command else { return Err(Failure::Bad("Not APPEND")) };
    let open = || -> Result<Appending, StoreError> {
        let mailbox = session_account(session)?.open(&mailbox)?;
        Ok(Appending { append: mailbox.append(flags, date)?, mailbox })
    };
    open().map_err(|error| Failure::from(error).try_create())
}

fn session_account(session: &Session) -> Result<&Arc<mail_store::Account>, StoreError> {
    session.account().map_err(|_| StoreError::Refused("Log in first"))
}

impl Appending {
    /// Takes the next piece of the message. Blocks.
    pub(crate) fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.append.write_all(piece)
    }

    /// Makes the message durable. Blocks.
    pub(crate) fn commit(self) -> Result<String, Failure> {
        let validity = self.mailbox.uid_validity();
        let uid = self.append.commit().map_err(|error| Failure::from(error).try_create())?;
        Ok(format!("[APPENDUID {validity} {uid}] Appended"))
    }
}
