//! What is logged, as something to wait for.

use std::io;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tracing::subscriber::DefaultGuard;

use crate::host::PATIENCE;

/// The errors that are logged on this thread from now on.
pub(crate) struct Log {
    lines: UnboundedReceiver<String>,
    _guard: DefaultGuard,
}

struct Writer(UnboundedSender<String>);

impl io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn start() -> Self {
        let (sender, lines) = unbounded_channel();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::ERROR)
            .with_writer(move || Writer(sender.clone()))
            .finish();
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Waits until this was logged so many times.
    pub(crate) async fn wait(&mut self, text: &str, times: usize) {
        for _ in 0..times {
            let logged = async { while !self.lines.recv().await.unwrap().contains(text) {} };
            timeout(PATIENCE, logged).await.unwrap_or_else(|_| panic!("{text} is not logged"));
        }
    }
}
