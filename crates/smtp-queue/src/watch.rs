//! A look at where the database lies, every second: who has nothing to do for it finds out all the same that somebody took it away, while what was
//! in it is still known.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::QueueError;
use crate::database::Writer;

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks until it is ended or dropped, and then for the last time.
#[derive(Debug)]
pub(crate) struct Watch {
    /// And what is dropped to end it.
    thread: Mutex<Option<(JoinHandle<()>, Sender<()>)>>,
}

impl Watch {
    pub(crate) fn begin(writer: Arc<Writer>) -> Result<Self, QueueError> {
        let (stop, stopped) = channel::<()>();
        let thread = Builder::new().name("queue-watch".to_owned()).spawn(move || {
            let mut is_told = false;
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                is_told = look(&writer, is_told);
            }
            look(&writer, is_told);
        });
        let thread = thread.map_err(QueueError::io("watching", "queue.sqlite"))?;
        Ok(Self { thread: Mutex::new(Some((thread, stop))) })
    }

    /// Ends it, after a last look. Blocks.
    pub(crate) fn end(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((thread, stop)) = thread.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the watch over the queue's database ended unexpectedly");
            }
        }
    }
}

impl Drop for Watch {
    /// On a thread of an async runtime the last look, which may take long, is not waited for: the watch's thread has what it needs for that.
    fn drop(&mut self) {
        if Handle::try_current().is_err() {
            self.end();
        }
    }
}

/// True if it failed, which is told once.
fn look(writer: &Writer, is_told: bool) -> bool {
    let looked = writer.alone().refresh();
    let Err(error) = looked else { return false };
    if !is_told {
        tracing::error!(%error, "the queue's database is not in its place, and can't be put there");
    }
    true
}
