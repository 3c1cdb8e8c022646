//! What came of mail in figures, by message, sender, domain, day, reason or client.

mod clients;
mod reason;

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_types::{AddressPattern, Domain, Network};

use crate::{Attempt, AttemptOutcome, Entry, Event, EventError, Message, Omitted, Reader, Refusal};
use clients::Clients;
pub use reason::Reason;

/// Groups that are kept; of more, those with the least in them, or messages last heard of long ago, are put together.
const MAX_GROUPS: usize = 20_000;
/// Reasons that are told apart in one group.
const MAX_REASONS: usize = 32;
/// Octets kept of what was said last.
const MAX_TEXT: usize = 200;
/// Octets kept of a name.
const MAX_NAME: usize = 320;

/// What one line of a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// One message.
    Message,
    /// A reverse path.
    Sender,
    /// The recipients' domain.
    Domain,
    /// A day of the operator's calendar.
    Day,
    /// Why something was put off, given up or refused.
    Reason,
    /// Who brought the message: the account or the name of a relay client, or else the IP address.
    Client,
}

/// Of which mail a report is. What is `None` says nothing.
#[derive(Debug, Clone, Default)]
pub struct ReportFilter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// The reverse path.
    pub sender: Option<AddressPattern>,
    /// The recipient's domain.
    pub domain: Option<Domain>,
    /// Who had logged in.
    pub account: Option<AddressPattern>,
    /// Who brought it, as a line of [`By::Client`] has it.
    pub client: Option<String>,
    /// Where the client was.
    pub address: Option<Network>,
}

/// Recipients, counted; `deferred` counts attempts, of which one recipient may have many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Brought by a client and taken.
    pub received: u64,
    /// Handed to the next host, or put into a mailbox by the queue.
    pub sent: u64,
    /// Attempts that are made again.
    pub deferred: u64,
    /// Given up.
    pub bounced: u64,
    /// Brought by a client and refused.
    pub refused: u64,
}

impl Figures {
    /// All together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.received + self.sent + self.deferred + self.bounced + self.refused
    }

    const fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.deferred += other.deferred;
        self.bounced += other.bounced;
        self.refused += other.refused;
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is about: a message's name in the queue or, if it was never there, in its Received field; an address, empty for `<>`; a
    /// domain; a day as `2026-11-28`; a reason; an account or IP address. `None` where that is not known.
    pub name: Option<String>,
    /// Of a message, its reverse path, empty for `<>`.
    pub sender: Option<String>,
    /// How much.
    pub figures: Figures,
    /// Why not, the most frequent first. Those beyond [`MAX_REASONS`] are left out.
    pub reasons: Vec<(Reason, u64)>,
    /// What was said last of what was put off, given up or refused; its first 200 octets.
    pub text: Option<String>,
    /// When it was last heard of.
    pub last: Timestamp,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Messages and days from the oldest to the newest, all else from the most to the least.
    pub lines: Vec<Line>,
    /// What is put together because there were too many groups.
    pub others: Figures,
    /// Everything.
    pub total: Figures,
}

impl Reader {
    /// Counts what came of mail. Memory is bounded, however long the log is.
    ///
    /// # Errors
    /// The log can't be read.
    pub fn report(&self, by: By, filter: &ReportFilter, zone: &TimeZone) -> Result<Report, EventError> {
        let mut clients = Clients::default();
        if by == By::Client || filter.is_of_clients() {
            // What came of a message may stand before it: another process wrote it.
            self.each(|entry| clients.learn(&entry.event))?;
        }
        let mut counter =
            Counter { by, filter, zone, clients, groups: HashMap::new(), others: Figures::default() };
        // The messages of a time may have come before it, so that only here the time counts.
        let reader = filter.since.map_or_else(|| self.clone(), |since| self.clone().since(since));
        reader.each(|entry| counter.see(&entry))?;
        Ok(counter.finish())
    }
}

/// What a group is put together by: its name, and a message's sender.
type Key = Option<String>;

#[derive(Debug, Default)]
struct Group {
    sender: Option<String>,
    figures: Figures,
    reasons: Vec<(Reason, u64)>,
    text: Option<String>,
    last: Timestamp,
}

/// One thing that happened to some recipients.
struct Fact<'e> {
    at: Timestamp,
    message: Option<&'e str>,
    sender: Option<&'e str>,
    /// `None` where there is no recipient yet.
    recipient: Option<&'e str>,
    client: Option<Client<'e>>,
    figures: Figures,
    /// What was said, where it didn't go well.
    said: Option<(Reason, &'e str)>,
}

