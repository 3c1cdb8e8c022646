//! What came of an attempt: recorded, and told to the sender as far as it wants to hear it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mail_directory::{Forward, Through};
use mail_types::Address;
use smtp_proto::{Body, Notify, RcptParameters, Return};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::attempt::{Attempt, Deliverer, MAX_TROUBLE, TROUBLE};
use crate::client::Outcome;
use crate::database::{Attempted, NewMessage, Progress, Recorded};
use crate::dsn::{Action, Report, Reported, Returned};
use crate::gather::Gathered;
use crate::note;
use crate::step::Step;
use crate::under_way::Warning;
use crate::{
    BounceClass, Deadline, Diagnosis, Envelope, QueueError, QueueId, QueuedRecipient, RecipientState,
    Requests, Status, step,
};

/// RFC 3463 §3.5: delivery time expired.
const EXPIRED: Status = Status::new(5, 4, 7);
/// The same of what is tried further. RFC 2852 §4.1.3.
const LATE: Status = Status::new(4, 4, 7);

/// RFC 3463 §3.5: there was too much to do.
const UNTRIED: Status = Status::new(4, 4, 5);

/// The longest wait until it is seen whether the queue can be written to again: nothing else is sent meanwhile.
const MAX_STANDSTILL: Duration = Duration::from_secs(10);

/// What comes of an attempt.
#[derive(Debug, Default)]
struct Offspring {
    messages: Vec<NewMessage>,
    /// Positions of recipients that this attempt is not about, but a report.
    warned: Vec<usize>,
    /// A report that one of these makes superfluous.
    superseded: Option<QueueId>,
    /// The report of them that waits for others.
    waiting: Option<Gathered>,
}

/// What is to be told of an attempt.
struct Telling {
    news: Vec<Reported>,
    /// What failed before and waits to be told.
    gathered: Option<(Option<Gathered>, Timestamp)>,
    warning: Warning,
    at: Timestamp,
}

/// Why an outcome is not recorded.
struct Unwritten {
    error: QueueError,
    /// The queue can't be written to: no other outcome can be recorded either.
    is_of_all: bool,
}

impl From<QueueError> for Unwritten {
    fn from(error: QueueError) -> Self {
        Self { is_of_all: error.is_full(), error }
    }
}

/// An attempt of which the outcome can't be recorded, until it is dropped: meanwhile nothing else is tried.
struct Unrecorded(Arc<Deliverer>);

