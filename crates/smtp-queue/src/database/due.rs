//! What is to be tried, as the index has it.

use std::borrow::Cow;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};

use super::Database;
use super::raw::{RawText, lossy, lossy_or_null};
use super::row::{nearest_moment, nearest_priority};
use crate::pick::{Due, Further, Spot};
use crate::{Priority, QueueError};

/// Of what is to be tried of one priority and origin, from a spot on.
const DUE_FROM: &str = "
    SELECT next_attempt, message, address, sender, next_hop FROM recipient
    WHERE priority = ?1 AND origin = ?2 AND next_attempt IS NOT NULL AND (next_attempt, message) >= (?3, ?4)
    ORDER BY next_attempt, message, position";

/// The origin behind another one, of the same priority.
const NEXT_ORIGIN: &str = "
    SELECT priority, origin FROM recipient WHERE next_attempt IS NOT NULL AND priority = ?1 AND origin > ?2
    ORDER BY origin LIMIT 1";

/// The first origin of the next lower priority. In two steps: no index has one in descending and the other in ascending order, so that all of the
/// priority would be gone through.
const NEXT_PRIORITY: &str = "
    SELECT priority, origin FROM recipient WHERE next_attempt IS NOT NULL AND priority =
        (SELECT priority FROM recipient WHERE next_attempt IS NOT NULL AND priority < ?1
         ORDER BY priority DESC LIMIT 1)
    ORDER BY origin LIMIT 1";

/// The same from behind, up to a moment.
const DUE_LAST: &str = "
    SELECT next_attempt, message, address, sender, next_hop FROM recipient
    WHERE priority = ?1 AND origin = ?2 AND next_attempt <= ?3
    ORDER BY next_attempt DESC, message DESC, position DESC";

