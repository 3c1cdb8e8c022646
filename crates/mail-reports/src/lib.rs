//! What others report about mail in our name: aggregate reports of DMARC (RFC 7489 §7.2) and of TLS (RFC 8460), and complaints (RFC 5965).
//!
//! A message that came to an address for reports is kept beside the mail until it is read, by a thread of its own, into
//! `reports.sqlite`: so nobody waits for that, and what a crash leaves is read by the next process. Of what comes, nothing is believed:
//! how much is unpacked, how many lines a report has and how many are kept is bounded.
//!
//! In the same database lies what was found out about mail from elsewhere, until it is reported to the domains that ask for it.

mod complaint;
mod database;
mod inbox;
mod received;

use std::path::PathBuf;

pub use complaint::{Obey, ProvenComplaint};
pub use database::{Choice, ComplaintLine, DmarcLine, Observed, Observer, Reports, TlsLine};
pub use inbox::{Inbox, Kept};

/// Reports can't be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The file system failed.
    #[error("{context} {}: {source}", path.display())]
    Io {
        /// What was being done.
        context: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the database of reports, {}, failed; it may be deleted: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// What is to be done about a complaint could not be done.
    #[error("a complaint can't be obeyed: {0}")]
    Obeying(Box<dyn std::error::Error + Send + Sync>),
    /// The message holds no report that can be read.
    #[error("no report: {0}")]
    NoReport(String),
}
