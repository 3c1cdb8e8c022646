use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_config::Config;
use mail_events::{Event, EventLog, Operation};
use serde_json::{Value, json};
use smtp_queue::{Queue, QueueId, QueuedMessage, QueuedRecipient, RecipientState};

use super::operator::become_operator;
use crate::cli::{QueueCommand, QueueSelection};
use crate::output;

/// Messages that are read at once; a queue may be long.
const PAGE: usize = 500;

pub(super) fn run(config: &Path, command: QueueCommand) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    let queue = Queue::open(&config.queue_dir())?;
    match command {
        QueueCommand::List(arguments) => list(&queue, arguments.json),
        QueueCommand::Show { id, json, message } => show(&queue, &QueueId(id), json, message),
        QueueCommand::Retry(selection) => {
            each(&config, &selection, |id| queue.retry(id), ["retry", "tried at once"])
        }
        QueueCommand::Hold(selection) => each(&config, &selection, |id| queue.hold(id), ["hold", "held"]),
        QueueCommand::Release(selection) => {
            each(&config, &selection, |id| queue.release(id), ["release", "released"])
        }
        QueueCommand::Remove(selection) => {
            each(&config, &selection, |id| queue.remove(id), ["remove", "removed"])
        }
    }
}

/// Changes what is meant, which is noted as `operation` and told as `done`.
fn each<E>(
    config: &Config,
    selection: &QueueSelection,
    change: impl FnOnce(Option<&QueueId>) -> Result<usize, E>,
    [operation, done]: [&str; 2],
) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let id = selection.id.clone().map(QueueId);
    let count = change(id.as_ref())?;
    let operation = Operation { queue_id: selection.id.clone(), operation: operation.to_owned() };
    match EventLog::open(config, "operator") {
        Ok(events) => events.note(Event::Operator(operation)),
        Err(error) => output::warn(&error.to_string()),
    }
    Ok(output::line(&format!("{count} {} {done}", if count == 1 { "message" } else { "messages" }))?)
}

fn list(queue: &Arc<Queue>, json: bool) -> anyhow::Result<()> {
    let mut messages = Vec::new();
    loop {
        let page = queue.list(messages.last().map(|last: &QueuedMessage| &last.id), PAGE)?;
        if page.is_empty() {
            break;
        }
        messages.extend(page);
    }
    if json {
        return output::json(&messages.iter().map(to_json).collect::<Vec<_>>());
    }
    if messages.is_empty() {
        return Ok(output::line("the queue is empty")?);
    }
    let heading =
        ["id", "arrived", "size", "sender", "recipients", "next attempt"].map(ToOwned::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(heading).chain(messages.iter().map(row)).collect();
    Ok(output::table(&rows)?)
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

fn show(queue: &Arc<Queue>, id: &QueueId, json: bool, whole: bool) -> anyhow::Result<()> {
    let Some(message) = queue.show(id)? else { bail!("{id} is not in the queue") };
    if whole {
        return print_message(queue, id);
    }
    if json {
        return output::json(&to_json(&message));
    }
    let size = message.size;
    let held = if message.held { ", held" } else { "" };
    let head =
        format!("{id}: from {}, {size} octets, arrived {}{held}", sender(&message), local(message.arrived));
    output::line(&head)?;
    message.recipients.iter().try_for_each(|recipient| Ok(output::line(&recipient_lines(recipient))?))
}

fn recipient_lines(recipient: &QueuedRecipient) -> String {
    let QueuedRecipient { address, state, attempts, next_attempt, diagnosis, .. } = recipient;
    let next = next_attempt.map_or_else(String::new, |next| format!(", next {}", local(next)));
    let diagnosis = diagnosis.as_ref().map_or_else(String::new, |diagnosis| format!("\n    {diagnosis}"));
    format!("  {address}: {}, {attempts} attempts{next}{diagnosis}", state.as_str())
}

fn print_message(queue: &Arc<Queue>, id: &QueueId) -> anyhow::Result<()> {
    let mut message = Vec::new();
    queue.content(id)?.read_to_end(&mut message)?;
    std::io::Write::write_all(&mut std::io::stdout().lock(), &message).map_err(|error| anyhow!(error))
}

fn to_json(message: &QueuedMessage) -> Value {
    json!({
        "id": message.id.to_string(),
        "sender": message.sender.as_ref().map(ToString::to_string),
        "size": message.size,
        "arrived": message.arrived.to_string(),
        "held": message.held,
        "recipients": message.recipients.iter().map(recipient_to_json).collect::<Vec<_>>(),
    })
}

fn recipient_to_json(recipient: &QueuedRecipient) -> Value {
    json!({
        "address": recipient.address.to_string(),
        "state": recipient.state.as_str(),
        "attempts": recipient.attempts,
        "last_attempt": recipient.last_attempt.map(|time| time.to_string()),
        "next_attempt": recipient.next_attempt.map(|time| time.to_string()),
        "diagnosis": recipient.diagnosis.as_ref().map(ToString::to_string),
    })
}

fn sender(message: &QueuedMessage) -> String {
    message.sender.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string)
}

/// A moment on the operator's clock.
fn local(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
