//! What mail asks of the DNS: where a domain's mail goes, addresses, names of addresses, lists.
//!
//! Every look-up has a time limit of its own, and one bounded cache serves the whole process. What the DNS says ("there is no
//! such name") and that it says nothing ("not now") are always told apart: [`LookupError::is_temporary`].

mod dns;
mod error;
mod mail_hosts;
mod reverse;
mod validated;

pub use dns::Dns;
pub use error::{DnsError, LookupError};
pub use mail_hosts::{MailHost, MailHosts};
pub use reverse::reversed;
pub use validated::{Authentic, TlsaRecord};
