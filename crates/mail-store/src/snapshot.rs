//! What a mailbox held at one moment, in few bytes a message.

mod history;
mod next;
mod personal;
mod rows;
mod uids;

use std::sync::Arc;

use mail_types::{Flags, InternalDate, Keyword, ModSeq, Uid};

pub use history::Difference;
use history::History;
pub(crate) use next::{Head, keyword_positions};
pub(crate) use rows::{Row, Rows};
pub use uids::Uids;

/// What a mailbox held at one moment; it never changes. Messages ascend by UID.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) uids: Arc<Uids>,
    pub(crate) rows: Rows,
    /// The sets of keywords in use; a row names one by position, 0 is the empty set.
    pub(crate) sets: Arc<Vec<Vec<usize>>>,
    pub(crate) names: Arc<Vec<Option<Keyword>>>,
    pub(crate) known: Arc<[Keyword]>,
    pub(crate) uid_next: Uid,
    pub(crate) highest_mod_seq: ModSeq,
    pub(crate) first_recent: Uid,
    history: History,
}

/// One message of a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its UID.
    pub uid: Uid,
    /// Its flags and keywords.
    pub flags: Flags,
    /// When it arrived.
    pub internal_date: InternalDate,
    /// Octets on the wire, each line ended by CRLF: RFC822.SIZE.
    pub size: u64,
    /// Its last change.
    pub mod_seq: ModSeq,
}

impl Snapshot {
    /// How many messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.uids.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The UIDs, ascending.
    #[must_use]
    pub fn uids(&self) -> &Uids {
        &self.uids
    }

    /// The position of `uid`, from 0.
    #[must_use]
    pub fn position(&self, uid: Uid) -> Option<usize> {
        self.uids.position(uid)
    }

    /// The message at a position, from 0.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Message> {
        let uid = self.uids.get(position)?;
        let row = self.rows.get(position)?;
        let set = self.sets.get(row.keywords as usize).map(Vec::as_slice).unwrap_or_default();
        let keywords = set.iter().filter_map(|keyword| self.names.get(*keyword)?.clone());
        Some(Message {
            uid,
            flags: Flags::from_parts(row.system, keywords),
            internal_date: InternalDate::from_unix(row.seconds).with_offset(row.offset_minutes),
            size: row.size,
            mod_seq: row.mod_seq,
        })
    }

    /// The position, from 0, of the first message without `\Seen`.
    #[must_use]
    pub fn first_unseen(&self) -> Option<usize> {
        self.rows.first_unseen()
    }

    /// The keywords known in the mailbox, for FLAGS and PERMANENTFLAGS.
    #[must_use]
    pub fn keywords(&self) -> &[Keyword] {
        &self.known
    }

    /// The next UID to be given.
    #[must_use]
    pub fn uid_next(&self) -> Uid {
        self.uid_next
    }

    /// The highest mod-sequence.
    #[must_use]
    pub fn highest_mod_seq(&self) -> ModSeq {
        self.highest_mod_seq
    }

    /// The lowest UID that no read-write session has claimed as recent; equal to `uid_next` when there is none.
    #[must_use]
    pub fn first_recent(&self) -> Uid {
        self.first_recent
    }
}
