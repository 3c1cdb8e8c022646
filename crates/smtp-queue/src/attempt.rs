//! One attempt at a message's recipients at one destination: deliver, record what came of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mail_directory::{Forward, Reached, Through, Verp};
use mail_dkim::Signers;
use mail_events::EventLog;
use mail_types::{Address, Domain, Language, LocalRecipient};
use smtp_proto::{Body, OriginalRecipient, RcptParameters};
use tokio::sync::oneshot;
use tokio::task::{JoinError, spawn_blocking};
use tracing::{Span, error, info, warn};

use crate::checked::Flaw;
use crate::client::{Hold, Outcome, Outgoing, Recipient, Relay, Told};
use crate::damaged::Damaged;
use crate::database::Progress;
use crate::dsn::Action;
use crate::gather::Gather;
use crate::local::{Local, Route, delivered_locally, looped};
use crate::message_file::{MessageFile, Needs, Origin};
use crate::pick::Piece;
use crate::routes::Destination;
use crate::schedule::Schedule;
use crate::tls_reports::TlsReports;
use crate::under_way::{Tried, UnderWay};
use crate::{
    Diagnosis, Handling, Queue, QueueError, QueueId, QueuedMessage, QueuedRecipient, RecipientState, Status,
    Suppression,
};

/// How long to wait when the queue itself fails, at first and at most.
pub(crate) const TROUBLE: Duration = Duration::from_secs(1);
pub(crate) const MAX_TROUBLE: Duration = Duration::from_secs(300);

/// Transactions of one attempt, where recipients have return addresses of their own.
const TURN: usize = 20;

/// RFC 3463 §3.4: trouble of our own.
const UNREADABLE: Status = Status::new(4, 3, 0);

/// RFC 3463 §3.2: bad destination mailbox address, as we know it to be.
const UNWANTED: Status = Status::new(5, 1, 1);

/// What attempts need.
#[derive(Debug)]
pub(crate) struct Deliverer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) local: Local,
    pub(crate) relay: Relay,
    pub(crate) schedule: Schedule,
    pub(crate) hostname: Domain,
    /// Of reports where the message does not say in which its sender reads.
    pub(crate) language: Language,
    pub(crate) events: EventLog,
    pub(crate) signers: Arc<Signers>,
    /// In whose name the results stand with which others' mail is sealed; `None` if none is.
    pub(crate) seals_as: Option<Arc<str>>,
    /// `None` if others are not told of the TLS of their mail hosts.
    pub(crate) tls_reports: Option<TlsReports>,
    /// `None` where the list is switched off.
    pub(crate) suppression: Option<Arc<Suppression>>,
    /// It is obeyed for all mail that is written here.
    pub(crate) suppresses_all: bool,
    pub(crate) damaged: Damaged,
    /// Gives recipients return addresses of their own. `None` where nobody's mail has such.
    pub(crate) verp: Option<Verp>,
    /// Attempts of which the outcome can't be recorded now.
    pub(crate) unrecorded: AtomicUsize,
    /// Reports that wait for others about the same message.
    pub(crate) gather: Gather,
    pub(crate) under_way: Arc<UnderWay>,
}

/// A recipient's position, and whom it reaches.
type Here = (usize, Reached);

/// What an attempt begins with; `None` if there is nothing left to try.
pub(crate) type Begun = Result<Option<Attempt>, QueueError>;

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// False if its destination could not be reached, or was lost on the way.
    pub(crate) reached: bool,
    /// Recipients are left whose turn comes again behind what is to go first.
    pub(crate) goes_on: bool,
}

impl Ended {
    const REACHED: Self = Self { reached: true, goes_on: false };
}

/// A message under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) message: QueuedMessage,
    destination: Destination,
    pub(crate) file: Option<MessageFile>,
    /// What it needs elsewhere.
    needs: Needs,
    /// By the recipient's position.
    pub(crate) outcomes: Vec<(usize, Outcome)>,
    /// Those that are ours.
    here: Vec<Here>,
    /// Positions of those to be sent to another host.
    elsewhere: Vec<usize>,
    /// Accounts whose INBOX failed while others' did not, and whom it reaches elsewhere as it is.
    pub(crate) rest: Vec<(Address, RcptParameters)>,
    /// What goes on to others in the name of an address of ours.
    pub(crate) forwards: Vec<(Forward, RcptParameters)>,
    /// That its recipients are being tried.
    tried: Option<Tried>,
    hold: Hold,
}

