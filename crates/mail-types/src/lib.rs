//! The vocabulary of mail, shared by every layer: addresses, mailbox names, UIDs, sets, flags, secrets.
//!
//! Values are parsed once, at the edge, and carried as these types from there on.

mod address;
mod address_pattern;
mod channel_bindings;
mod flag;
mod internal_date;
mod language;
mod local_recipient;
mod mailbox_name;
mod metadata_entry;
mod network;
mod number;
mod number_set;
mod quota;
mod rights;
mod secret;
mod texts;

pub use address::{Address, AddressError, Domain};
pub use address_pattern::AddressPattern;
pub use channel_bindings::ChannelBindings;
pub use flag::{Flag, Flags, Keyword, KeywordError};
pub use internal_date::InternalDate;
pub use language::Language;
pub use local_recipient::LocalRecipient;
pub use mailbox_name::{MailboxName, MailboxNameError, SpecialUse};
pub use metadata_entry::{MetadataEntry, MetadataEntryError, MetadataScope};
pub use network::{Network, NetworkError};
pub use number::{ModSeq, SeqNum, Uid, UidValidity, ZeroError};
pub use number_set::{Bound, Number, NumberSet, SeqSet, UidSet};
pub use quota::{Quota, Usage};
pub use rights::{Rights, RightsError};
pub use secret::Secret;
pub use texts::{InLanguage, Localised};
