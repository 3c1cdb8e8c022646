use std::io::{Read, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_config::{Config, QueueRate, RelaySource};
use mail_events::{Event, EventLog, Operation};
use serde_json::{Value, json};
use smtp_queue::{
    BounceClass, Change, Filter, Notice, Queue, QueueError, QueueId, QueuedMessage, QueuedRecipient,
    RecipientState, WaitState,
};

use super::operator::{become_operator, open_queue};
use crate::cli::{QueueCommand, QueueSelection};
use crate::output::{self, UsageError};

/// Messages of one command of which each has a line in the event log.
const MAX_NOTED: usize = 1000;

pub(super) fn run(config: &Path, command: QueueCommand) -> anyhow::Result<()> {
    if let Some(selection) = selection(&command) {
        check(selection)?;
    }
    let config = become_operator(config)?;
    let queue = open_queue(&config)?;
    match command {
        QueueCommand::List { filter, json } => list(&queue, &filter.filter(), json),
        QueueCommand::Show { id, json, message } => show(&config, &queue, &QueueId(id), json, message),
        QueueCommand::Retry(selection) => change(&config, &queue, &selection, &Change::Retry),
        QueueCommand::Hold(selection) => change(&config, &queue, &selection, &Change::Hold),
        QueueCommand::Release { selection, early } => {
            change(&config, &queue, &selection, &Change::Release { early })
        }
        QueueCommand::Reroute { selection, to, back: _ } => {
            change(&config, &queue, &selection, &Change::Reroute(to))
        }
        QueueCommand::Remove(selection) => change(&config, &queue, &selection, &Change::Remove),
    }
}

/// The names of a change: as the event log has it, and as it is told when it is done.
const fn names(change: &Change) -> [&'static str; 2] {
    match change {
        Change::Retry => ["retry", "tried at once"],
        Change::Hold => ["hold", "held"],
        Change::Release { .. } => ["release", "released"],
        Change::Remove => ["remove", "removed"],
        Change::Reroute(Some(_)) => ["reroute", "sent another way"],
        Change::Reroute(None) => ["reroute back", "sent the usual way"],
    }
}

/// Changes what is meant, and notes it.
fn change(
    config: &Config,
    queue: &Arc<Queue>,
    selection: &QueueSelection,
    change: &Change,
) -> anyhow::Result<()> {
    let [operation, done] = names(change);
    let (mut noted, mut missing) = (Vec::new(), Vec::new());
    let mut count = 0;
    for id in &selection.ids {
        match queue.change_one(&QueueId(id.clone()), change) {
            Ok(changed) => {
                count += changed;
                noted.extend((changed > 0).then(|| id.clone()));
            }
            Err(QueueError::NoSuchMessage(id)) => missing.push(id),
            Err(error) => return Err(error.into()),
        }
    }
    if selection.ids.is_empty() {
        count = queue.change(&selection.filter.filter(), change, |changed| {
            let room = MAX_NOTED.saturating_sub(noted.len());
            noted.extend(changed.iter().take(room).map(ToString::to_string));
        })?;
    }
    match EventLog::open(config, "operator") {
        Ok(events) if selection.all => note(&events, None, operation),
        Ok(events) => noted.into_iter().for_each(|id| note(&events, Some(id), operation)),
        Err(error) => output::warn(&error.to_string()),
    }
    if missing.is_empty() || count > 0 {
        tell(count, operation, done, selection.json)?;
    }
    if matches!(change, Change::Retry | Change::Reroute(_)) && queue.summary()?.held > 0 {
        output::warn(
            "what is held stays so: `mailstead queue list --state held` shows it, `mailstead queue release` lets it go",
        );
    }
    match missing.as_slice() {
        [] => Ok(()),
        [one] => Err(QueueError::NoSuchMessage(one.clone()).into()),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            bail!("there are no messages {} in the queue", names.join(", "))
        }
    }
}

fn tell(count: usize, operation: &str, done: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&json!({ "operation": operation, "messages": count }));
    }
    Ok(output::line(&format!("{count} {} {done}", if count == 1 { "message" } else { "messages" }))?)
}

fn note(events: &EventLog, queue_id: Option<String>, operation: &str) {
    events.note(Event::Operator(Operation { queue_id, operation: operation.to_owned() }));
}

