//! What must hold of any octets: each function panics where it does not.
#![allow(clippy::panic, clippy::expect_used, reason = "a broken rule ends a run")]

pub(crate) mod deflate;
pub(crate) mod imap;
pub(crate) mod imap_response;
pub(crate) mod message;
pub(crate) mod milter;
pub(crate) mod names;
pub(crate) mod pop3;
pub(crate) mod smtp;
