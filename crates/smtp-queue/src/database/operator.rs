//! What operators see and change.

use jiff::Timestamp;
use mail_types::Usage;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::Database;
use super::raw::RawText;
use super::row::{message, recipient, unsigned};
use super::totals::octets;
use crate::change::{Change, Meant};
use crate::message::{QueueId, QueuedMessage};
use crate::{NextHop, QueueError, Status};

/// Which messages are meant: those of these names, and between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    first: RawText,
    last: RawText,
}

impl Selection {
    pub(crate) fn one(id: &QueueId) -> Self {
        let name = RawText::from(id.0.as_str());
        Self { first: name.clone(), last: name }
    }

    /// After these others may come.
    pub(crate) fn into_last(self) -> RawText {
        self.last
    }
}

/// How many messages are changed in one transaction where all are: so nobody waits for long, and no memory is needed for all.
const TOGETHER: i64 = 500;
/// And of how many recipients, unless one message has more: a newsletter has thousands.
const RECIPIENTS: i64 = 5000;

/// The messages behind `?1` that these bounds let be changed together. What damage has left of recipients alone doesn't end it.
const SOME: &str = "
    SELECT id FROM message WHERE id > ?1 AND id <= coalesce(max(
        (SELECT message FROM recipient WHERE message > ?1 AND message <=
            coalesce((SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT 1 OFFSET ?2 - 1), x'')
         ORDER BY message, position LIMIT 1 OFFSET ?3 - 1),
        (SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT 1)
    ), x'')
    ORDER BY id LIMIT ?2";

/// Before that a recipient's message is not tried.
const RELEASE: &str = "coalesce((SELECT release FROM message WHERE id = message), 0)";

impl Database {
    pub(crate) fn load(&self, id: &QueueId) -> Result<Option<QueuedMessage>, QueueError> {
        self.read_messages("WHERE id = ?1 LIMIT ?2", &id.0, 1)
            .map(|mut messages| messages.pop())
            .map_err(|source| self.failed(source))
    }

    /// Up to `limit` messages that came after `after`, oldest first. Damaged ones are left out.
    pub(crate) fn list(
        &self,
        after: Option<&QueueId>,
        limit: usize,
    ) -> Result<Vec<QueuedMessage>, QueueError> {
        let after = after.map_or("", |id| &id.0);
        let read = self.read_messages("WHERE id > ?1 ORDER BY id LIMIT ?2", after, limit);
        match read.map_err(|source| self.failed(source)) {
            Err(error) if error.is_damage() => self.list_readable(after, limit),
            read => read,
        }
    }

    /// The same, one by one.
    fn list_readable(&self, after: &str, limit: usize) -> Result<Vec<QueuedMessage>, QueueError> {
        let (mut messages, mut last) = (Vec::new(), RawText::from(after));
        while messages.len() < limit {
            let next = self
                .connection
                .prepare_cached("SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT 1")
                .and_then(|mut statement| statement.query_row([&last], |row| row.get(0)).optional())
                .map_err(|source| self.failed(source))?;
            let Some(id) = next else { break };
            last = id;
            let Some(id) = last.as_str() else {
                tracing::warn!(id = %last.lossy(), "a queued message is damaged: its name can't be read");
                continue;
            };
            match self.load(&QueueId(id.to_owned())) {
                Err(error) if error.is_damage() => {
                    tracing::warn!(id, %error, "a queued message is damaged")
                }
                read => messages.extend(read?),
            }
        }
        Ok(messages)
    }

    fn read_messages(&self, which: &str, id: &str, limit: usize) -> rusqlite::Result<Vec<QueuedMessage>> {
        // One transaction, so that a message is not read half before and half after another process's change.
        let snapshot = self.connection.unchecked_transaction()?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut messages = snapshot
            .prepare_cached(&format!(
                "SELECT id, sender, size, arrived, held, smtputf8, eight_bit, ret, envelope_id, require_tls,
                 priority, deadline, deadline_returns, deadline_traced, release, is_ours, origin, is_bulk, checksum FROM message {which}"
            ))?
            .query_map(params![id, limit], message)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut recipients = snapshot.prepare_cached(
            "SELECT address, state, attempts, last_attempt, next_attempt, status, host, text, notify, original, warned,
             next_hop
             FROM recipient WHERE message = ?1 ORDER BY position",
        )?;
        for message in &mut messages {
            message.recipients =
                recipients.query_map([&message.id.0], recipient)?.collect::<rusqlite::Result<_>>()?;
        }
        Ok(messages)
    }

