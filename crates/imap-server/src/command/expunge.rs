//! EXPUNGE (RFC 3501 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1).

use imap_proto::MessageSet;
use mail_types::{Flag, Uid, UidSet};

use crate::answer::Failure;
use crate::selected::SelectedMailbox;
use crate::session::Session;

/// Removes what is `\Deleted`, within `set` if one is given. What is gone is told at the command's end.
pub(crate) fn expunge(session: &mut Session, set: Option<UidSet>) -> Result<String, Failure> {
    let selected = session.selected()?;
    if selected.is_read_only() {
        return Err(Failure::no("[CANNOT] The mailbox is selected read-only"));
    }
    let uids = deleted(selected, set)?;
    selected.mailbox().expunge(&uids)?;
    Ok("Expunged".to_owned())
}

/// The UIDs of the messages that are `\Deleted` by now, whoever marked them.
pub(crate) fn deleted(selected: &SelectedMailbox, set: Option<UidSet>) -> Result<Vec<Uid>, Failure> {
    let within = set.map(|set| selected.uids(&MessageSet::Uid(set)));
    let now = selected.mailbox().sync()?;
    let is_named = |uid: Uid| within.as_ref().is_none_or(|within| within.binary_search(&uid).is_ok());
    let messages = (0..now.len()).filter_map(|position| now.get(position));
    Ok(messages
        .filter(|message| message.flags.contains(Flag::Deleted) && is_named(message.uid))
        .map(|message| message.uid)
        .collect())
}
