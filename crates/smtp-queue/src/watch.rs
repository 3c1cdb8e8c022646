//! A look at where the database lies, every second: who has nothing to do for it finds out all the same that somebody took it away, while what was
//! in it is still known.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::QueueError;
use crate::database::Writer;

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks until it is dropped, and then for the last time.
#[derive(Debug)]
pub(crate) struct Watch {
    thread: Option<JoinHandle<()>>,
    /// Dropped to end it.
    stop: Option<Sender<()>>,
}

impl Watch {
    pub(crate) fn begin(writer: &Arc<Writer>) -> Result<Self, QueueError> {
        let (stop, stopped) = channel::<()>();
        let writer = Arc::downgrade(writer);
        let thread = Builder::new().name("queue-watch".to_owned()).spawn(move || {
            let mut is_told = false;
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                is_told = look(&writer, is_told);
            }
            look(&writer, is_told);
        });
        let thread = thread.map_err(QueueError::io("watching", "queue.sqlite"))?;
        Ok(Self { thread: Some(thread), stop: Some(stop) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watch over the queue's database ended unexpectedly");
        }
    }
}

/// True if it failed, which is told once.
fn look(writer: &Weak<Writer>, is_told: bool) -> bool {
    let Some(writer) = writer.upgrade() else { return is_told };
    let looked = writer.alone().refresh();
    let Err(error) = looked else { return false };
    if !is_told {
        tracing::error!(%error, "the queue's database is not in its place, and can't be put there");
    }
    true
}
