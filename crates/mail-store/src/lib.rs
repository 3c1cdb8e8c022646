//! The mail store: Maildir++ folders of plain files, with an SQLite index that is only a cache.
//!
//! All calls block; servers make them off the async threads (`tokio::task::spawn_blocking`).

mod account;
mod acl;
mod check;
mod content_hash;
mod delivery;
mod disk;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod housekeeping;
mod index;
mod mailbox;
mod mailbox_file;
mod mark;
mod message_file;
mod metadata;
mod meter;
mod names;
mod object_id;
mod quota;
mod recent;
mod search;
mod shares;
mod snapshot;
mod store;
mod summary;
#[cfg(test)]
mod tests;
mod watch;

pub use account::{Account, MailboxEntry, MailboxStatus, MetadataChange, MetadataChanges};
pub use acl::{Acl, Asker, Identifier, Known, OWNERS, Subject};
pub use check::{Advance, Finding, Problem};
pub use content_hash::ContentHash;
pub use delivery::Delivery;
pub use error::{Refusal, StoreError};
pub use mailbox::{Append, FlagChange, Mailbox, Stored, View};
pub use message_file::MessageFile;
pub use metadata::Metadata;
pub use meter::Meter;
pub use object_id::{EmailId, MailboxObjectId, NoId};
pub use search::{FuzzyAnswer, TextAnswer};
pub use snapshot::{Difference, Message, Snapshot, Uids};
pub use store::Store;
pub use summary::{Digests, Summarized, Summarizer, Summary};
pub use watch::{Changes, KnownStatus, News, Notices};