/// Who brought a message.
#[derive(Debug, Clone, Copy)]
struct Client<'e> {
    account: Option<&'e str>,
    peer: &'e str,
}

impl<'e> Client<'e> {
    fn name(self) -> &'e str {
        self.account.unwrap_or(self.peer)
    }
}

struct Counter<'r> {
    by: By,
    filter: &'r ReportFilter,
    zone: &'r TimeZone,
    clients: Clients,
    groups: HashMap<Key, Group>,
    others: Figures,
}

impl Counter<'_> {
    fn see(&mut self, entry: &Entry) {
        let filter = self.filter;
        if filter.since.is_some_and(|since| entry.at < since)
            || filter.until.is_some_and(|until| entry.at >= until)
        {
            return;
        }
        match &entry.event {
            Event::Message(it) => self.message(entry.at, it),
            Event::Refusal(it) => self.refusal(entry.at, it),
            Event::Omitted(it) => self.omitted(entry.at, it),
            Event::Attempt(it) => self.attempt(entry.at, it),
            Event::LoginFailure(_) | Event::Queued(_) | Event::Operator(_) => {}
        }
    }

    fn message(&mut self, at: Timestamp, message: &Message) {
        let is_refused = message.outcome.is_refusal();
        let one = Figures {
            received: u64::from(!is_refused),
            refused: u64::from(is_refused),
            ..Figures::default()
        };
        for recipient in &message.recipients {
            self.count(&Fact {
                at,
                message: Some(message.queue_id.as_deref().unwrap_or(&message.id)),
                sender: Some(&message.sender),
                recipient: Some(recipient),
                client: Some(Client { account: message.account.as_deref(), peer: &message.peer }),
                figures: one,
                said: is_refused.then(|| (Reason::of_reply(&message.reply), message.reply.as_str())),
            });
        }
    }

    fn refusal(&mut self, at: Timestamp, refusal: &Refusal) {
        self.count(&Fact {
            at,
            message: Some(&refusal.id),
            sender: Some(&refusal.sender),
            recipient: refusal.recipient.as_deref(),
            client: Some(Client { account: refusal.account.as_deref(), peer: &refusal.peer }),
            figures: Figures { refused: 1, ..Figures::default() },
            said: Some((Reason::of_reply(&refusal.reply), &refusal.reply)),
        });
    }

    fn omitted(&mut self, at: Timestamp, omitted: &Omitted) {
        self.count(&Fact {
            at,
            message: None,
            sender: None,
            recipient: None,
            client: omitted.peer.as_deref().map(|peer| Client { account: None, peer }),
            figures: Figures { refused: omitted.count, ..Figures::default() },
            said: Some((Reason::Unknown, "")),
        });
    }

    fn attempt(&mut self, at: Timestamp, attempt: &Attempt) {
        let mut figures = Figures::default();
        match attempt.outcome {
            AttemptOutcome::Delivered => figures.sent = 1,
            AttemptOutcome::Deferred => figures.deferred = 1,
            AttemptOutcome::Bounced => figures.bounced = 1,
        }
        let has_failed = attempt.outcome != AttemptOutcome::Delivered;
        let reason =
            || Reason::of_attempt(&attempt.status, attempt.host.as_ref().map(|_| attempt.text.as_str()));
        // A copy, since counting changes what `clients` stands in.
        let client = self.clients.of(&attempt.queue_id);
        self.count(&Fact {
            at,
            message: Some(&attempt.queue_id),
            sender: Some(&attempt.sender),
            recipient: Some(&attempt.recipient),
            client: client.as_deref().map(|(account, peer)| Client { account: account.as_deref(), peer }),
            figures,
            said: has_failed.then(|| (reason(), attempt.text.as_str())),
        });
    }

    fn count(&mut self, fact: &Fact<'_>) {
        if !self.filter.wants(fact) {
            return;
        }
        let name = match self.by {
            By::Message => fact.message.map(ToOwned::to_owned),
            By::Sender => fact.sender.map(str::to_ascii_lowercase),
            By::Domain => fact.recipient.and_then(domain),
            By::Day => Some(fact.at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d").to_string()),
            By::Client => fact.client.map(|client| client.name().to_owned()),
            By::Reason => match fact.said {
                Some((reason, _)) => Some(reason.to_string()),
                None => return,
            },
        };
        let name = name.map(|name| shortened(&name, MAX_NAME).to_owned());
        let group = self.groups.entry(name).or_default();
        group.add(fact, self.by == By::Message);
        if self.groups.len() > MAX_GROUPS {
            self.put_together();
        }
    }

    /// Makes room: half of the groups go on as one.
    fn put_together(&mut self) {
        let by_time = self.by == By::Message;
        let mut groups: Vec<(Key, Group)> = self.groups.drain().collect();
        groups.sort_by_key(|(_, group)| if by_time { group.last.as_millisecond() } else { group.weight() });
        let kept = groups.split_off(groups.len() / 2);
        groups.iter().for_each(|(_, group)| self.others.add(&group.figures));
        self.groups.extend(kept);
    }

    fn finish(self) -> Report {
        let mut total = self.others;
        self.groups.values().for_each(|group| total.add(&group.figures));
        let mut lines: Vec<Line> = self.groups.into_iter().map(|(name, group)| group.line(name)).collect();
        match self.by {
            By::Message => lines.sort_by(|a, b| (a.last, &a.name).cmp(&(b.last, &b.name))),
            By::Day => lines.sort_by(|a, b| a.name.cmp(&b.name)),
            By::Sender | By::Domain | By::Reason | By::Client => {
                lines.sort_by(|a, b| {
                    b.figures.total().cmp(&a.figures.total()).then_with(|| a.name.cmp(&b.name))
                });
            }
        }
        Report { lines, others: self.others, total }
    }
}

