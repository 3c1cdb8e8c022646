//! The host that all mail for elsewhere is sent to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Takes every message and counts it. Its threads end when their clients do.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    taken: Arc<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    count: Mutex<usize>,
    first: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Sink {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sink = Self { address: listener.local_addr()?, taken: Arc::default() };
        let taken = Arc::clone(&sink.taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taken = Arc::clone(&taken);
                // Whoever breaks off has sent what was counted.
                std::thread::spawn(move || serve(&stream, &taken).unwrap_or_default());
            }
        });
        Ok(sink)
    }

    /// Messages taken so far.
    pub(crate) fn count(&self) -> usize {
        *self.taken.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it took the first message since this was asked last.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.taken.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until so many were taken.
    pub(crate) fn wait_for(&self, expected: usize) -> Result<()> {
        let patience = Duration::from_secs(120);
        let (mut began, mut seen) = (Instant::now(), 0);
        let mut count = self.taken.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count < expected {
            if *count > seen {
                (began, seen) = (Instant::now(), *count);
            }
            ensure!(
                began.elapsed() < patience,
                "{count} of {expected} messages came to the end of their way"
            );
            let waited = self.taken.changed.wait_timeout(count, Duration::from_secs(1));
            count = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

fn serve(stream: &TcpStream, taken: &Taken) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut replies = b"220 sink ESMTP\r\n".to_vec();
    let mut line = Vec::new();
    let mut in_message = false;
    loop {
        // Pipelined commands are answered together.
        if reader.buffer().is_empty() && !replies.is_empty() {
            (&*stream).write_all(&replies)?;
            replies.clear();
        }
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if in_message {
            if line == b".\r\n" {
                in_message = false;
                taken.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
                *taken.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                taken.changed.notify_all();
                replies.extend_from_slice(b"250 2.0.0 Ok\r\n");
            }
            continue;
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        replies.extend_from_slice(match verb.as_slice() {
            b"EHLO" => b"250-sink\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n",
            b"DATA" => b"354 End with a dot\r\n",
            b"QUIT" => b"221 2.0.0 Bye\r\n",
            _ => b"250 2.0.0 Ok\r\n",
        });
        in_message = verb == b"DATA";
    }
}