impl Database {
    /// Shows `offer` each recipient that is to be tried at `now`: the highest priority first, of it the mail of one origin after the other's, and
    /// of that what is longest due, as far as it says; and `None` behind the last one of an origin of which it saw one. Returns when the next one will be, of what was looked through.
    pub(crate) fn due(
        &self,
        now: Timestamp,
        mut offer: impl FnMut(Option<&Due<'_>>) -> Further,
    ) -> Result<Option<Timestamp>, QueueError> {
        self.read_due(now, &mut offer).map_err(|source| self.failed(source))
    }

    fn read_due(
        &self,
        now: Timestamp,
        offer: &mut impl FnMut(Option<&Due<'_>>) -> Further,
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
    fn lane_behind(&self, last: Option<(i64, RawText)>) -> rusqlite::Result<Option<(i64, RawText)>> {
        let lane = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let below = last.as_ref().map_or(i64::MAX, |(priority, _)| *priority);
        if let Some((priority, origin)) = last {
            let found = self
                .connection
                .prepare_cached(NEXT_ORIGIN)?
                .query_row(params![priority, origin], lane)
                .optional()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.connection.prepare_cached(NEXT_PRIORITY)?.query_row([below], lane).optional()
    }

    /// When the next one of this lane will be due, if it was looked through.
    fn read_due_of(
        &self,
        (number, origin): &(i64, RawText),
        now: Timestamp,
        offer: &mut impl FnMut(Option<&Due<'_>>) -> Further,
    ) -> rusqlite::Result<Option<Timestamp>> {
        let (priority, name) = (nearest_priority(*number), origin.lossy());
        let mut statement = self.connection.prepare_cached(DUE_FROM)?;
        let (mut from, mut is_seen) = ((i64::MIN, String::new()), false);
        loop {
            let mut rows = statement.query(params![number, origin, from.0, from.1])?;
            let further = loop {
                let row = rows.next()?;
                let since = row.map(|row| nearest_moment(row, 0)).transpose()?;
                let is_due = since.is_some_and(|since| since <= now);
                let further = match row.zip(since).filter(|_| is_due) {
                    Some((row, since)) => {
                        offer(Some(&Texts::of(row)?.due((priority, &name), (since, false))))
                    }
                    None if is_seen => offer(None),
                    None => return Ok(since),
                };
                is_seen = true;
                if further != Further::Next {
                    break further;
                }
                if !is_due {
                    return Ok(since);
                }
            };
            match further {
                Further::From(spot) => from = (least_moment(&spot), spot.message),
                Further::Newest => self.read_newest_of((*number, origin), now, offer)?,
                Further::Oldest | Further::NextOrigin | Further::Next => {
                    return self.next_of((*number, origin), now);
                }
            }
        }
    }

    /// What is due last of this lane, and then those before it.
    fn read_newest_of(
        &self,
        (number, origin): (i64, &RawText),
        now: Timestamp,
        offer: &mut impl FnMut(Option<&Due<'_>>) -> Further,
    ) -> rusqlite::Result<()> {
        let (priority, name) = (nearest_priority(number), origin.lossy());
        let mut statement = self.connection.prepare_cached(DUE_LAST)?;
        let mut rows = statement.query(params![number, origin, now.as_millisecond()])?;
        while let Some(row) = rows.next()? {
            let since = nearest_moment(row, 0)?;
            if offer(Some(&Texts::of(row)?.due((priority, &name), (since, true)))) == Further::Oldest {
                break;
            }
        }
        Ok(())
    }

    /// When the next one of this lane will be due.
    fn next_of(
        &self,
        (number, origin): (i64, &RawText),
        now: Timestamp,
    ) -> rusqlite::Result<Option<Timestamp>> {
        self.connection
            .prepare_cached(
                "SELECT next_attempt FROM recipient
                 WHERE next_attempt > ?3 AND priority = ?1 AND origin = ?2 ORDER BY next_attempt LIMIT 1",
            )?
            .query_row(params![number, origin, now.as_millisecond()], |row| nearest_moment(row, 0))
            .optional()
    }
}

/// As [`nearest_moment`] reads it.
fn least_moment(spot: &Spot) -> i64 {
    if *spot == Spot::FIRST { i64::MIN } else { spot.since.as_millisecond() }
}

/// What a row says, as far as it can be read: what isn't is found damaged when its message is to be tried.
struct Texts<'r> {
    message: Cow<'r, str>,
    recipient: Cow<'r, str>,
    sender: Cow<'r, str>,
    next_hop: Option<Cow<'r, str>>,
}

impl<'r> Texts<'r> {
    fn of(row: &'r Row<'_>) -> rusqlite::Result<Self> {
        let (message, recipient, sender) = (lossy(row, 1)?, lossy(row, 2)?, lossy(row, 3)?);
        Ok(Self { message, recipient, sender, next_hop: lossy_or_null(row, 4)? })
    }

    /// As it is offered.
    fn due<'a>(
        &'a self,
        (priority, origin): (Priority, &'a str),
        (since, is_newest): (Timestamp, bool),
    ) -> Due<'a> {
        let Self { message, recipient, sender, next_hop } = self;
        Due { message, recipient, sender, next_hop: next_hop.as_deref(), origin, priority, since, is_newest }
    }
}

#[cfg(test)]
impl Database {
    /// Overwrites the root of the index of what is due, in one that nobody has open.
    pub(crate) fn damage_index(path: &std::path::Path) {
        use std::os::unix::fs::FileExt as _;
        let connection = rusqlite::Connection::open(path).unwrap();
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'recipient_due_in_turn'";
        let root: u64 = connection.query_row(root, [], |row| row.get(0)).unwrap();
        drop(connection);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&[0x5a; 4096], (root - 1) * 4096).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::StatementStatus;

    use super::*;

    /// With 10,000 recipients that are to be tried at a moment.
    fn filled(folder: &Path) -> (Database, Timestamp) {
        let database = Database::open(&folder.join("queue.sqlite")).unwrap();
        let moment = Timestamp::now();
        let fill = format!(
            "WITH RECURSIVE number (it) AS (SELECT 0 UNION ALL SELECT it + 1 FROM number WHERE it < 9999)
             INSERT INTO message (id, size, arrived, smtputf8, eight_bit)
                 SELECT printf('%09d', it), 1, {0}, 0, 0 FROM number;
             INSERT INTO recipient (message, position, address, state, next_attempt)
                 SELECT id, 0, 'bob@example.net', 0, {0} FROM message;",
            moment.as_millisecond()
        );
        database.connection.execute_batch(&fill).unwrap();
        (database, moment)
    }

    /// However many there are of the one before it.
    #[test]
    fn the_next_origin_is_found_without_going_through_any() {
        let folder = tempfile::tempdir().unwrap();
        let (database, _) = filled(folder.path());
        for (sql, priority, is_there) in
            [(NEXT_PRIORITY, i64::MAX, true), (NEXT_PRIORITY, 0, false), (NEXT_ORIGIN, 0, false)]
        {
            let mut statement = database.connection.prepare(sql).unwrap();
            let found = match sql {
                NEXT_ORIGIN => statement.exists(params![priority, ""]).unwrap(),
                _ => statement.exists([priority]).unwrap(),
            };
            let steps = statement.get_status(StatementStatus::VmStep);
            assert!(found == is_there && steps < 100, "{steps}: {sql}");
        }
    }

    /// From wherever what is due is read, nothing is gone through for it that is not shown.
    #[test]
    fn what_is_due_is_found_in_the_index_from_any_spot_on() {
        let folder = tempfile::tempdir().unwrap();
        let (database, moment) = filled(folder.path());
        let steps = |sql: &str, third: i64, fourth: Option<&str>| {
            let mut statement = database.connection.prepare(sql).unwrap();
            let mut rows = match fourth {
                Some(message) => statement.query(params![0, "", third, message]).unwrap(),
                None => statement.query(params![0, "", third]).unwrap(),
            };
            for _ in 0..10 {
                rows.next().unwrap();
            }
            drop(rows);
            let scanned = statement.get_status(StatementStatus::FullscanStep);
            assert_eq!((scanned, statement.get_status(StatementStatus::Sort)), (0, 0), "{sql}");
            statement.get_status(StatementStatus::VmStep)
        };
        for spot in ["", "000005000", "000009980"] {
            let steps = steps(DUE_FROM, moment.as_millisecond(), Some(spot));
            assert!(steps < 300, "{steps} from {spot:?}");
        }
        assert!(steps(DUE_FROM, i64::MIN, Some("")) < 300);
        assert!(steps(DUE_LAST, moment.as_millisecond(), None) < 300);
    }
}
