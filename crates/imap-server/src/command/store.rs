//! STORE. RFC 3501 §6.4.6, RFC 7162 §3.1.3.

use std::sync::Arc;

use imap_proto::{MessageSet, StoreMode};
use mail_store::{FlagChange, Snapshot, Stored};
use mail_types::{Flags, ModSeq, Rights, Uid, UidSet};

use crate::answer::{Failure, Output};
use crate::selected::{Named, SelectedMailbox};
use crate::session::Session;
use crate::text::{RespText, Text};

pub(crate) const fn change(mode: StoreMode, flags: Flags) -> FlagChange {
    match mode {
        StoreMode::Add => FlagChange::Add(flags),
        StoreMode::Remove => FlagChange::Remove(flags),
        StoreMode::Replace => FlagChange::Replace(flags),
    }
}

/// What STORE is asked.
pub(crate) struct Wanted {
    pub(crate) change: FlagChange,
    pub(crate) unchanged_since: Option<u64>,
    pub(crate) silent: bool,
}

pub(crate) fn store(
    session: &mut Session,
    set: &MessageSet,
    wanted: &Wanted,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let selected = session.selected()?;
    let named = selected.named(set)?;
    let uids = selected.uids(&named);
    let view = selected.writable(Rights::NONE)?;
    let change = &allowed(&wanted.change, selected.rights())?;
    let Stored { after, refused } = match wanted.unchanged_since {
        Some(limit) => {
            let condition = Condition { limit, change, known: selected.now() };
            view.store_if(&uids, change, |uid, flags, mod_seq| condition.holds(uid, flags, mod_seq))?
        }
        None => Stored { after: view.store(&uids, change)?, refused: Vec::new() },
    };
    selected.tell_keywords(&after, out);
    // Who may not change all that he named must hear what became of it.
    if wanted.silent && *change == wanted.change {
        tell_silently(
            selected,
            &named,
            &Stored { after: Arc::clone(&after), refused: refused.clone() },
            wanted,
            out,
        );
    } else {
        selected.tell_flags_in(&after, &named, out);
        selected.knows(&after, uids.iter().copied());
    }
    if !refused.is_empty() {
        let code = format!("MODIFIED {}", modified(selected, set, &refused));
        return Ok(Text::StoredWhereUnchanged.coded_as(code));
    }
    let is_gone = |uid: &Uid| after.position(*uid).is_none();
    if named.gone > 0 || uids.iter().any(is_gone) {
        // As Dovecot answers FETCH: a NO would be shown to the user, who can do nothing about it.
        return Ok(Text::StoredSome.coded("EXPUNGEISSUED"));
    }
    Ok(Text::Stored.into())
}

/// The part of a change that these rights allow; an error if that is none of it. RFC 4314 §4.
fn allowed(change: &FlagChange, rights: Rights) -> Result<FlagChange, Failure> {
    if rights.contains(Rights::FLAGS) {
        return Ok(change.clone());
    }
    let (FlagChange::Add(named) | FlagChange::Remove(named) | FlagChange::Replace(named)) = change else {
        return Ok(change.clone());
    };
    let some = rights.of_flags(named);
    if some.is_empty() && !(named.is_empty() && rights.intersects(Rights::FLAGS)) {
        return Err(Failure::no(Text::NoPermissionForFlags.coded("NOPERM")));
    }
    Ok(match change {
        FlagChange::Add(_) => FlagChange::Add(some),
        FlagChange::Remove(_) => FlagChange::Remove(some),
        FlagChange::Replace(_) | FlagChange::ReplaceSome(..) => FlagChange::ReplaceSome(some, rights),
    })
}

/// After `.SILENT`: the mod-sequences that changed, for who reckons with them (RFC 7162 §3.1.3), and the flags of messages that
/// were refused, so that the client need not ask. What others changed is told at the command's end. Where NOTIFY told of flags while the
/// command was on its way, the client can't know which came first, so that it is told which they are (RFC 3501 §6.4.6).
fn tell_silently(
    selected: &mut SelectedMailbox,
    named: &Named,
    stored: &Stored,
    wanted: &Wanted,
    out: &mut Output,
) {
    let (before, after) = (Arc::clone(selected.now()), &stored.after);
    let mut known = Vec::new();
    for index in named.indexes.iter().cloned().flatten() {
        let Some(old) = before.get(index) else { continue };
        let Some(new) = after.position(old.uid).and_then(|at| after.get(at)) else { continue };
        let is_refused = stored.refused.binary_search(&old.uid).is_ok();
        if is_refused || selected.may_have_crossed(old.mod_seq) {
            selected.write_flags_of(index, &new, out);
        } else if !is_same(&wanted.change.applied_to(&old.flags), &new.flags) {
            continue;
        } else if selected.enabled().condstore
            && (wanted.unchanged_since.is_some() || old.mod_seq != new.mod_seq)
        {
            selected.write_mod_seq_of(index, &new, out);
        }
        known.push(old.uid);
    }
    selected.knows(after, known);
}

/// The messages refused, as the command names them.
fn modified(selected: &SelectedMailbox, set: &MessageSet, refused: &[Uid]) -> UidSet {
    if set.is_uid() {
        return UidSet::from_ascending(refused.iter().copied());
    }
    let number = |uid: &Uid| u32::try_from(selected.seq(selected.now().position(*uid)?)).ok();
    // Sequence numbers are written as UIDs are.
    UidSet::from_ascending(refused.iter().filter_map(|uid| Uid::try_from(number(uid)?).ok()))
}

/// UNCHANGEDSINCE. RFC 7162 §3.1.3.
struct Condition<'a> {
    limit: u64,
    change: &'a FlagChange,
    /// What the client was told.
    known: &'a Snapshot,
}

impl Condition<'_> {
    fn holds(&self, uid: Uid, flags: &Flags, mod_seq: ModSeq) -> bool {
        match self.limit {
            // It asks for what never was there.
            0 => !self.exists_in(flags),
            limit => mod_seq.value() <= limit || self.is_untouched(uid, flags),
        }
    }

    /// True if a flag that would change exists: a system flag always does, set or not.
    fn exists_in(&self, flags: &Flags) -> bool {
        match self.change {
            FlagChange::Replace(_) | FlagChange::ReplaceSome(..) => true,
            FlagChange::Add(named) | FlagChange::Remove(named) => {
                named.system_bits() != 0 || named.keywords().iter().any(|it| flags.keywords().contains(it))
            }
        }
    }

    /// True if others changed other flags than these. RFC 7162 §3.1.12.
    fn is_untouched(&self, uid: Uid, flags: &Flags) -> bool {
        let known = self.known.position(uid).and_then(|index| self.known.get(index));
        let Some(known) = known.filter(|known| known.mod_seq.value() <= self.limit) else { return false };
        match self.change {
            FlagChange::Replace(_) | FlagChange::ReplaceSome(..) => false,
            FlagChange::Add(named) | FlagChange::Remove(named) => {
                let has = |flags: &Flags, keyword| flags.keywords().contains(keyword);
                (known.flags.system_bits() ^ flags.system_bits()) & named.system_bits() == 0
                    && named.keywords().iter().all(|it| has(&known.flags, it) == has(flags, it))
            }
        }
    }
}

/// The order of keywords means nothing.
fn is_same(one: &Flags, other: &Flags) -> bool {
    one.system_bits() == other.system_bits()
        && one.keywords().len() == other.keywords().len()
        && one.keywords().iter().all(|keyword| other.keywords().contains(keyword))
}
