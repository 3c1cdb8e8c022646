//! Rows as values.

use std::error::Error;
use std::str::FromStr;

use jiff::Timestamp;
use mail_types::Address;
use rusqlite::Row;
use rusqlite::types::Type;
use smtp_proto::{Body, ByMode, Priority, RcptParameters};

use crate::handling::{Deadline, Handling};
use crate::message::{Diagnosis, QueueId, QueuedMessage, QueuedRecipient, RecipientState};

pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<QueuedMessage> {
    let sender: Option<String> = row.get(1)?;
    Ok(QueuedMessage {
        id: QueueId(row.get(0)?),
        origin: row.get(16)?,
        sender: sender.map(|sender| address(&sender, 1)).transpose()?,
        size: unsigned(row, 2)?,
        checksum: row.get(18)?,
        arrived: timestamp(row, 3)?,
        held: row.get(4)?,
        smtputf8: row.get(5)?,
        body: body(row, 6)?,
        ret: parsed(row, 7)?,
        envelope_id: row.get(8)?,
        handling: Handling {
            require_tls: row.get(9)?,
            priority: row.get::<_, Option<i64>>(10)?.map(|it| priority(it, 10)).transpose()?,
            deadline: deadline(row)?,
            release: row.get::<_, Option<i64>>(14)?.map(|it| moment(it, 14)).transpose()?,
            is_ours: row.get(15)?,
            is_bulk: row.get(17)?,
        },
        recipients: Vec::new(),
    })
}

fn deadline(row: &Row<'_>) -> rusqlite::Result<Option<Deadline>> {
    let Some(at) = row.get::<_, Option<i64>>(11)? else { return Ok(None) };
    let mode = if row.get(12)? { ByMode::Return } else { ByMode::Notify };
    Ok(Some(Deadline { at: moment(at, 11)?, mode, trace: row.get(13)? }))
}

pub(super) fn priority(number: i64, column: usize) -> rusqlite::Result<Priority> {
    Priority::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// The same of what is only put in order: what can't be read has the nearest one.
pub(super) fn nearest_priority(number: i64) -> Priority {
    let all = (-9_i64..=9).filter_map(|it| Priority::try_from(it).ok());
    all.min_by_key(|it| i64::from(it.get()).abs_diff(number)).unwrap_or_default()
}

/// When something is due, however it was damaged.
pub(super) fn nearest_moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let milliseconds: i64 = row.get(column)?;
    let far = if milliseconds > 0 { Timestamp::MAX } else { Timestamp::MIN };
    Ok(Timestamp::from_millisecond(milliseconds).unwrap_or(far))
}

pub(super) fn recipient(row: &Row<'_>) -> rusqlite::Result<QueuedRecipient> {
    Ok(QueuedRecipient {
        address: address(&row.get::<_, String>(0)?, 0)?,
        state: state(row, 1)?,
        attempts: row.get(2)?,
        last_attempt: row.get::<_, Option<i64>>(3)?.map(|it| moment(it, 3)).transpose()?,
        next_attempt: row.get::<_, Option<i64>>(4)?.map(|it| moment(it, 4)).transpose()?,
        diagnosis: diagnosis(row)?,
        parameters: RcptParameters { notify: parsed(row, 8)?, original: parsed(row, 9)? },
        warned: row.get(10)?,
        next_hop: parsed(row, 11)?,
    })
}

/// What was written as it is sent.
fn parsed<T: FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T::Err: Error + Send + Sync + 'static,
{
    let text: Option<String> = row.get(column)?;
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn diagnosis(row: &Row<'_>) -> rusqlite::Result<Option<Diagnosis>> {
    let status: Option<String> = row.get(5)?;
    let Some(status) = status.and_then(|status| status.parse().ok()) else {
        return Ok(None);
    };
    let text = row.get::<_, Option<String>>(7)?.unwrap_or_default();
    Ok(Some(Diagnosis::stored(status, row.get(6)?, text)))
}

pub(super) const fn state_code(state: RecipientState) -> i64 {
    match state {
        RecipientState::Pending => 0,
        RecipientState::Delivered => 1,
        RecipientState::Failed => 2,
    }
}

/// The column was once of two values only, and is named for that.
pub(super) const fn body_code(body: Body) -> i64 {
    match body {
        Body::SevenBit => 0,
        Body::EightBit => 1,
        Body::Binary => 2,
    }
}

fn body(row: &Row<'_>, column: usize) -> rusqlite::Result<Body> {
    match row.get::<_, i64>(column)? {
        0 => Ok(Body::SevenBit),
        1 => Ok(Body::EightBit),
        2 => Ok(Body::Binary),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<RecipientState> {
    match row.get::<_, i64>(column)? {
        0 => Ok(RecipientState::Pending),
        1 => Ok(RecipientState::Delivered),
        2 => Ok(RecipientState::Failed),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

fn address(text: &str, column: usize) -> rusqlite::Result<Address> {
    text.parse().map_err(|error: mail_types::AddressError| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    moment(row.get(column)?, column)
}

pub(super) fn moment(milliseconds: i64, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, milliseconds))
}
