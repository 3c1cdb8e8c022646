//! Text as a row has it: after damage it need not be UTF-8.

use std::borrow::Cow;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Row, ToSql};

/// Octets that ought to be text, and are compared and written as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RawText(Vec<u8>);

impl RawText {
    /// What isn't UTF-8 is replaced, so that it can be shown.
    pub(crate) fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// `None` if it isn't UTF-8.
    pub(super) fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }
}

impl From<&str> for RawText {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl FromSql for RawText {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        octets(value).map(|octets| Self(octets.to_vec()))
    }
}

impl ToSql for RawText {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

fn octets(value: ValueRef<'_>) -> FromSqlResult<&[u8]> {
    match value {
        ValueRef::Text(octets) => Ok(octets),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
            Err(FromSqlError::InvalidType)
        }
    }
}

/// A row's text without a copy; what isn't UTF-8 is replaced.
pub(super) fn lossy<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<Cow<'r, str>> {
    Ok(String::from_utf8_lossy(octets(row.get_ref(column)?)?))
}

/// The same where there may be none.
pub(super) fn lossy_or_null<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<Option<Cow<'r, str>>> {
    if row.get_ref(column)? == ValueRef::Null { Ok(None) } else { lossy(row, column).map(Some) }
}

/// A value as a row has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RawValue {
    Text(RawText),
    Other(Value),
}

impl FromSql for RawValue {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match octets(value) {
            Ok(octets) => Ok(Self::Text(RawText(octets.to_vec()))),
            Err(_) => Value::column_result(value).map(Self::Other),
        }
    }
}

impl ToSql for RawValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Other(value) => value.to_sql(),
        }
    }
}
