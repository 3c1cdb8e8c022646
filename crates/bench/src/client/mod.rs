//! Small clients: quick enough that they don't stand in the way of the servers.

mod crowd;
mod imap;
mod pop3;
mod smtp;
mod stream;
mod unverified;

pub(crate) use crowd::{Mail, crowd};
pub(crate) use imap::Imap;
pub(crate) use pop3::Pop3;
pub(crate) use smtp::Smtp;
pub(crate) use unverified::unverified;
