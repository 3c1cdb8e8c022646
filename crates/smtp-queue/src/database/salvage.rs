//! What can still be read out of a damaged database, taken over into a new one: row by row and as it is, past what can't be read.

use std::borrow::Cow;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, Transaction, params, params_from_iter};

use super::raw::{RawText, RawValue};
use crate::QueueId;
use crate::mishap::{Named, Salvaged};

/// The last moment that a name can have, in microseconds.
const LAST_MOMENT: u64 = (1 << MAX_SKIP) - 1;
/// How far apart the moments of two names can be, as a power of two.
const MAX_SKIP: u32 = 52;

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
    salvage.notices()?;
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

    fn values(&self, row: &Row<'_>) -> rusqlite::Result<Vec<RawValue>> {
        (0..self.0.len()).map(|column| row.get(column)).collect()
    }

    fn value<'v>(&self, values: &'v [RawValue], column: &str) -> Option<&'v RawValue> {
        values.get(self.0.iter().position(|name| name == column)?)
    }

    fn text<'v>(&self, values: &'v [RawValue], column: &str) -> Option<Cow<'v, str>> {
        match self.value(values, column)? {
            RawValue::Text(text) => Some(text.lossy()),
            RawValue::Other(_) => None,
        }
    }

    fn put(&self, table: &str, values: &[RawValue], target: &Transaction<'_>) -> rusqlite::Result<()> {
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
        let ids = || -> rusqlite::Result<Vec<RawText>> {
            let mut statement = self.source.prepare("SELECT id FROM lineage")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let mut ids = ids().unwrap_or_default().into_iter();
        ids.try_for_each(|id| super::note_ancestor(self.target, &id.lossy()))
    }

    /// What operators were told stays told until that is over.
    fn notices(&self) -> rusqlite::Result<()> {
        let known = || -> rusqlite::Result<Vec<[RawValue; 3]>> {
            let mut statement = self.source.prepare("SELECT subject, text, since FROM notice")?;
            statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?.collect()
        };
        let mut insert =
            self.target.prepare("INSERT OR IGNORE INTO notice (subject, text, since) VALUES (?1, ?2, ?3)")?;
        let mut known = known().unwrap_or_default().into_iter();
        known.try_for_each(|notice| insert.execute(params_from_iter(notice)).map(drop))
    }

    /// Names each message that can be found.
    fn walk(
        &mut self,
        (next, previous): Walk,
        mut act: impl FnMut(&mut Self, &RawText) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut last = RawText::default();
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
                    let mut before = behind.clone().unwrap_or_else(|| "~".into());
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

    fn name(&self, sql: &str, bounds: &[&RawText]) -> rusqlite::Result<Option<RawText>> {
        self.source.prepare_cached(sql)?.query_row(params_from_iter(bounds), |row| row.get(0)).optional()
    }

    /// The next name that can be read, however far behind; `Some(None)` if there is none, `None` if nothing can be read any more.
    fn behind_damage(&self, next: &str, last: &RawText) -> Option<Option<RawText>> {
        let moment =
            last.lossy().get(..13).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default();
        let far = |power| moment.saturating_add(1_u64 << power).min(LAST_MOMENT);
        let mut skipped = (0..=MAX_SKIP).map(|power| format!("{:013X}", far(power)));
        skipped.find_map(|name| self.name(next, &[&name.as_str().into()]).ok())
    }

    /// Takes one over; fails only where the new database does.
    fn take(&mut self, id: &RawText, salvaged: &mut Salvaged) -> rusqlite::Result<()> {
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
            salvaged.lost.remove(&named.id);
        } else {
            salvaged.lost.insert(named.id.clone(), named);
        }
        self.target.execute_batch("RELEASE one")
    }

    fn row(&self, id: &RawText) -> Option<Vec<RawValue>> {
        let select = self.message.select("message", "id = ?1");
        let mut statement = self.source.prepare_cached(&select).ok()?;
        statement.query_row([id], |row| self.message.values(row)).ok()
    }

    /// Those that can be read from either end, and whether they are all.
    fn recipients(&self, id: &RawText) -> (Vec<Vec<RawValue>>, bool) {
        let (mut recipients, are_all) = self.recipients_from(id, "ASC");
        if !are_all {
            let (behind, _) = self.recipients_from(id, "DESC");
            let position = |values: &Vec<RawValue>| self.recipient.value(values, "position").cloned();
            let known = recipients.last().and_then(position);
            let is_new = |values: &Vec<RawValue>| known.is_none() || position(values) != known;
            let behind: Vec<_> = behind.into_iter().take_while(is_new).collect();
            recipients.extend(behind.into_iter().rev());
        }
        (recipients, are_all)
    }

    /// Those that can be read from one end, and whether they are all.
    fn recipients_from(&self, id: &RawText, order: &str) -> (Vec<Vec<RawValue>>, bool) {
        let mut recipients = Vec::new();
        let mut read = || -> rusqlite::Result<()> {
            let condition = format!("message = ?1 ORDER BY position {order}");
            let mut statement =
                self.source.prepare_cached(&self.recipient.select("recipient", &condition))?;
            let mut rows = statement.query([id])?;
            while let Some(row) = rows.next()? {
                recipients.push(self.recipient.values(row)?);
            }
            Ok(())
        };
        let are_all = read().is_ok();
        (recipients, are_all)
    }

    /// False if its text is lost.
    fn put(
        &self,
        id: &RawText,
        mut values: Vec<RawValue>,
        recipients: &[Vec<RawValue>],
    ) -> rusqlite::Result<bool> {
        let content = self.message.0.iter().position(|name| name == "content");
        if let Some(place) = content.and_then(|position| values.get_mut(position))
            && *place != RawValue::Other(Value::Null)
        {
            let octets = self
                .source
                .prepare_cached("SELECT octets FROM content WHERE id = ?1")
                .and_then(|mut it| it.query_row([&*place], |row| row.get::<_, Vec<u8>>(0)));
            let Ok(octets) = octets else { return Ok(false) };
            self.target.prepare_cached("INSERT INTO content (octets) VALUES (?1)")?.execute([octets])?;
            *place = RawValue::Other(Value::Integer(self.target.last_insert_rowid()));
        } else if !self.files.join(&*id.lossy()).exists() {
            return Ok(false);
        }
        self.message.put("message", &values, self.target)?;
        self.put_recipients(recipients)?;
        Ok(true)
    }

    fn put_recipients(&self, recipients: &[Vec<RawValue>]) -> rusqlite::Result<()> {
        recipients.iter().try_for_each(|values| self.recipient.put("recipient", values, self.target))
    }

    /// Of what a message's own row has said, its recipients' rows know some. It is held: what it asked for, such as TLS, isn't known. False if it
    /// has no file.
    fn put_partly(&self, id: &RawText, recipients: &[Vec<RawValue>]) -> rusqlite::Result<bool> {
        let name = id.lossy().into_owned();
        let Ok(file) = std::fs::metadata(self.files.join(&name)) else { return Ok(false) };
        let (Some(first), Some(arrived)) = (recipients.first(), QueueId(name).moment()) else {
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
    fn named(&self, id: &RawText, message: Option<&[RawValue]>, recipients: &[Vec<RawValue>]) -> Named {
        let sender = message.and_then(|values| self.message.text(values, "sender"));
        let known = || self.recipient.text(recipients.first()?, "sender");
        let addresses = recipients.iter().filter_map(|values| self.recipient.text(values, "address"));
        Named {
            id: id.lossy().into_owned(),
            sender: sender.or_else(known).unwrap_or_default().into_owned(),
            recipients: addresses.map(Cow::into_owned).collect(),
        }
    }
}
