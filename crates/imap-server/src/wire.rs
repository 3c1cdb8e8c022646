//! Octets in and out: the framer over the stream, and pieces written with back-pressure.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use line_codec::imap::{Event, ImapFramer, ImapLimits};
use mail_config::ImapConfig;
use server_core::{Stream, TlsContext};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::answer::Piece;
use crate::section::mask_nuls;

/// Octets read at one time. The buffer is given back between commands, so an idle session holds none.
const READ: usize = 8 * 1024;
/// Octets of APPEND's message read at one time.
const MESSAGE_PIECE: u64 = 64 * 1024;
/// Octets of literals in a command before login: enough for any name and password.
const LITERALS_BEFORE_LOGIN: usize = 16 * 1024;
/// Octets of a file read at one time; two pieces are in memory.
const FILE_PIECE: u64 = 256 * 1024;
/// How long a client may take to accept what we write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);

/// A client's stream.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    framer: ImapFramer,
    buffer: BytesMut,
}

impl Wire {
    pub(crate) fn new(stream: Stream, config: &ImapConfig) -> Self {
        let limits = ImapLimits {
            max_line: config.max_line.max(64 * 1024),
            max_append: config.max_append,
            max_literals: LITERALS_BEFORE_LOGIN,
        };
        Self { stream, framer: ImapFramer::new(limits), buffer: BytesMut::new() }
    }

    pub(crate) const fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }

    /// The next event; `None` when the client is gone. Safe to drop and call again.
    pub(crate) async fn event(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.framer.next(&mut self.buffer) {
                return Ok(Some(event));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next piece of APPEND's message; `None` when it is complete.
    pub(crate) async fn message(&mut self) -> io::Result<Option<Bytes>> {
        while self.framer.message_missing() > 0 {
            if let Some(piece) = self.framer.message(&mut self.buffer) {
                return Ok(Some(piece));
            }
            // Large pieces: each is handed to another thread for the disk.
            let most = self.framer.message_missing().saturating_add(2).min(MESSAGE_PIECE);
            self.buffer.reserve(usize::try_from(most).unwrap_or_default());
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(None)
    }

    /// The client has logged in: its commands may be larger.
    pub(crate) const fn trust(&mut self) {
        self.framer.allow_literals(ImapLimits::DEFAULT.max_literals);
    }

    pub(crate) fn refuse_message(&mut self) {
        self.framer.refuse_message();
    }

    async fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() {
            // The octets land on the stack first: a waiting session owns no buffer.
            let mut first = [0_u8; 1024];
            self.buffer = BytesMut::new();
            let read = self.stream.read(&mut first).await?;
            self.buffer.extend_from_slice(first.get(..read).unwrap_or_default());
            return Ok(read > 0);
        }
        self.buffer.reserve(READ);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    pub(crate) async fn line(&mut self, line: &str) -> io::Result<()> {
        self.send(vec![Piece::Octets(format!("{line}\r\n").into_bytes())]).await.map(|_| ())
    }

    /// Sends everything; returns only when the client's end took it. Gives back the last octets, for their buffer.
    pub(crate) async fn send(&mut self, pieces: Vec<Piece>) -> io::Result<Vec<u8>> {
        let mut sent = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Octets(octets) => {
                    timeout(WRITE_TIMEOUT, self.stream.write_all(&octets)).await??;
                    sent = octets;
                }
                Piece::File(file, range) => self.file(&file, range).await?,
            }
        }
        timeout(WRITE_TIMEOUT, self.stream.flush()).await??;
        Ok(sent)
    }

    /// Sends a stretch of a file; while one piece is sent, the next is read.
    async fn file(&mut self, file: &Arc<File>, mut range: Range<u64>) -> io::Result<()> {
        let mut sent = Vec::new();
        let mut reading = read_piece(file, &mut range, Vec::new());
        while let Some(read) = reading {
            // A file that is shorter than announced ends the connection: nothing else tells the client so.
            let piece = read.await.map_err(io::Error::other)??;
            reading = read_piece(file, &mut range, sent);
            timeout(WRITE_TIMEOUT, self.stream.write_all(&piece)).await??;
            sent = piece;
        }
        Ok(())
    }

    /// Goes over to TLS. What the client sent before is thrown away: it may be somebody else's (RFC 3501 §6.2.1).
    pub(crate) async fn start_tls(self, tls: &TlsContext, config: &ImapConfig) -> io::Result<Self> {
        match self.stream {
            Stream::Plain(stream) => {
                let stream = timeout(config.login_timeout, tls.accept(stream)).await??;
                Ok(Self::new(stream, config))
            }
            Stream::Tls(_) => Err(io::Error::other("under TLS already")),
        }
    }

    pub(crate) async fn shutdown(&mut self) {
        let _ = timeout(Duration::from_secs(5), self.stream.shutdown()).await;
    }
}

/// Begins to read the next piece of a stretch, on a thread that may block; `None` when there is no more.
fn read_piece(
    file: &Arc<File>,
    range: &mut Range<u64>,
    mut piece: Vec<u8>,
) -> Option<JoinHandle<io::Result<Vec<u8>>>> {
    let (at, most) = (range.start, FILE_PIECE.min(range.end.saturating_sub(range.start)));
    range.start += most;
    let file = Arc::clone(file);
    (most > 0).then(|| {
        tokio::task::spawn_blocking(move || {
            piece.resize(usize::try_from(most).unwrap_or_default(), 0);
            file.read_exact_at(&mut piece, at)?;
            mask_nuls(&mut piece);
            Ok(piece)
        })
    })
}