/// One message, all, or a filter: one of these must be said, and no more.
fn check(selection: &QueueSelection) -> Result<(), UsageError> {
    let said = [!selection.ids.is_empty(), selection.all, selection.filter.filter() != Filter::default()];
    let wrong = match said.into_iter().filter(|said| *said).count() {
        1 => return Ok(()),
        0 => "say which messages: ids, --all, or what they have in common",
        _ => "say one thing: ids, --all, or what messages have in common",
    };
    let usage = "Usage: mailstead queue retry|hold|release|remove|reroute <ID>…|--all|--sender …; `--help` names the filters";
    Err(UsageError(format!("{wrong}\n\n{usage}")))
}

/// Which messages are to be changed, if any.
const fn selection(command: &QueueCommand) -> Option<&QueueSelection> {
    match command {
        QueueCommand::List { .. } | QueueCommand::Show { .. } => None,
        QueueCommand::Retry(selection)
        | QueueCommand::Hold(selection)
        | QueueCommand::Remove(selection)
        | QueueCommand::Release { selection, .. }
        | QueueCommand::Reroute { selection, .. } => Some(selection),
    }
}

/// Lists some at a time, so that a long queue needs no memory: a table's columns are as wide as those need.
fn list(queue: &Arc<Queue>, filter: &Filter, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut count = 0_usize;
    queue.each(filter, |page| {
        let is_first = count == 0;
        count += page.len();
        if json {
            let shown = page.iter().map(|message| serde_json::to_string(&to_json(message)));
            let shown = shown.collect::<Result<Vec<_>, _>>()?.join(",");
            write!(out, "{}{shown}", if is_first { '[' } else { ',' })?;
        } else {
            let heading = ["id", "arrived", "size", "sender", "recipients", "next attempt"];
            let heading = is_first.then(|| heading.map(ToOwned::to_owned).to_vec());
            let rows: Vec<_> = heading.into_iter().chain(page.iter().map(row)).collect();
            writeln!(out, "{}", output::columns(&rows))?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    match (json, count) {
        (true, 0) => writeln!(out, "[]")?,
        (true, _) => writeln!(out, "]")?,
        (false, 0) if *filter == Filter::default() => writeln!(out, "the queue is empty")?,
        (false, 0) => writeln!(out, "no such message is in the queue")?,
        (false, _) => {}
    }
    Ok(out.flush()?)
}

fn row(message: &QueuedMessage) -> Vec<String> {
    let open = message.recipients.iter().filter(|recipient| recipient.state == RecipientState::Pending);
    let recipients: Vec<String> = open.clone().map(|recipient| recipient.address.to_string()).collect();
    let next = open.filter_map(|recipient| recipient.next_attempt).min();
    let next = if message.held { "held".to_owned() } else { next.map_or_else(|| "-".to_owned(), local) };
    vec![
        message.id.to_string(),
        local(message.arrived),
        message.size.to_string(),
        sender(message),
        recipients.join(" "),
        next,
    ]
}

fn show(config: &Config, queue: &Arc<Queue>, id: &QueueId, json: bool, whole: bool) -> anyhow::Result<()> {
    let message = queue.show(id)?.ok_or_else(|| QueueError::NoSuchMessage(id.clone()))?;
    if whole {
        return print_message(queue, id);
    }
    let notices = queue.notices()?;
    let waits = |recipient: &QueuedRecipient| waits_for(config, &notices, &message, recipient);
    if json {
        let mut shown = to_json(&message);
        let recipients = shown.get_mut("recipients").and_then(Value::as_array_mut).into_iter().flatten();
        for (recipient, shown) in message.recipients.iter().zip(recipients) {
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("waits_for".to_owned(), json!(waits(recipient)));
            }
        }
        return output::json(&shown);
    }
    Ok(output::line(&shown(&message, waits))?)
}

/// A line for the message, and one or more for each recipient, of which `waits` tells what it waits for.
pub(super) fn shown(message: &QueuedMessage, waits: impl Fn(&QueuedRecipient) -> Option<String>) -> String {
    let QueuedMessage { id, size, arrived, held, .. } = message;
    let held = if *held { ", held" } else { "" };
    let bulk = if message.handling.is_bulk { ", bulk mail" } else { "" };
    let from = sender(message);
    let head = format!("{id}: from {from}, {size} octets, arrived {}{held}{bulk}", local(*arrived));
    let recipients = message.recipients.iter().map(|recipient| {
        let waits = waits(recipient).map(|text| format!("\n    waits: {text}")).unwrap_or_default();
        format!("{}{waits}", recipient_lines(recipient))
    });
    std::iter::once(head).chain(recipients).collect::<Vec<_>>().join("\n")
}

/// What a recipient that is due waits for: a schedule of the config that the deliverer says to be in force.
fn waits_for(
    config: &Config,
    notices: &[Notice],
    message: &QueuedMessage,
    recipient: &QueuedRecipient,
) -> Option<String> {
    recipient.next_attempt.filter(|next| *next <= Timestamp::now())?;
    let rates = config.queue.rates.iter().filter(|it| it.is_of(&message.origin, recipient.address.domain()));
    let source = config.relay.sources.iter().find(|it| it.is_of(message.sender.as_ref()));
    let subjects = rates.map(QueueRate::subject).chain(source.map(RelaySource::subject));
    let texts = subjects.filter_map(|it| notices.iter().find(|notice| notice.subject == it));
    let texts: Vec<&str> = texts.map(|notice| notice.text.as_str()).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Why the last attempt did not deliver, in one word.
fn class(recipient: &QueuedRecipient) -> Option<&'static str> {
    let diagnosis = recipient.diagnosis.as_ref().filter(|_| recipient.state != RecipientState::Delivered)?;
    Some(BounceClass::of(diagnosis).as_str())
}

fn recipient_lines(recipient: &QueuedRecipient) -> String {
    let QueuedRecipient { address, state, attempts, next_attempt, diagnosis, next_hop, .. } = recipient;
    let next = next_attempt.map_or_else(String::new, |next| format!(", next {}", local(next)));
    let class = class(recipient).map(|class| format!(" [{class}]")).unwrap_or_default();
    let diagnosis =
        diagnosis.as_ref().map_or_else(String::new, |diagnosis| format!("\n    {diagnosis}{class}"));
    let hop = next_hop.as_ref().map_or_else(String::new, |hop| format!(", by {hop}"));
    format!("  {address}: {}, {attempts} attempts{next}{hop}{diagnosis}", state.as_str())
}

fn print_message(queue: &Arc<Queue>, id: &QueueId) -> anyhow::Result<()> {
    let mut message = Vec::new();
    queue.content(id)?.read_to_end(&mut message)?;
    std::io::stdout().lock().write_all(&message).map_err(|error| anyhow!(error))
}

pub(super) fn to_json(message: &QueuedMessage) -> Value {
    json!({
        "id": message.id.to_string(),
        "sender": message.sender.as_ref().map(ToString::to_string),
        "size": message.size,
        "arrived": message.arrived.to_string(),
        "held": message.held,
        "priority": message.handling.priority.unwrap_or_default().get(),
        "release": message.handling.release.map(|time| time.to_string()),
        "origin": message.origin,
        "bulk": message.handling.is_bulk,
        "recipients": message.recipients.iter().map(|it| recipient_to_json(message, it)).collect::<Vec<_>>(),
    })
}

fn recipient_to_json(message: &QueuedMessage, recipient: &QueuedRecipient) -> Value {
    let is_waiting = recipient.state == RecipientState::Pending;
    let waits = is_waiting.then(|| WaitState::of(message, recipient, Timestamp::now()).as_str());
    json!({
        "address": recipient.address.to_string(),
        "state": recipient.state.as_str(),
        "waits": waits,
        "next_hop": recipient.next_hop.as_ref().map(ToString::to_string),
        "attempts": recipient.attempts,
        "last_attempt": recipient.last_attempt.map(|time| time.to_string()),
        "next_attempt": recipient.next_attempt.map(|time| time.to_string()),
        "diagnosis": recipient.diagnosis.as_ref().map(ToString::to_string),
        "class": class(recipient),
    })
}

fn sender(message: &QueuedMessage) -> String {
    message.sender.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string)
}

/// A moment on the operator's clock.
fn local(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
