//! POP3 commands and responses: parse and encode, no I/O. RFC 1939, RFC 2449, RFC 2595, RFC 3206, RFC 5034, RFC 6856.

mod command;
mod number;
mod response;
mod unique_id;

pub use command::{Command, ParseError};
pub use number::{MessageNumber, MessageNumberError};
pub use response::{Response, ResponseCode};
pub use unique_id::UniqueId;
