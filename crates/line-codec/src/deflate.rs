//! What COMPRESS does to the octets of a connection, in and out. RFC 4978.

use std::io;

use bytes::{Buf, BytesMut};
use flate2::{Compress, Compression as Level, FlushCompress, Status};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{BlockBoundaryState, DecompressorOxide, decompress};

/// RFC 4978 §4: 1 to 5 is enough for what IMAP sends.
const LEVEL: u32 = 3;
/// Octets of room that the compressor is given at one time.
const ROOM: usize = 16 * 1024;
/// How far back what the client compresses may refer. RFC 1951 §2.
const WINDOW: usize = 32 * 1024;

/// Compresses what is sent. Its state is large, and can be put away after any flush: what follows refers to nothing before.
#[derive(Debug, Default)]
pub struct Deflater {
    state: Option<Box<Compress>>,
    out: Vec<u8>,
}

impl Deflater {
    /// Compresses octets; some stay inside until [`Self::flush`].
    ///
    /// # Errors
    /// The compressor fails, which it has no reason to.
    pub fn deflate(&mut self, octets: &[u8]) -> io::Result<()> {
        self.run(octets, FlushCompress::None)
    }

    /// Brings out everything, so that the client can read it all.
    ///
    /// # Errors
    /// As [`Self::deflate`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.run(&[], FlushCompress::Sync)
    }

    fn run(&mut self, mut octets: &[u8], flush: FlushCompress) -> io::Result<()> {
        let state = self.state.get_or_insert_with(|| Box::new(Compress::new(Level::new(LEVEL), false)));
        loop {
            self.out.reserve(ROOM);
            let before = state.total_in();
            let status = state.compress_vec(octets, &mut self.out, flush).map_err(io::Error::other)?;
            let taken = usize::try_from(state.total_in() - before).unwrap_or(usize::MAX);
            octets = octets.get(taken..).unwrap_or_default();
            let is_full = self.out.len() == self.out.capacity();
            if octets.is_empty() && (!is_full || matches!(status, Status::BufError)) {
                return Ok(());
            }
        }
    }

    /// What is ready to be sent.
    #[must_use]
    pub const fn ready(&self) -> &Vec<u8> {
        &self.out
    }

    /// What was ready was sent.
    pub fn sent(&mut self) {
        self.out.clear();
    }

    /// Puts away what compressing needs. To be called after a flush.
    pub fn shrink(&mut self) {
        *self = Self::default();
    }
}

/// Restores what the client compressed. Between two commands it needs only what these may refer to: what the client sent last, at
/// most [`WINDOW`] octets.
#[derive(Default)]
pub struct Inflater {
    state: Option<Box<DecompressorOxide>>,
    /// What is needed to go on behind a complete block.
    between: Option<BlockBoundaryState>,
    /// What the client sent last, as it was before it was compressed.
    window: Vec<u8>,
    /// Received, and not yet restored.
    received: BytesMut,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("received", &self.received.len()).finish_non_exhaustive()
    }
}

const FLAGS: u32 =
    TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;

impl Inflater {
    /// Begins with octets that came already.
    #[must_use]
    pub fn new(received: BytesMut) -> Self {
        Self { received, between: Some(BlockBoundaryState::default()), ..Self::default() }
    }

    /// Where to put what comes in.
    pub const fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Restores up to about `most` octets into `plain`; the rest waits. True if it may be called again before more comes in.
    ///
    /// # Errors
    /// What came is nothing that was compressed so, or the client has ended the stream.
    pub fn inflate(&mut self, plain: &mut BytesMut, most: usize) -> io::Result<bool> {
        let end = plain.len().saturating_add(most);
        let mut has_more = true;
        while has_more && plain.len() < end {
            has_more = self.step(plain)?;
        }
        self.forget_all_but_the_window();
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        Ok(has_more)
    }

