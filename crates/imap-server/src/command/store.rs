//! STORE. RFC 3501 §6.4.6.

use imap_proto::{MessageSet, StoreMode};
use mail_store::FlagChange;
use mail_types::Flags;

use crate::answer::{Failure, Output};
use crate::session::Session;

pub(crate) const fn change(mode: StoreMode, flags: Flags) -> FlagChange {
    match mode {
        StoreMode::Add => FlagChange::Add(flags),
        StoreMode::Remove => FlagChange::Remove(flags),
        StoreMode::Replace => FlagChange::Replace(flags),
    }
}

pub(crate) fn store(
    session: &mut Session,
    set: &MessageSet,
    change: FlagChange,
    silent: bool,
    out: &mut Output,
) -> Result<String, Failure> {
    let selected = session.selected()?;
    if selected.is_read_only() {
        return Err(Failure::no("[CANNOT] The mailbox is selected read-only"));
    }
    let positions = selected.positions(set);
    let uids = selected.uids(set);
    let now = selected.mailbox().store(&uids, &change)?;
    if !silent {
        for (position, uid) in positions.iter().zip(&uids) {
            let Some(message) = now.position(*uid).and_then(|at| now.get(at)) else { continue };
            let flags = selected.flags(*uid, &message.flags);
            out.line(format!("* {} FETCH (UID {uid} {flags})", position + 1));
        }
    }
    selected.knows(&now, &uids);
    Ok("Stored".to_owned())
}
