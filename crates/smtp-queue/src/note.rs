//! What the event log is told.

use jiff::Timestamp;
use mail_events::{Attempt, AttemptOutcome, Event, Queued, QueuedWhy};
use mail_types::Address;

use crate::database::{NewMessage, Progress};
use crate::{BounceClass, QueuedMessage, RecipientState};

/// The events of an attempt that was recorded: what came of each recipient, and the messages that came of it.
pub(crate) fn events<'a>(
    message: &'a QueuedMessage,
    progress: &'a [Progress],
    offspring: &'a [NewMessage],
) -> impl Iterator<Item = Event> + 'a {
    let attempts = progress.iter().filter_map(|step| attempt(message, step));
    attempts.chain(offspring.iter().map(|child| queued(message, child)))
}

fn attempt(message: &QueuedMessage, step: &Progress) -> Option<Event> {
    let recipient = message.recipients.get(step.position)?;
    let diagnosis = step.diagnosis.as_ref();
    Some(Event::Attempt(Box::new(Attempt {
        queue_id: message.id.to_string(),
        sender: sender(message.sender.as_ref()),
        recipient: recipient.address.to_string(),
        attempt: recipient.attempts.saturating_add(1),
        outcome: match step.state {
            RecipientState::Delivered => AttemptOutcome::Delivered,
            RecipientState::Failed => AttemptOutcome::Bounced,
            RecipientState::Pending => AttemptOutcome::Deferred,
        },
        host: diagnosis.and_then(|diagnosis| diagnosis.host.clone()),
        status: diagnosis.map(|diagnosis| diagnosis.status.to_string()).unwrap_or_default(),
        text: diagnosis.map(|diagnosis| diagnosis.text.clone()).unwrap_or_default(),
        class: diagnosis
            .filter(|_| step.state != RecipientState::Delivered)
            .map(|diagnosis| BounceClass::of(diagnosis).as_str().to_owned()),
        next: step.next_attempt.map(to_the_second),
        seconds: u64::try_from(step.last_attempt.duration_since(message.arrived).as_secs())
            .unwrap_or_default(),
    })))
}

fn queued(message: &QueuedMessage, child: &NewMessage) -> Event {
    // RFC 5321 §6.1: a report comes from nobody, and of a message from nobody there is none.
    let is_report = child.envelope.sender.is_none() && message.sender.is_some();
    Event::Queued(Box::new(Queued {
        queue_id: child.id.to_string(),
        parent: message.id.to_string(),
        why: if is_report { QueuedWhy::Report } else { QueuedWhy::Forward },
        sender: sender(child.envelope.sender.as_ref()),
        recipients: Event::addresses(&child.envelope.recipients),
        size: Some(child.size),
    }))
}

fn sender(address: Option<&Address>) -> String {
    address.map(ToString::to_string).unwrap_or_default()
}

fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
