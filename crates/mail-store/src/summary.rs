use std::fmt;

use mail_message::search::SearchedMessage;
use mail_types::Uid;

use crate::content_hash::ContentHash;

/// What a server learned of a message's content, in the form in which it writes that to clients. The store keeps it beside
/// the message, wherever that is moved or copied to, but doesn't look into it; it may be lost at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// `ENVELOPE`
    pub envelope: Option<Vec<u8>>,
    /// `BODY`
    pub body: Option<Vec<u8>>,
    /// `BODYSTRUCTURE`
    pub body_structure: Option<Vec<u8>>,
    /// The header fields that clients ask for, as they stand in the message.
    pub fields: Option<Vec<u8>>,
    /// `PREVIEW`
    pub preview: Option<Vec<u8>>,
    /// What sorting, threads and searches look at: [`mail_message::Digest`].
    pub digest: Option<Vec<u8>>,
    /// The hash of the file, where its name doesn't say it.
    pub content: Option<ContentHash>,
}

impl Summary {
    /// Octets in all.
    #[must_use]
    pub fn len(&self) -> usize {
        let Self { envelope, body, body_structure, fields, preview, digest, content: _ } = self;
        let parts = [envelope, body, body_structure, fields, preview, digest];
        parts.into_iter().flatten().map(Vec::len).sum()
    }

    /// True if nothing was learned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes the summaries that a server wants to have at hand: beside the work, of the mailboxes that it has open.
pub trait Summarizer: fmt::Debug + Send + Sync {
    /// Their form, as [`Mailbox::keep_summaries`](crate::Mailbox::keep_summaries) takes it.
    fn form(&self) -> u32;

    /// The summary of a whole message.
    fn summarize(&self, message: &SearchedMessage) -> Summary;
}

/// A message with its [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summarized {
    /// Its UID.
    pub uid: Uid,
    /// Octets on the wire, as the message had when it was read.
    pub size: u64,
    /// What was learned.
    pub summary: Summary,
}

/// The digests of messages, ascending by UID, in one buffer: there may be hundreds of thousands.
#[derive(Debug, Clone, Default)]
pub struct Digests {
    octets: Vec<u8>,
    /// UID, octets on the wire, and where its digest ends.
    entries: Vec<(u32, u64, usize)>,
}

impl Digests {
    pub(crate) fn push(&mut self, uid: u32, size: u64, digest: &[u8]) {
        self.octets.extend_from_slice(digest);
        self.entries.push((uid, size, self.octets.len()));
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// UID, octets on the wire as the message had when it was read, and digest at a position.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<(u32, u64, &[u8])> {
        let (uid, size, end) = *self.entries.get(position)?;
        let before = position.checked_sub(1).and_then(|it| self.entries.get(it));
        let start = before.map_or(0, |(_, _, end)| *end);
        Some((uid, size, self.octets.get(start..end)?))
    }
}
