//! DKIM (RFC 6376, RFC 8463): signatures on the mail that is written here, and the keys for them. ARC (RFC 8617): seals on what others have written
//! and goes on from here, by the same keys.
//!
//! A domain's keys come in generations of two, RSA and Ed25519, of which one signs. The others are new, and wait until their
//! records can be seen in the DNS, or old, and stay until all that they signed has arrived.

mod keys;
mod seal;
mod signer;

pub use keys::{Generation, KeyError, Keys, Record};
pub use signer::{SignError, Signers};
