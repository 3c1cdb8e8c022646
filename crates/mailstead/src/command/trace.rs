//! `mailstead trace`: what happened to a message.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_events::{
    Attempt, AttemptOutcome, Entry, Event, LoginFailure, Message, MessageOutcome, Operation, Queued,
    QueuedWhy, Reader, Refusal, Stage, Story, Trace,
};
use smtp_queue::{Filter, Queue, QueueId, QueuedMessage};

use super::operator::{become_operator, open_queue};
use super::queue;
use crate::cli::TraceArguments;
use crate::output::{self, UsageError};

/// Recipients of one event that are named.
const MAX_NAMED: usize = 20;

pub(super) fn run(config: &Path, arguments: &TraceArguments) -> anyhow::Result<ExitCode> {
    if arguments.wanted.trim_matches(['<', '>', ' ']).is_empty() {
        return Err(UsageError(
            "say what to look for: a Message-ID, an address, or a name in the queue".to_owned(),
        )
        .into());
    }
    let config = become_operator(config)?;
    let trace = Reader::open(&config.events_dir())?.trace(&arguments.wanted, arguments.last)?;
    let queue = open_queue(&config)?;
    let waiting = Waiting { queue: &queue, wanted: &arguments.wanted, trace: &trace };
    let mut out = std::io::stdout().lock();
    let is_known = match arguments.json {
        true => write_json(&mut out, &trace, &waiting)?,
        false => write_text(&mut out, &trace, &waiting)?,
    };
    out.flush()?;
    Ok(if is_known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is in the queue now: of the messages that were found, and of those that the event log knows nothing of (any more).
struct Waiting<'a> {
    queue: &'a Arc<Queue>,
    wanted: &'a str,
    trace: &'a Trace,
}

impl Waiting<'_> {
    /// Shows `see` each message, some at a time being in memory.
    fn each(&self, mut see: impl FnMut(&QueuedMessage) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let names: HashSet<&str> = self.trace.stories.iter().flat_map(queue_ids).collect();
        let bare = self.wanted.trim_matches(['<', '>']);
        let is = |text: &str| text.eq_ignore_ascii_case(bare);
        let is_meant = |message: &QueuedMessage| {
            names.contains(message.id.to_string().as_str())
                || is(&message.id.to_string())
                || message.sender.as_ref().is_some_and(|sender| is(&sender.to_string()))
                || message.recipients.iter().any(|recipient| is(&recipient.address.to_string()))
        };
        self.queue
            .each(&Filter::default(), |page| page.iter().filter(|it| is_meant(it)).try_for_each(&mut see))
    }

    /// Those of a story.
    fn of(&self, story: &Story) -> impl Iterator<Item = QueuedMessage> {
        let names: BTreeSet<&str> = queue_ids(story).collect();
        names.into_iter().filter_map(|name| match self.queue.show(&QueueId(name.to_owned())) {
            Ok(message) => message,
            Err(error) => {
                output::warn(&error.to_string());
                None
            }
        })
    }
}

/// The names in the queue that a story tells of.
fn queue_ids(story: &Story) -> impl Iterator<Item = &str> {
    story.entries.iter().filter_map(|entry| queue_id(&entry.event))
}

/// True if something is known.
fn write_json(out: &mut impl Write, trace: &Trace, waiting: &Waiting<'_>) -> anyhow::Result<bool> {
    let stories: Vec<&[Entry]> = trace.stories.iter().map(|story| story.entries.as_slice()).collect();
    let omitted: Vec<usize> = trace.stories.iter().map(|story| story.omitted).collect();
    let (stories, omitted) = (serde_json::to_string(&stories)?, serde_json::to_string(&omitted)?);
    write!(
        out,
        "{{\"messages\":{stories},\"omitted\":{omitted},\"more\":{},\"partial\":{},\"queue\":[",
        trace.more, trace.is_partial
    )?;
    let mut count = 0_usize;
    waiting.each(|message| {
        let comma = if count == 0 { "" } else { "," };
        count += 1;
        Ok(write!(out, "{comma}{}", serde_json::to_string(&queue::to_json(message))?)?)
    })?;
    writeln!(out, "]}}")?;
    Ok(count > 0 || !trace.stories.is_empty())
}

/// True if something is known.
fn write_text(out: &mut impl Write, trace: &Trace, waiting: &Waiting<'_>) -> anyhow::Result<bool> {
    let mut is_first = true;
    let mut paragraph = |text: &str| {
        let gap = if std::mem::take(&mut is_first) { "" } else { "\n" };
        writeln!(out, "{gap}{text}")
    };
    if trace.more > 0 {
        paragraph(&format!("{} older messages are left out; --last shows more", trace.more))?;
    }
    if trace.is_partial {
        paragraph("more came of these messages than is followed here; a name in the queue finds the rest")?;
    }
    let mut shown = HashSet::new();
    for story in &trace.stories {
        let mut lines = vec![told(story)];
        for message in waiting.of(story).filter(|it| !shown.contains(&it.id.0)).collect::<Vec<_>>() {
            lines.push(in_queue(&message));
            shown.insert(message.id.0);
        }
        paragraph(&lines.join("\n"))?;
    }
    let mut others = 0_usize;
    waiting.each(|message| {
        if shown.contains(&message.id.0) {
            return Ok(());
        }
        others += 1;
        Ok(paragraph(&in_queue(message))?)
    })?;
    let is_known = others > 0 || !trace.stories.is_empty();
    if !is_known {
        paragraph(&format!("nothing is known of {}", waiting.wanted))?;
    }
    Ok(is_known)
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

fn in_queue(message: &QueuedMessage) -> String {
    format!("  in the queue now: {}", queue::shown(message, |_| None).replace('\n', "\n  "))
}

/// A line for each moment, with the day where it is another.
fn told(story: &Story) -> String {
    let mut day = String::new();
    let mut lines = Vec::new();
    let (gap, omitted) = story.gap().unzip();
    for (place, entry) in story.entries.iter().enumerate() {
        if gap == Some(place) {
            lines.push(format!("  {} events more are left out here", omitted.unwrap_or_default()));
        }
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
