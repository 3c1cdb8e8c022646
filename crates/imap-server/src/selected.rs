//! What one client has been told of the mailbox it selected.

use std::sync::Arc;

use imap_proto::MessageSet;
use mail_store::{Mailbox, Message, Snapshot, StoreError};
use mail_types::{Flags, ModSeq, Uid};

use crate::answer::Output;

/// A selected mailbox as its client knows it: one snapshot, shared with the store, gives all sequence numbers.
#[derive(Debug)]
pub(crate) struct SelectedMailbox {
    mailbox: Arc<Mailbox>,
    read_only: bool,
    told: Arc<Snapshot>,
    /// What `\Recent` was claimed for, lowest and highest.
    recent: Vec<(Uid, Uid)>,
    /// Changes the client knows of although `told` is older: its own.
    known: Vec<(Uid, ModSeq)>,
}

/// How a message is named in an answer.
#[derive(Debug)]
pub(crate) struct Numbered {
    /// Its sequence number.
    pub(crate) seq: usize,
    /// The message as the client has been told of it.
    pub(crate) message: Message,
}

impl SelectedMailbox {
    /// Takes over what the mailbox holds now; SELECT is about to tell it.
    pub(crate) fn open(mailbox: Arc<Mailbox>, read_only: bool) -> Result<Self, StoreError> {
        let told = mailbox.sync()?;
        let mut selected = Self { mailbox, read_only, told, recent: Vec::new(), known: Vec::new() };
        selected.claim_recent()?;
        Ok(selected)
    }

    pub(crate) const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub(crate) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) const fn told(&self) -> &Arc<Snapshot> {
        &self.told
    }

    /// EXAMINE leaves `\Recent` to the next SELECT. RFC 3501 §6.3.2.
    fn claim_recent(&mut self) -> Result<(), StoreError> {
        let claimed = if self.read_only {
            let (first, next) = (self.told.first_recent(), self.told.uid_next());
            self.recent.clear();
            (first < next).then_some((first, Uid::MAX))
        } else {
            self.mailbox.claim_recent()?
        };
        self.recent.extend(claimed);
        Ok(())
    }

    pub(crate) fn is_recent(&self, uid: Uid) -> bool {
        self.recent.iter().any(|(first, last)| (first..=last).contains(&&uid))
    }

    pub(crate) fn recent_count(&self) -> usize {
        self.told.uids().iter().filter(|uid| self.is_recent(**uid)).count()
    }

    /// A FLAGS item, `\Recent` included.
    pub(crate) fn flags(&self, uid: Uid, flags: &Flags) -> String {
        match (self.is_recent(uid), flags.is_empty()) {
            (true, true) => "FLAGS (\\Recent)".to_owned(),
            (true, false) => format!("FLAGS ({flags} \\Recent)"),
            (false, _) => format!("FLAGS ({flags})"),
        }
    }

    /// Positions of the messages that a set names, ascending, from 0. Numbers without a message are passed over.
    pub(crate) fn positions(&self, set: &MessageSet) -> Vec<usize> {
        let uids = self.told.uids();
        match set {
            MessageSet::Seq(set) => {
                let highest = u32::try_from(uids.len()).unwrap_or(u32::MAX);
                let clip = |(first, last): (u32, u32)| first..=last.min(highest);
                set.resolve(highest).into_iter().flat_map(clip).map(|seq| seq as usize - 1).collect()
            }
            MessageSet::Uid(set) => {
                let highest = uids.last().map_or(0, |uid| uid.value());
                let between = |(first, last): (u32, u32)| {
                    let start = uids.partition_point(|uid| uid.value() < first);
                    let end = uids.partition_point(|uid| uid.value() <= last);
                    start..end
                };
                set.resolve(highest).into_iter().flat_map(between).collect()
            }
        }
    }

    /// The UIDs that a set names, ascending.
    pub(crate) fn uids(&self, set: &MessageSet) -> Vec<Uid> {
        let uids = self.told.uids();
        self.positions(set).into_iter().filter_map(|position| uids.get(position).copied()).collect()
    }

    pub(crate) fn message(&self, position: usize) -> Option<Numbered> {
        self.told.get(position).map(|message| Numbered { seq: position + 1, message })
    }

    /// Remembers that the client is told of these messages' state in `snapshot` by the command itself.
    pub(crate) fn knows(&mut self, snapshot: &Snapshot, uids: &[Uid]) {
        let told = |uid: &Uid| Some((*uid, snapshot.get(snapshot.position(*uid)?)?.mod_seq));
        self.known.extend(uids.iter().filter_map(told));
    }

    /// Tells what changed. Without `allow_expunge` nothing is told as long as messages are gone: sequence numbers must
    /// not move under FETCH, STORE and SEARCH (RFC 3501 §7.4.1).
    pub(crate) fn sync(&mut self, allow_expunge: bool, out: &mut Output) -> Result<(), StoreError> {
        let now = self.mailbox.sync()?;
        if Arc::ptr_eq(&now, &self.told) {
            return Ok(());
        }
        let gone = missing(self.told.uids(), now.uids());
        if !gone.is_empty() && !allow_expunge {
            return Ok(());
        }
        for position in gone.iter().rev() {
            out.line(format!("* {} EXPUNGE", position + 1));
        }
        let before = std::mem::replace(&mut self.told, now);
        if self.told.len() > before.len().saturating_sub(gone.len()) {
            self.claim_recent()?;
            out.line(format!("* {} EXISTS", self.told.len()));
            out.line(format!("* {} RECENT", self.recent_count()));
        }
        self.tell_flags(&before, out);
        Ok(())
    }

    /// Tells the flags that changed of messages the client knew.
    fn tell_flags(&mut self, before: &Snapshot, out: &mut Output) {
        let last = before.uids().last().copied();
        let known = std::mem::take(&mut self.known);
        for position in self.told.changed_since(before.highest_mod_seq()) {
            let Some(Numbered { seq, message }) = self.message(position) else { continue };
            let is_new = last.is_none_or(|last| message.uid > last);
            if !is_new && !known.contains(&(message.uid, message.mod_seq)) {
                let flags = self.flags(message.uid, &message.flags);
                out.line(format!("* {seq} FETCH (UID {} {flags})", message.uid));
            }
        }
    }
}

/// Positions of what is in `before` and not in `now`; both ascend.
fn missing(before: &[Uid], now: &[Uid]) -> Vec<usize> {
    let mut now = now.iter().peekable();
    let mut gone = Vec::new();
    for (position, uid) in before.iter().enumerate() {
        while now.next_if(|other| *other < uid).is_some() {}
        if now.next_if(|other| *other == uid).is_none() {
            gone.push(position);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_that_are_gone_are_found_by_position() {
        let uids = |numbers: &[u32]| numbers.iter().map(|it| Uid::try_from(*it).unwrap()).collect::<Vec<_>>();
        assert_eq!(missing(&uids(&[1, 3, 5, 9]), &uids(&[3, 9, 10])), [0, 2]);
        assert_eq!(missing(&uids(&[1, 2]), &uids(&[1, 2, 3])), Vec::<usize>::new());
        assert_eq!(missing(&uids(&[4]), &[]), [0]);
    }
}