impl Deliverer {
    /// Tries what was begun, and records what came of it.
    pub(crate) async fn attempt(self: Arc<Self>, begun: oneshot::Receiver<Begun>) -> Ended {
        let trouble = match begun.await {
            Ok(Ok(Some(attempt))) => match Arc::clone(&self).prepared(attempt).await {
                Ok(attempt) => return self.carry_out(attempt).await,
                Err(error) => {
                    error!(%error, "a delivery failed unexpectedly");
                    MAX_TROUBLE
                }
            },
            Ok(Ok(None)) => return Ended::REACHED,
            Ok(Err(error)) => {
                error!(%error, "a queued message can't be read");
                TROUBLE
            }
            Err(_) => {
                error!("reading a queued message failed unexpectedly");
                MAX_TROUBLE
            }
        };
        tokio::time::sleep(trouble).await;
        Ended::REACHED
    }

    /// Reads a message, and sorts out who is tried. Blocks.
    pub(crate) fn begin(&self, piece: Piece) -> Begun {
        let message = match self.queue.show(&piece.id) {
            Err(error) if error.is_damage() => {
                self.leave_damaged(&piece.id, error.to_string());
                return Ok(None);
            }
            found => found?,
        };
        if message.is_none() && self.queue.lacks_row(&piece.id)? {
            self.leave_damaged(&piece.id, "it has recipients only".to_owned());
        }
        let Some(message) = message.filter(|message| !message.held) else { return Ok(None) };
        let mut attempt = Attempt {
            file: None,
            needs: Needs { smtputf8: message.smtputf8, body: message.body },
            outcomes: Vec::new(),
            here: Vec::new(),
            elsewhere: Vec::new(),
            rest: Vec::new(),
            forwards: Vec::new(),
            destination: piece.destination,
            message,
            tried: None,
            hold: Hold::default(),
        };
        attempt.here = self.route(&mut attempt, Timestamp::now());
        // Of one alone nothing is told with others.
        let is_one_of_several = attempt.message.recipients.len() > 1;
        attempt.tried = is_one_of_several.then(|| self.under_way.begin(&piece.id, attempt.positions()));
        match self.open(&attempt.message) {
            Ok(file) => {
                self.damaged.forget(&piece.id);
                attempt.file = Some(file);
            }
            Err(error) => self.put_off_flawed(&mut attempt, &error),
        }
        Ok(Some(attempt))
    }

    /// Defers all that is left to try of a message whose text can't be read, or is not what was queued, and names it. It is tried again as its schedule
    /// says: somebody may put its file back.
    fn put_off_flawed(&self, attempt: &mut Attempt, error: &QueueError) {
        attempt.file = None;
        let mut positions = std::mem::take(&mut attempt.elsewhere);
        positions.extend(attempt.here.drain(..).map(|(position, _)| position));
        attempt.put_off(positions, self.name_flawed(&attempt.message.id, error));
    }

    /// Names it. Returns what comes of an attempt.
    fn name_flawed(&self, id: &QueueId, error: &QueueError) -> Diagnosis {
        error!(%id, %error, "the text of a queued message is damaged or can't be read: it is not sent");
        let (text, why) = match error.is_damage() {
            true => (error.to_string(), error.to_string()),
            false => {
                ("the message file can't be read".to_owned(), format!("message {id} can't be read: {error}"))
            }
        };
        self.damaged.note_flawed(id, why, Instant::now());
        Diagnosis::ours(UNREADABLE, text)
    }

    /// Names a message that makes no sense, and leaves it alone.
    pub(crate) fn leave_damaged(&self, id: &QueueId, why: String) {
        error!(%id, why, "a queued message is damaged: it is left alone");
        self.damaged.note(id, why, Instant::now());
    }

