//! What went since a mod-sequence.

use mail_types::Uid;

use super::Mailbox;
use crate::snapshot::Snapshot;

impl Mailbox {
    /// The UIDs of the messages that went after `mod_seq` and are not in `now`, ascending. The cost is that of their number.
    /// `None` if so far back it is not remembered what went: then any UID may have gone since that is not in `now`
    /// (RFC 7162 §3.2.6). What is in `now` has its own mod-sequence: [`Snapshot::changed_since`].
    #[must_use]
    pub fn expunged_since(&self, mod_seq: u64, now: &Snapshot) -> Option<Vec<Uid>> {
        let last = now.highest_mod_seq().value();
        if mod_seq == last {
            return Some(Vec::new());
        }
        let log = self.place.account.read(|index| {
            let uids = index.expunged(&self.place.key, mod_seq, last)?;
            // After the log: what is cut meanwhile shows here.
            let row = index.mailbox(&self.place.key)?;
            let is_whole = row.is_some_and(|row| {
                row.uid_validity == self.uid_validity().value()
                    && row.mod_seq >= last // else it is an old one, put back
                    && (row.log_floor..=last).contains(&mod_seq)
            });
            Ok(is_whole.then_some(uids))
        });
        let log = log.unwrap_or_else(|error| {
            tracing::debug!(folder = %self.place.folder.display(), %error, "what went can't be read now");
            None
        });
        let uids = log?.into_iter().filter_map(|uid| Uid::try_from(uid).ok());
        let mut uids: Vec<Uid> = uids.filter(|uid| now.position(*uid).is_none()).collect();
        uids.sort_unstable();
        uids.dedup();
        Some(uids)
    }
}
