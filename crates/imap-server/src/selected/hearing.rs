//! What the client hears of its selected mailbox without asking. RFC 5465.

use std::sync::Arc;

use imap_proto::FetchItem;
use mail_store::Changes;
use mail_types::{ModSeq, Uid};

use super::{Named, SelectedMailbox};
use crate::answer::Output;
use crate::notify::{Hears, SelectedEvents, When};

impl SelectedMailbox {
    /// From now on the client hears of these events. Flags that were withheld are told once it wants to hear of such.
    pub(crate) fn hear(&mut self, events: SelectedEvents, out: &mut Output) {
        self.events = events;
        self.attend(false);
        let is_told = self.events.hears == Hears::All;
        let Some(since) = self.withheld.take_if(|_| is_told) else { return };
        for index in self.now.changed_since(since) {
            if let Some(message) = self.now.get(index) {
                self.write_flags_of(index, &message, out);
            }
        }
    }

    /// Listens as long as the client may be told: by NOTIFY at any time, otherwise in IDLE.
    pub(crate) fn attend(&mut self, is_idle: bool) {
        if !is_idle {
            self.answered();
        }
        let may_be_told = is_idle || self.events.when != When::InCommands;
        if !may_be_told || self.events.hears == Hears::Nothing {
            self.changes = None;
        } else if self.changes.is_none() {
            self.changes = Some(self.mailbox().watch());
        }
    }

    /// A command is answered: what is told from now on may cross the client's next one.
    pub(crate) fn answered(&mut self) {
        self.answered_at = self.now.highest_mod_seq();
    }

    /// True if it may be that the client had not read yet what it was told of a message, whose last change this is, when it sent its command.
    pub(crate) fn may_have_crossed(&self, mod_seq: ModSeq) -> bool {
        mod_seq > self.answered_at
    }

    /// By which to hear of changes, while the client may be told of them.
    pub(crate) const fn changes(&mut self) -> Option<&mut Changes> {
        self.changes.as_mut()
    }

    /// The command takes messages away: what changed is told although the client's view is to stay as it is.
    pub(crate) const fn owe_changes(&mut self) {
        self.owes_changes = true;
    }

    /// The client added these messages itself; they ascend.
    pub(crate) fn added(&mut self, uids: impl IntoIterator<Item = Uid>) {
        self.added.extend(uids);
    }

    /// If the message at `index` is one after `last`, and not of the client's own making, these items are to be fetched of it.
    pub(crate) fn arrived(&mut self, index: usize, last: Option<Uid>, items: &Arc<[FetchItem]>) {
        let Some(uid) = self.uid(index).filter(|uid| last.is_none_or(|last| *uid > last)) else { return };
        if !items.is_empty() && self.added.binary_search(&uid).is_err() {
            self.arrivals.entry(uid).or_default().push(Arc::clone(items));
        }
    }

    pub(crate) fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// The next messages that arrived of which the same is to be fetched, and what that is.
    pub(crate) fn next_arrivals(&mut self) -> Option<(Named, Vec<FetchItem>)> {
        let (first, items) = self.arrivals.pop_first()?;
        let mut uids = vec![first];
        while let Some(next) = self.arrivals.first_entry().filter(|next| *next.get() == items) {
            uids.push(*next.key());
            next.remove();
        }
        let ranges: Vec<(u32, u32)> = uids.iter().map(|uid| (uid.value(), uid.value())).collect();
        Some((self.with_uids(&ranges), items.iter().flat_map(|items| items.iter().cloned()).collect()))
    }
}
