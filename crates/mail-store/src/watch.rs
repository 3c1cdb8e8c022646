//! One thread for the process looks after the mailboxes that sessions wait on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::mailbox::Mailbox;

type Times = Option<(i64, i64)>;

type Watched = Mutex<Vec<(Weak<Mailbox>, Times)>>;

static WATCHED: OnceLock<Watched> = OnceLock::new();

/// Looks after `mailbox` from now on, as long as it is open.
pub(crate) fn look_after(mailbox: &Arc<Mailbox>) {
    let watched = WATCHED.get_or_init(|| {
        if let Err(error) = std::thread::Builder::new().name("mailbox-watch".to_owned()).spawn(run) {
            tracing::error!(%error, "no thread to look for changes by other programs");
        }
        Mutex::default()
    });
    let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
    if !watched.iter().any(|(it, _)| std::ptr::eq(it.as_ptr(), Arc::as_ptr(mailbox))) {
        watched.push((Arc::downgrade(mailbox), None));
    }
}

fn run() {
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let Some(watched) = WATCHED.get() else { continue };
        let mut changed = Vec::new();
        watched.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|(mailbox, last)| {
            let Some(mailbox) = mailbox.upgrade() else { return false };
            let times = mailbox.times();
            if mailbox.is_watched() && times != *last {
                *last = times;
                changed.push(mailbox);
            }
            true
        });
        for mailbox in changed {
            if let Err(error) = mailbox.sync() {
                tracing::debug!(%error, "a watched mailbox can't be compared with its folder");
            }
        }
    }
}
