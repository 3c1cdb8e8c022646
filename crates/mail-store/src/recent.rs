//! Mailboxes kept open for a while after use, so that opening one again costs nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::mailbox::Mailbox;

/// How many mailboxes, and how many messages in them, are kept in all: some ten megabytes of snapshots.
const MAILBOXES: usize = 512;
const MESSAGES: usize = 250_000;

/// The mailboxes last used.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The last used one last.
    mailboxes: Mutex<VecDeque<Arc<Mailbox>>>,
}

impl Recent {
    pub(crate) fn keep(&self, mailbox: &Arc<Mailbox>) {
        let mut dropped = Vec::new();
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|it| !Arc::ptr_eq(it, mailbox));
        mailboxes.push_back(Arc::clone(mailbox));
        let messages = |mailboxes: &VecDeque<Arc<Mailbox>>| -> usize {
            mailboxes.iter().map(|it| it.snapshot().len()).sum()
        };
        while mailboxes.len() > MAILBOXES || messages(&mailboxes) > MESSAGES {
            dropped.extend(mailboxes.pop_front());
        }
        // Closing an index may take its time.
        drop(mailboxes);
    }
}
