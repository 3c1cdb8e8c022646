//! `mailstead trace`: what happened to a message.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_config::Config;
use mail_events::{
    Attempt, AttemptOutcome, Entry, Event, LoginFailure, Message, MessageOutcome, Operation, Queued,
    QueuedWhy, Reader, Refusal, Stage, Story, Trace,
};
use serde_json::json;
use smtp_queue::{Filter, Queue, QueueError, QueuedMessage};

use super::operator::become_operator;
use super::queue;
use crate::cli::TraceArguments;
use crate::output;

/// Recipients of one event that are named.
const MAX_NAMED: usize = 20;

pub(super) fn run(config: &Path, arguments: &TraceArguments) -> anyhow::Result<ExitCode> {
    let config = become_operator(config)?;
    let reader = Reader::open(&config.events_dir())?;
    let trace = reader.trace(&arguments.wanted, arguments.last)?;
    let waiting = waiting(&config, &arguments.wanted, &trace)?;
    if arguments.json {
        let stories: Vec<&[Entry]> = trace.stories.iter().map(|story| story.entries.as_slice()).collect();
        let queue: Vec<_> = waiting.iter().map(queue::to_json).collect();
        output::json(&json!({ "messages": stories, "queue": queue, "more": trace.more }))?;
    } else {
        output::line(&shown(&trace, &waiting, &arguments.wanted))?;
    }
    let is_known = !trace.stories.is_empty() || !waiting.is_empty();
    Ok(if is_known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is in the queue now: of the messages that were found, and of those that the event log knows nothing of (any more).
fn waiting(config: &Config, wanted: &str, trace: &Trace) -> anyhow::Result<Vec<QueuedMessage>> {
    let names: HashSet<&str> =
        trace.stories.iter().flat_map(|story| &story.entries).filter_map(|it| queue_id(&it.event)).collect();
    let bare = wanted.trim_matches(['<', '>']);
    let is = |text: &str| text.eq_ignore_ascii_case(bare);
    let is_meant = |message: &QueuedMessage| {
        names.contains(message.id.to_string().as_str())
            || is(&message.id.to_string())
            || message.sender.as_ref().is_some_and(|sender| is(&sender.to_string()))
            || message.recipients.iter().any(|recipient| is(&recipient.address.to_string()))
    };
    let mut waiting = Vec::new();
    Queue::open(&config.queue_dir())?.each(&Filter::default(), |page| {
        waiting.extend(page.into_iter().filter(is_meant));
        Ok::<_, QueueError>(())
    })?;
    Ok(waiting)
}

/// The name in the queue of what an event is about.
fn queue_id(event: &Event) -> Option<&str> {
    match event {
        Event::Message(it) => it.queue_id.as_deref(),
        Event::Attempt(it) => Some(&it.queue_id),
        Event::Queued(it) => Some(&it.queue_id),
        Event::Operator(it) => it.queue_id.as_deref(),
        Event::Refusal(_) | Event::LoginFailure(_) | Event::Omitted(_) | _ => None,
    }
}

fn shown(trace: &Trace, waiting: &[QueuedMessage], wanted: &str) -> String {
    if trace.stories.is_empty() && waiting.is_empty() {
        return format!("nothing is known of {wanted}");
    }
    let mut unseen: Vec<&QueuedMessage> = waiting.iter().collect();
    let mut stories = Vec::new();
    for story in &trace.stories {
        let is_of = |message: &&QueuedMessage| {
            let id = message.id.to_string();
            story.entries.iter().any(|entry| queue_id(&entry.event) == Some(&id))
        };
        let (own, others): (Vec<_>, Vec<_>) = unseen.into_iter().partition(is_of);
        unseen = others;
        let now = own.into_iter().map(in_queue);
        stories.push(std::iter::once(told(story)).chain(now).collect::<Vec<_>>().join("\n"));
    }
    stories.extend(unseen.into_iter().map(in_queue));
    if trace.more > 0 {
        stories.insert(0, format!("{} older messages are left out; --last shows more", trace.more));
    }
    stories.join("\n\n")
}

fn in_queue(message: &QueuedMessage) -> String {
    format!("  in the queue now: {}", queue::shown(message, |_| None).replace('\n', "\n  "))
}

/// A line for each moment, with the day where it is another.
fn told(story: &Story) -> String {
    let mut day = String::new();
    let mut lines = Vec::new();
    for entry in &story.entries {
        let today = local(entry.at, "%Y-%m-%d");
        if today != day {
            lines.push(today.clone());
            day = today;
        }
        let mut told = event(&entry.event).into_iter();
        let first = told.next().unwrap_or_default();
        lines.push(format!("  {}  {first}", local(entry.at, "%H:%M:%S")));
        lines.extend(told.map(|line| format!("            {line}")));
    }
    lines.join("\n")
}

fn event(event: &Event) -> Vec<String> {
    match event {
        Event::Message(it) => message(it),
        Event::Refusal(it) => refusal(it),
        Event::LoginFailure(it) => vec![login_failure(it)],
        Event::Attempt(it) => vec![attempt(it)],
        Event::Queued(it) => vec![queued(it)],
        Event::Operator(it) => vec![operation(it)],
        Event::Omitted(it) => vec![format!("{} refusals more", it.count)],
        _ => Vec::new(),
    }
}

fn message(message: &Message) -> Vec<String> {
    let Message { id, peer, helo, listener, protocol, size, reply, .. } = message;
    let message_id = message.message_id.as_deref().unwrap_or("without a Message-ID");
    let tls = message.tls.as_deref().unwrap_or("no TLS");
    let login =
        message.account.as_ref().map(|account| format!(", logged in as {account}")).unwrap_or_default();
    let mut lines = vec![
        format!("message {id}, {message_id}, {size} octets"),
        format!("from {} to {}", path(&message.sender), names(&message.recipients)),
        format!("brought by {peer} ({helo}) to {listener} by {protocol}, {tls}{login}"),
    ];
    if let Some(verdict) = &message.verdict {
        lines.push(format!("verdict: {verdict}"));
    }
    let word = match message.outcome {
        MessageOutcome::Accepted => "accepted",
        MessageOutcome::Junk => "accepted as junk",
        MessageOutcome::Discarded => "accepted and thrown away",
        MessageOutcome::Refused => "refused",
        MessageOutcome::Deferred => "refused for now",
        MessageOutcome::Lost => "lost with its client, who left in the midst of it,",
    };
    let told = if reply.is_empty() { String::new() } else { format!(": {reply}") };
    lines.push(format!("{word} after {} ms{told}", message.milliseconds));
    let is_here = matches!(message.outcome, MessageOutcome::Accepted | MessageOutcome::Junk);
    if is_here && !message.accounts.is_empty() {
        let mailbox = if message.outcome == MessageOutcome::Junk { "Junk" } else { "INBOX" };
        lines.push(format!("delivered to {mailbox} of {}", names(&message.accounts)));
    }
    if let Some(queue_id) = &message.queue_id {
        lines.push(format!("queued as {queue_id} for {}", names(&message.remote)));
    }
    lines
}

fn refusal(refusal: &Refusal) -> Vec<String> {
    let Refusal { peer, helo, listener, reply, .. } = refusal;
    let sender = path(&refusal.sender);
    let tls = refusal.tls.as_deref().unwrap_or("no TLS");
    let login =
        refusal.account.as_ref().map(|account| format!(", logged in as {account}")).unwrap_or_default();
    let subject = match (refusal.stage, &refusal.recipient) {
        (Stage::Rcpt, Some(recipient)) => {
            format!("recipient {recipient} refused, of a message from {sender}")
        }
        (Stage::Rcpt | Stage::Mail, _) => format!("sender {sender} refused"),
    };
    vec![format!("{subject}: {reply}"), format!("{peer} ({helo}) had come to {listener}, {tls}{login}")]
}

fn login_failure(failure: &LoginFailure) -> String {
    let LoginFailure { listener, peer, name, reason, .. } = failure;
    let name = if name.is_empty() { "nobody that was named" } else { name };
    format!("{peer} did not log in to {listener} as {name}: {reason}")
}

fn attempt(attempt: &Attempt) -> String {
    let Attempt { queue_id, recipient, text, status, .. } = attempt;
    let said = match &attempt.host {
        Some(host) => format!("{host} said: {text}"),
        None => format!("{status} {text}"),
    };
    let outcome = match attempt.outcome {
        AttemptOutcome::Delivered => "delivered".to_owned(),
        AttemptOutcome::Bounced => "given up".to_owned(),
        AttemptOutcome::Deferred => {
            let next = attempt.next.map(|next| format!(" until {}", local(next, "%Y-%m-%d %H:%M:%S")));
            format!("deferred{}", next.unwrap_or_default())
        }
    };
    format!("{queue_id}, attempt {} for {recipient}: {outcome}: {said}", attempt.attempt)
}

fn queued(queued: &Queued) -> String {
    let Queued { queue_id, parent, recipients, .. } = queued;
    let what = match queued.why {
        QueuedWhy::Report => "a report",
        QueuedWhy::Forward => "the message",
    };
    format!("{parent}: {what} goes to {}, queued as {queue_id}", names(recipients))
}

fn operation(operation: &Operation) -> String {
    let queue_id = operation.queue_id.as_deref().unwrap_or("all messages");
    format!("{queue_id}: an operator's {}", operation.operation)
}

fn path(sender: &str) -> &str {
    if sender.is_empty() { "<>" } else { sender }
}

fn names(addresses: &[String]) -> String {
    let named: Vec<&str> = addresses.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = addresses.len().saturating_sub(MAX_NAMED);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

/// A moment on the operator's clock.
fn local(time: Timestamp, format: &str) -> String {
    time.to_zoned(TimeZone::system()).strftime(format).to_string()
}
