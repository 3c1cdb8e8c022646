//! STORE. RFC 3501 §6.4.6.

use imap_proto::{MessageSet, StoreMode};
use mail_store::{FlagChange, Snapshot};
use mail_types::{Flags, Uid};

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
    let named = selected.named(set)?;
    let uids = selected.uids(&named);
    let after = selected.writable()?.store(&uids, &change)?;
    selected.tell_keywords(&after, out);
    if silent {
        let as_expected: Vec<Uid> = uids
            .iter()
            .copied()
            .filter(|uid| is_as_expected(selected.now(), &after, *uid, &change))
            .collect();
        selected.knows(&after, as_expected);
    } else {
        selected.tell_flags_in(&after, &named, out);
        selected.knows(&after, uids.iter().copied());
    }
    let is_gone = |uid: &Uid| after.position(*uid).is_none();
    if named.gone > 0 || uids.iter().any(is_gone) {
        // As Dovecot answers FETCH: a NO would be shown to the user, who can do nothing about it.
        return Ok("[EXPUNGEISSUED] Stored, but for messages that are gone".to_owned());
    }
    Ok("Stored".to_owned())
}

/// True if the message's flags are what the client must think they are after its own change. If somebody else changed them
/// too, `.SILENT` does not keep it from being told (RFC 3501 §6.4.6).
fn is_as_expected(before: &Snapshot, after: &Snapshot, uid: Uid, change: &FlagChange) -> bool {
    let flags = |snapshot: &Snapshot| Some(snapshot.get(snapshot.position(uid)?)?.flags);
    match (flags(before), flags(after)) {
        (Some(before), Some(after)) => is_same(&change.applied_to(&before), &after),
        (None, _) | (_, None) => false,
    }
}

/// The order of keywords means nothing.
fn is_same(one: &Flags, other: &Flags) -> bool {
    one.system_bits() == other.system_bits()
        && one.keywords().len() == other.keywords().len()
        && one.keywords().iter().all(|keyword| other.keywords().contains(keyword))
}
