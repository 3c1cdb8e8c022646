//! Complaints that somebody is to obey.

use std::error::Error;

use mail_types::{Address, Domain};

/// Somebody calls a message in our name spam, or worse (RFC 5965), and it is proven who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenComplaint {
    /// The domain of the report's From field, which DMARC or DKIM proves.
    pub reporter: Domain,
    /// `abuse`, `fraud` and the like. RFC 5965 §7.3.
    pub kind: &'static str,
    /// To whom the message went. Many reporters leave it out.
    pub recipient: Option<Address>,
    /// The message's Message-ID, with its angle brackets, as the part of it says that the report holds.
    pub message_id: String,
}

/// Who obeys complaints. It is called on the thread that reads reports, and may block.
pub trait Obey: std::fmt::Debug + Send {
    /// Does what is to be done about a complaint; a second time for the same one where the first was cut short.
    ///
    /// # Errors
    /// Whatever kept it from that for now: the report is read again later.
    fn obey(&self, complaint: &ProvenComplaint) -> Result<(), Box<dyn Error + Send + Sync>>;
}
