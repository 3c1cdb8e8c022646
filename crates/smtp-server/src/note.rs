//! What the event log and the operator's log are told.

use jiff::Timestamp;
use line_codec::line::Line;
use mail_directory::Forward;
use mail_events::{Event, Message, MessageOutcome, Queued, QueuedWhy, Refusal, Stage};
use mail_types::Address;
use smtp_proto::{Command, Recipient, Reply, ReversePath};
use smtp_queue::QueueId;
use tracing::{Span, field, info, info_span};

use crate::connection::Dialogue;
use crate::header::Seen;
use crate::receive::cipher_suite;
use crate::trace::{Trace, new_id};
use crate::transaction::Transaction;

/// Recipients that a line of the operator's log names.
const MAX_SHOWN: usize = 5;

/// Whom a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    From(String),
    To(String),
}

impl Wish {
    /// `None` for commands that name nobody.
    fn of(command: &Command) -> Option<Self> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only these two name somebody")]
        match command {
            Command::Mail { from, .. } => Some(Self::From(sender(from))),
            Command::Rcpt { to: Recipient::Address(address), .. } => Some(Self::To(address.to_string())),
            Command::Rcpt { to: Recipient::Postmaster, .. } => Some(Self::To("postmaster".to_owned())),
            _ => None,
        }
    }
}

impl Dialogue {
    /// The name of the message that this transaction is about: in its Received field, the logs, and for filters.
    pub(crate) fn trace_id(&mut self) -> String {
        self.trace_id.get_or_insert_with(|| new_id(Timestamp::now())).clone()
    }

    /// Notes that a sender or recipient was refused, if this line named one.
    pub(crate) fn note_refusal_of(&mut self, line: &Line, reply: &Reply) {
        let Line::Text(line) = line else { return };
        if let Some(wish) = Command::parse(line).ok().as_ref().and_then(Wish::of) {
            self.note_refusal(wish, reply);
        }
    }

    /// What is out of order is no refusal.
    fn note_refusal(&mut self, wish: Wish, reply: &Reply) {
        let (stage, sender, recipient) = match (wish, self.session.sender()) {
            (Wish::From(from), _) => (Stage::Mail, from, None),
            (Wish::To(to), Some(from)) => (Stage::Rcpt, sender(from), Some(to)),
            (Wish::To(_), None) => return,
        };
        let id = self.trace_id();
        let peer = self.connection.peer.ip().to_canonical().to_string();
        let refusal = || {
            Event::Refusal(Box::new(Refusal {
                id,
                listener: self.connection.listener.name.clone(),
                peer: peer.clone(),
                helo: self.session.greeting().map(|greeting| greeting.name.clone()).unwrap_or_default(),
                tls: cipher_suite(&self.connection.stream),
                account: self.session.user(),
                stage,
                sender,
                recipient,
                reply: reply.to_string(),
            }))
        };
        self.shared.to.events.note_refusal(&peer, refusal);
    }
}

/// The span of a message: every line of the operator's log about it says which one it is.
pub(crate) fn span(trace: &Trace, transaction: &Transaction) -> Span {
    info_span!(
        "message",
        id = trace.id,
        tls = trace.cipher,
        account = trace.user().map(field::display),
        sender = transaction.sender(),
        recipients = shown(&transaction.recipients),
        // RFC 6710 §4.1 (3).
        priority = transaction.parameters.priority.map(field::display),
        size = field::Empty,
        verdict = field::Empty,
        queue_id = field::Empty,
        outcome = field::Empty,
        milliseconds = field::Empty,
    )
}

/// What became of a message.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) transaction: &'a Transaction,
    pub(crate) seen: &'a Seen,
    pub(crate) size: u64,
    pub(crate) verdict: Option<&'a str>,
    pub(crate) queue_id: Option<&'a QueueId>,
    pub(crate) outcome: MessageOutcome,
    /// `None` if the client had left.
    pub(crate) reply: Option<&'a Reply>,
}

impl Told<'_> {
    /// One line in the operator's log, inside the message's span.
    pub(crate) fn log(&self, span: &Span) {
        span.record("size", self.size);
        span.record("verdict", self.verdict.unwrap_or("none"));
        if let Some(queue_id) = self.queue_id {
            span.record("queue_id", field::display(queue_id));
        }
        span.record("outcome", field::debug(self.outcome));
        span.record("milliseconds", self.milliseconds());
        match self.reply {
            None => info!("the client left in the midst of a message"),
            Some(reply) if self.outcome.is_refusal() => info!(%reply, "message refused"),
            Some(reply) => info!(%reply, "message accepted"),
        }
    }

    /// The same for the event log.
    pub(crate) fn event(&self) -> Event {
        let Self { trace, transaction, .. } = self;
        let onward = transaction.forwards.iter().flat_map(|it| &it.forward.targets);
        Event::Message(Box::new(Message {
            id: trace.id.clone(),
            listener: trace.listener.clone(),
            peer: self.peer().to_owned(),
            helo: trace.greeting.clone(),
            protocol: trace.protocol.clone(),
            tls: trace.cipher.clone(),
            account: trace.user(),
            sender: sender(&transaction.from),
            recipients: Event::addresses(&transaction.recipients),
            accounts: accounts(transaction),
            remote: Event::addresses(transaction.remote.keys().chain(onward)),
            message_id: trace.message_id(self.seen),
            size: self.size,
            verdict: self.verdict.map(ToOwned::to_owned),
            outcome: self.outcome,
            reply: self.reply.map(ToString::to_string).unwrap_or_default(),
            queue_id: self.queue_id.map(ToString::to_string),
            milliseconds: self.milliseconds(),
        }))
    }

    /// The client's IP address.
    pub(crate) fn peer(&self) -> &str {
        self.trace.peer.strip_prefix("IPv6:").unwrap_or(&self.trace.peer)
    }

    fn milliseconds(&self) -> u64 {
        let time = Timestamp::now().duration_since(self.trace.at).as_millis();
        u64::try_from(time).unwrap_or_default()
    }
}

/// That the queue has a report of a delivery for the sender.
pub(crate) fn report_of(trace: &Trace, sender: &Address, queue_id: &QueueId) -> Event {
    Event::Queued(Box::new(Queued {
        queue_id: queue_id.to_string(),
        parent: trace.id.clone(),
        why: QueuedWhy::Report,
        sender: String::new(),
        recipients: vec![sender.to_string()],
        size: None,
    }))
}

/// That the queue has what goes on to others in the name of an address of ours.
pub(crate) fn forward_of(trace: &Trace, forward: &Forward, queue_id: &QueueId, size: u64) -> Event {
    Event::Queued(Box::new(Queued {
        queue_id: queue_id.to_string(),
        parent: trace.id.clone(),
        why: QueuedWhy::Forward,
        sender: sender(&forward.sender),
        recipients: Event::addresses(&forward.targets),
        size: Some(size),
    }))
}

/// Each account once, by however many of its addresses the message goes there.
fn accounts(transaction: &Transaction) -> Vec<String> {
    let mut accounts = Event::addresses(transaction.accounts.iter().map(|recipient| &recipient.account));
    accounts.dedup();
    accounts
}

/// As the event log has it.
fn sender(from: &ReversePath) -> String {
    from.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The first ones, and how many more there are.
fn shown(recipients: &[Address]) -> String {
    let mut shown: Vec<String> = recipients.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
    let more = recipients.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(" ")
}
