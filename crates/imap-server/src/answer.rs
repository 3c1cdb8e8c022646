//! What a command is answered with.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use imap_proto::{Language, ParseError};
use mail_store::StoreError;
use mail_types::MailboxNameError;
use tracing::{error, warn};

use crate::section::mask_nuls;
use crate::text::{RespText, Text};

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

/// `resp-cond-state`, `resp-cond-bye`: what a response says of a command or the connection. RFC 3501 §9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    No,
    Bad,
    Bye,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
        })
    }
}

/// Pieces in the order in which they go out.
#[derive(Debug)]
pub(crate) struct Output {
    pieces: Vec<Piece>,
    octets: Vec<u8>,
    /// In which people are spoken to.
    language: Language,
}

impl Output {
    pub(crate) const fn new(language: Language) -> Self {
        Self { pieces: Vec::new(), octets: Vec::new(), language }
    }

    /// One that fills the buffer of octets that were sent.
    pub(crate) fn reusing(mut octets: Vec<u8>, language: Language) -> Self {
        octets.clear();
        Self { octets, ..Self::new(language) }
    }

    pub(crate) const fn language(&self) -> Language {
        self.language
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

    /// Adds an untagged status response.
    pub(crate) fn say(&mut self, status: Status, text: impl Into<RespText>) {
        self.respond("*", status, &text.into());
    }

    /// Adds the tagged line that ends a command.
    pub(crate) fn complete(&mut self, tag: &impl fmt::Display, result: &Result<RespText, Failure>) {
        match result {
            Ok(text) => self.respond(tag, Status::Ok, text),
            Err(failure) => {
                let (status, text) = failure.said();
                self.respond(tag, status, &text);
            }
        }
    }

    fn respond(&mut self, tag: impl fmt::Display, status: Status, text: &RespText) {
        self.text(format_args!("{tag} {status} {}\r\n", text.within(self.language)));
    }
}

/// Why a command failed, as the client is told. RFC 5530.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client's mistake.
    Bad(RespText),
    /// `NO`, with the response code and text.
    No(RespText),
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
            ParseError::TooDeep(_) => Self::no(Text::TooMuchNesting.coded("LIMIT")),
            ParseError::UnknownCommand(_) => Self::bad(Text::UnknownCommand),
            ParseError::Arguments { expected, octet, .. } => {
                Self::bad(Text::NotUnderstood { expected: *expected, octet: *octet })
            }
            ParseError::NoTag | _ => Self::bad(Text::NoTag),
        }
    }
}

impl Failure {
    /// A mailbox can't have this name.
    fn name(error: MailboxNameError) -> Self {
        let is_limit = matches!(error, MailboxNameError::TooLong | MailboxNameError::TooDeep);
        Self::no(Text::from(error).coded(if is_limit { "LIMIT" } else { "CANNOT" }))
    }

    pub(crate) const fn bad(text: Text) -> Self {
        Self::Bad(RespText::new(text))
    }

    pub(crate) const fn no(text: RespText) -> Self {
        Self::No(text)
    }

    /// What stands behind the tag. What the store failed of goes to the log, never to the client.
    pub(crate) fn said(&self) -> (Status, RespText) {
        match self {
            Self::Bad(text) => (Status::Bad, text.clone()),
            Self::No(text) => (Status::No, text.clone()),
            Self::Store(StoreError::Name(error)) => Self::name(*error).said(),
            Self::Store(error) => (Status::No, of_store(error)),
        }
    }

    /// The same failure where a target mailbox that is missing may be made by the client. RFC 3501 §6.4.7.
    pub(crate) fn try_create(self) -> Self {
        match self {
            Self::Store(StoreError::NoSuchMailbox(_)) => Failure::no(Text::NoSuchMailbox.coded("TRYCREATE")),
            Self::Bad(_) | Self::No(_) | Self::Store(_) => self,
        }
    }
}

fn of_store(error: &StoreError) -> RespText {
    match error {
        StoreError::NoSuchMailbox(_) => Text::NoSuchMailbox.coded("NONEXISTENT"),
        StoreError::MailboxExists(_) => Text::MailboxExists.coded("ALREADYEXISTS"),
        StoreError::Refused(refusal) => Text::from(*refusal).coded("CANNOT"),
        StoreError::TooManyAnnotations => Text::TooManyAnnotations.coded("METADATA TOOMANY"),
        StoreError::OverQuota => Text::MailboxFull.coded("OVERQUOTA"),
        StoreError::MessageGone(_) => Text::MessageGone.coded("EXPUNGEISSUED"),
        error if error.is_full() => {
            warn!(%error, "the disk is full");
            Text::DiskFull.coded("UNAVAILABLE")
        }
        StoreError::NumbersExhausted(_) => {
            warn!(%error, "the command failed");
            Text::NoNumbersLeft.coded("LIMIT")
        }
        StoreError::Io { .. } | StoreError::Index { .. } | StoreError::Name(_) | _ => {
            error!(%error, "the store failed");
            Text::StoreFailed.coded("SERVERBUG")
        }
    }
}
