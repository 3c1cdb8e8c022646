//! What was seen of mail hosts, kept until it is reported: counted in memory, and written down now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::TrustError;
use crate::database::Database;
use crate::reports::{DayReport, Session};

/// Different results that are counted before they are written down.
const MAX_COUNTED: usize = 5_000;

/// The results of this process.
#[derive(Debug)]
pub(crate) struct Results {
    database: Arc<Database>,
    /// By the day in UTC.
    counted: Mutex<BTreeMap<(Date, Session), u64>>,
}

impl Results {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database, counted: Mutex::default() }
    }

    /// Counts a session. Where there is no more room, new kinds of results are left out.
    pub(crate) fn note(&self, session: Session, now: Timestamp) {
        let key = (day(now), session);
        let mut counted = self.counted();
        if counted.len() < MAX_COUNTED || counted.contains_key(&key) {
            *counted.entry(key).or_default() += 1;
        }
    }

    /// Writes down what was counted. Blocks.
    pub(crate) fn write(&self) -> Result<(), TrustError> {
        let counted = std::mem::take(&mut *self.counted());
        if counted.is_empty() {
            return Ok(());
        }
        self.database.count(&counted).inspect_err(|_| {
            let mut again = self.counted();
            for (key, count) in counted {
                *again.entry(key).or_default() += count;
            }
        })
    }

    /// What is to be reported of days before `today`, the oldest first, at most `limit`. Blocks.
    pub(crate) fn before(&self, today: Date, limit: usize) -> Result<Vec<DayReport>, TrustError> {
        self.database.reports(today, limit)
    }

    /// Forgets what was reported. Blocks.
    pub(crate) fn forget(&self, report: &DayReport) -> Result<(), TrustError> {
        self.database.forget(&report.domain, report.day)
    }

    fn counted(&self) -> MutexGuard<'_, BTreeMap<(Date, Session), u64>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The day in UTC.
pub(crate) fn day(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}
