mod approach;
mod dial;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mail_config::{Config, RelayTls, Smarthost};
use mail_dns::DnsError;
use mail_types::Secret;
use smtp_proto::Body;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use approach::{LOOK_UPS, Waiver, is_insecure};

use super::connection::{Connection, Timeouts};
use super::demands::Demands;
use super::haste::{Haste, Patience};
use super::hold::{Held, Hold};
use super::outgoing::Outgoing;
use super::pending::{Part, Pending};
use super::silence::Silence;
use super::tls::{Trust, TrustError};
use super::transaction::Outcome;
use crate::exchanges::{Candidate, Exchanges};
use crate::message_file::{MessageFile, Octets};
use crate::routes::{Destination, Routes, Way};
use crate::{Diagnosis, Status};

/// Nothing says where mail for elsewhere is to go. RFC 3463 §3.5.
pub(crate) const NO_ROUTE: Status = Status::new(4, 4, 4);
/// Recipients of one transaction; every server takes as many: RFC 5321 §4.5.3.1.8.
const MAX_RECIPIENTS: usize = 100;
/// How long a connection is kept for the next message.
const IDLE: Duration = Duration::from_secs(5);
/// How old a connection may become, so that a better host gets its turn again.
const MAX_AGE: Duration = Duration::from_secs(300);
/// How long it is known that a destination could not be reached: until what was due then has been gone through.
const UNREACHABLE: SignedDuration = SignedDuration::from_hours(1);
/// Addresses tried for one message at a time. RFC 5321 §5.1 wants at least two.
const MAX_ADDRESSES: usize = 10;
/// Hosts that may defer a recipient at a time.
const MAX_SESSIONS: usize = 2;

/// Mail can't be handed to other hosts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error(transparent)]
    Policies(#[from] mail_trust::TrustError),
}

/// What came of a message.
#[derive(Debug)]
pub(crate) struct Sent {
    /// In the order of the recipients.
    pub(crate) outcomes: Vec<Outcome>,
    /// Whether a host was spoken to, or the DNS answered that there is none.
    pub(crate) reached: bool,
}

/// The ways to other hosts, with the open connections.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) routes: Routes,
    hostname: String,
    exchanges: Exchanges,
    /// What mail hosts must prove; `None` if no mail goes to any.
    trust: Option<Arc<mail_trust::Trust>>,
    /// By the place of the smarthost.
    smarthosts: Vec<Terms>,
    mail_hosts: Terms,
    pub(super) timeouts: Timeouts,
    /// How long hosts may keep us waiting.
    pub(crate) haste: Haste,
    idle: Mutex<HashMap<Destination, Vec<Idle>>>,
    /// One at a time.
    conversions: Semaphore,
    /// When a destination could last not be reached, and why.
    unreachable: Mutex<HashMap<Destination, (Timestamp, Diagnosis)>>,
    /// Whether anything answers on the port of mail hosts.
    silence: Mutex<Silence>,
}

/// How the hosts of a destination are spoken to.
#[derive(Debug)]
struct Terms {
    tls: RelayTls,
    trust: Option<Trust>,
    credentials: Option<(String, Secret<String>)>,
    /// The port that needs not be said.
    usual_port: Option<u16>,
    /// LMTP is spoken.
    lmtp: bool,
    /// A socket of this machine, instead of the candidates' addresses.
    socket: Option<PathBuf>,
}

/// A host that is to be tried for a destination, and how long.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    destination: &'a Destination,
    candidate: &'a Candidate,
    terms: &'a Terms,
    patience: &'a Patience,
}

/// Who was met at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    Nobody,
    /// A host that must not get the message.
    Unfit,
    /// One that was offered it.
    Host,
}

/// How a connection was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Its host had closed it before anything was said.
    Stale,
    /// Its host gets more, over another one.
    ForMore,
    Done,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    address: SocketAddr,
    opened: Instant,
    kept: Instant,
    /// It may carry another message too.
    serves_all: bool,
    /// It has waited for this message: the server may have closed it meanwhile.
    is_kept: bool,
    held: Held,
}