    async fn prepared(self: Arc<Self>, mut attempt: Attempt) -> Result<Attempt, JoinError> {
        if !attempt.is_to_be_prepared() {
            return Ok(attempt);
        }
        let span = Span::current();
        spawn_blocking(move || {
            let _in_span = span.entered();
            self.prepare(&mut attempt);
            attempt
        })
        .await
    }

    fn open(&self, message: &QueuedMessage) -> Result<MessageFile, QueueError> {
        let content = self.queue.content(&message.id)?;
        let found = content.length().map_err(QueueError::io("reading message", &message.id.0))?;
        if found != message.size {
            return Err(QueueError::Damaged { id: message.id.clone(), found, size: message.size });
        }
        let file = MessageFile::new(content, message.checksum).map_err(|error| unreadable(message, error))?;
        let file = file.of(message.body);
        Ok(file.with_origin(match &self.seals_as {
            _ if message.handling.is_ours => Origin::Here(Arc::clone(&self.signers)),
            Some(hostname) => Origin::Passed(Arc::clone(&self.signers), Arc::clone(hostname)),
            None => Origin::Others,
        }))
    }

    /// Notes who is elsewhere, and returns who is here. What is due at another destination is not looked at.
    fn route(&self, attempt: &mut Attempt, now: Timestamp) -> Vec<Here> {
        let (mut local, mut over) = (Vec::new(), Vec::new());
        let is_over = attempt.message.handling.is_over(now);
        let here = attempt.destination.is_here();
        for position in attempt.due(now) {
            let Some(recipient) = attempt.message.recipients.get(position) else { continue };
            let (sender, origin) = (attempt.message.sender.as_ref(), attempt.message.origin.as_str());
            let (domain, hop) = (recipient.address.domain(), recipient.next_hop.as_ref());
            let is_meant = here || self.relay.routes.by(sender, origin, domain, hop) == attempt.destination;
            match self.local.route(&recipient.address, sender) {
                Route::Local(_) if here && is_over => over.push(position),
                Route::Elsewhere if is_meant && !here && is_over => over.push(position),
                Route::Local(reached) if here => local.push((position, reached)),
                Route::Elsewhere if is_meant && !here => {
                    match self.suppressed(&attempt.message, &recipient.address, now) {
                        Some(outcome) => attempt.outcomes.push((position, outcome)),
                        None => attempt.elsewhere.push(position),
                    }
                }
                Route::Nowhere(outcome) if is_meant => attempt.outcomes.push((position, outcome)),
                // The next look finds out where it goes.
                Route::Local(_) | Route::Elsewhere | Route::Nowhere(_) => {}
            }
        }
        attempt.put_off(over, Diagnosis::ours(Status::new(4, 3, 0), "the time for its delivery is over"));
        local
    }

    /// What comes of mail to an address that is to get none of this kind. Blocks.
    fn suppressed(&self, message: &QueuedMessage, address: &Address, now: Timestamp) -> Option<Outcome> {
        let Handling { is_ours, is_bulk, .. } = message.handling;
        let list = self.suppression.as_ref().filter(|_| is_ours && (is_bulk || self.suppresses_all))?;
        let text = list.obstacle(address, now).unwrap_or_else(|error| {
            error!(%error, "the suppression list can't be read");
            None
        })?;
        Some(Outcome::Failed(Diagnosis::ours(UNWANTED, text)))
    }

    /// Delivers to those that are ours, and makes ready what goes elsewhere. Blocks.
    fn prepare(&self, attempt: &mut Attempt) {
        let Some(file) = attempt.file.take() else { return };
        // What is delivered here is there at once: it is looked at first.
        if !attempt.here.is_empty()
            && let Err(error) = file.verify()
        {
            return self.put_off_flawed(attempt, &unreadable(&attempt.message, error));
        }
        let mut local = std::mem::take(&mut attempt.here);
        attempt.take_out_loops(&mut local, &file);
        if !local.is_empty() {
            self.deliver_locally(attempt, local, &file);
        }
        if !attempt.elsewhere.is_empty() && attempt.needs != Needs::default() {
            attempt.look_closer(&file);
        }
        attempt.file = Some(file);
    }