    /// True if recipients name a message that isn't there.
    pub(crate) fn lacks_row(&self, id: &QueueId) -> Result<bool, QueueError> {
        self.connection
            .prepare_cached(
                "SELECT 1 FROM recipient WHERE message = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE id = ?1)",
            )
            .and_then(|mut statement| statement.exists([&id.0]))
            .map_err(|source| self.failed(source))
    }

    /// What is held back by whose mail it is, beyond `now`.
    pub(crate) fn held_back(&self, origin: &str, now: Timestamp) -> Result<Usage, QueueError> {
        let usage = |row: &Row<'_>| Ok(Usage { messages: unsigned(row, 0)?, storage: unsigned(row, 1)? });
        self.connection
            .prepare_cached(concat!(
                "SELECT count(*), coalesce(sum(",
                octets!("size"),
                "), 0) FROM message WHERE origin = ?1 AND release > ?2"
            ))
            .and_then(|mut count| count.query_row(params![origin, now.as_millisecond()], usage))
            .map_err(|source| self.failed(source))
    }

    /// The oldest messages after this one, of which there are not too many to be changed together; `None` if there are none.
    pub(crate) fn some_behind(&self, after: &RawText) -> Result<Option<Selection>, QueueError> {
        let selection = |row: &Row<'_>| {
            let (first, last): (Option<RawText>, Option<RawText>) = (row.get(0)?, row.get(1)?);
            Ok(first.zip(last).map(|(first, last)| Selection { first, last }))
        };
        self.connection
            .prepare_cached(&format!("SELECT min(id), max(id) FROM ({SOME})"))
            .and_then(|mut statement| statement.query_row(params![after, TOGETHER, RECIPIENTS], selection))
            .map_err(|source| self.failed(source))
    }

    /// How many these are.
    pub(crate) fn count_some_behind(&self, after: &RawText) -> Result<usize, QueueError> {
        let count = |row: &Row<'_>| row.get(0);
        self.connection
            .prepare_cached(&format!("SELECT count(*) FROM ({SOME})"))
            .and_then(|mut statement| statement.query_row(params![after, TOGETHER, RECIPIENTS], count))
            .map(|count: i64| usize::try_from(count).unwrap_or_default())
            .map_err(|source| self.failed(source))
    }

    /// Makes recipients due at `now` whose last attempt failed with `status`. Tells how many.
    pub(crate) fn retry_status(
        &mut self,
        which: &Selection,
        status: Status,
        now: Timestamp,
    ) -> Result<usize, QueueError> {
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "UPDATE recipient SET next_attempt = ?4
                     WHERE message BETWEEN ?1 AND ?2 AND next_attempt IS NOT NULL AND status = ?3",
                )?
                .execute(params![which.first, which.last, status.to_string(), now.as_millisecond()])
        })
    }

    /// Makes pending recipients due at `now`, but for held messages and those that their sender holds back. Tells how many messages are meant.
    pub(crate) fn retry(&mut self, which: &Selection, now: Timestamp) -> Result<usize, QueueError> {
        self.write(|transaction| {
            transaction
                .prepare_cached(&format!(
                    "UPDATE recipient SET next_attempt = max(?3, {RELEASE})
                     WHERE message BETWEEN ?1 AND ?2 AND next_attempt IS NOT NULL"
                ))?
                .execute(params![which.first, which.last, now.as_millisecond()])?;
            count(transaction, which)
        })
    }

    /// Holds messages, or releases them to be tried at `now`. Tells how many messages are meant.
    pub(crate) fn hold(
        &mut self,
        which: &Selection,
        held: bool,
        now: Timestamp,
    ) -> Result<usize, QueueError> {
        self.write(|transaction| {
            hold(transaction, which, held, now)?;
            count(transaction, which)
        })
    }

    /// Changes messages together, and tells which of them were there, or (held and released) were changed by that, and of each whether it
    /// leaves a file.
    pub(crate) fn change(
        &mut self,
        meant: &[Meant],
        change: &Change,
        now: Timestamp,
    ) -> Result<Vec<(QueueId, bool)>, QueueError> {
        self.write(|transaction| {
            let mut changed = Vec::new();
            for it in meant {
                let which = &Selection::one(&it.id);
                let is_done = match change {
                    Change::Remove => {
                        changed.extend(remove(transaction, which)?);
                        continue;
                    }
                    Change::Retry => retry_some(transaction, it, now)?,
                    Change::Hold => hold(transaction, which, true, now)? > 0,
                    Change::Reroute(hop) => reroute(transaction, it, hop.as_ref(), now)?,
                    Change::Release { early } => {
                        let was_early = *early && release_early(transaction, &it.id, now)?;
                        hold(transaction, which, false, now)? > 0 || was_early
                    }
                };
                if is_done {
                    changed.push((it.id.clone(), false));
                }
            }
            Ok(changed)
        })
    }

    /// Removes messages, and tells which, and of each whether it has a file.
    pub(crate) fn remove(&mut self, which: &Selection) -> Result<Vec<(QueueId, bool)>, QueueError> {
        self.write(|transaction| remove(transaction, which))
    }
}