    /// True if there may be more.
    fn step(&mut self, plain: &mut BytesMut) -> io::Result<bool> {
        if self.received.is_empty() && self.between.is_some() {
            return Ok(false);
        }
        let at = self.window.len();
        self.window.resize(at + ROOM, 0);
        let between = self.between.take().unwrap_or_default();
        let state = self
            .state
            .get_or_insert_with(|| Box::new(DecompressorOxide::from_block_boundary_state(&between)));
        let (status, taken, made) = decompress(state, &self.received, &mut self.window, at, FLAGS);
        if status == TINFLStatus::BlockBoundary {
            self.between = state.block_boundary_state();
        }
        self.received.advance(taken);
        self.window.truncate(at + made);
        plain.extend_from_slice(self.window.get(at..).unwrap_or_default());
        if self.window.len() > 2 * WINDOW {
            self.forget_all_but_the_window();
        }
        match status {
            TINFLStatus::BlockBoundary | TINFLStatus::HasMoreOutput => Ok(true),
            TINFLStatus::NeedsMoreInput => Ok(false),
            TINFLStatus::Done => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client compresses no more"))
            }
            TINFLStatus::Failed
            | TINFLStatus::FailedCannotMakeProgress
            | TINFLStatus::BadParam
            | TINFLStatus::Adler32Mismatch => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "what the client sends is not compressed"))
            }
            _ => Err(io::Error::other("inflating ends for no known reason")),
        }
    }

    fn forget_all_but_the_window(&mut self) {
        let old = self.window.len().saturating_sub(WINDOW);
        self.window.drain(..old);
    }

    /// Puts away all but what must be kept. Amid a block nothing can be put away.
    pub fn shrink(&mut self) {
        if self.between.is_some() {
            self.state = None;
        }
        self.window.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(number: usize) -> Vec<u8> {
        format!("a{number} UID FETCH {number}:* (FLAGS BODY.PEEK[HEADER.FIELDS (From To)])\r\n").into_bytes()
    }

    fn inflated(inflater: &mut Inflater, octets: &[u8]) -> io::Result<Vec<u8>> {
        inflater.received().extend_from_slice(octets);
        let mut plain = BytesMut::new();
        while inflater.inflate(&mut plain, 10)? {}
        Ok(plain.to_vec())
    }

    #[test]
    fn a_client_that_refers_to_its_older_commands_is_understood_after_a_pause() {
        let (mut client, mut server) = (Deflater::default(), Inflater::new(BytesMut::new()));
        for number in 0..2000 {
            client.deflate(&command(number)).unwrap();
            client.flush().unwrap();
            // In two halves, and with a pause behind every third command.
            let (first, second) = client.ready().split_at(client.ready().len() / 2);
            let mut plain = inflated(&mut server, first).unwrap();
            plain.extend(inflated(&mut server, second).unwrap());
            assert_eq!(plain, command(number));
            client.sent();
            if number % 3 == 0 {
                server.shrink();
                assert!(server.state.is_none());
                assert!(server.window.capacity() <= WINDOW && server.received.capacity() == 0);
            }
        }
    }

    #[test]
    fn what_is_sent_after_a_pause_refers_to_nothing_before() {
        let (mut server, mut client) = (Deflater::default(), Inflater::new(BytesMut::new()));
        for number in 0..10 {
            server.deflate(&command(number)).unwrap();
            server.flush().unwrap();
            assert_eq!(inflated(&mut client, server.ready()).unwrap(), command(number));
            server.shrink();
        }
    }

    #[test]
    fn what_is_compressed_a_thousandfold_comes_out_in_pieces() {
        let mut bomb = Deflater::default();
        bomb.deflate(&vec![b'x'; 10_000_000]).unwrap();
        bomb.flush().unwrap();
        let mut server = Inflater::new(BytesMut::from(bomb.ready().as_slice()));
        let (mut plain, mut octets) = (BytesMut::new(), 0);
        loop {
            let has_more = server.inflate(&mut plain, 1000).unwrap();
            assert!(plain.len() <= 1000 + ROOM && server.window.len() <= 3 * WINDOW);
            octets += plain.len();
            plain.clear();
            if !has_more {
                break;
            }
        }
        assert_eq!(octets, 10_000_000);
    }

    #[test]
    fn what_is_not_compressed_ends_the_connection() {
        assert!(inflated(&mut Inflater::new(BytesMut::new()), b"a NOOP\r\nb NOOP\r\nc NOOP\r\n").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_octets_in_any_pieces_come_out_as_they_went_in(
            octets in proptest::collection::vec(0..4_u8, 0..5000),
            piece in 1_usize..500,
        ) {
            let (mut client, mut server) = (Deflater::default(), Inflater::new(BytesMut::new()));
            for piece in octets.chunks(piece) {
                client.deflate(piece).unwrap();
            }
            client.flush().unwrap();
            let mut plain = Vec::new();
            for piece in client.ready().chunks(piece) {
                plain.extend(inflated(&mut server, piece).unwrap());
                server.shrink();
            }
            proptest::prop_assert_eq!(plain, octets);
        }

        #[test]
        fn any_octets_are_restored_or_refused(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = inflated(&mut Inflater::new(BytesMut::new()), &octets);
        }
    }
}
