//! What operators change, of many messages at a time.

use jiff::Timestamp;

use crate::{Filter, NextHop, Queue, QueueError, QueueId, QueuedMessage};

/// What an operator does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Recipients are tried at once, but for those held by an operator or by their sender.
    Retry,
    /// Messages are held back from delivery and expiry.
    Hold,
    /// Held messages go on.
    Release {
        /// What its sender holds back until later (RFC 4865) goes at once too.
        early: bool,
    },
    /// Messages are removed, and nobody told.
    Remove,
    /// Recipients go to this host, or again where the config says, and are tried at once.
    Reroute(Option<NextHop>),
}

/// A message, and the places of the recipients that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meant {
    pub(crate) id: QueueId,
    pub(crate) recipients: Vec<usize>,
}

impl Queue {
    /// Shows `see` every message that the filter means, oldest first, some at a time.
    ///
    /// # Errors
    /// [`QueueError::Database`], and what `see` fails with.
    pub fn each<E: From<QueueError>>(
        &self,
        filter: &Filter,
        mut see: impl FnMut(Vec<QueuedMessage>) -> Result<(), E>,
    ) -> Result<(), E> {
        let now = Timestamp::now();
        let mut after: Option<QueueId> = None;
        loop {
            // Few enough for memory, and to be changed in one transaction: so no operator's change holds up for long who adds to the queue.
            let mut page = self.list(after.as_ref(), self.page_behind(after.as_ref())?)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id.clone());
            page.retain(|message| !filter.meant(message, now).is_empty());
            if !page.is_empty() {
                see(page)?;
            }
        }
    }

    /// Changes what the filter means: [`Change::Retry`] and [`Change::Reroute`] recipients, all else whole messages. Shows `see` the messages that were changed,
    /// some at a time, and tells how many they were: those that were held already are not held, nor those released that were not held. What goes through
    /// the queue meanwhile is as it finds it.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn change(
        &self,
        filter: &Filter,
        change: &Change,
        mut see: impl FnMut(&[QueueId]),
    ) -> Result<usize, QueueError> {
        let mut count = 0;
        self.each(filter, |page| {
            let now = Timestamp::now();
            let meant: Vec<Meant> = page
                .into_iter()
                .map(|message| Meant { recipients: filter.meant(&message, now), id: message.id })
                .collect();
            let changed = self.change_some(&meant, change, now)?;
            count += changed.len();
            see(&changed);
            Ok::<_, QueueError>(())
        })?;
        Ok(count)
    }

    /// Changes one message, with all of its recipients. Tells how many were changed, as [`Self::change`] counts: 0 or 1.
    ///
    /// # Errors
    /// [`QueueError::NoSuchMessage`], [`QueueError::Database`].
    pub fn change_one(&self, id: &QueueId, change: &Change) -> Result<usize, QueueError> {
        if *change == Change::Remove {
            // Whether it can be read or not.
            return self.remove(Some(id));
        }
        let message = self.show(id)?.ok_or_else(|| QueueError::NoSuchMessage(id.clone()))?;
        let meant = Meant { recipients: (0..message.recipients.len()).collect(), id: message.id };
        Ok(self.change_some(&[meant], change, Timestamp::now())?.len())
    }
}