    /// One file for all accounts, each gets it once, however many recipients lead to it.
    fn deliver_locally(&self, attempt: &mut Attempt, local: Vec<Here>, file: &MessageFile) {
        let mut all: Vec<LocalRecipient> =
            local.iter().flat_map(|(_, reached)| reached.accounts.clone()).collect();
        all.sort();
        all.dedup();
        let delivered = self.local.deliver(attempt.message.sender.as_ref(), &all, file);
        let delivered: HashMap<LocalRecipient, Result<(), Outcome>> =
            all.into_iter().zip(delivered).collect();
        let undone = |recipient: &LocalRecipient| delivered.get(recipient)?.as_ref().err();
        for (position, Reached { accounts, remote, forwards }) in local {
            let (failed, done): (Vec<_>, Vec<_>) =
                accounts.into_iter().partition(|recipient| undone(recipient).is_some());
            let goes_on = !remote.is_empty() || !forwards.is_empty();
            match failed.first().and_then(undone) {
                Some(outcome) if done.is_empty() && !goes_on => {
                    attempt.outcomes.push((position, outcome.clone()));
                }
                None if done.is_empty() && !goes_on => attempt.outcomes.push((position, looped())),
                // What is done is not done again: the rest goes on as messages of its own.
                _ => attempt.go_on(position, done.len(), self.addresses(failed), remote, forwards),
            }
        }
    }

    fn addresses(&self, recipients: Vec<LocalRecipient>) -> Vec<(Address, Address)> {
        let address = |it: LocalRecipient| (it.address(self.local.delimiter), it.account);
        recipients.into_iter().map(address).collect()
    }

    /// Sends to the recipients that are elsewhere, and records what came of all. Where recipients have return addresses of their own, what came
    /// of each is recorded before the next one's turn, so that the death of this process doubles one message at most; after some of them other mail has its turn, so
    /// that a newsletter to very many does not keep its place to the end.
    async fn carry_out(self: Arc<Self>, mut attempt: Attempt) -> Ended {
        let parts = self.by_return_address(&mut attempt);
        let most = if self.is_scheduled(&attempt.destination) { usize::MAX } else { TURN };
        let is_more = parts.len() > most;
        let mut parts = parts.into_iter().take(most);
        let mut reached = match parts.next() {
            Some((sender, positions)) => self.send_from(sender, positions, &mut attempt).await,
            None => true,
        };
        let mut rest = Arc::clone(&self).conclude(attempt).await;
        for (sender, positions) in parts {
            let Some(mut attempt) = rest else { break };
            reached &= self.send_from(sender, positions, &mut attempt).await;
            rest = Arc::clone(&self).conclude(attempt).await;
        }
        Ended { reached, goes_on: is_more && rest.is_some() }
    }

    /// True if a schedule bounds what goes there: all recipients of the attempt have been counted when it began.
    fn is_scheduled(&self, destination: &Destination) -> bool {
        let source = destination.source.and_then(|place| self.relay.routes.sources().get(place));
        !destination.rates.is_empty() || source.is_some_and(|source| source.warm_up.is_some())
    }

    /// The positions of those elsewhere, by the address that each is sent from.
    fn by_return_address(&self, attempt: &mut Attempt) -> Vec<(Option<Address>, Vec<usize>)> {
        let positions = std::mem::take(&mut attempt.elsewhere);
        let (message, mut alike, mut own) = (&attempt.message, Vec::new(), Vec::new());
        let sender = message.sender.as_ref().filter(|_| message.handling.is_ours).zip(self.verp.as_ref());
        for position in positions {
            let recipient = message.recipients.get(position).map(|it| &it.address);
            match sender.zip(recipient).and_then(|((sender, verp), address)| verp.sender(sender, address)) {
                Some(sender) => own.push((Some(sender), vec![position])),
                None => alike.push(position),
            }
        }
        if !alike.is_empty() {
            own.push((message.sender.clone(), alike));
        }
        own
    }

