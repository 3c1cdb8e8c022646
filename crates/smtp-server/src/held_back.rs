//! How much of its mail an account, or a machine that needs no login, may have held back at one time. RFC 4865 §6.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use mail_types::{Quota, Usage};
use smtp_queue::{Queue, QueueError};

use crate::connection::Dialogue;

/// The limit, and who is at it.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    limit: Quota,
    turn: Mutex<()>,
}

impl HeldBack {
    pub(crate) const fn new(limit: Quota) -> Self {
        Self { limit, turn: Mutex::new(()) }
    }

    /// Waits until nobody else adds to what is held back; as long as this is kept, nobody does. Blocks.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if who is known to the queue by this name may hold back a message of so many octets besides those that it holds back
    /// already. Blocks.
    pub(crate) fn admits(
        &self,
        queue: &Queue,
        origin: &str,
        size: u64,
        now: Timestamp,
    ) -> Result<bool, QueueError> {
        Ok(self.limit.admits(queue.held_back(origin, now)? + Usage::message(size)))
    }
}

impl Dialogue {
    /// Answers MAIL by whether its sender may hold back a message of the size that it has declared, if any: what the message really has
    /// is known when all of it is here.
    pub(crate) async fn check_hold(&mut self) -> smtp_proto::Reply {
        let size = self.session.asks_to_hold().unwrap_or_default();
        let account = self.session.login().map(|account| account.to_lowercase().to_string());
        let origin = account.or_else(|| self.session.user()).unwrap_or_default();
        let (queue, held_back) = (Arc::clone(&self.shared.to.queue), Arc::clone(&self.shared.to.held_back));
        let admitted = self.ask(move |_| held_back.admits(&queue, &origin, size, Timestamp::now())).await;
        match admitted {
            Some(false) => self.session.no_more_held(),
            admitted => self.session.sender_checked(admitted),
        }
    }
}
