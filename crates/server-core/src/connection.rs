use std::net::SocketAddr;
use std::sync::Arc;

use mail_config::{Config, Listener, TlsMode};

use crate::{BoundListener, ConnectionGuard, Drain, Limits, Stream, TlsContext};

/// What a server process is made of, handed to its `run`.
#[derive(Debug, Clone)]
pub struct ServerContext {
    /// The configuration.
    pub config: Arc<Config>,
    /// Certificates, if any are configured.
    pub tls: Option<Arc<TlsContext>>,
    /// Connection counts.
    pub limits: Arc<Limits>,
    /// Tells when to stop.
    pub drain: Drain,
}

/// An accepted connection; with implicit TLS the handshake is done.
#[derive(Debug)]
pub struct Connection {
    /// The bytes.
    pub stream: Stream,
    /// The client's end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Which listener took it.
    pub listener: Arc<Listener>,
    /// For STARTTLS.
    pub tls: Option<Arc<TlsContext>>,
    /// Counts the connection as open until it is dropped.
    pub guard: ConnectionGuard,
    /// Tells when to stop.
    pub drain: Drain,
}

impl Connection {
    /// True if AUTH and LOGIN may be offered now: under TLS, from loopback, or because the operator says so. Promise 5.
    #[must_use]
    pub fn may_login(&self, config: &Config) -> bool {
        self.stream.is_tls()
            || self.peer.ip().to_canonical().is_loopback()
            || config.limits.allow_plaintext_login
    }

    /// True if STARTTLS may be offered now.
    #[must_use]
    pub fn may_start_tls(&self) -> bool {
        self.listener.tls == TlsMode::StartTls && self.tls.is_some() && !self.stream.is_tls()
    }
}

/// Accepts connections and runs `handle` for each, as a task of its own, until the context drains; then waits for the sessions to end.
///
/// `refusal` is sent to a client over a limit, before its connection is closed: a whole line of the protocol.
pub async fn serve<F, S>(
    sockets: Vec<BoundListener>,
    context: ServerContext,
    refusal: &'static [u8],
    handle: F,
) where
    F: Fn(Connection) -> S + Clone + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let _ = (sockets, context, refusal, handle);
    todo!("PLATFORM")
}