impl Terms {
    /// Blocks.
    fn of(smarthost: &Smarthost) -> Result<Self, TrustError> {
        let trust = match smarthost.tls {
            RelayTls::None => None,
            RelayTls::Opportunistic | RelayTls::Required | RelayTls::Implicit => {
                Some(Trust::load(smarthost)?)
            }
        };
        let credentials = smarthost.credentials.clone();
        let socket = smarthost.socket.clone();
        // A path says all.
        let usual_port = socket.is_some().then_some(smarthost.port);
        Ok(Self { tls: smarthost.tls, trust, credentials, usual_port, lmtp: smarthost.lmtp, socket })
    }

    /// Opportunistic: rather in the clear than not at all (RFC 7435 §3), but never a password.
    const fn may_fall_back(&self) -> bool {
        matches!(self.tls, RelayTls::Opportunistic) && self.credentials.is_none()
    }

    /// For diagnoses.
    fn shown(&self, candidate: &Candidate) -> String {
        let (host, port) = (candidate.host.as_str(), candidate.address.port());
        match (self.usual_port == Some(port), host.parse::<IpAddr>()) {
            (true, Ok(IpAddr::V6(_))) => format!("[{host}]"),
            (false, Ok(IpAddr::V6(_))) => format!("[{host}]:{port}"),
            (true, _) => host.to_owned(),
            (false, _) => format!("{host}:{port}"),
        }
    }
}

impl Relay {
    /// Blocks.
    pub(crate) fn new(config: &Config) -> Result<Self, RelayError> {
        let routes = Routes::new(&config.relay).with_rates(&config.queue.rates);
        let smarthosts = routes.smarthosts().iter().map(Terms::of).collect::<Result<_, _>>()?;
        let exchanges = Exchanges::new(config)?;
        let leads_there = routes.ever_lead_to_mail_hosts();
        let trust =
            leads_there.then(|| mail_trust::Trust::open(config, exchanges.dns())).transpose()?.map(Arc::new);
        let authorities = trust.as_ref().map(|trust| trust.authorities().clone());
        let mail_hosts = Terms {
            tls: RelayTls::Opportunistic,
            trust: Some(Trust::anyone(authorities)?),
            credentials: None,
            usual_port: Some(25),
            lmtp: false,
            socket: None,
        };
        Ok(Self {
            routes,
            hostname: config.hostname.to_ascii(),
            exchanges,
            trust,
            smarthosts,
            mail_hosts,
            timeouts: Timeouts::RFC,
            haste: Haste::none(),
            idle: Mutex::default(),
            conversions: Semaphore::new(1),
            unreachable: Mutex::default(),
            silence: Mutex::new(Silence::at(config.relay.port)),
        })
    }

    /// Sends a message, due since then, to all of its recipients, who are at `destination`, in as many transactions as it takes.
    ///
    /// What was due already when the destination was last found out of reach shares that outcome, so that a backlog for a dead
    /// destination is not a queue of time-outs.
    pub(crate) async fn send(
        &self,
        destination: &Destination,
        outgoing: &Outgoing,
        message: &MessageFile,
        due: Timestamp,
    ) -> Sent {
        let known = self.unreachable().get(destination).cloned();
        if let Some((_, diagnosis)) = known.filter(|(found, _)| due <= *found)
            && !(is_insecure(&diagnosis) && Waiver::of(outgoing, message).is_given().await)
        {
            let outcome = Outcome::Deferred(diagnosis);
            return Sent { outcomes: vec![outcome; outgoing.recipients.len()], reached: false };
        }
        let sent = self.send_parts(destination, outgoing, message).await;
        match sent.outcomes.first() {
            // What a host says concerns this connection only.
            Some(Outcome::Deferred(diagnosis)) if !sent.reached && diagnosis.host.is_none() => {
                self.unreachable().insert(destination.clone(), (Timestamp::now(), diagnosis.clone()));
            }
            Some(_) | None => drop(self.unreachable().remove(destination)),
        }
        sent
    }

    async fn send_parts(
        &self,
        destination: &Destination,
        outgoing: &Outgoing,
        message: &MessageFile,
    ) -> Sent {
        let mut sent = Sent { outcomes: Vec::with_capacity(outgoing.recipients.len()), reached: true };
        for recipients in outgoing.recipients.chunks(MAX_RECIPIENTS) {
            let part = Outgoing { recipients: recipients.to_vec(), ..outgoing.clone() };
            let Sent { outcomes, reached } = self.send_part(destination, &part, message).await;
            sent.outcomes.extend(outcomes);
            sent.reached &= reached;
        }
        sent
    }

