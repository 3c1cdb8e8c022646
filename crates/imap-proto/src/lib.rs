//! IMAP4rev1 commands and responses: parse and encode, no I/O. RFC 3501 and the extensions that the server offers.
//!
//! [`line-codec`](../line_codec/imap/index.html) frames whole commands first; the grammars here only ever see complete input.

mod acl;
mod append;
mod command;
mod condstore;
mod encode;
mod esearch;
mod expected;
mod fetch;
mod grammar;
mod language;
mod list;
mod metadata;
mod names;
mod notify;
mod quota;
mod search;
mod sort;
mod status;
mod store;
mod structure;
mod url;

pub use acl::{RightsChange, acl_response, listrights_response, myrights_response};
pub use append::{AppendNext, AppendRequest, AppendScript, AppendStep, Within};
pub use command::{Command, ParseError, Request, SearchRequest};
pub use condstore::{FetchModifiers, Qresync, SelectParams};
pub use encode::{astring, internal_date, nstring, quoted, string};
pub use esearch::MailboxFilter;
pub use expected::{Expected, Noun};
pub use fetch::{FetchItem, Part, Section, SectionText, part_number};
pub use language::{LanguageRange, language_response};
pub use list::{ListRequest, ListReturn, ListSelect};
pub use mail_types::Language;
pub use metadata::{MetadataDepth, MetadataOptions, metadata_changed, metadata_response};
pub use notify::{EventFilter, EventGroup, NotifyEvent, NotifyRequest};
pub use quota::{QuotaResource, quota_response, quotaroot_response};
pub use search::{Header, PartialRange, SearchKey, SearchReturns};
pub use sort::{SortCriterion, SortKey, ThreadAlgorithm};
pub use status::StatusItem;
pub use store::StoreMode;
pub use structure::{body, envelope};
pub use url::MessageUrl;

use std::fmt;

/// What a client calls a command, and finds on its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(Box<str>);

impl Tag {
    /// The tag written in `bytes`, if it is one. RFC 3501 §9, `tag`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let valid = !bytes.is_empty() && bytes.iter().all(|c| grammar::is_astring_char(*c) && *c != b'+');
        let text = std::str::from_utf8(bytes).ok().filter(|_| valid)?;
        Some(Self(text.into()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of messages as one command names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageSet {
    /// By position.
    Seq(mail_types::SeqSet),
    /// By UID.
    Uid(mail_types::UidSet),
    /// `$`: what the last SEARCH saved (RFC 5182); true if the command works with UIDs.
    Saved(bool),
}

impl MessageSet {
    /// True if the command works with UIDs.
    #[must_use]
    pub const fn is_uid(&self) -> bool {
        match self {
            Self::Seq(_) => false,
            Self::Uid(_) => true,
            Self::Saved(uid) => *uid,
        }
    }
}