/// Tells how many messages were not so before.
fn hold(
    transaction: &Transaction<'_>,
    which: &Selection,
    held: bool,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    let next = (!held).then(|| now.as_millisecond());
    transaction
        .prepare_cached(&format!(
            "UPDATE recipient SET next_attempt = max(?4, {RELEASE}) WHERE state = 0
             AND message IN (SELECT id FROM message WHERE id BETWEEN ?1 AND ?2 AND held <> ?3)"
        ))?
        .execute(params![which.first, which.last, held, next])?;
    transaction
        .prepare_cached("UPDATE message SET held = ?3 WHERE id BETWEEN ?1 AND ?2 AND held <> ?3")?
        .execute(params![which.first, which.last, held])
}

/// What its sender holds back until later is held back until now only: its time begins then. True if it was held back.
fn release_early(transaction: &Transaction<'_>, id: &QueueId, now: Timestamp) -> rusqlite::Result<bool> {
    let mut recipients = transaction.prepare_cached(
        "UPDATE recipient SET next_attempt = ?2 WHERE message = ?1 AND next_attempt IS NOT NULL
         AND (SELECT release FROM message WHERE id = ?1) > ?2",
    )?;
    recipients.execute(params![id.0, now.as_millisecond()])?;
    let mut message =
        transaction.prepare_cached("UPDATE message SET release = ?2 WHERE id = ?1 AND release > ?2")?;
    message.execute(params![id.0, now.as_millisecond()]).map(|changed| changed > 0)
}

/// Has recipients go another way, at once. True if the message is there.
fn reroute(
    transaction: &Transaction<'_>,
    meant: &Meant,
    hop: Option<&NextHop>,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let mut recipient = transaction.prepare_cached(
        "UPDATE recipient SET next_hop = ?3 WHERE message = ?1 AND position = ?2 AND state = 0",
    )?;
    for position in &meant.recipients {
        let position = i64::try_from(*position).unwrap_or(i64::MAX);
        recipient.execute(params![meant.id.0, position, hop.map(ToString::to_string)])?;
    }
    retry_some(transaction, meant, now)
}

