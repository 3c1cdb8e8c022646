//! Octets in and out: the framer over the stream, and pieces written with back-pressure.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use line_codec::deflate::{Deflater, Inflater};
use line_codec::imap::{Event, ImapFramer, ImapLimits};
use mail_config::ImapConfig;
use mail_types::ChannelBindings;
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
/// Octets of a file read at one time; two pieces are in memory.
const FILE_PIECE: u64 = 256 * 1024;
/// Octets restored at one time of what a client compressed.
const INFLATED: usize = 16 * 1024;
/// Octets that are compressed at one time on an async thread; more goes to another.
const DEFLATED: usize = 16 * 1024;
/// For how long a silent client's session keeps the compressor's state.
const SHRINK_AFTER: Duration = Duration::from_secs(2);

/// A client's stream.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Patient,
    framer: ImapFramer,
    buffer: BytesMut,
    compression: Option<Box<Compression>>,
}

/// What COMPRESS added. RFC 4978.
#[derive(Debug)]
struct Compression {
    inflater: Inflater,
    deflater: Deflater,
    /// True if nothing is left to put away.
    is_small: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream, config: &ImapConfig) -> Self {
        Self {
            stream: Patient { stream, patience: config.write_timeout },
            framer: ImapFramer::new(before_login(config)),
            buffer: BytesMut::new(),
            compression: None,
        }
    }

    pub(crate) const fn is_tls(&self) -> bool {
        self.stream.stream.is_tls()
    }

    /// What a login can be bound to.
    pub(crate) fn channel_bindings(&self) -> Option<ChannelBindings> {
        self.stream.stream.channel_bindings()
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
            if !self.read().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(None)
    }

    /// The client has logged in: its commands may be larger.
    pub(crate) const fn trust(&mut self, config: &ImapConfig) {
        self.framer.limit(ImapLimits {
            max_line: config.max_line,
            max_literals: config.max_literals,
            max_append: config.max_append,
        });
    }

    /// The client has logged out.
    pub(crate) const fn distrust(&mut self, config: &ImapConfig) {
        self.framer.limit(before_login(config));
    }

    pub(crate) fn refuse_message(&mut self) {
        self.framer.refuse_message();
    }

    async fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        } else {
            self.buffer.reserve(READ);
        }
        self.read().await
    }

    /// Reads more into the buffer; false when the client is gone. Safe to drop and call again.
    async fn read(&mut self) -> io::Result<bool> {
        let Some(compression) = &mut self.compression else {
            return read_into(&mut self.buffer, &mut self.stream.stream).await;
        };
        let Compression { inflater, deflater, is_small } = &mut **compression;
        let before = self.buffer.len();
        loop {
            let has_more = inflater.inflate(&mut self.buffer, INFLATED)?;
            if self.buffer.len() > before {
                return Ok(true);
            }
            if has_more {
                continue;
            }
            if !*is_small {
                match timeout(SHRINK_AFTER, read_into(inflater.received(), &mut self.stream.stream)).await {
                    Ok(Ok(true)) => continue,
                    Ok(ended) => return ended,
                    Err(_) => {
                        inflater.shrink();
                        deflater.shrink();
                        *is_small = true;
                    }
                }
            }
            if !read_into(inflater.received(), &mut self.stream.stream).await? {
                return Ok(false);
            }
            *is_small = false;
        }
    }

    /// From now on both sides compress. What the client sent behind COMPRESS is compressed already.
    pub(crate) fn compress(&mut self) {
        let inflater = Inflater::new(std::mem::take(&mut self.buffer));
        let compression = Compression { inflater, deflater: Deflater::default(), is_small: false };
        self.compression = Some(Box::new(compression));
    }

    pub(crate) const fn is_compressed(&self) -> bool {
        self.compression.is_some()
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
                    sent = self.write(octets).await?;
                }
                Piece::File(file, range) => self.file(&file, range).await?,
            }
        }
        if let Some(compression) = &mut self.compression {
            compression.deflater.flush()?;
            compression.is_small = false;
            write_ready(&mut compression.deflater, &mut self.stream).await?;
        }
        self.stream.flush().await?;
        Ok(sent)
    }

    /// Writes octets, and gives back their buffer.
    async fn write(&mut self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(compression) = &mut self.compression else {
            self.stream.write_all(&octets).await?;
            return Ok(octets);
        };
        let deflater = &mut compression.deflater;
        if octets.len() <= DEFLATED {
            deflater.deflate(&octets)?;
            // It is sent with what follows, at the latest by the flush.
            return Ok(octets);
        }
        let mut working = std::mem::take(deflater);
        let deflated = tokio::task::spawn_blocking(move || {
            let done = working.deflate(&octets);
            (octets, working, done)
        });
        let (octets, working, done) = deflated.await.map_err(io::Error::other)?;
        *deflater = working;
        done?;
        write_ready(deflater, &mut self.stream).await?;
        Ok(octets)
    }

    /// Sends a stretch of a file; while one piece is sent, the next is read.
    async fn file(&mut self, file: &Arc<File>, mut range: Range<u64>) -> io::Result<()> {
        let mut sent = Vec::new();
        let mut reading = read_piece(file, &mut range, Vec::new());
        while let Some(read) = reading {
            // A file that is shorter than announced ends the connection: nothing else tells the client so.
            let piece = read.await.map_err(io::Error::other)??;
            reading = read_piece(file, &mut range, sent);
            sent = self.write(piece).await?;
        }
        Ok(())
    }

    /// Goes over to TLS. What the client sent before is thrown away: it may be somebody else's (RFC 3501 §6.2.1).
    pub(crate) async fn start_tls(self, tls: &TlsContext, config: &ImapConfig) -> io::Result<Self> {
        match self.stream.stream {
            Stream::Plain(stream) => {
                let stream = timeout(config.login_timeout, tls.accept(stream)).await??;
                Ok(Self::new(stream, config))
            }
            Stream::Tls(_) => Err(io::Error::other("under TLS already")),
        }
    }

    pub(crate) async fn shutdown(&mut self) {
        let _ = timeout(Duration::from_secs(5), self.stream.stream.shutdown()).await;
    }
}

const fn before_login(config: &ImapConfig) -> ImapLimits {
    let most = config.max_before_login;
    ImapLimits { max_line: most, max_literals: most, max_append: most as u64 }
}

/// A stream to a client that may take nothing for a while, but not for ever.
#[derive(Debug)]
struct Patient {
    stream: Stream,
    patience: Duration,
}

impl Patient {
    /// However slow the client is, it is waited for as long as it takes something.
    async fn write_all(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            let written = timeout(self.patience, self.stream.write(octets)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            octets = octets.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        timeout(self.patience, self.stream.flush()).await?
    }
}

/// False at the stream's end.
async fn read_into(buffer: &mut BytesMut, stream: &mut Stream) -> io::Result<bool> {
    if buffer.capacity() > buffer.len() {
        return Ok(stream.read_buf(buffer).await? > 0);
    }
    // The octets land on the stack first: a waiting session owns no buffer.
    let mut first = [0_u8; 1024];
    let read = stream.read(&mut first).await?;
    buffer.extend_from_slice(first.get(..read).unwrap_or_default());
    Ok(read > 0)
}

/// Writes what is compressed.
async fn write_ready(deflater: &mut Deflater, stream: &mut Patient) -> io::Result<()> {
    stream.write_all(deflater.ready()).await?;
    deflater.sent();
    Ok(())
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
