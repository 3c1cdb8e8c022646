use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mail_config::{Config, Listener, TlsMode};
use mail_metrics::{Metric, Metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::proxy::{self, Proxied};
use crate::{BoundListener, ConnectionGuard, Drain, Limits, Stream, TlsContext, TurnedAway, program};

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
    /// What is counted for monitoring.
    pub metrics: Metrics,
}

/// An accepted connection; with implicit TLS the handshake is done.
#[derive(Debug)]
pub struct Connection {
    /// The bytes.
    pub stream: Stream,
    /// The client's end; of a client behind a proxy, its end there.
    pub peer: SocketAddr,
    /// Our end; of a client behind a proxy, the proxy's.
    pub local: SocketAddr,
    /// The client has come to the proxy over TLS, which ends there.
    pub is_behind_tls: bool,
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
        self.is_secure() || self.peer.ip().to_canonical().is_loopback() || config.limits.allow_plaintext_login
    }

    /// True if STARTTLS may be offered now.
    #[must_use]
    pub fn may_start_tls(&self) -> bool {
        self.listener.tls == TlsMode::StartTls && self.tls.is_some() && !self.is_secure()
    }

    /// True if what the client says goes under TLS, to us or to a proxy that the operator trusts.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_behind_tls || self.stream.is_tls()
    }
}

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The wait after an accept that failed for want of descriptors or memory.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// What a client is told that is turned away, each a whole line of the protocol.
#[derive(Debug, Clone)]
pub struct Refusals {
    /// See [`TurnedAway::TooMany`].
    pub too_many: Cow<'static, [u8]>,
    /// See [`TurnedAway::TooManyThere`].
    pub too_many_there: Cow<'static, [u8]>,
    /// See [`TurnedAway::Banned`].
    pub banned: Cow<'static, [u8]>,
}

impl Refusals {
    fn line(&self, why: TurnedAway) -> &[u8] {
        match why {
            TurnedAway::TooMany => &self.too_many,
            TurnedAway::TooManyThere => &self.too_many_there,
            TurnedAway::Banned => &self.banned,
        }
    }
}

/// Accepts connections and runs `handle` for each, as a task of its own, until the context drains; then waits for the sessions to end.
///
/// One of the `refusals` is sent to a client that is turned away, before its connection is closed.
pub async fn serve<F, S>(sockets: Vec<BoundListener>, context: ServerContext, refusals: Refusals, handle: F)
where
    F: Fn(Connection) -> S + Clone + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let (sessions, mut acceptors) = (TaskTracker::new(), JoinSet::new());
    let refusals = Arc::new(refusals);
    for BoundListener { socket, listener } in sockets {
        let accepting = Accepting {
            context: context.clone(),
            listener,
            refusals: Arc::clone(&refusals),
            sessions: sessions.clone(),
        };
        match TcpListener::from_std(socket) {
            Ok(socket) => drop(acceptors.spawn(accepting.run(socket, handle.clone()))),
            Err(error) => error!(listener = accepting.listener.name, %error, "the socket can't be served"),
        }
    }
    program::tell_ready();
    context.drain.begun().await;
    // Who is accepted at this moment has a session too, and is waited for.
    while acceptors.join_next().await.is_some() {}
    sessions.close();
    let deadline = context.config.limits.drain_timeout;
    if timeout(deadline, sessions.wait()).await.is_err() {
        warn!(sessions = sessions.len(), "the drain deadline has passed; the remaining sessions are cut off");
    }
}

/// One listening socket's part of [`serve`].
struct Accepting {
    context: ServerContext,
    listener: Arc<Listener>,
    refusals: Arc<Refusals>,
    sessions: TaskTracker,
}

impl Accepting {
    async fn run<F, S>(self, socket: TcpListener, handle: F)
    where
        F: Fn(Connection) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = self.context.drain.begun() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.start(stream, peer, handle.clone()),
                Err(error) => {
                    warn!(listener = self.listener.name, %error, "can't accept a connection");
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }

    fn start<F, S>(&self, stream: TcpStream, peer: SocketAddr, handle: F)
    where
        F: Fn(Connection) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let is_proxy = self.listener.is_proxy(peer.ip());
        let limits = &self.context.limits;
        let guard = if is_proxy { limits.connect_proxy() } else { limits.connect(peer.ip()) };
        let name = &self.listener.name;
        let guard = match guard {
            Ok(guard) => guard,
            Err(why) => {
                self.context.metrics.count(Metric::RefusedConnections, &[name], 1);
                info!(%peer, listener = name, "refused: {why}");
                return refuse(&stream, self.refusals.line(why), self.listener.tls);
            }
        };
        self.context.metrics.count(Metric::Connections, &[name], 1);
        let span = if is_proxy {
            info_span!("connection", listener = name, proxy = %peer, peer = tracing::field::Empty)
        } else {
            info_span!("connection", listener = name, %peer)
        };
        let opening = Opening {
            stream,
            peer,
            is_proxy,
            listener: Arc::clone(&self.listener),
            context: self.context.clone(),
            guard,
            refusals: Arc::clone(&self.refusals),
        };
        self.sessions.spawn(
            async move {
                match opening.open().await {
                    Ok(connection) => handle(connection).await,
                    Err(error) => debug!(%error, "the connection did not come about"),
                }
            }
            .instrument(span),
        );
    }
}

/// Tells a client why it is turned away, as far as that goes without waiting for it.
fn refuse(stream: &TcpStream, refusal: &[u8], tls: TlsMode) {
    if tls != TlsMode::Implicit {
        let _ = stream.try_write(refusal);
    }
}

/// A connection that is not one yet.
struct Opening {
    stream: TcpStream,
    peer: SocketAddr,
    /// The peer brings others.
    is_proxy: bool,
    listener: Arc<Listener>,
    context: ServerContext,
    guard: ConnectionGuard,
    refusals: Arc<Refusals>,
}

impl Opening {
    async fn open(mut self) -> io::Result<Connection> {
        self.stream.set_nodelay(true)?;
        let (mut local, mut is_behind_tls) = (self.stream.local_addr()?, false);
        if self.is_proxy {
            let client = self.meet_client(local).await?;
            (local, is_behind_tls) = (client.local, client.is_tls);
        }
        let Self { stream, peer, listener, context, guard, .. } = self;
        let tls = context.tls.as_ref().map(|tls| tls.for_role(listener.role));
        let stream = match (&tls, listener.tls) {
            (Some(tls), TlsMode::Implicit) => timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??,
            (None, TlsMode::Implicit) => return Err(io::Error::other("no certificate is configured")),
            (_, TlsMode::None | TlsMode::StartTls) => Stream::Plain(stream),
        };
        let drain = context.drain;
        Ok(Connection { stream, peer, local, is_behind_tls, listener, tls, guard, drain })
    }

    /// Finds out whom the proxy brings; whom that client called is `local` if nothing is said.
    async fn meet_client(&mut self, local: SocketAddr) -> io::Result<Proxied> {
        let header = proxy::read_header(&mut self.stream, proxy::DEADLINE).await;
        let header = header.inspect_err(|error| warn!(%error, "the proxy is not listened to"))?;
        let client = header.unwrap_or(Proxied { peer: self.peer, local, is_tls: false });
        tracing::Span::current().record("peer", tracing::field::display(client.peer));
        self.peer = client.peer;
        if let Err(why) = self.guard.reassign(client.peer.ip()) {
            info!("refused: {why}");
            refuse(&self.stream, self.refusals.line(why), self.listener.tls);
            return Err(io::Error::other(why));
        }
        Ok(client)
    }
}