    async fn send_part(&self, destination: &Destination, outgoing: &Outgoing, message: &MessageFile) -> Sent {
        let (mut pending, patience) = (Pending::new(outgoing), self.haste.begin());
        let mut hosts = Vec::from_iter(self.reuse(destination, &mut pending, message).await);
        let mut reached = !hosts.is_empty();
        if pending.is_settled() {
            return Sent { outcomes: pending.finish(), reached };
        }
        let (terms, candidates) = match self.candidates_within(&patience, destination).await {
            Ok(found) => found,
            Err(outcome) => {
                reached |= matches!(outcome, Outcome::Failed(_));
                pending.settle(&outcome);
                return Sent { outcomes: pending.finish(), reached };
            }
        };
        let mut demands = Demands::of(destination, self.trust.as_deref(), outgoing.must_be_secured());
        let mut waiver = Waiver::of(outgoing, message);
        let mut passed_over = 0;
        for candidate in candidates.iter().take(MAX_ADDRESSES) {
            if !hosts.contains(&candidate.address) && hosts.len() >= MAX_SESSIONS {
                continue;
            }
            let target = Target { destination, candidate, terms, patience: &patience };
            let met = self.visit(target, &mut demands, &mut waiver, &mut pending).await;
            reached |= met != Met::Nobody;
            passed_over += usize::from(met != Met::Host);
            if met == Met::Host && !hosts.contains(&candidate.address) {
                hosts.push(candidate.address);
            }
            if met == Met::Nobody && patience.is_over() {
                break;
            }
        }
        if passed_over < candidates.len() {
            pending.cut_short();
        }
        Sent { outcomes: pending.finish(), reached }
    }

    /// Sends to a host what it may get, over as many connections as it wants for that: RFC 9422.
    async fn visit(
        &self,
        target: Target<'_>,
        demands: &mut Demands<'_>,
        waiver: &mut Waiver<'_>,
        pending: &mut Pending<'_>,
    ) -> Met {
        let (address, mut met) = (target.candidate.address, Met::Nobody);
        while pending.is_open_for(address) {
            let Some(idle) = self.approach(target, demands, waiver, pending).await else { return met };
            if let Some(diagnosis) = idle.connection.tls_obstacle(waiver.outgoing()) {
                pending.passed_over(diagnosis);
                self.keep(target.destination, idle);
                return met.max(Met::Unfit);
            }
            met = Met::Host;
            let left = self.deliver(target.destination, idle, pending, waiver.message()).await;
            if left != Left::ForMore || target.patience.is_over() {
                return met;
            }
        }
        met
    }

    /// Sends over kept connections of one host, if there are any that were not closed meanwhile. Returns where they lead to.
    async fn reuse(
        &self,
        destination: &Destination,
        pending: &mut Pending<'_>,
        message: &MessageFile,
    ) -> Option<SocketAddr> {
        let (mut unfit, mut used) = (Vec::new(), None);
        while !pending.is_settled() {
            let Some(mut idle) = self.take_idle(destination, pending.hold()) else { break };
            let address = idle.address;
            let part = pending.part(address, |recipients| idle.connection.choose(recipients));
            let fits = part.is_some_and(|part| idle.connection.tls_obstacle(&part.outgoing).is_none());
            if !fits || used.is_some_and(|used| used != address) {
                unfit.push(idle);
                continue;
            }
            idle.connection.renew(self.haste.begin());
            match self.deliver(destination, idle, pending, message).await {
                Left::Stale => {}
                Left::ForMore => used = Some(address),
                Left::Done => {
                    used = Some(address);
                    break;
                }
            }
        }
        unfit.into_iter().for_each(|idle| self.keep(destination, idle));
        used
    }

    /// Sends what the host may get in as many transactions as it wants for that, as far as the connection goes. RFC 9422
    async fn deliver(
        &self,
        destination: &Destination,
        mut idle: Idle,
        pending: &mut Pending<'_>,
        message: &MessageFile,
    ) -> Left {
        let address = idle.address;
        let mut is_first = true;
        while let Some(part) = pending.part(address, |recipients| idle.connection.choose(recipients)) {
            idle = match self.deliver_part(destination, idle, &part, pending, message).await {
                Ok(idle) => idle,
                // It has had enough, whether or not it has told limits.
                Err(Left::Stale) if !is_first => return Left::ForMore,
                Err(left) => return left,
            };
            is_first = false;
        }
        if !pending.is_open_for(address) {
            self.keep(destination, idle);
            return Left::Done;
        }
        if idle.connection.is_used_up() {
            // The host may count it until then.
            idle.connection.quit().await;
        } else {
            self.keep(destination, idle);
        }
        Left::ForMore
    }