impl Group {
    fn weight(&self) -> i64 {
        i64::try_from(self.figures.total()).unwrap_or(i64::MAX)
    }

    fn add(&mut self, fact: &Fact<'_>, is_message: bool) {
        self.figures.add(&fact.figures);
        if is_message && self.sender.is_none() {
            self.sender = fact.sender.map(|sender| shortened(sender, MAX_NAME).to_owned());
        }
        if let Some((reason, text)) = fact.said {
            let count = fact.figures.total();
            if let Some((_, known)) = self.reasons.iter_mut().find(|(known, _)| *known == reason) {
                *known += count;
            } else if self.reasons.len() < MAX_REASONS {
                self.reasons.push((reason, count));
            }
            if fact.at >= self.last && !text.is_empty() {
                self.text = Some(shortened(text, MAX_TEXT).to_owned());
            }
        }
        self.last = self.last.max(fact.at);
    }

    fn line(self, name: Key) -> Line {
        let Self { sender, figures, mut reasons, text, last } = self;
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Line { name, sender, figures, reasons, text, last }
    }
}

impl ReportFilter {
    /// True if it says who brought the mail.
    const fn is_of_clients(&self) -> bool {
        self.account.is_some() || self.client.is_some() || self.address.is_some()
    }

    /// Whatever the time.
    fn wants(&self, fact: &Fact<'_>) -> bool {
        let is_from = |wanted: &AddressPattern| fact.sender.is_some_and(|sender| is_of(wanted, sender));
        let is_at = |wanted: &Domain| fact.recipient.and_then(domain).is_some_and(|it| it == wanted.as_str());
        let account = fact.client.and_then(|client| client.account);
        let is_by = |wanted: &AddressPattern| account.is_some_and(|account| is_of(wanted, account));
        let is_client =
            |wanted: &str| fact.client.is_some_and(|client| client.name().eq_ignore_ascii_case(wanted));
        let peer = || fact.client.and_then(|client| client.peer.parse::<IpAddr>().ok());
        let comes_from = |wanted: &Network| peer().is_some_and(|peer| wanted.contains(peer));
        self.sender.as_ref().is_none_or(is_from)
            && self.domain.as_ref().is_none_or(is_at)
            && self.account.as_ref().is_none_or(is_by)
            && self.client.as_deref().is_none_or(is_client)
            && self.address.as_ref().is_none_or(comes_from)
    }
}

/// True if the address is meant, in any case.
fn is_of(wanted: &AddressPattern, address: &str) -> bool {
    match wanted {
        AddressPattern::Address(wanted) => wanted.to_string().eq_ignore_ascii_case(address),
        AddressPattern::Domain(wanted) => domain(address).is_some_and(|domain| domain == wanted.as_str()),
    }
}

/// The domain of an address, as [`Domain`] shows it. `None` for a recipient without one, `postmaster`.
fn domain(address: &str) -> Option<String> {
    address.rsplit_once('@').map(|(_, domain)| domain.to_lowercase())
}

fn shortened(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}
