//! What can still be read out of a damaged database, taken over into a new one: row by row and as it is, past what can't be read.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, Transaction, params, params_from_iter};

use crate::QueueId;
use crate::mishap::{Named, Salvaged};

/// The last moment that a name can have, in microseconds.
const LAST_MOMENT: u64 = (1 << MAX_SKIP) - 1;
/// How far apart the moments of two names can be, as a power of two.
const MAX_SKIP: u32 = 52;
/// Recipients of a message that are looked for one by one.
const MAX_POSITIONS: i64 = 10_000;

/// A walk over what can't be read goes on behind it.
type Walk = (&'static str, &'static str);
/// The names of messages behind `?1`, the next first; and those before `?2`, the next first.
const MESSAGES: Walk = (
    "SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT 1",
    "SELECT id FROM message WHERE id > ?1 AND id < ?2 ORDER BY id DESC LIMIT 1",
);
/// The same of those that recipients name.
const NAMED: Walk = (
    "SELECT message FROM recipient WHERE message > ?1 ORDER BY message LIMIT 1",
    "SELECT message FROM recipient WHERE message > ?1 AND message < ?2 ORDER BY message DESC LIMIT 1",
);

/// Takes over what `source` has and `target` has not; `files` is the folder of the messages. Fails only where `target` does.
pub(super) fn salvage(
    source: &Connection,
    target: &Transaction<'_>,
    files: &Path,
    salvaged: &mut Salvaged,
) -> rusqlite::Result<()> {
    let Ok(mut salvage) = Salvage::new(source, target, files) else { return Ok(()) };
    salvage.lineage()?;
    for walk in [MESSAGES, NAMED] {
        salvage.walk(walk, |salvage, id| salvage.take(id, salvaged))?;
    }
    Ok(())
}

struct Salvage<'s> {
    source: &'s Connection,
    target: &'s Transaction<'s>,
    files: &'s Path,
    message: Columns,
    recipient: Columns,
}

/// What both databases know of a table.
struct Columns(Vec<String>);

impl Columns {
    fn of(table: &str, source: &Connection, target: &Transaction<'_>) -> rusqlite::Result<Self> {
        let names = |connection: &Connection| -> rusqlite::Result<Vec<String>> {
            let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
            statement.query_map([table], |row| row.get(0))?.collect()
        };
        let known = names(source)?;
        Ok(Self(names(target)?.into_iter().filter(|name| known.contains(name)).collect()))
    }

    fn select(&self, table: &str, condition: &str) -> String {
        format!("SELECT {} FROM {table} WHERE {condition}", self.0.join(", "))
    }

    fn values(&self, row: &Row<'_>) -> rusqlite::Result<Vec<Value>> {
        (0..self.0.len()).map(|column| row.get(column)).collect()
    }

    fn text<'v>(&self, values: &'v [Value], column: &str) -> Option<&'v str> {
        let position = self.0.iter().position(|name| name == column)?;
        match values.get(position)? {
            Value::Text(text) => Some(text),
            Value::Null | Value::Integer(_) | Value::Real(_) | Value::Blob(_) => None,
        }
    }

    fn put(&self, table: &str, values: &[Value], target: &Transaction<'_>) -> rusqlite::Result<()> {
        let places = vec!["?"; self.0.len()].join(", ");
        let insert = format!("INSERT INTO {table} ({}) VALUES ({places})", self.0.join(", "));
        target.prepare_cached(&insert)?.execute(params_from_iter(values)).map(drop)
    }
}

impl<'s> Salvage<'s> {
    fn new(source: &'s Connection, target: &'s Transaction<'s>, files: &'s Path) -> rusqlite::Result<Self> {
        let message = Columns::of("message", source, target)?;
        let recipient = Columns::of("recipient", source, target)?;
        Ok(Self { source, target, files, message, recipient })
    }

    /// Who has one of these open is to know that it was taken over.
    fn lineage(&self) -> rusqlite::Result<()> {
        let ids = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.source.prepare("SELECT id FROM lineage")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let mut ids = ids().unwrap_or_default().into_iter();
        ids.try_for_each(|id| super::note_ancestor(self.target, &id))
    }

    /// Names each message that can be found.
    fn walk(
        &mut self,
        (next, previous): Walk,
        mut act: impl FnMut(&mut Self, &str) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut last = String::new();
        loop {
            match self.name(next, &[&last]) {
                Ok(Some(id)) => {
                    act(self, &id)?;
                    last = id;
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    let Some(behind) = self.behind_damage(next, &last) else { return Ok(()) };
                    // From there back to where it can't be read either.
                    let mut before = behind.clone().unwrap_or_else(|| "~".to_owned());
                    while let Ok(Some(id)) = self.name(previous, &[&last, &before]) {
                        act(self, &id)?;
                        before = id;
                    }
                    let Some(behind) = behind else { return Ok(()) };
                    act(self, &behind)?;
                    last = behind;
                }
            }
        }
    }

    fn name(&self, sql: &str, bounds: &[&str]) -> rusqlite::Result<Option<String>> {
        self.source.prepare_cached(sql)?.query_row(params_from_iter(bounds), |row| row.get(0)).optional()
    }

    /// The next name that can be read, however far behind; `Some(None)` if there is none, `None` if nothing can be read any more.
    fn behind_damage(&self, next: &str, last: &str) -> Option<Option<String>> {
        let moment = last.get(..13).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default();
        let far = |power| moment.saturating_add(1_u64 << power).min(LAST_MOMENT);
        let mut skipped = (0..=MAX_SKIP).map(|power| format!("{:013X}", far(power)));
        skipped.find_map(|name| self.name(next, &[&name]).ok())
    }