/// True if the message is there.
fn retry_some(transaction: &Transaction<'_>, meant: &Meant, now: Timestamp) -> rusqlite::Result<bool> {
    let mut recipient = transaction.prepare_cached(&format!(
        "UPDATE recipient SET next_attempt = max(?3, {RELEASE})
         WHERE message = ?1 AND position = ?2 AND next_attempt IS NOT NULL"
    ))?;
    for position in &meant.recipients {
        let position = i64::try_from(*position).unwrap_or(i64::MAX);
        recipient.execute(params![meant.id.0, position, now.as_millisecond()])?;
    }
    transaction.prepare_cached("SELECT 1 FROM message WHERE id = ?1")?.exists([&meant.id.0])
}

fn remove(transaction: &Transaction<'_>, which: &Selection) -> rusqlite::Result<Vec<(QueueId, bool)>> {
    let removed = |row: &Row<'_>| Ok((QueueId(row.get::<_, RawText>(0)?.lossy().into_owned()), row.get(1)?));
    let mut removed: Vec<(QueueId, bool)> = transaction
        .prepare_cached("DELETE FROM message WHERE id BETWEEN ?1 AND ?2 RETURNING id, content IS NULL")?
        .query_map([&which.first, &which.last], removed)?
        .collect::<rusqlite::Result<_>>()?;
    // What damage has left of a message: its recipients go with it otherwise.
    let left = transaction
        .prepare_cached("DELETE FROM recipient WHERE message BETWEEN ?1 AND ?2")?
        .execute([&which.first, &which.last])?;
    if removed.is_empty() && left > 0 {
        removed.push((QueueId(which.first.lossy().into_owned()), false));
    }
    Ok(removed)
}

fn count(transaction: &Transaction<'_>, which: &Selection) -> rusqlite::Result<usize> {
    let mut count = transaction.prepare_cached("SELECT count(*) FROM message WHERE id BETWEEN ?1 AND ?2")?;
    let count: i64 = count.query_row([&which.first, &which.last], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However long the queue is, no transaction that is about all of it changes more than a part.
    #[test]
    fn what_is_done_with_all_is_done_with_some_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(&folder.path().join("queue.sqlite")).unwrap();
        let fill = "WITH RECURSIVE number (it) AS (SELECT 1 UNION ALL SELECT it + 1 FROM number WHERE it < 1234)
             INSERT INTO message (id, size, arrived, smtputf8, eight_bit) SELECT printf('%09d', it), 1, 0, 0, 0 FROM number";
        database.connection.execute_batch(fill).unwrap();
        let (mut after, mut removed) = (RawText::default(), Vec::new());
        while let Some(some) = database.some_behind(&after).unwrap() {
            removed.push(database.remove(&some).unwrap().len());
            after = some.into_last();
        }
        assert_eq!(removed, [500, 500, 234]);
    }

    /// Nor of what has very many recipients, of which one message may be left by damage.
    #[test]
    fn what_is_done_with_messages_to_thousands_is_done_with_few_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(&folder.path().join("queue.sqlite")).unwrap();
        let fill = "WITH RECURSIVE number (it) AS (SELECT 1 UNION ALL SELECT it + 1 FROM number WHERE it < 8)
             INSERT INTO message (id, size, arrived, smtputf8, eight_bit) SELECT printf('%09d', it), 1, 0, 0, 0 FROM number;
             WITH RECURSIVE number (it) AS (SELECT 0 UNION ALL SELECT it + 1 FROM number WHERE it < 9999)
             INSERT INTO recipient (message, position, address, state)
                 SELECT id, it, 'bob@example.net', 0 FROM message, number
                 WHERE it < CASE id WHEN '000000007' THEN 10000 ELSE 2000 END;
             PRAGMA foreign_keys = 0; DELETE FROM message WHERE id = '000000007'; PRAGMA foreign_keys = 1;";
        database.connection.execute_batch(fill).unwrap();
        let (mut after, mut removed) = (RawText::default(), Vec::new());
        while let Some(some) = database.some_behind(&after).unwrap() {
            let count = database.count_some_behind(&after).unwrap();
            removed.push(database.remove(&some).unwrap().len());
            assert_eq!(removed.last(), Some(&count));
            after = some.into_last();
        }
        assert_eq!(removed, [3, 3, 1]);
    }
}
