//! The event log: what happened to each message, from the connection that brought it to the mailbox or the next host.
//!
//! It lies in `<data_dir>/events` as lines of JSON, one an [`Entry`], in segments that each have one writing process, so that servers
//! share nothing but the folder. [`EventLog`] writes beside the work, [`Reader`] reads while others write.

mod count;
mod event;
mod flood;
mod log;
mod reader;
mod report;
mod segment;
mod trace;

use std::io;
use std::path::{Path, PathBuf};

pub use event::{
    Attempt, AttemptOutcome, Entry, Event, LoginFailure, Message, MessageOutcome, Omitted, Operation, Queued,
    QueuedWhy, Refusal, Stage,
};
pub use log::EventLog;
pub use reader::Reader;
pub use report::{By, Figures, Line, Reason, Report, ReportFilter};
pub use trace::{Story, Trace, Traced};

/// The log can't be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{context} {}: {source}", path.display())]
#[non_exhaustive]
pub struct EventError {
    /// What was being done.
    context: &'static str,
    /// To which file or folder.
    path: PathBuf,
    source: io::Error,
}

impl EventError {
    pub(crate) fn io(context: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { context, path, source }
    }
}
