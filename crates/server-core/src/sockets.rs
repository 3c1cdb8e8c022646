use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use mail_config::Listener;

/// A listening socket and how it is served.
#[derive(Debug)]
pub struct BoundListener {
    /// The socket.
    pub socket: TcpListener,
    /// How it is served.
    pub listener: Arc<Listener>,
}

/// Why there is no socket. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is in use, is not ours, or needs a privilege.
    #[error("can't listen on {address} ({listener}): {source}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A socket was handed down that can't be used.
    #[error("the socket handed down as {listener} can't be used: {source}")]
    Inherited {
        /// Its name in LISTEN_FDNAMES.
        listener: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The sockets for `listeners`: those handed down by systemd or the supervisor (`LISTEN_FDS`, `LISTEN_FDNAMES`), else newly bound.
///
/// # Errors
/// [`BindError`], naming each one that failed.
pub fn bind(listeners: &[Listener]) -> Result<Vec<BoundListener>, Vec<BindError>> {
    let _ = listeners;
    todo!("PLATFORM")
}