impl Unrecorded {
    fn new(deliverer: &Arc<Deliverer>) -> Self {
        deliverer.unrecorded.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(deliverer))
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        self.0.unrecorded.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deliverer {
    /// Records the attempt, however long the disk refuses: a message must not be sent again because its delivery could not
    /// be written down. Returns it for what is left to try of it; `None` if the message is gone.
    pub(crate) async fn conclude(self: Arc<Self>, attempt: Attempt) -> Option<Attempt> {
        step::reached(Step::Replied);
        let attempt = Arc::new(attempt);
        let mut trouble = TROUBLE;
        let mut unrecorded = None;
        let is_there = loop {
            let Unwritten { error, is_of_all } = match self.record(&attempt).await {
                Ok(is_there) => break is_there,
                Err(unwritten) => unwritten,
            };
            error!(id = %attempt.message.id, %error, "a delivery can't be recorded");
            if !is_of_all && self.is_gone(&attempt.message.id).await {
                break false;
            }
            unrecorded = is_of_all.then(|| unrecorded.unwrap_or_else(|| Unrecorded::new(&self)));
            tokio::time::sleep(trouble).await;
            trouble = trouble.saturating_mul(2).min(if is_of_all { MAX_STANDSTILL } else { MAX_TROUBLE });
        };
        drop(unrecorded);
        Arc::into_inner(attempt).filter(|_| is_there).map(Attempt::recorded)
    }

    /// True if somebody has removed the message.
    async fn is_gone(&self, id: &QueueId) -> bool {
        let (queue, id) = (Arc::clone(&self.queue), id.clone());
        matches!(spawn_blocking(move || queue.contains(&id)).await, Ok(Ok(false)))
    }

    /// False if the message is gone.
    async fn record(self: &Arc<Self>, attempt: &Arc<Attempt>) -> Result<bool, Unwritten> {
        let now = Timestamp::now();
        let (mut progress, mut news) = (Vec::new(), Vec::new());
        for (position, outcome) in &attempt.outcomes {
            let Some(recipient) = attempt.message.recipients.get(*position) else { continue };
            let step = self.judge(attempt, *position, outcome, now);
            news.extend(tidings(recipient, attempt.message.handling.deadline.as_ref(), outcome, &step));
            progress.push(step);
        }
        let has_failed = news.iter().any(|it| it.action == Action::Failed);
        let is_trouble = news.iter().any(|it| it.action.is_trouble());
        let is_one_of_several = attempt.is_about_some();
        let is_late = is_one_of_several && self.is_late(attempt, now);
        let is_shared = is_one_of_several && (is_trouble || is_late);
        let gathering = if is_shared { Some(self.gather.begin().await) } else { None };
        let gathered = gathering.as_ref().and_then(|it| it.of(&attempt.message.id, now));
        let warning = if is_late { self.warning(attempt, &mut progress, &mut news) } else { Warning::ALL };
        let is_told = is_late && warning != Warning::Later;
        let telling = Telling { news, gathered, warning, at: now };
        let Offspring { messages, warned, superseded, waiting } = self.offspring_of(attempt, telling).await?;
        step::reached(Step::OffspringMade);
        let id = attempt.message.id.clone();
        let attempted = Arc::new(Attempted { id, progress, offspring: messages, warned, superseded });
        let recorded = self.queue.record(&attempted).await;
        let recorded = recorded.map_err(|error| Unwritten { error, is_of_all: true })?;
        // As long as nobody else asks who is tried.
        let positions = attempt.outcomes.iter().map(|(position, _)| *position);
        self.under_way.recorded(&attempt.message.id, positions, is_told);
        if recorded != Recorded::Kept {
            self.damaged.forget(&attempt.message.id);
        }
        match recorded {
            recorded @ (Recorded::Kept | Recorded::Finished { .. }) => {
                if let Some(gathering) = gathering.filter(|_| has_failed) {
                    gathering.end(&attempt.message.id, waiting, now);
                }
                attempt.tell(&attempted.progress);
                let events = note::events(&attempt.message, &attempted.progress, &attempted.offspring);
                events.for_each(|event| self.events.note(event));
                self.note_bounces(attempt, &attempted, now).await;
                if is_one_of_several && recorded != Recorded::Kept {
                    self.wait_no_longer(&attempt.message.id).await;
                }
                // Not before: what becomes of it is noted behind where it comes from.
                if !attempted.offspring.is_empty() {
                    self.queue.wake();
                }
                Ok(true)
            }
            Recorded::Gone => {
                info!(id = %attempt.message.id, "the message was removed while it was tried");
                Ok(false)
            }
        }
    }

    /// All recipients of the message are done: what waits to be told of it is sent.
    async fn wait_no_longer(&self, id: &QueueId) {
        let Some(report) = self.gather.take(id).await else { return };
        let queue = Arc::clone(&self.queue);
        match spawn_blocking(move || queue.retry(Some(&report))).await {
            Ok(Ok(_)) => {}
            // It goes when its time has come.
            Ok(Err(error)) => info!(%id, %error, "a report is not sent before its time"),
            Err(error) => error!(%error, "a report is not sent before its time"),
        }
    }

    /// Has the suppression list know whom mail of ours did not find. A list that fails holds up nothing.
    async fn note_bounces(&self, attempt: &Attempt, attempted: &Attempted, now: Timestamp) {
        let Some(list) = self.suppression.as_ref().filter(|_| attempt.message.handling.is_ours) else {
            return;
        };
        let bounced = attempted.progress.iter().filter_map(|step| {
            let diagnosis = step.diagnosis.as_ref().filter(|_| step.state == RecipientState::Failed)?;
            let address = &attempt.message.recipients.get(step.position)?.address;
            let is_hard = BounceClass::of(diagnosis).is_hard(diagnosis);
            is_hard.then(|| (address.clone(), diagnosis.to_string()))
        });
        let bounced: Vec<(Address, String)> = bounced.collect();
        if bounced.is_empty() {
            return;
        }
        step::reached(Step::Bounced);
        let list = Arc::clone(list);
        let noted = spawn_blocking(move || {
            bounced.iter().try_for_each(|(address, text)| {
                if list.bounced(address, text, now)? {
                    info!(%address, "the address is on the suppression list now");
                }
                Ok::<_, QueueError>(())
            })
        });
        match noted.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "the suppression list can't be written"),
            Err(error) => error!(%error, "writing the suppression list failed unexpectedly"),
        }
    }

    fn is_late(&self, attempt: &Attempt, now: Timestamp) -> bool {
        self.schedule.times(attempt.message.arrived, &attempt.message.handling).is_late(now)
    }

    /// What is told of a message that is late: where others that are tried will tell, nothing, nor is anybody marked as told.
    fn warning(&self, attempt: &Attempt, progress: &mut [Progress], news: &mut Vec<Reported>) -> Warning {
        let mine = |position| attempt.is_about(position);
        let warning = self.under_way.warning(&attempt.message.id, mine, Instant::now());
        if warning == Warning::Later {
            news.retain(|it| it.action != Action::Delayed);
            for step in progress {
                let recipient = attempt.message.recipients.get(step.position);
                step.warned = recipient.is_some_and(|it| it.warned);
            }
        }
        warning
    }

    async fn offspring_of(
        self: &Arc<Self>,
        attempt: &Arc<Attempt>,
        telling: Telling,
    ) -> Result<Offspring, QueueError> {
        let is_untold = telling.news.is_empty() && !telling.warning.is_due();
        if attempt.rest.is_empty() && attempt.forwards.is_empty() && is_untold {
            return Ok(Offspring::default());
        }
        let (this, attempt) = (Arc::clone(self), Arc::clone(attempt));
        let id = attempt.message.id.0.clone();
        let made = spawn_blocking(move || this.offspring(&attempt, telling)).await;
        made.map_err(|error| {
            QueueError::io("writing what comes of message", id)(std::io::Error::other(error))
        })?
    }

    /// What an outcome makes of a recipient.
    fn judge(&self, attempt: &Attempt, position: usize, outcome: &Outcome, now: Timestamp) -> Progress {
        let recipient = attempt.message.recipients.get(position);
        let times = self.schedule.times(attempt.message.arrived, &attempt.message.handling);
        let attempts = recipient.map_or(0, |it| it.attempts).saturating_add(1);
        let was_warned = recipient.is_some_and(|it| it.warned);
        let (state, next_attempt, diagnosis) = match outcome {
            Outcome::Delivered(diagnosis, _) => (RecipientState::Delivered, None, diagnosis.clone()),
            Outcome::Failed(diagnosis) => (RecipientState::Failed, None, diagnosis.clone()),
            Outcome::Deferred(diagnosis) if times.is_expired(now) => {
                (RecipientState::Failed, None, Diagnosis { status: EXPIRED, ..diagnosis.clone() })
            }
            Outcome::Deferred(diagnosis) => {
                // Without a random number the attempts of many messages are merely less spread.
                let chance = getrandom::u32().unwrap_or_default();
                let next = self.schedule.next_attempt(attempts, &times, now, chance);
                (RecipientState::Pending, Some(next), diagnosis.clone())
            }
        };
        let warned = was_warned || times.is_late(now);
        Progress { position, state, last_attempt: now, next_attempt, diagnosis: Some(diagnosis), warned }
    }

    /// The messages that come of this attempt, their files durable: reports, and what goes on to other addresses. Blocks.
    fn offspring(&self, attempt: &Attempt, telling: Telling) -> Result<Offspring, QueueError> {
        let Telling { news, gathered, warning, at: now } = telling;
        let mut offspring = Offspring::default();
        if !attempt.rest.is_empty() {
            offspring.messages.push(self.rest(attempt)?);
        }
        for (forward, parameters) in &attempt.forwards {
            offspring.messages.push(self.forward(attempt, forward, parameters)?);
        }
        let Some(sender) = &attempt.message.sender else {
            // RFC 5321 §6.1: of a message from nobody nothing is reported.
            if news.iter().any(|it| it.action == Action::Failed) {
                warn!(id = %attempt.message.id, "a bounce or report can't be delivered and is dropped");
            }
            return Ok(offspring);
        };
        let (failed, others): (Vec<_>, Vec<_>) = news.into_iter().partition(|it| it.action == Action::Failed);
        let (delayed, arrived): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|it| it.action == Action::Delayed);
        if !failed.is_empty() {
            self.report_failures(attempt, sender, failed, gathered, now, &mut offspring)?;
        }
        if !delayed.is_empty() || warning.is_due() {
            self.report_delay(attempt, sender, delayed, (&warning, now), &mut offspring)?;
        }
        if !arrived.is_empty() {
            offspring.messages.push(self.report(attempt, sender, &arrived, now)?);
        }
        Ok(offspring)
    }

    /// With all others that the message has not reached and that are not being tried, so that its sender hears once that it is late; what another
    /// attempt has told meanwhile is not told again.
    fn report_delay(
        &self,
        attempt: &Attempt,
        sender: &Address,
        mut delayed: Vec<Reported>,
        (warning, now): (&Warning, Timestamp),
        offspring: &mut Offspring,
    ) -> Result<(), QueueError> {
        let is_tried = |position| matches!(warning, Warning::Now { but, .. } if but.contains(&position));
        let deadline = attempt.message.handling.deadline.as_ref();
        if attempt.is_about_some() {
            let Some(message) = self.queue.show(&attempt.message.id)? else { return Ok(()) };
            let told: HashSet<_> =
                message.recipients.iter().filter(|it| it.warned).map(|it| &it.address).collect();
            delayed.retain(|it| !told.contains(&it.recipient));
            for (position, recipient) in message.recipients.iter().enumerate() {
                let is_silent = delayed.is_empty() && !warning.is_due();
                if is_silent || attempt.is_about(position) || is_tried(position) {
                    continue;
                }
                if let Some(late) = late(recipient, deadline, now) {
                    delayed.push(late);
                    offspring.warned.push(position);
                }
            }
        }
        if !delayed.is_empty() {
            offspring.messages.push(self.report(attempt, sender, &delayed, now)?);
        }
        Ok(())
    }

    /// With what failed before and waits to be told; it waits on if there are others that may fail.
    fn report_failures(
        &self,
        attempt: &Attempt,
        sender: &Address,
        mut failed: Vec<Reported>,
        gathered: Option<(Option<Gathered>, Timestamp)>,
        now: Timestamp,
        offspring: &mut Offspring,
    ) -> Result<(), QueueError> {
        let (before, until) = gathered.map_or((None, None), |(before, until)| (before, Some(until)));
        if let Some(Gathered { report, failed: mut earlier, .. }) = before {
            earlier.append(&mut failed);
            failed = earlier;
            offspring.superseded = Some(report);
        }
        let mut report = self.report(attempt, sender, &failed, now)?;
        if let Some(until) = until
            && self.are_others_tried(attempt, until)?
        {
            report.first_attempt = until;
            offspring.waiting = Some(Gathered { report: report.id.clone(), until, failed });
        }
        offspring.messages.push(report);
        Ok(())
    }

    /// True if recipients of the message are to be tried until then that this attempt is not about.
    fn are_others_tried(&self, attempt: &Attempt, until: Timestamp) -> Result<bool, QueueError> {
        // What is under way elsewhere may be done by now.
        let Some(message) = self.queue.show(&attempt.message.id)? else { return Ok(false) };
        let is_due = |it: &QueuedRecipient| {
            it.state == RecipientState::Pending && it.next_attempt.is_some_and(|next| next <= until)
        };
        Ok(message
            .recipients
            .iter()
            .enumerate()
            .any(|(position, it)| is_due(it) && !attempt.is_about(position)))
    }

    /// What goes on as it came.
    fn rest(&self, attempt: &Attempt) -> Result<NewMessage, QueueError> {
        let message = &attempt.message;
        let mut recipients = BTreeMap::<Address, RcptParameters>::new();
        for (address, parameters) in &attempt.rest {
            match recipients.get_mut(address) {
                Some(known) => known.notify = Notify::both(known.notify, parameters.notify),
                None => drop(recipients.insert(address.clone(), parameters.clone())),
            }
        }
        let envelope = Envelope {
            sender: message.sender.clone(),
            origin: message.origin.clone(),
            recipients: recipients.keys().cloned().collect(),
            smtputf8: message.smtputf8,
            body: message.body,
            requests: Requests { ret: message.ret, envelope_id: message.envelope_id.clone(), recipients },
            handling: message.handling,
        };
        self.queue.again(message, &envelope)
    }

    /// What goes on in the name of an address of ours.
    fn forward(
        &self,
        attempt: &Attempt,
        forward: &Forward,
        parameters: &RcptParameters,
    ) -> Result<NewMessage, QueueError> {
        let message = &attempt.message;
        let asked = Requests {
            ret: message.ret,
            envelope_id: message.envelope_id.clone(),
            recipients: forward.targets.iter().map(|it| (it.clone(), parameters.clone())).collect(),
        };
        let fields = forward.fields();
        let envelope = Envelope {
            sender: forward.sender.clone(),
            origin: message.origin.clone(),
            recipients: forward.targets.clone(),
            smtputf8: message.smtputf8 || !fields.is_ascii(),
            body: message.body.max(Body::of(fields.as_bytes())),
            // RFC 3461 §5.2.7.3: of a list's mail its owner hears.
            requests: if forward.through == Through::List { Requests::default() } else { asked },
            handling: message.handling,
        };
        let file =
            attempt.file.as_ref().map_or_else(|| Err(QueueError::NoSuchMessage(message.id.clone())), Ok)?;
        let path = self.queue.path(&message.id);
        let mut writer = self.queue.add()?;
        writer.write_message(fields.as_bytes())?;
        let copied = file.reader().and_then(|mut from| std::io::copy(&mut from, &mut writer));
        copied.map_err(QueueError::io("copying", &path))?;
        writer.persist(&envelope)
    }

    fn report(
        &self,
        attempt: &Attempt,
        sender: &Address,
        recipients: &[Reported],
        now: Timestamp,
    ) -> Result<NewMessage, QueueError> {
        let message = &attempt.message;
        let mut writer = self.queue.add()?;
        // RFC 3461 §6.2: of what has not failed only the header comes back; RFC 8689 §5: nor of what was to stay secret; RFC 3030 §3: nor of what not
        // every host takes that the report goes to.
        let has_failed = recipients.iter().any(|it| it.action == Action::Failed);
        let may_be_whole = has_failed && !message.handling.require_tls && message.body != Body::Binary;
        let ret = if may_be_whole { message.ret } else { Some(Return::Headers) };
        let returned = attempt.file.as_ref().and_then(|file| Returned::read(file, ret).ok());
        let report = Report {
            hostname: &self.hostname,
            sender,
            queue_id: Some(&message.id),
            envelope_id: message.envelope_id.as_deref(),
            arrived: message.arrived,
            now,
            until: Some(self.schedule.times(message.arrived, &message.handling).expiry),
            recipients,
            returned: returned.as_ref(),
            utf8: message.smtputf8,
            handling: &message.handling,
            language: self.language,
            unique: &writer.id().0.clone(),
        };
        let text = report.compose();
        let envelope = report.envelope(&text);
        writer.write_message(&text)?;
        writer.persist(&envelope)
    }
}

