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
            let mut told = None;
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                told = look(&writer, told);
            }
            look(&writer, told);
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

/// What is wrong, if anything is: told when it is something else than what was told before.
fn look(writer: &Writer, told: Option<String>) -> Option<String> {
    let error = writer.alone().refresh().err()?.to_string();
    if told.as_ref() != Some(&error) {
        tracing::error!(error, "the queue's database is not in its place, and can't be put there");
    }
    Some(error)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::database::Database;

    struct Lines(Sender<()>);

    impl io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_prevents_that_the_database_is_put_in_its_place_is_logged_once() {
        let (sender, lines) = channel();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR);
        let subscriber = subscriber.with_writer(move || Lines(sender.clone())).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let writer = Writer::new(Database::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(path.with_extension("sqlite.new")).unwrap();
        let mut told = None;
        for _ in 0..5 {
            told = look(&writer, told);
            assert!(told.is_some());
        }
        assert_eq!(lines.try_iter().count(), 1);
        std::fs::remove_dir(path.with_extension("sqlite.new")).unwrap();
        while told.is_some() {
            told = look(&writer, told);
        }
        assert!(path.exists());
    }
}
