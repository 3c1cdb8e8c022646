//! What a check can find.

use std::fmt;
use std::path::PathBuf;

use mail_types::Uid;

use crate::content_hash::ContentHash;

/// Something that is not as it should be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file or folder concerned.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The account has no INBOX, or a mailbox lacks one of its folders.
    #[error("this folder is missing")]
    FolderMissing,
    /// A folder that no mailbox name stands for.
    #[error("no mailbox can have the name of this folder, so its mail is not shown")]
    NotAMailboxName,
    /// A folder that its owner can't read.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// `mailstead-mailbox` can't be understood.
    #[error(
        "it is damaged: the next open makes it anew, with the UIDVALIDITY that index and file names know"
    )]
    MailboxFileDamaged,
    /// `mailstead-mailbox` is gone although the index knows the mailbox.
    #[error(
        "it is missing: the next open makes it anew, with the UIDVALIDITY that index and file names know"
    )]
    MailboxFileMissing,
    /// Keywords beyond the 26 that have letters, of no message or with no name.
    #[error("it gives keywords to UID {0}, of which there is no message or no such keyword")]
    StrayKeywords(u32),
    /// A line of `subscriptions` that names no mailbox.
    #[error("{0} is subscribed but does not exist")]
    SubscriptionToNowhere(String),
    /// There is no index.
    #[error("the index is missing")]
    IndexMissing,
    /// SQLite finds the index damaged.
    #[error("the index is damaged: {0}")]
    IndexDamaged(String),
    /// A later version of this program made the index.
    #[error("the index is from a newer version of Mailstead ({0})")]
    IndexNewer(i64),
    /// The index knows a mailbox that is not there.
    #[error("the index knows this mailbox, but there is no such folder")]
    IndexedMailboxMissing,
    /// The index has another UIDVALIDITY for a mailbox, or its numbers passed what the mailbox's file reserved.
    #[error("the index does not fit to this mailbox")]
    IndexOfAnother,
    /// Two files have one UID.
    #[error("UID {0} is also that of another file")]
    UidDoubled(Uid),
    /// A UID that this mailbox never gave.
    #[error("UID {0} was never given in this mailbox")]
    UidAboveLimit(Uid),
    /// A file in `cur` that has no UID.
    #[error("it has no UID")]
    NoUid,
    /// A file that the index doesn't know.
    #[error("the index does not know this message")]
    NotIndexed,
    /// A message of the index whose file is gone.
    #[error("the index knows a message with UID {0} here, but there is no such file")]
    FileMissing(u32),
    /// The index has other flags or keywords than the file.
    #[error("the index has other flags or keywords than the file")]
    FlagsDiffer,
    /// A letter that stands for no keyword.
    #[error("its flag {0} stands for no keyword")]
    LetterUnknown(char),
    /// A name that breaks the grammar.
    #[error("its name breaks the grammar: {0}")]
    BadName(&'static str),
    /// A name that is not UTF-8.
    #[error("its name is not UTF-8")]
    NotUtf8,
    /// A symbolic link, a folder, a device where a message should be.
    #[error("it is {0} where a message should be")]
    NotAFile(&'static str),
    /// A file without content.
    #[error("it is empty: its content was lost before it was on the disk, or never written")]
    Empty,
    /// The file's size is not the one in its name.
    #[error("it has {found} octets, its name says {named}: its content is not the one that was stored")]
    SizeDiffers {
        /// In the name.
        named: u64,
        /// On disk.
        found: u64,
    },
    /// The size on the wire is not the one in its name, or in the index.
    #[error("it has {found} octets on the wire, {named} were expected")]
    WireSizeDiffers {
        /// In the name, or in the index.
        named: u64,
        /// As counted, or in the name.
        found: u64,
    },
    /// The content's hash is not the one it had.
    #[error("its content is damaged: its hash is {found}, it was {known}")]
    ContentDiffers {
        /// From the file's name, or from the last check.
        known: String,
        /// Of what the disk holds.
        found: String,
    },
    /// A file in `tmp` that nobody writes any more.
    #[error("a temporary file is left that nobody writes any more")]
    StaleTemporary,
}

impl Problem {
    pub(super) fn content(known: ContentHash, found: ContentHash) -> Self {
        Self::ContentDiffers { known: known.to_string(), found: found.to_string() }
    }

    /// A word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::FolderMissing => "folder-missing",
            Self::NotAMailboxName => "not-a-mailbox-name",
            Self::Unreadable(_) => "unreadable",
            Self::MailboxFileDamaged => "mailbox-file-damaged",
            Self::MailboxFileMissing => "mailbox-file-missing",
            Self::StrayKeywords(_) => "stray-keywords",
            Self::SubscriptionToNowhere(_) => "subscription-to-nowhere",
            Self::IndexMissing => "index-missing",
            Self::IndexDamaged(_) => "index-damaged",
            Self::IndexNewer(_) => "index-newer",
            Self::IndexedMailboxMissing => "indexed-mailbox-missing",
            Self::IndexOfAnother => "index-of-another",
            Self::UidDoubled(_) => "uid-doubled",
            Self::UidAboveLimit(_) => "uid-above-limit",
            Self::NoUid => "no-uid",
            Self::NotIndexed => "not-indexed",
            Self::FileMissing(_) => "file-missing",
            Self::FlagsDiffer => "flags-differ",
            Self::LetterUnknown(_) => "letter-unknown",
            Self::BadName(_) => "bad-name",
            Self::NotUtf8 => "not-utf8",
            Self::NotAFile(_) => "not-a-file",
            Self::Empty => "empty",
            Self::SizeDiffers { .. } => "size-differs",
            Self::WireSizeDiffers { .. } => "wire-size-differs",
            Self::ContentDiffers { .. } => "content-differs",
            Self::StaleTemporary => "stale-temporary",
        }
    }
}

/// What was found, gathered.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, path: impl Into<PathBuf>, problem: Problem) {
        self.0.push(Finding { path: path.into(), problem });
    }
}
