//! What the servers share around their sessions: sockets, TLS, limits, drain, and the main function of a server process.

mod bans;
mod channel_binding;
mod connection;
mod drain;
mod limits;
mod memory;
mod places;
mod privileges;
pub mod program;
mod proxy;
mod sockets;
mod stream;
mod tls;

pub use connection::{Connection, Refusals, ServerContext, serve};
pub use drain::Drain;
pub use limits::{AccountGuard, ConnectionGuard, Limits, TurnedAway};
pub use memory::use_small_pages;
pub use privileges::{become_user, restrict_new_files};
pub use sockets::{BindError, BoundListener, bind};
pub use stream::{Secured, Stream};
pub use tls::{TlsContext, TlsError};