    /// One transaction. Returns the connection, as long as it is good.
    async fn deliver_part(
        &self,
        destination: &Destination,
        idle: Idle,
        part: &Part,
        pending: &mut Pending<'_>,
        message: &MessageFile,
    ) -> Result<Idle, Left> {
        let as_it_is = idle.connection.takes(part.outgoing.body);
        let (outgoing, message) = match self.fitting(as_it_is, &part.outgoing, message).await {
            Ok(fitting) => fitting,
            Err(diagnosis) => {
                self.keep(destination, idle);
                pending.settle(&Outcome::Deferred(diagnosis));
                return Err(Left::Done);
            }
        };
        let Idle { connection, address, opened, serves_all, is_kept, .. } = idle;
        let held = outgoing.hold.held();
        let delivered = connection.deliver(&outgoing.at(Timestamp::now()), message).await;
        if delivered.stale && is_kept {
            return Err(Left::Stale);
        }
        if delivered.connection.is_none()
            && let Some(diagnosis) = delivered.outcomes.iter().find_map(Outcome::deferral)
        {
            pending.passed_over(diagnosis.clone());
        }
        pending.sent(part, delivered.outcomes, (!delivered.in_doubt).then_some(address));
        let connection = delivered.connection.ok_or(Left::Done)?;
        Ok(Idle { connection, address, opened, kept: Instant::now(), serves_all, is_kept: true, held })
    }

    /// The message as the server takes it: converted where that must and can be (RFC 6152 §3, RFC 3030 §3), and signed as it is then.
    async fn fitting(
        &self,
        as_it_is: bool,
        outgoing: &Outgoing,
        message: &MessageFile,
    ) -> Result<(Outgoing, Octets), Diagnosis> {
        if !as_it_is
            && let Some(converted) = self.converted(message).await.map_err(|error| unreadable(&error))?
        {
            let outgoing = Outgoing { body: Body::SevenBit, ..outgoing.clone() };
            return signed(&outgoing, &converted).await;
        }
        signed(outgoing, message).await
    }

    /// In 7-bit MIME, if that can be. It has the whole message in memory.
    async fn converted(&self, message: &MessageFile) -> io::Result<Option<MessageFile>> {
        let _permit = self.conversions.acquire().await.map_err(io::Error::other)?;
        let message = message.again()?;
        spawn_blocking(move || message.in_seven_bit()).await.map_err(io::Error::other)?
    }

    async fn candidates_within(
        &self,
        patience: &Patience,
        destination: &Destination,
    ) -> Result<(&Terms, Vec<Candidate>), Outcome> {
        patience.wait(LOOK_UPS, self.candidates(destination)).await.unwrap_or_else(|overdue| {
            let text = format!("the mail hosts can't be looked up: {overdue}");
            Err(Outcome::Deferred(Diagnosis::ours(Status::new(4, 4, 3), text)))
        })
    }

    /// Where to try, in this order, and how to speak there.
    async fn candidates(&self, destination: &Destination) -> Result<(&Terms, Vec<Candidate>), Outcome> {
        let (terms, candidates) = match &destination.way {
            Way::MailHosts(domain) => (&self.mail_hosts, self.exchanges.candidates(domain).await?),
            Way::Smarthost(place) => {
                let found = self.smarthosts.get(*place).zip(self.routes.smarthosts().get(*place));
                let (terms, smarthost) = found.ok_or_else(no_route)?;
                (terms, addresses(smarthost).await.map_err(Outcome::Deferred)?)
            }
            Way::Host(hop) => {
                (&self.mail_hosts, addresses_of(&hop.host, hop.port).await.map_err(Outcome::Deferred)?)
            }
            Way::Here | Way::Nowhere => return Err(no_route()),
        };
        Ok((terms, self.reachable_from_source(destination, terms, candidates)?))
    }

