//! A mailbox as one user sees it whose `\Seen` is not the owner's: a snapshot like any other, made of the mailbox's own.

use std::sync::Arc;

use mail_types::Uid;

use super::history::{History, Step};
use super::{Row, Rows, Snapshot};

impl Snapshot {
    /// What `base` is with each row as `personal` makes it.
    pub(crate) fn personal(base: &Self, personal: impl Fn(Uid, Row) -> Row) -> Self {
        let mut rows = Rows::default();
        for (position, uid) in base.uids.iter().enumerate() {
            if let Some(row) = base.rows.get(position) {
                rows.push(personal(uid, *row));
            }
        }
        rows.shrink();
        with(base, rows, History::default())
    }

    /// The next one after this, which was made of `before`; `touched` is what changed for this user alone. The cost is that of
    /// the difference.
    pub(crate) fn next_personal(
        &self,
        before: &Self,
        base: &Self,
        touched: &[Uid],
        personal: impl Fn(Uid, Row) -> Row,
    ) -> Self {
        if !base.sets.starts_with(&before.sets) {
            // Read as a whole: keywords are numbered anew.
            return Self::personal(base, personal);
        }
        let difference = base.since(before);
        let uid = |position: &usize| base.uids.get(*position);
        let mut changed: Vec<Uid> = difference.changed.iter().filter_map(uid).collect();
        changed.extend(touched.iter().filter(|uid| base.position(**uid).is_some()));
        changed.sort_unstable();
        changed.dedup();
        let gone: Vec<Uid> =
            difference.gone.iter().filter_map(|position| before.uids.get(*position)).collect();
        let mut next =
            Self { uids: Arc::clone(&self.uids), ..with(base, self.rows.clone(), self.history.clone()) };
        if next.highest_mod_seq != self.highest_mod_seq {
            let from = self.highest_mod_seq;
            next.history.add(Step { from, changed: changed.clone().into(), gone: gone.into() });
        }
        let mut added = Vec::new();
        for uid in changed {
            let Some(row) = base.position(uid).and_then(|position| base.rows.get(position)) else { continue };
            let row = personal(uid, *row);
            match self.position(uid) {
                Some(position) => next.rows.set(position, row),
                None => added.push((uid, row)),
            }
        }
        next.splice(added, difference.gone);
        next.uids = Arc::clone(&base.uids);
        next
    }
}

fn with(base: &Snapshot, rows: Rows, history: History) -> Snapshot {
    Snapshot {
        uids: Arc::clone(&base.uids),
        rows,
        sets: Arc::clone(&base.sets),
        names: Arc::clone(&base.names),
        known: Arc::clone(&base.known),
        uid_next: base.uid_next,
        highest_mod_seq: base.highest_mod_seq,
        first_recent: base.first_recent,
        history,
    }
}
