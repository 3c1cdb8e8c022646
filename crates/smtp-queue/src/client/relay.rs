use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mail_config::{RelayTls, Smarthost};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{Connection, Refusal, Timeouts};
use super::outgoing::Outgoing;
use super::session::Policy;
use super::tls::{Trust, TrustError};
use super::transaction::Outcome;
use crate::message_file::MessageFile;
use crate::{Diagnosis, Status};

/// Recipients of one transaction; every server takes as many: RFC 5321 §4.5.3.1.8.
const MAX_RECIPIENTS: usize = 100;
/// How long a connection is kept for the next message.
const IDLE: Duration = Duration::from_secs(5);

/// The way to the smarthost, with its open connections.
#[derive(Debug)]
pub(crate) struct Relay {
    smarthost: Smarthost,
    hostname: String,
    trust: Option<Trust>,
    timeouts: Timeouts,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Relay {
    /// Blocks.
    pub(crate) fn new(smarthost: Smarthost, hostname: String) -> Result<Self, TrustError> {
        let trust = match smarthost.tls {
            RelayTls::None => None,
            RelayTls::Opportunistic | RelayTls::Required | RelayTls::Implicit => {
                Some(Trust::load(&smarthost)?)
            }
        };
        Ok(Self { smarthost, hostname, trust, timeouts: Timeouts::RFC, idle: Mutex::default() })
    }

    /// Sends a message to all of its recipients, in as many transactions as it takes.
    ///
    /// The outcomes stand in the order of the recipients.
    pub(crate) async fn send(&self, outgoing: &Outgoing, message: &MessageFile) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(outgoing.recipients.len());
        for recipients in outgoing.recipients.chunks(MAX_RECIPIENTS) {
            let part = Outgoing { recipients: recipients.to_vec(), ..outgoing.clone() };
            outcomes.extend(self.send_part(&part, message).await);
        }
        outcomes
    }

    async fn send_part(&self, outgoing: &Outgoing, message: &MessageFile) -> Vec<Outcome> {
        // A kept connection may have been closed meanwhile: then a fresh one is made.
        while let Some(connection) = self.take_idle() {
            match self.deliver(connection, outgoing, message).await {
                (_, true) => {}
                (outcomes, false) => return outcomes,
            }
        }
        match self.connect().await {
            Ok(connection) => self.deliver(connection, outgoing, message).await.0,
            Err(diagnosis) => vec![Outcome::Deferred(diagnosis); outgoing.recipients.len()],
        }
    }

    /// The outcomes, and whether the connection had been closed before.
    async fn deliver(
        &self,
        connection: Connection,
        outgoing: &Outgoing,
        message: &MessageFile,
    ) -> (Vec<Outcome>, bool) {
        let message = match message.reopen().await {
            Ok(message) => message,
            Err(error) => {
                self.keep(connection);
                return (vec![Outcome::Deferred(unreadable(&error)); outgoing.recipients.len()], false);
            }
        };
        let delivered = connection.deliver(outgoing, message).await;
        if let Some(connection) = delivered.connection {
            self.keep(connection);
        }
        (delivered.outcomes, delivered.stale)
    }

    /// Connects to the first address that answers.
    async fn connect(&self) -> Result<Connection, Diagnosis> {
        let mut last = self.failed(Status::new(4, 4, 4), "the name has no address");
        for address in self.addresses().await? {
            match self.connect_to(address, self.smarthost.tls).await {
                Ok(connection) => return Ok(connection),
                // Opportunistic: rather in the clear than not at all, but never a password.
                Err(refusal) if refusal.tls_failed && self.may_fall_back() => {
                    match self.connect_to(address, RelayTls::None).await {
                        Ok(connection) => return Ok(connection),
                        Err(refusal) => last = refusal.diagnosis,
                    }
                }
                Err(refusal) => last = refusal.diagnosis,
            }
        }
        Err(last)
    }

    fn may_fall_back(&self) -> bool {
        self.smarthost.tls == RelayTls::Opportunistic && self.smarthost.credentials.is_none()
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Diagnosis> {
        let host = self.smarthost.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match tokio::net::lookup_host((host, self.smarthost.port)).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(self.failed(Status::new(4, 4, 3), &format!("can't be looked up: {error}"))),
        }
    }

    async fn connect_to(&self, address: SocketAddr, tls: RelayTls) -> Result<Connection, Refusal> {
        let connected = timeout(self.timeouts.connect, TcpStream::connect(address)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|error| Refusal {
            diagnosis: self.failed(Status::new(4, 4, 1), &format!("can't connect to {address}: {error}")),
            tls_failed: false,
        })?;
        // Commands are written whole; none must wait for the reply to the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let policy = Policy {
            hostname: self.hostname.clone(),
            host: self.host(),
            tls,
            credentials: self.smarthost.credentials.clone(),
            loopback: address.ip().to_canonical().is_loopback(),
        };
        let implicit = tls == RelayTls::Implicit;
        Connection::start(stream, policy, implicit, self.trust.as_ref(), self.timeouts).await
    }

    fn host(&self) -> String {
        format!("{}:{}", self.smarthost.host, self.smarthost.port)
    }

    fn failed(&self, status: Status, text: &str) -> Diagnosis {
        Diagnosis { status, host: None, text: format!("{}: {text}", self.host()) }
    }

    fn keep(&self, connection: Connection) {
        self.idle().push((connection, Instant::now()));
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle().pop().map(|(connection, _)| connection)
    }

    /// Takes leave of connections that nobody needed for a while; of all of them when `all`.
    pub(crate) async fn close_idle(&self, all: bool) {
        let closing: Vec<Connection> = {
            let mut idle = self.idle();
            let keep = |since: &Instant| !all && since.elapsed() < IDLE;
            idle.extract_if(.., |(_, since)| !keep(since)).map(|(connection, _)| connection).collect()
        };
        futures_util::future::join_all(closing.into_iter().map(Connection::quit)).await;
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(error: &io::Error) -> Diagnosis {
    let text = format!("the message file can't be read: {error}");
    Diagnosis { status: Status::new(4, 3, 0), host: None, text }
}
