//! What the index knows of a mailbox and of a message.

use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};

use super::sum::verify;
use crate::mark::Mark;
use crate::names;

/// What is known of a mailbox as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MailboxRow {
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) mod_seq: u64,
    pub(crate) first_recent: u32,
    pub(crate) boot: String,
    /// The modification times of `cur` and `new` as last seen, in nanoseconds; 0 if they are to be compared in any case.
    pub(crate) cur: i64,
    pub(crate) new: i64,
    /// When the last comparison of the whole folder began, and how long it took, in nanoseconds.
    pub(crate) compared: i64,
    pub(crate) cost: i64,
    /// A comparison that began before this moment may have come too early to see all of another program's changes.
    pub(crate) settles: i64,
    /// When we last changed `cur`: what another program did in that moment is not yet seen. 0 if nothing is in doubt.
    pub(crate) doubt: i64,
    /// The log of expunged UIDs is whole from this mod-sequence on.
    pub(crate) log_floor: u64,
    /// No message's mod-sequence is lower: those in the index are to be read as this one. Raised when the index may lack
    /// changes that clients were told of.
    pub(crate) least_mod_seq: u64,
    /// How many messages the index has.
    pub(crate) messages: u32,
}

/// What is known of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageRow {
    pub(crate) uid: u32,
    pub(crate) base: String,
    /// Behind `:2,`.
    pub(crate) info: String,
    /// Keywords without a letter, as positions, divided by spaces.
    pub(crate) extra: String,
    pub(crate) seconds: i64,
    pub(crate) offset_minutes: i16,
    pub(crate) wire: u64,
    pub(crate) mod_seq: u64,
    /// When the mailbox got it, in seconds since 1970, if the base doesn't say.
    pub(crate) saved: Option<i64>,
}

impl MessageRow {
    /// Its file's name in `cur/`.
    pub(crate) fn name(&self, mark: Mark) -> String {
        names::in_cur(&self.base, (self.uid, mark), self.saved, self.wire, &self.info)
    }

    /// When the mailbox got it, in seconds since 1970. Of a file whose name doesn't say it, that is taken to be its internal date.
    pub(crate) fn save_date(&self) -> i64 {
        self.saved.or_else(|| names::stamped(&self.base)).unwrap_or(self.seconds)
    }

    pub(super) fn sum(&self) -> u32 {
        self.state().sum(self.saved)
    }

    pub(crate) fn state(&self) -> MessageState<'_> {
        MessageState {
            uid: self.uid,
            info: &self.info,
            extra: &self.extra,
            seconds: self.seconds,
            offset_minutes: self.offset_minutes,
            wire: self.wire,
            mod_seq: self.mod_seq,
        }
    }
}

/// What a snapshot needs of a [`MessageRow`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageState<'a> {
    pub(crate) uid: u32,
    pub(crate) info: &'a str,
    pub(crate) extra: &'a str,
    pub(crate) seconds: i64,
    pub(crate) offset_minutes: i16,
    pub(crate) wire: u64,
    pub(crate) mod_seq: u64,
}

pub(super) fn mailbox_row(row: &Row<'_>) -> Result<MailboxRow> {
    let mailbox = MailboxRow {
        uid_validity: row.get(0)?,
        uid_next: row.get(1)?,
        mod_seq: row.get(2)?,
        first_recent: row.get(3)?,
        boot: row.get(4)?,
        cur: row.get(5)?,
        new: row.get(6)?,
        compared: row.get(7)?,
        cost: row.get(8)?,
        settles: row.get(9)?,
        doubt: row.get(10)?,
        log_floor: row.get(11)?,
        least_mod_seq: row.get(12)?,
        messages: row.get(13)?,
    };
    verify(row, 14, mailbox.sum())?;
    Ok(mailbox)
}

/// A row with a message's state and, in the end, its base.
pub(super) fn message_row(row: &Row<'_>) -> Result<MessageRow> {
    let MessageState { uid, info, extra, seconds, offset_minutes, wire, mod_seq } = message_state(row)?;
    Ok(MessageRow {
        uid,
        base: part_of_name(row, 9)?.to_owned(),
        info: info.to_owned(),
        extra: extra.to_owned(),
        seconds,
        offset_minutes,
        wire,
        mod_seq,
        saved: row.get(7)?,
    })
}

pub(super) fn message_state<'a>(row: &'a Row<'_>) -> Result<MessageState<'a>> {
    let state = MessageState {
        uid: row.get(0)?,
        info: part_of_name(row, 1)?,
        extra: row.get_ref(2)?.as_str()?,
        seconds: row.get(3)?,
        offset_minutes: row.get(4)?,
        wire: row.get(5)?,
        mod_seq: row.get(6)?,
    };
    verify(row, 8, state.sum(row.get(7)?))?;
    Ok(state)
}

/// A part of a file's name. What no name can hold is damage that SQLite doesn't see: a page that was cut off, and is zeroes since.
fn part_of_name<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str> {
    let part = row.get_ref(column)?.as_str()?;
    if memchr::memchr2(0, b'/', part.as_bytes()).is_some() {
        return Err(Error::FromSqlConversionFailure(column, Type::Text, "no part of a name".into()));
    }
    Ok(part)
}
