//! SMTP commands and replies as values: RFC 5321 and the extensions that the server offers. No I/O.

mod command;
mod dsn;
mod handling;
mod reply;
mod status;
mod xclient;
mod xtext;

pub use command::{Body, Command, MailParameters, ParseError, Recipient, ReversePath};
pub use dsn::{Notify, OriginalRecipient, RcptParameters, Return};
pub use handling::{ByMode, DeliverBy, Hold, Priority};
pub use reply::{Reply, ReplyError};
pub use status::{Status, StatusError};
pub use xclient::Xclient;
