//! A connection carries no other message until it is recorded what came of the last one: so the death of this process has a message sent again
//! only where its final reply is the last word on a connection, and may have been in flight.

use std::sync::{Arc, Weak};

/// Keeps the connections that carry a message from others, until it is dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hold(Arc<()>);

/// Whom a connection is kept for.
#[derive(Debug, Default)]
pub(super) struct Held(Weak<()>);

impl Hold {
    pub(super) fn held(&self) -> Held {
        Held(Arc::downgrade(&self.0))
    }
}

impl Held {
    /// True if nobody holds it, or this one does.
    pub(super) fn is_free_for(&self, hold: &Hold) -> bool {
        self.0.strong_count() == 0 || self.0.as_ptr() == Arc::as_ptr(&hold.0)
    }
}
