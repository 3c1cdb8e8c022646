//! DKIM (RFC 6376, RFC 8463): signatures on the mail that is written here, and the keys for them.
//!
//! A domain's keys come in generations of two, RSA and Ed25519, of which one signs. The others are new, and wait until their
//! records can be seen in the DNS, or old, and stay until all that they signed has arrived.

mod keys;
mod signer;

pub use keys::{Generation, KeyError, Keys, Record};
pub use signer::{SignError, Signers};
