//! Steps at which a test has the process die, as a crash would have it. Other builds have nothing of them.

/// What was done last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The message's file is made.
    FileMade,
    /// All of it is written.
    FileWritten,
    /// It is on the disk.
    FileFlushed,
    /// Its name is, too.
    FolderFlushed,
    /// All changes of a transaction are made, but not committed.
    Changed,
    /// They are committed.
    Committed,
    /// The host has given its last word.
    Replied,
    /// What comes of the attempt is ready to be queued.
    OffspringMade,
    /// The attempt is recorded.
    Recorded,
    /// The file of a message that is done is removed.
    FileRemoved,
    /// An address is about to be noted on the suppression list.
    Bounced,
    /// A report that tells of more has taken the place of another one, uncommitted.
    Superseded,
    /// What a report to another domain says is known, and nobody has it.
    ReportMade,
    /// It is queued, or a web server has it, and what it reports is not forgotten yet.
    ReportOut,
    /// That is forgotten.
    ReportForgotten,
    /// A damaged database has another name as well.
    SetAside,
    /// The new one is whole, but not in place.
    Renewed,
    /// What SQLite had beside the old one is gone.
    Cleared,
    /// The new one is in place.
    InPlace,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn reached(_: Step) {}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::reached;