    /// Sends to these. False if their destination could not be reached, or was lost on the way.
    async fn send_from(&self, sender: Option<Address>, positions: Vec<usize>, attempt: &mut Attempt) -> bool {
        let Some(file) = attempt.file.as_ref() else {
            // An earlier part of the attempt has found that out.
            attempt.put_off(
                positions,
                Diagnosis::ours(UNREADABLE, "the message file is damaged or can't be read"),
            );
            return true;
        };
        let message = &attempt.message;
        let recipients = positions
            .iter()
            .filter_map(|position| message.recipients.get(*position))
            .map(|it| Recipient { address: it.address.clone(), parameters: it.parameters.clone() })
            .collect();
        let outgoing = Outgoing {
            sender,
            recipients,
            size: file.size(),
            smtputf8: attempt.needs.smtputf8,
            body: attempt.needs.body,
            ret: message.ret,
            envelope_id: message.envelope_id.clone(),
            require_tls: message.handling.require_tls,
            deadline: message.handling.deadline,
            deliver_by: None,
            priority: message.handling.priority,
            hold: attempt.hold.clone(),
        };
        let due =
            positions.iter().filter_map(|position| message.recipients.get(*position)?.next_attempt).max();
        let sent = self.relay.send(&attempt.destination, &outgoing, file, due.unwrap_or_default()).await;
        let is_lost = sent.outcomes.iter().any(Outcome::is_lost);
        let mut outcomes = sent.outcomes;
        if let Some(flaw) = file.flaw() {
            let error = match flaw {
                Flaw::Altered => QueueError::Altered { id: message.id.clone() },
                Flaw::Unreadable(why) => unreadable(message, std::io::Error::other(why.clone())),
            };
            let flawed = Outcome::Deferred(self.name_flawed(&message.id, &error));
            let deferred = outcomes.iter_mut().filter(|it| matches!(it, Outcome::Deferred(_)));
            deferred.for_each(|outcome| *outcome = flawed.clone());
            attempt.file = None;
        }
        attempt.outcomes.extend(positions.into_iter().zip(outcomes));
        sent.reached && !is_lost
    }
}

/// Why a message's text can't be had.
fn unreadable(message: &QueuedMessage, error: std::io::Error) -> QueueError {
    match error.get_ref().and_then(|it| it.downcast_ref()) {
        Some(Flaw::Altered) => QueueError::Altered { id: message.id.clone() },
        Some(Flaw::Unreadable(_)) | None => QueueError::io("reading message", &message.id.0)(error),
    }
}

impl Attempt {
    /// The same, when what came of it so far is recorded.
    pub(crate) fn recorded(self) -> Self {
        let hold = Hold::default();
        Self { outcomes: Vec::new(), rest: Vec::new(), forwards: Vec::new(), hold, ..self }
    }

    /// Where all are that it is about.
    fn positions(&self) -> BTreeSet<usize> {
        let here = self.here.iter().map(|(position, _)| position);
        let settled = self.outcomes.iter().map(|(position, _)| position);
        here.chain(settled).chain(&self.elsewhere).copied().collect()
    }

    /// Something is to be done for it that blocks.
    fn is_to_be_prepared(&self) -> bool {
        let is_elsewhere = || !self.elsewhere.is_empty() && self.needs != Needs::default();
        self.file.is_some() && (!self.here.is_empty() || is_elsewhere())
    }

    /// The positions of what is to be tried now.
    fn due(&self, now: Timestamp) -> Vec<usize> {
        let recipients = self.message.recipients.iter().enumerate();
        let is_due = |it: &QueuedRecipient| it.next_attempt.is_some_and(|next| next <= now);
        recipients
            .filter(|(_, it)| it.state == RecipientState::Pending && is_due(it))
            .map(|(position, _)| position)
            .collect()
    }

    /// What goes with a recipient to where it leads: RFC 3461 §5.2.7. The sender knows only whom it has named.
    fn forwarded(&self, position: usize) -> RcptParameters {
        let Some(recipient) = self.message.recipients.get(position) else { return RcptParameters::default() };
        let original = || OriginalRecipient::standing_for(&recipient.address);
        let RcptParameters { notify, original: named } = recipient.parameters.clone();
        RcptParameters { notify, original: named.or_else(original) }
    }

