//! The SMTP client: what we say is decided by pure machines ([`session`], [`transaction`]), [`connection`] does the I/O.

mod connection;
mod demands;
mod extensions;
mod haste;
mod hold;
mod limits;
mod outgoing;
mod pending;
mod relay;
mod session;
mod silence;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;

pub(crate) use hold::Hold;
pub(crate) use outgoing::{Outgoing, Recipient};
pub(crate) use relay::{NO_ROUTE, Relay};
pub(crate) use transaction::{Outcome, Told};