/// What is to be told of a recipient after an attempt, if its sender wants to hear it. RFC 3461 §5.2.
fn tidings(
    recipient: &QueuedRecipient,
    deadline: Option<&Deadline>,
    outcome: &Outcome,
    step: &Progress,
) -> Option<Reported> {
    let notify = recipient.parameters.notify;
    let (action, is_wanted) = match (step.state, outcome) {
        // §4.1: who has not said hears of failures and, as many servers have it, of delays.
        (RecipientState::Failed, _) => (Action::Failed, notify.is_none_or(Notify::of_failure)),
        (RecipientState::Pending, _) if step.warned && !recipient.warned => {
            (Action::Delayed, notify.is_none_or(Notify::of_delay))
        }
        (RecipientState::Delivered, Outcome::Delivered(_, Some(told))) => {
            let is_certain = told.is_certain && notify != Some(Notify::Never);
            (told.action, is_certain || notify.is_some_and(Notify::of_success))
        }
        (RecipientState::Pending | RecipientState::Delivered, _) => return None,
    };
    let diagnosis = step.diagnosis.clone()?;
    let is_missed = action == Action::Delayed && deadline.is_some_and(|it| it.is_missed(step.last_attempt));
    is_wanted.then_some(Reported {
        recipient: recipient.address.clone(),
        original: recipient.parameters.original.clone(),
        action,
        diagnosis: if is_missed { Diagnosis { status: LATE, ..diagnosis } } else { diagnosis },
        last_attempt: Some(step.last_attempt),
        expired: matches!(outcome, Outcome::Deferred(_)) && action == Action::Failed,
    })
}

/// That a recipient of a message that is late at `now` has not got it at its last attempt, or was not tried yet, if its sender wants to hear that and has
/// not heard it.
fn late(recipient: &QueuedRecipient, deadline: Option<&Deadline>, now: Timestamp) -> Option<Reported> {
    let is_wanted = recipient.parameters.notify.is_none_or(Notify::of_delay);
    let is_news = recipient.state == RecipientState::Pending && !recipient.warned;
    if !is_wanted || !is_news {
        return None;
    }
    let untried = || Diagnosis::ours(UNTRIED, "its turn has not come yet");
    let diagnosis = recipient.diagnosis.clone().unwrap_or_else(untried);
    let is_missed = deadline.is_some_and(|it| it.is_missed(now));
    Some(Reported {
        recipient: recipient.address.clone(),
        original: recipient.parameters.original.clone(),
        action: Action::Delayed,
        diagnosis: if is_missed { Diagnosis { status: LATE, ..diagnosis } } else { diagnosis },
        last_attempt: recipient.last_attempt,
        expired: false,
    })
}