    /// Takes out what would go through the same address of ours again.
    fn take_out_loops(&mut self, local: &mut Vec<Here>, file: &MessageFile) {
        if local.iter().all(|(_, reached)| reached.forwards.is_empty()) {
            return;
        }
        match file.delivered_to() {
            Ok(passed) => local.iter_mut().for_each(|(_, reached)| {
                reached.take_out_loops(&passed);
            }),
            Err(error) => {
                error!(id = %self.message.id, %error, "the file of a queued message can't be read");
                let positions = local.drain(..).map(|(position, _)| position).collect();
                self.put_off(positions, Diagnosis::ours(UNREADABLE, "the message file can't be read"));
            }
        }
    }

    /// What is left of a recipient that is done for so many accounts: accounts that failed (by the address that leads there, and by their own),
    /// and others.
    fn go_on(
        &mut self,
        position: usize,
        done: usize,
        failed: Vec<(Address, Address)>,
        remote: Vec<Address>,
        forwards: Vec<Forward>,
    ) {
        let parameters = self.forwarded(position);
        let (lists, others): (Vec<_>, Vec<_>) =
            forwards.iter().partition(|forward| forward.through == Through::List);
        let others: usize = others.iter().map(|forward| forward.targets.len()).sum();
        let elsewhere = failed.len() + remote.len() + others;
        let (action, notify) = Action::of_recipient(done + lists.len(), elsewhere, parameters.notify);
        let parameters = RcptParameters { notify, ..parameters };
        for (address, account) in failed {
            // What its account has sent on already is not to go on again.
            if forwards.iter().any(|forward| forward.via == account) {
                let (through, sender) = (Through::Account(None), self.message.sender.clone());
                let kept = Forward { via: account, through, sender, targets: vec![address] };
                self.forwards.push((kept, parameters.clone()));
            } else {
                self.rest.push((address, parameters.clone()));
            }
        }
        self.rest.extend(remote.into_iter().map(|address| (address, parameters.clone())));
        self.forwards.extend(forwards.into_iter().map(|forward| (forward, parameters.clone())));
        let told = action.map(|action| Told { action, is_certain: false });
        self.outcomes.push((position, Outcome::Delivered(delivered_locally(), told)));
    }

    /// Clients announce 8BITMIME and SMTPUTF8 for mail that needs neither: what it does not need must not stop it. Blocks.
    fn look_closer(&mut self, file: &MessageFile) {
        match file.needs(self.needs.smtputf8) {
            // What is declared binary may say so of its parts, which only a host that takes that may see: RFC 2045 §6.2.
            Ok(needs) if self.needs.body == Body::Binary => {
                self.needs = Needs { body: Body::Binary, ..needs }
            }
            Ok(needs) => self.needs = needs,
            Err(error) => warn!(id = %self.message.id, %error, "the message file can't be read"),
        }
    }

    /// True if this attempt has come to something for the recipient.
    pub(crate) fn is_about(&self, position: usize) -> bool {
        self.outcomes.iter().any(|(mine, _)| *mine == position)
    }

    /// True if the message has other recipients.
    pub(crate) const fn is_about_some(&self) -> bool {
        self.message.recipients.len() > self.outcomes.len()
    }

    /// Defers these, for a reason of ours.
    fn put_off(&mut self, positions: Vec<usize>, diagnosis: Diagnosis) {
        let outcome = |position| (position, Outcome::Deferred(diagnosis.clone()));
        self.outcomes.extend(positions.into_iter().map(outcome));
    }

    /// The log line of each recipient.
    pub(crate) fn tell(&self, progress: &[Progress]) {
        let id = &self.message.id;
        for step in progress {
            let recipient = self.message.recipients.get(step.position).map(|it| it.address.to_string());
            let recipient = recipient.unwrap_or_default();
            let why = step.diagnosis.as_ref().map(ToString::to_string).unwrap_or_default();
            match (step.state, step.next_attempt) {
                (RecipientState::Delivered, _) => info!(%id, recipient, why, "delivered"),
                (RecipientState::Failed, _) => warn!(%id, recipient, why, "failed for good"),
                (RecipientState::Pending, Some(next)) => info!(%id, recipient, why, %next, "deferred"),
                (RecipientState::Pending, None) => info!(%id, recipient, why, "deferred"),
            }
        }
    }
}
