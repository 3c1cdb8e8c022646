use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};

/// How often to look without being told, should a word get lost.
const WATCHED: Duration = Duration::from_secs(5);
/// How often to look where the system gives no watch.
const UNWATCHED: Duration = Duration::from_millis(200);

/// Learns of changes that other processes made to the queue.
pub(crate) struct Wakeup {
    watch: Option<EventStream<[u8; 1024]>>,
}

impl Wakeup {
    /// Watches the file that [`crate::Queue`] touches at each change.
    pub(crate) fn new(file: &Path) -> Self {
        let watch = watch(file);
        if let Err(error) = &watch {
            tracing::warn!(path = %file.display(), %error, "no inotify watch: the queue is polled");
        }
        Self { watch: watch.ok() }
    }

    /// The longest wait before looking anyway.
    pub(crate) const fn patience(&self) -> Duration {
        if self.watch.is_some() { WATCHED } else { UNWATCHED }
    }

    /// Waits for a change. Safe to drop and call again.
    pub(crate) async fn changed(&mut self) {
        let Some(watch) = &mut self.watch else { return std::future::pending().await };
        match watch.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "the inotify watch failed: the queue is polled");
                self.watch = None;
            }
            None => self.watch = None,
        }
    }
}

fn watch(file: &Path) -> io::Result<EventStream<[u8; 1024]>> {
    let inotify = Inotify::init()?;
    inotify.watches().add(file, WatchMask::MODIFY)?;
    inotify.into_event_stream([0; 1024])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_wakes_and_silence_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut wakeup = Wakeup::new(file.path());
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, wakeup.changed()).await.is_err());
        std::fs::write(file.path(), "x").unwrap();
        wakeup.changed().await;
    }
}
