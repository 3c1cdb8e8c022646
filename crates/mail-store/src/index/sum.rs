//! Checksums beside what rows say: SQLite sees when a page doesn't hold together, but not that a number is another.

use rusqlite::types::{FromSql, FromSqlError, Type};
use rusqlite::{Error, Result, Row};

use super::rows::{MailboxRow, MessageState};

/// The checksum of a row, made of its columns one after the other.
#[derive(Default)]
pub(super) struct Sum(crc32fast::Hasher);

impl Sum {
    pub(super) fn number(mut self, number: i64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// A column of any length, so that no octet can go from one to the next unseen.
    pub(super) fn octets(mut self, octets: &[u8]) -> Self {
        self.0.update(octets);
        self.number(octets.len() as i64)
    }

    /// A column that may be empty.
    pub(super) fn optional(self, octets: Option<&[u8]>) -> Self {
        match octets {
            Some(octets) => self.octets(octets),
            None => self.number(-1),
        }
    }

    pub(super) fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// Damage, unless the row has this checksum in the column.
pub(super) fn verify<S: FromSql + PartialEq>(row: &Row<'_>, column: usize, sum: S) -> Result<()> {
    if row.get::<_, S>(column)? == sum { Ok(()) } else { Err(damaged(column)) }
}

pub(super) fn damaged(column: usize) -> Error {
    Error::FromSqlConversionFailure(
        column,
        Type::Integer,
        Box::new(FromSqlError::Other("a row is damaged".into())),
    )
}

impl MailboxRow {
    /// Without that by which a folder is found to have changed: where that is wrong, it is compared in any case.
    pub(super) fn sum(&self) -> u32 {
        let Self {
            uid_validity,
            uid_next,
            mod_seq,
            first_recent,
            boot: _,
            cur: _,
            new,
            compared,
            cost,
            settles,
            doubt,
            log_floor,
            least_mod_seq,
            messages,
        } = self;
        let small = [*uid_validity, *uid_next, *first_recent, *messages].map(i64::from);
        let large = [*mod_seq, *log_floor, *least_mod_seq].map(u64::cast_signed);
        let times = [*new, *compared, *cost, *settles, *doubt];
        let numbers = small.into_iter().chain(large).chain(times);
        numbers.fold(Sum::default(), Sum::number).finish()
    }
}

impl MessageState<'_> {
    /// Of what a snapshot shows, and of when the message was saved: that the base is right shows by the file.
    pub(super) fn sum(&self, saved: Option<i64>) -> u32 {
        let Self { uid, info, extra, seconds, offset_minutes, wire, mod_seq } = *self;
        // The lengths too, so that no octet can go from one text to the next unseen. All at once: it is done for each message that
        // an open reads.
        let (wire, mod_seq) = (wire.cast_signed(), mod_seq.cast_signed());
        let saved = saved.unwrap_or(i64::MIN);
        let [info_len, extra_len] = [info.len() as i64, extra.len() as i64];
        let numbers = [uid.into(), seconds, offset_minutes.into(), wire, mod_seq, saved, info_len, extra_len];
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(numbers.map(i64::to_le_bytes).as_flattened());
        [info, extra].into_iter().filter(|it| !it.is_empty()).for_each(|it| hasher.update(it.as_bytes()));
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_and_text_of_a_row_counts_in_its_checksum() {
        let row = MailboxRow::default();
        let changes: [fn(&mut MailboxRow); 12] = [
            |row| row.uid_validity += 1,
            |row| row.uid_next += 1,
            |row| row.mod_seq += 1,
            |row| row.first_recent += 1,
            |row| row.new += 1,
            |row| row.compared += 1,
            |row| row.cost += 1,
            |row| row.settles += 1,
            |row| row.doubt += 1,
            |row| row.log_floor += 1,
            |row| row.least_mod_seq += 1,
            |row| row.messages += 1,
        ];
        let mut sums = vec![row.sum()];
        sums.extend(changes.map(|change| {
            let mut row = row.clone();
            change(&mut row);
            row.sum()
        }));
        let state =
            MessageState { uid: 1, info: "S", extra: "", seconds: 0, offset_minutes: 0, wire: 0, mod_seq: 1 };
        sums.extend([
            state.sum(None),
            state.sum(Some(0)),
            MessageState { uid: 2, ..state }.sum(None),
            MessageState { info: "F", ..state }.sum(None),
            MessageState { info: "", extra: "S", ..state }.sum(None),
            MessageState { seconds: 1, ..state }.sum(None),
            MessageState { offset_minutes: 1, ..state }.sum(None),
            MessageState { wire: 1, ..state }.sum(None),
            MessageState { mod_seq: 2, ..state }.sum(None),
        ]);
        let count = sums.len();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), count);
    }
}
