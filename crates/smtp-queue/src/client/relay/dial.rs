//! A connection to one host, from where its mail goes out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mail_config::{RelaySource, RelayTls};
use mail_trust::{Applied, Failed};
use mail_types::Domain;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::{Relay, Target, Terms};
use crate::client::connection::{Connection, Refusal};
use crate::client::demands::Requirement;
use crate::client::haste::Patience;
use crate::client::session::Policy;
use crate::client::silence::Silence;
use crate::client::transaction::Outcome;
use crate::exchanges::Candidate;
use crate::routes::{Destination, Way};
use crate::{Diagnosis, Status};

impl Relay {
    fn source(&self, destination: &Destination) -> Option<&RelaySource> {
        self.routes.sources().get(destination.source?)
    }

    /// Those that can be spoken to from where mail for the destination goes out.
    pub(super) fn reachable_from_source(
        &self,
        destination: &Destination,
        terms: &Terms,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<Candidate>, Outcome> {
        let Some(source) = self.source(destination).filter(|_| terms.socket.is_none()) else {
            return Ok(candidates);
        };
        let can_be = |it: &Candidate| source.address_to(it.address.ip().to_canonical()).is_some();
        let left: Vec<Candidate> = candidates.into_iter().filter(can_be).collect();
        if left.is_empty() {
            let text = "no host has an address of a family for which [[relay.source]] has one";
            return Err(Outcome::Deferred(Diagnosis::ours(Status::new(4, 4, 4), text.to_owned())));
        }
        Ok(left)
    }

    pub(super) async fn connect(
        &self,
        target: Target<'_>,
        requirement: Requirement,
    ) -> Result<Connection, Diagnosis> {
        let Target { candidate, terms, .. } = target;
        let is_enforced = requirement.demand.is_enforced();
        let tls = if is_enforced { RelayTls::Required } else { terms.tls };
        match self.connect_with(target, (tls, requirement)).await {
            Err(refusal) if refusal.tls_failed && terms.may_fall_back() && !is_enforced => {
                tracing::info!(host = candidate.host, why = %refusal.diagnosis, "without TLS");
                self.connect_with(target, (RelayTls::None, Requirement::default())).await
            }
            result => result,
        }
        .map_err(|refusal| refusal.diagnosis)
    }

    async fn connect_with(
        &self,
        target: Target<'_>,
        (tls, requirement): (RelayTls, Requirement),
    ) -> Result<Connection, Refusal> {
        let Target { destination, candidate, terms, patience } = target;
        let Requirement { demand, applied } = requirement;
        let Candidate { host, address } = candidate;
        let source = self.source(destination);
        let policy = Policy {
            hostname: source
                .and_then(|it| it.hostname.as_ref())
                .map_or(self.hostname.clone(), Domain::to_ascii),
            host: terms.shown(candidate),
            server_name: demand.server_name().unwrap_or(host).to_owned(),
            tls,
            demand,
            lmtp: terms.lmtp,
            credentials: terms.credentials.clone(),
            loopback: terms.socket.is_some() || address.ip().to_canonical().is_loopback(),
            is_mail_host: matches!(destination.way, Way::MailHosts(_)),
        };
        let (implicit, trust) = (tls == RelayTls::Implicit, terms.trust.as_ref());
        if let Some(path) = &terms.socket {
            let connected = within(patience, self.timeouts.connect, UnixStream::connect(path)).await;
            let stream = connected.map_err(|error| unconnected(host, &error.to_string()))?;
            return Connection::start(stream, policy, implicit, trust, (self.timeouts, patience.clone()))
                .await;
        }
        let from = source.and_then(|it| it.address_to(address.ip().to_canonical()));
        let connected = within(patience, self.timeouts.connect, connect_from(from, *address)).await;
        let stream = connected.map_err(|error| {
            let advice = self.note_failure(target, &error).map(|it| format!("; {it}")).unwrap_or_default();
            unconnected(&terms.shown(candidate), &format!("can't connect to {address}: {error}{advice}"))
        })?;
        self.note_answer(target);
        // Commands are written whole; none must wait for the reply to the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let local = stream.local_addr().ok().map(|it| it.ip());
        let started =
            Connection::start(stream, policy, implicit, trust, (self.timeouts, patience.clone())).await;
        if let (Some(applied), Way::MailHosts(domain)) = (applied, &destination.way) {
            self.note_security(domain, applied, candidate, local, &started);
        }
        started
    }

    /// Counts a session for the report to the domain. RFC 8460.
    fn note_security(
        &self,
        domain: &Domain,
        applied: Applied,
        candidate: &Candidate,
        local: Option<IpAddr>,
        started: &Result<Connection, Refusal>,
    ) {
        let failure = match started {
            Ok(connection) => connection.security().err(),
            Err(refusal) if refusal.failure.is_none() => return,
            Err(refusal) => refusal.failure.clone(),
        };
        let at = Some(candidate.address.ip());
        let failed = failure.map(|failure| Failed::of(&failure, &candidate.host, local, at));
        if let Some(trust) = &self.trust {
            trust.note(mail_trust::Session { domain: domain.to_ascii(), applied, failed });
        }
    }

    /// Notes that a mail host could not be connected to; what to do if none can.
    fn note_failure(&self, target: Target<'_>, error: &io::Error) -> Option<String> {
        let Way::MailHosts(domain) = &target.destination.way else { return None };
        if error.kind() != io::ErrorKind::TimedOut {
            return None;
        }
        let mut silence = self.silence();
        if silence.timed_out(domain, target.candidate.address.ip(), Instant::now()) {
            tracing::warn!(advice = silence.advice(), "no mail host answers");
        }
        silence.advice()
    }

    fn note_answer(&self, target: Target<'_>) {
        let address = target.candidate.address.ip();
        if matches!(target.destination.way, Way::MailHosts(_))
            && self.silence().answered(address, Instant::now())
        {
            tracing::info!("mail hosts answer again");
        }
    }

    /// What is wrong with the network, if anything is.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.silence().advice()
    }

    fn silence(&self) -> std::sync::MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn within<T>(
    patience: &Patience,
    time: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    patience.wait(time, work).await.unwrap_or_else(|overdue| {
        // Had there been time, it might have answered.
        let kind = if overdue.is_hurried() { io::ErrorKind::Other } else { io::ErrorKind::TimedOut };
        Err(io::Error::new(kind, format!("timed out: {overdue}")))
    })
}

/// Connects from an address of this machine, or from the one that the system chooses.
async fn connect_from(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(to).await };
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let named = |error: io::Error| io::Error::new(error.kind(), format!("from {from}: {error}"));
    socket.bind(SocketAddr::new(from, 0)).map_err(named)?;
    socket.connect(to).await
}

fn unconnected(host: &str, why: &str) -> Refusal {
    let diagnosis = Diagnosis::ours(Status::new(4, 4, 1), format!("{host}: {why}")).at(host);
    Refusal { diagnosis, tls_failed: false, failure: None }
}