    fn keep(&self, destination: &Destination, idle: Idle) {
        let is_good = idle.serves_all && !idle.connection.is_used_up();
        if is_good && idle.opened.elapsed() < MAX_AGE {
            let idle = Idle { is_kept: true, ..idle };
            self.idle().entry(destination.clone()).or_default().push(idle);
        } else {
            tokio::spawn(idle.connection.quit());
        }
    }

    fn take_idle(&self, destination: &Destination, hold: &Hold) -> Option<Idle> {
        let mut idle = self.idle();
        let there = idle.get_mut(destination)?;
        let free = there.iter().rposition(|it| it.held.is_free_for(hold))?;
        Some(there.remove(free))
    }

    /// Who knows what mail hosts must prove, and what came of it; nobody if no mail goes to any.
    pub(crate) const fn trust(&self) -> Option<&Arc<mail_trust::Trust>> {
        self.trust.as_ref()
    }

    /// Keeps the policies of mail hosts that are in use. To be called now and then.
    pub(crate) async fn renew_policies(&self) {
        if let Some(trust) = &self.trust {
            trust.renew().await;
        }
    }

    /// Forgets what is of no use any more, and takes leave of connections that nobody needed for a while; of all of them when `all`.
    pub(crate) async fn close_idle(&self, all: bool) {
        let now = Timestamp::now();
        self.unreachable().retain(|_, (found, _)| now.duration_since(*found) < UNREACHABLE);
        let mut closing = Vec::new();
        self.idle().retain(|_, kept| {
            closing.extend(kept.extract_if(.., |idle| all || idle.kept.elapsed() >= IDLE));
            !kept.is_empty()
        });
        futures_util::future::join_all(closing.into_iter().map(|idle| idle.connection.quit())).await;
    }

    fn unreachable(&self) -> std::sync::MutexGuard<'_, HashMap<Destination, (Timestamp, Diagnosis)>> {
        self.unreachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Destination, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn new(connection: Connection, address: SocketAddr) -> Self {
        Self {
            connection,
            address,
            opened: Instant::now(),
            kept: Instant::now(),
            serves_all: true,
            is_kept: false,
            held: Held::default(),
        }
    }
}

/// As this machine knows the name, which may be one of its own.
async fn addresses(smarthost: &Smarthost) -> Result<Vec<Candidate>, Diagnosis> {
    let Smarthost { host, port, .. } = smarthost;
    if smarthost.socket.is_some() {
        // It has no address; what stands here is not connected to.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        return Ok(vec![Candidate { host: host.clone(), address }]);
    }
    addresses_of(host, *port).await
}

async fn addresses_of(host: &str, port: u16) -> Result<Vec<Candidate>, Diagnosis> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match tokio::net::lookup_host((bare, port)).await {
        Ok(found) => {
            let found: Vec<_> = found.map(|address| Candidate { host: host.to_owned(), address }).collect();
            if found.is_empty() {
                return Err(Diagnosis::ours(
                    Status::new(4, 4, 4),
                    format!("{host}:{port}: the name has no address"),
                ));
            }
            Ok(found)
        }
        Err(error) => {
            Err(Diagnosis::ours(Status::new(4, 4, 3), format!("{host}:{port}: can't be looked up: {error}")))
        }
    }
}

fn no_route() -> Outcome {
    let text = "no [relay] smarthost is configured, and direct delivery is switched off";
    Outcome::Deferred(Diagnosis::ours(NO_ROUTE, text.to_owned()))
}

/// What goes out, signed now if it has not been for another host: what can't go anywhere costs no signature.
async fn signed(outgoing: &Outgoing, message: &MessageFile) -> Result<(Outgoing, Octets), Diagnosis> {
    if message.lacks_signatures() {
        let same = message.again().map_err(|error| unreadable(&error))?;
        let signed = spawn_blocking(move || same.sign()).await;
        let problem = match signed {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = problem {
            tracing::error!(%error, "a message can't be signed");
            return Err(Diagnosis::ours(
                Status::new(4, 3, 0),
                "the message can't be signed for now".to_owned(),
            ));
        }
    }
    let octets = message.reopen().await.map_err(|error| unreadable(&error))?;
    Ok((Outgoing { size: message.size(), ..outgoing.clone() }, octets))
}

fn unreadable(error: &io::Error) -> Diagnosis {
    Diagnosis::ours(Status::new(4, 3, 0), format!("the message file can't be read: {error}"))
}
