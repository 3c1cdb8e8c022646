//! What is to be tried, as the index has it.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};

use super::Database;
use super::row::{nearest_moment, nearest_priority};
use crate::pick::{Due, Further};
use crate::{Priority, QueueError};

impl Database {
    /// Shows `offer` each recipient that is to be tried at `now`: the highest priority first, of it the mail of one origin after the other's, and
    /// of that what is longest due, as far as it says. Returns when the next one will be, of what was looked through.
    pub(crate) fn due(
        &self,
        now: Timestamp,
        mut offer: impl FnMut(&Due<'_>) -> Further,
    ) -> Result<Option<Timestamp>, QueueError> {
        self.read_due(now, &mut offer).map_err(|source| self.failed(source))
    }

    fn read_due(
        &self,
        now: Timestamp,
        offer: &mut impl FnMut(&Due<'_>) -> Further,
    ) -> rusqlite::Result<Option<Timestamp>> {
        let (mut last, mut next) = (None, None);
        while let Some(lane) = self.lane_behind(last)? {
            let later = self.read_due_of(&lane, now, offer)?;
            next = [next, later].into_iter().flatten().min();
            last = Some(lane);
        }
        Ok(next)
    }

    /// The next priority and origin of what is to be tried at all.
    fn lane_behind(&self, last: Option<(i64, String)>) -> rusqlite::Result<Option<(i64, String)>> {
        let lane = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let below = last.as_ref().map_or(i64::MAX, |(priority, _)| *priority);
        if let Some((priority, origin)) = last {
            let found = self
                .connection
                .prepare_cached(
                    "SELECT priority, origin FROM recipient WHERE next_attempt IS NOT NULL AND priority = ?1
                     AND origin > ?2 ORDER BY origin LIMIT 1",
                )?
                .query_row(params![priority, origin], lane)
                .optional()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.connection
            .prepare_cached(
                "SELECT priority, origin FROM recipient WHERE next_attempt IS NOT NULL AND priority < ?1
                 ORDER BY priority DESC, origin LIMIT 1",
            )?
            .query_row([below], lane)
            .optional()
    }

    /// When the next one of this lane will be due, if it was looked through.
    fn read_due_of(
        &self,
        (number, origin): &(i64, String),
        now: Timestamp,
        offer: &mut impl FnMut(&Due<'_>) -> Further,
    ) -> rusqlite::Result<Option<Timestamp>> {
        let priority = nearest_priority(*number);
        let mut statement = self.connection.prepare_cached(
            "SELECT next_attempt, message, address, sender, next_hop FROM recipient
             WHERE next_attempt > ?3 AND priority = ?1 AND origin = ?2 ORDER BY next_attempt",
        )?;
        let mut after = i64::MIN;
        'passage: loop {
            let mut rows = statement.query(params![number, origin, after])?;
            while let Some(row) = rows.next()? {
                let since = nearest_moment(row, 0)?;
                if since > now {
                    return Ok(Some(since));
                }
                match offer(&due(row, (priority, origin), (since, false))?) {
                    Further::After(seen) if since <= seen => {
                        after = seen.as_millisecond();
                        continue 'passage;
                    }
                    Further::Next | Further::After(_) => {}
                    Further::Newest => {
                        self.read_newest_of((*number, origin), now, offer)?;
                        continue 'passage;
                    }
                    Further::Oldest | Further::NextOrigin => return self.next_of((*number, origin), now),
                }
            }
            return Ok(None);
        }
    }

    /// What is due last of this lane, and then those before it.
    fn read_newest_of(
        &self,
        (number, origin): (i64, &str),
        now: Timestamp,
        offer: &mut impl FnMut(&Due<'_>) -> Further,
    ) -> rusqlite::Result<()> {
        let priority = nearest_priority(number);
        let mut statement = self.connection.prepare_cached(
            "SELECT next_attempt, message, address, sender, next_hop FROM recipient
             WHERE next_attempt <= ?3 AND priority = ?1 AND origin = ?2 ORDER BY next_attempt DESC",
        )?;
        let mut rows = statement.query(params![number, origin, now.as_millisecond()])?;
        while let Some(row) = rows.next()? {
            let since = nearest_moment(row, 0)?;
            if offer(&due(row, (priority, origin), (since, true))?) == Further::Oldest {
                break;
            }
        }
        Ok(())
    }

    /// When the next one of this lane will be due.
    fn next_of(&self, (number, origin): (i64, &str), now: Timestamp) -> rusqlite::Result<Option<Timestamp>> {
        self.connection
            .prepare_cached(
                "SELECT next_attempt FROM recipient
                 WHERE next_attempt > ?3 AND priority = ?1 AND origin = ?2 ORDER BY next_attempt LIMIT 1",
            )?
            .query_row(params![number, origin, now.as_millisecond()], |row| nearest_moment(row, 0))
            .optional()
    }
}

/// A row as it is offered.
fn due<'a>(
    row: &'a Row<'_>,
    (priority, origin): (Priority, &'a str),
    (since, is_newest): (Timestamp, bool),
) -> rusqlite::Result<Due<'a>> {
    let text = |column| row.get_ref(column).and_then(|it| Ok(it.as_str()?));
    let next_hop = row.get_ref(4)?.as_str_or_null()?;
    let (message, recipient, sender) = (text(1)?, text(2)?, text(3)?);
    Ok(Due { message, recipient, sender, next_hop, origin, priority, since, is_newest })
}
