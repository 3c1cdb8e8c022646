//! SELECT, EXAMINE and CLOSE. RFC 3501 §6.3.1, §6.3.2, §6.4.2.

use std::sync::Arc;

use mail_store::StoreError;
use mail_types::{Flag, MailboxName};
use tracing::info;

use crate::answer::{Failure, Output};
use crate::command::expunge::deleted;
use crate::selected::SelectedMailbox;
use crate::session::{Session, State};

/// A SELECT that fails leaves no mailbox selected.
pub(crate) fn select(
    session: &mut Session,
    name: &MailboxName,
    read_only: bool,
    out: &mut Output,
) -> Result<String, Failure> {
    session.unselect();
    let account = Arc::clone(session.account()?);
    let mut selected = SelectedMailbox::open(name.clone(), account.open(name)?, read_only)?;
    tell(&mut selected, out);
    info!(mailbox = %name, read_only, "selected");
    session.state = State::Selected(account, Box::new(selected));
    let mode = if read_only { "READ-ONLY" } else { "READ-WRITE" };
    Ok(format!("[{mode}] Selected"))
}

fn tell(selected: &mut SelectedMailbox, out: &mut Output) {
    selected.tell_select(out);
    let now = selected.now();
    let unseen = |index: &usize| now.get(*index).is_some_and(|message| !message.flags.contains(Flag::Seen));
    if let Some(first) = (0..now.len()).find(unseen) {
        out.text(format_args!("* OK [UNSEEN {}] The first unseen message\r\n", first + 1));
    }
    let validity = selected.mailbox().uid_validity();
    out.text(format_args!("* OK [UIDVALIDITY {validity}] UIDs are valid\r\n"));
    out.text(format_args!("* OK [UIDNEXT {}] The next UID\r\n", now.uid_next()));
}

/// Removes what is `\Deleted` without telling, unless the mailbox is read-only.
pub(crate) fn close(session: &mut Session) -> Result<String, Failure> {
    let selected = session.selected()?;
    match expunge_deleted(selected) {
        // A mailbox that another session has deleted is left all the same.
        Ok(()) | Err(Failure::Store(StoreError::NoSuchMailbox(_))) => session.unselect(),
        Err(failure) => return Err(failure),
    }
    Ok("Closed".to_owned())
}

fn expunge_deleted(selected: &SelectedMailbox) -> Result<(), Failure> {
    let Ok(mailbox) = selected.writable() else { return Ok(()) };
    let uids = deleted(selected, None)?;
    if !uids.is_empty() {
        mailbox.expunge(&uids)?;
    }
    Ok(())
}