    /// Takes one over; fails only where the new database does.
    fn take(&mut self, id: &str, salvaged: &mut Salvaged) -> rusqlite::Result<()> {
        let known = self.target.prepare_cached("SELECT 1 FROM message WHERE id = ?1")?.exists([id])?;
        if known {
            return Ok(());
        }
        let (recipients, are_all) = self.recipients(id);
        let message = self.row(id);
        let named = self.named(id, message.as_deref(), &recipients);
        self.target.execute_batch("SAVEPOINT one")?;
        let is_whole = message.is_some();
        let taken = match message {
            _ if recipients.is_empty() => Ok(false),
            Some(values) => self.put(id, values, &recipients),
            None => self.put_partly(id, &recipients),
        };
        let is_taken = match taken {
            Ok(is_taken) => is_taken,
            // A row of types that can't be.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => false,
            Err(error) => return Err(error),
        };
        match (is_taken, is_whole) {
            (true, true) => {
                salvaged.taken += 1;
                if !are_all {
                    salvaged.lacking.push(named.clone());
                }
            }
            (true, false) => salvaged.held.push(named.clone()),
            (false, _) => self.target.execute_batch("ROLLBACK TO one")?,
        }
        // What one of them can't tell, another may.
        if is_taken {
            salvaged.lost.remove(id);
        } else {
            salvaged.lost.insert(id.to_owned(), named);
        }
        self.target.execute_batch("RELEASE one")
    }

    fn row(&self, id: &str) -> Option<Vec<Value>> {
        let select = self.message.select("message", "id = ?1");
        let mut statement = self.source.prepare_cached(&select).ok()?;
        statement.query_row([id], |row| self.message.values(row)).ok()
    }

    /// Those that can be read, and whether they are all.
    fn recipients(&self, id: &str) -> (Vec<Vec<Value>>, bool) {
        let all = || -> rusqlite::Result<Vec<Vec<Value>>> {
            let select = self.recipient.select("recipient", "message = ?1 ORDER BY position");
            let mut statement = self.source.prepare_cached(&select)?;
            statement.query_map([id], |row| self.recipient.values(row))?.collect()
        };
        let one_by_one = |_| ((0..MAX_POSITIONS).filter_map(|it| self.recipient(id, it)).collect(), false);
        all().map_or_else(one_by_one, |all| (all, true))
    }

    fn recipient(&self, id: &str, position: i64) -> Option<Vec<Value>> {
        let select = self.recipient.select("recipient", "message = ?1 AND position = ?2");
        let mut statement = self.source.prepare_cached(&select).ok()?;
        statement.query_row(params![id, position], |row| self.recipient.values(row)).ok()
    }

    /// False if its text is lost.
    fn put(&self, id: &str, mut values: Vec<Value>, recipients: &[Vec<Value>]) -> rusqlite::Result<bool> {
        let content = self.message.0.iter().position(|name| name == "content");
        if let Some(place) = content.and_then(|position| values.get_mut(position))
            && *place != Value::Null
        {
            let octets = self
                .source
                .prepare_cached("SELECT octets FROM content WHERE id = ?1")
                .and_then(|mut it| it.query_row([&*place], |row| row.get::<_, Vec<u8>>(0)));
            let Ok(octets) = octets else { return Ok(false) };
            self.target.prepare_cached("INSERT INTO content (octets) VALUES (?1)")?.execute([octets])?;
            *place = Value::Integer(self.target.last_insert_rowid());
        } else if !self.files.join(id).exists() {
            return Ok(false);
        }
        self.message.put("message", &values, self.target)?;
        self.put_recipients(recipients)?;
        Ok(true)
    }

    fn put_recipients(&self, recipients: &[Vec<Value>]) -> rusqlite::Result<()> {
        recipients.iter().try_for_each(|values| self.recipient.put("recipient", values, self.target))
    }

    /// Of what a message's own row has said, its recipients' rows know some. It is held: what it asked for, such as TLS, isn't known. False if it
    /// has no file.
    fn put_partly(&self, id: &str, recipients: &[Vec<Value>]) -> rusqlite::Result<bool> {
        let Ok(file) = std::fs::metadata(self.files.join(id)) else { return Ok(false) };
        let (Some(first), Some(arrived)) = (recipients.first(), QueueId(id.to_owned()).moment()) else {
            return Ok(false);
        };
        let origin = self.recipient.text(first, "origin").unwrap_or_default();
        // What it doesn't need of these is found out when it is tried.
        self.target
            .prepare_cached(
                "INSERT INTO message (id, sender, size, arrived, held, smtputf8, eight_bit, origin, is_ours)
                 VALUES (?1, ?2, ?3, ?4, 1, 1, 1, ?5, ?6)",
            )?
            .execute(params![
                id,
                self.recipient.text(first, "sender").filter(|sender| !sender.is_empty()),
                i64::try_from(file.len()).unwrap_or(i64::MAX),
                arrived.as_millisecond(),
                origin,
                !origin.is_empty(),
            ])?;
        self.put_recipients(recipients)?;
        self.target
            .prepare_cached("UPDATE recipient SET next_attempt = NULL WHERE message = ?1")?
            .execute([id])?;
        Ok(true)
    }

    /// As operators are told of it.
    fn named(&self, id: &str, message: Option<&[Value]>, recipients: &[Vec<Value>]) -> Named {
        let sender = message.and_then(|values| self.message.text(values, "sender"));
        let known = || self.recipient.text(recipients.first()?, "sender");
        let addresses = recipients.iter().filter_map(|values| self.recipient.text(values, "address"));
        Named {
            id: id.to_owned(),
            sender: sender.or_else(known).unwrap_or_default().to_owned(),
            recipients: addresses.map(str::to_owned).collect(),
        }
    }
}
