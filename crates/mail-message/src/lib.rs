//! Pure functions and types over the bytes of one message: header fields, MIME structure with exact byte ranges,
//! the IMAP ENVELOPE, BODYSTRUCTURE and sections, and the matching that SEARCH asks for.
//!
//! Everything is bounded (nesting, parts, what headers list) and linear in the message's length; nothing panics on odd mail.

mod address_list;
pub mod binary;
mod casemap;
mod digest;
mod envelope;
pub mod fuzzy;
pub mod header;
mod header_text;
mod mime;
mod mime_field;
mod needle;
mod preview;
mod rfc2231;
mod scanner;
pub mod search;
mod structure;
mod subject;
mod text;
pub mod transport;

pub use casemap::casemap;
pub use digest::{Digest, DigestText, MessageIdHash, ThreadKey};
pub use envelope::{Envelope, EnvelopeAddress};
pub use header_text::HeaderText;
pub use preview::preview;
pub use structure::{BodyStructure, Content, Disposition, Param};
pub use subject::BaseSubject;
