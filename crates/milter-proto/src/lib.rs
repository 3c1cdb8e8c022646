//! The mail server's side of Sendmail's milter protocol, version 6, as Postfix speaks it: commands and replies, no I/O.
//!
//! No standard describes it: libmilter's `mfdef.h` names its codes, and its documentation what they mean. Each packet is its length
//! in four octets, a letter that says what it is, and its data.

mod command;
mod frame;
mod negotiation;
mod reply;

pub use command::{Command, Family, Stage};
pub use frame::{MAX_PACKET, PacketError, next_packet};
pub use negotiation::{Actions, Offer, Steps, VERSION};
pub use reply::{Change, Reply, ReplyError};

/// Octets of a piece of the body at most.
pub const MAX_BODY: usize = 65_535;
