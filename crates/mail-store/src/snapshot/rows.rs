//! The rows of a snapshot, in chunks that one snapshot shares with the next.

use std::sync::Arc;

use mail_types::{Flag, ModSeq, Usage};

/// Rows in a chunk: what a change of one message's flags copies.
const CHUNK: usize = 512;

/// One message, without its UID: 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) mod_seq: ModSeq,
    pub(crate) seconds: i64,
    pub(crate) size: u64,
    pub(crate) keywords: u32,
    pub(crate) offset_minutes: i16,
    pub(crate) system: u8,
}

impl Row {
    const fn is_unseen(&self) -> bool {
        self.system & Flag::Seen as u8 == 0
    }

    /// What an expunge would free.
    fn deleted(&self) -> Usage {
        if self.system & Flag::Deleted as u8 == 0 { Usage::default() } else { Usage::message(self.size) }
    }
}

#[derive(Debug, Clone)]
struct Chunk {
    rows: Vec<Row>,
    /// No row is newer.
    newest: ModSeq,
    unseen: usize,
}

/// Rows by position. All chunks but the last are full.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    chunks: Vec<Arc<Chunk>>,
    unseen: usize,
    octets: u64,
    deleted: Usage,
}

impl Rows {
    pub(crate) fn get(&self, position: usize) -> Option<&Row> {
        self.chunks.get(position / CHUNK)?.rows.get(position % CHUNK)
    }

    /// How many are without `\Seen`.
    pub(crate) const fn unseen(&self) -> usize {
        self.unseen
    }

    /// The position of the first without `\Seen`, at the cost of a look at every few hundred.
    pub(crate) fn first_unseen(&self) -> Option<usize> {
        let number = self.chunks.iter().position(|chunk| chunk.unseen > 0)?;
        let position = self.chunks.get(number)?.rows.iter().position(Row::is_unseen)?;
        Some(number * CHUNK + position)
    }

    /// What has `\\Deleted`.
    pub(crate) const fn deleted(&self) -> Usage {
        self.deleted
    }

    /// The sum of all sizes.
    pub(crate) const fn octets(&self) -> u64 {
        self.octets
    }

    /// Adds rows at the end.
    pub(crate) fn extend(&mut self, rows: &[Row]) {
        rows.iter().for_each(|row| self.count(row));
        let room = self.chunks.last().map_or(0, |last| CHUNK - last.rows.len());
        let (first, rest) = rows.split_at(room.min(rows.len()));
        if let Some(last) = self.chunks.last_mut().filter(|_| !first.is_empty()).map(Arc::make_mut) {
            last.rows.extend_from_slice(first);
            last.newest = newest(first).max(last.newest);
            last.unseen += unseen(first);
        }
        let chunk = |rows: &[Row]| {
            Arc::new(Chunk { rows: rows.to_vec(), newest: newest(rows), unseen: unseen(rows) })
        };
        self.chunks.extend(rest.chunks(CHUNK).map(chunk));
    }

    /// Adds a row at the end; once there are all, [`Self::shrink`] gives back what is too much.
    pub(crate) fn push(&mut self, row: Row) {
        self.count(&row);
        match self.chunks.last_mut().filter(|last| last.rows.len() < CHUNK).map(Arc::make_mut) {
            Some(last) => {
                last.rows.push(row);
                last.newest = last.newest.max(row.mod_seq);
                last.unseen += usize::from(row.is_unseen());
            }
            None => {
                let mut rows = Vec::with_capacity(CHUNK);
                rows.push(row);
                let unseen = usize::from(row.is_unseen());
                self.chunks.push(Arc::new(Chunk { rows, newest: row.mod_seq, unseen }));
            }
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.chunks.last_mut().map(Arc::make_mut).into_iter().for_each(|last| last.rows.shrink_to_fit());
    }

    /// Replaces the row at a position, if there is one.
    pub(crate) fn set(&mut self, position: usize, row: Row) {
        let Some(chunk) = self.chunks.get_mut(position / CHUNK).map(Arc::make_mut) else { return };
        let Some(old) = chunk.rows.get_mut(position % CHUNK) else { return };
        let old = std::mem::replace(old, row);
        chunk.newest = chunk.newest.max(row.mod_seq);
        chunk.unseen += usize::from(row.is_unseen());
        chunk.unseen -= usize::from(old.is_unseen());
        self.discount(&old);
        self.count(&row);
    }

    /// Takes away all from a position on, and gives them.
    pub(crate) fn split_off(&mut self, position: usize) -> Vec<Row> {
        let chunks = self.chunks.split_off((position / CHUNK).min(self.chunks.len()));
        let mut rows = Vec::with_capacity(chunks.len() * CHUNK);
        chunks.iter().for_each(|chunk| rows.extend_from_slice(&chunk.rows));
        rows.iter().for_each(|row| self.discount(row));
        let tail = rows.split_off((position % CHUNK).min(rows.len()));
        self.extend(&rows);
        tail
    }

    /// Positions of the rows newer than `mod_seq`, ascending.
    pub(crate) fn changed_since(&self, mod_seq: ModSeq) -> Vec<usize> {
        let chunks = self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.newest > mod_seq);
        let rows = chunks.flat_map(|(number, chunk)| (number * CHUNK..).zip(&chunk.rows));
        rows.filter(|(_, row)| row.mod_seq > mod_seq).map(|(position, _)| position).collect()
    }

    fn count(&mut self, row: &Row) {
        self.unseen += usize::from(row.is_unseen());
        self.octets += row.size;
        self.deleted = self.deleted + row.deleted();
    }

    fn discount(&mut self, row: &Row) {
        self.unseen -= usize::from(row.is_unseen());
        self.octets -= row.size;
        self.deleted = self.deleted - row.deleted();
    }
}

fn unseen(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.is_unseen()).count()
}

fn newest(rows: &[Row]) -> ModSeq {
    rows.iter().map(|row| row.mod_seq).max().unwrap_or(ModSeq::MIN)
}
