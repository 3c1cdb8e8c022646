//! What a command is answered with.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use imap_proto::ParseError;
use mail_store::StoreError;
use mail_types::MailboxNameError;
use tracing::{error, warn};

use crate::section::mask_nuls;

/// A piece of what goes to the client.
#[derive(Debug)]
pub(crate) enum Piece {
    /// These octets.
    Octets(Vec<u8>),
    /// A stretch of a file.
    File(Arc<File>, Range<u64>),
}

/// A place in an [`Output`].
#[derive(Debug)]
pub(crate) struct Mark {
    pieces: usize,
    octets: usize,
}

/// Pieces in the order in which they go out.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: Vec<Piece>,
    octets: Vec<u8>,
}

impl Output {
    /// One that fills the buffer of octets that were sent.
    pub(crate) fn reusing(mut octets: Vec<u8>) -> Self {
        octets.clear();
        Self { pieces: Vec::new(), octets }
    }

    /// Adds one line; its CRLF comes by itself.
    pub(crate) fn line(&mut self, line: impl AsRef<[u8]>) {
        self.octets.extend_from_slice(line.as_ref());
        self.octets.extend_from_slice(b"\r\n");
    }

    /// Adds text as it is.
    pub(crate) fn text(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a `Vec` can't fail.
        let _ = self.octets.write_fmt(text);
    }

    /// Adds octets as they are.
    pub(crate) fn octets(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// The octets at the end, to add to.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// Adds a file's octets, which are read when they are sent.
    pub(crate) fn file(&mut self, file: Arc<File>, range: Range<u64>) {
        let before = std::mem::take(&mut self.octets);
        self.pieces.extend([Piece::Octets(before), Piece::File(file, range)]);
    }

    /// Adds a file's octets now.
    pub(crate) fn read(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        let before = self.octets.len();
        let size = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        self.octets.resize(before.saturating_add(size), 0);
        let added = self.octets.get_mut(before..).unwrap_or_default();
        file.read_exact_at(added, range.start)?;
        mask_nuls(added);
        Ok(())
    }

    /// How far the answer has come, for [`Self::roll_back`].
    pub(crate) fn mark(&self) -> Mark {
        Mark { pieces: self.pieces.len(), octets: self.octets.len() }
    }

    /// Takes back what was added since; nothing may have been taken in between.
    pub(crate) fn roll_back(&mut self, mark: &Mark) {
        if let Some(Piece::Octets(before)) = self.pieces.drain(mark.pieces..).next() {
            self.octets = before;
        }
        self.octets.truncate(mark.octets);
    }

    /// Octets held in memory.
    pub(crate) fn len(&self) -> usize {
        let held = |piece: &Piece| match piece {
            Piece::Octets(octets) => octets.len(),
            Piece::File(..) => 0,
        };
        self.octets.len() + self.pieces.iter().map(held).sum::<usize>()
    }

    /// How many pieces there are; each may hold a file open.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Everything so far.
    pub(crate) fn take(&mut self) -> Vec<Piece> {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.push(Piece::Octets(std::mem::take(&mut self.octets)));
        pieces
    }

    /// Adds the tagged line that ends a command.
    pub(crate) fn complete(&mut self, tag: &impl fmt::Display, result: &Result<String, Failure>) {
        match result {
            Ok(text) => self.text(format_args!("{tag} OK {text}\r\n")),
            Err(failure) => self.text(format_args!("{tag} {}\r\n", failure.text())),
        }
    }
}

/// Why a command failed, as the client is told. RFC 5530.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client's mistake.
    Bad(Cow<'static, str>),
    /// `NO`, with the response code and text.
    No(Cow<'static, str>),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<&ParseError> for Failure {
    fn from(error: &ParseError) -> Self {
        match error {
            ParseError::Name(_, error) => Self::name(*error),
            ParseError::TooDeep(_) => Self::no("[LIMIT] Too much nesting"),
            ParseError::UnknownCommand(_) => Self::bad("Unknown command"),
            ParseError::Arguments { .. } => Self::Bad(Cow::Owned(format!("Not understood: {error}"))),
            ParseError::NoTag | _ => Self::bad("A command begins with a tag"),
        }
    }
}

impl Failure {
    /// A mailbox can't have this name.
    fn name(error: MailboxNameError) -> Self {
        let is_limit = matches!(error, MailboxNameError::TooLong | MailboxNameError::TooDeep);
        let code = if is_limit { "LIMIT" } else { "CANNOT" };
        Self::No(Cow::Owned(format!("[{code}] {error}")))
    }

    pub(crate) const fn bad(text: &'static str) -> Self {
        Self::Bad(Cow::Borrowed(text))
    }

    pub(crate) const fn no(text: &'static str) -> Self {
        Self::No(Cow::Borrowed(text))
    }

    /// Everything behind the tag. What the store failed of goes to the log, never to the client.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Bad(text) => format!("BAD {text}"),
            Self::No(text) => format!("NO {text}"),
            Self::Store(StoreError::NoSuchMailbox(_)) => "NO [NONEXISTENT] No such mailbox".to_owned(),
            Self::Store(StoreError::MailboxExists(_)) => "NO [ALREADYEXISTS] The mailbox exists".to_owned(),
            Self::Store(StoreError::Refused(why)) => format!("NO [CANNOT] {why}"),
            Self::Store(StoreError::TooManyAnnotations) => {
                "NO [METADATA TOOMANY] There are as many annotations as there may be".to_owned()
            }
            Self::Store(StoreError::Name(error)) => Self::name(*error).text(),
            Self::Store(StoreError::OverQuota) => "NO [OVERQUOTA] The mailbox is full".to_owned(),
            Self::Store(StoreError::MessageGone(_)) => "NO [EXPUNGEISSUED] The message is gone".to_owned(),
            Self::Store(error @ StoreError::NumbersExhausted(_)) => {
                warn!(%error, "the command failed");
                "NO [LIMIT] The mailbox has no numbers left".to_owned()
            }
            Self::Store(error) => {
                error!(%error, "the store failed");
                "NO [SERVERBUG] The mail store failed; try again later".to_owned()
            }
        }
    }

    /// The same failure where a target mailbox that is missing may be made by the client. RFC 3501 §6.4.7.
    pub(crate) fn try_create(self) -> Self {
        match self {
            Self::Store(StoreError::NoSuchMailbox(_)) => Self::no("[TRYCREATE] No such mailbox"),
            Self::Bad(_) | Self::No(_) | Self::Store(_) => self,
        }
    }
}
