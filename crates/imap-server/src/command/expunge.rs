//! EXPUNGE (RFC 3501 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1).

use imap_proto::MessageSet;
use mail_types::{Flag, Rights, Uid};
use tracing::info;

use crate::answer::Failure;
use crate::selected::SelectedMailbox;
use crate::session::Session;
use crate::text::{RespText, Text};

/// Removes what is `\Deleted`, within `set` if one is given. What is gone is told at the command's end.
pub(crate) fn expunge(session: &mut Session, set: Option<&MessageSet>) -> Result<RespText, Failure> {
    let selected = session.selected()?;
    let mailbox = selected.writable(Rights::EXPUNGE)?.mailbox();
    let uids = deleted(selected, set)?;
    if !uids.is_empty() {
        mailbox.expunge(&uids)?;
        info!(mailbox = %selected.name(), messages = uids.len(), "expunged");
        selected.owe_mod_seq();
        selected.owe_changes();
    }
    Ok(Text::Expunged.into())
}

/// The UIDs of the messages that are `\Deleted` by now, whoever marked them.
pub(crate) fn deleted(selected: &SelectedMailbox, set: Option<&MessageSet>) -> Result<Vec<Uid>, Failure> {
    let within = set.map(|set| selected.named(set)).transpose()?;
    let within = within.map(|named| selected.uids(&named));
    let now = selected.mailbox().sync()?;
    let is_named = |uid: Uid| within.as_ref().is_none_or(|within| within.binary_search(&uid).is_ok());
    let messages = (0..now.len()).filter_map(|index| now.get(index));
    Ok(messages
        .filter(|message| message.flags.contains(Flag::Deleted) && is_named(message.uid))
        .map(|message| message.uid)
        .collect())
}
