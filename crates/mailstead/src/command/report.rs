//! `mailstead report`: what came of mail, counted.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_events::{By, Figures, Line, Reader, Reason, Report, ReportFilter};
use serde_json::{Value, json};

use super::operator::become_operator;
use super::received;
use crate::cli::{Grouping, ReportArguments, span};
use crate::output::{self, UsageError};

/// Lines of a table where nothing is said.
const LIMIT: usize = 100;
/// Reasons that a line of a table names.
const MAX_SHOWN: usize = 3;

pub(super) fn run(config: &Path, arguments: &ReportArguments) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    if let Some(wanted) = &arguments.received {
        return received::run(&config, wanted);
    }
    let reader = Reader::open(&config.events_dir())?;
    let by = by(arguments.by);
    let mut report = reader.report(by, &filter(arguments, Timestamp::now())?, &TimeZone::system())?;
    let limit = arguments.limit.unwrap_or(if arguments.json { usize::MAX } else { LIMIT });
    let more = shorten(&mut report, by, limit);
    if arguments.json {
        return output::json(&to_json(&report, by));
    }
    if report.lines.is_empty() {
        return Ok(output::line("nothing is known of such mail")?);
    }
    output::table(&table(&report, by))?;
    if more > 0 {
        output::line(&format!("\n{more} more lines; --limit shows more"))?;
    }
    Ok(())
}

fn filter(arguments: &ReportArguments, now: Timestamp) -> Result<ReportFilter, UsageError> {
    let [since, until] = span(arguments.since, arguments.until, now)?;
    Ok(ReportFilter {
        since,
        until,
        sender: arguments.sender.clone(),
        domain: arguments.domain.clone(),
        account: arguments.account.clone(),
        client: arguments.client.clone(),
        address: arguments.address,
    })
}

const fn by(grouping: Grouping) -> By {
    match grouping {
        Grouping::Message => By::Message,
        Grouping::Sender => By::Sender,
        Grouping::Domain => By::Domain,
        Grouping::Day => By::Day,
        Grouping::Reason => By::Reason,
        Grouping::Client => By::Client,
    }
}

/// Leaves the lines that tell most, and says how many others there are.
fn shorten(report: &mut Report, by: By, limit: usize) -> usize {
    let more = report.lines.len().saturating_sub(limit);
    match by {
        By::Message | By::Day => drop(report.lines.drain(..more)),
        By::Sender | By::Domain | By::Reason | By::Client => report.lines.truncate(limit),
    }
    more
}

fn table(report: &Report, by: By) -> Vec<Vec<String>> {
    let figures = ["received", "sent", "deferred", "bounced", "refused"].map(ToOwned::to_owned);
    let mut heading = vec![name_of(by).to_owned()];
    if by == By::Message {
        heading.extend(["last heard of".to_owned(), "sender".to_owned()]);
    }
    heading.extend(figures);
    if by != By::Reason {
        heading.push("why".to_owned());
    }
    let mut rows = vec![heading];
    rows.extend(report.lines.iter().map(|line| row(line, by)));
    if report.others != Figures::default() {
        rows.push(sum("others", &report.others, by));
    }
    rows.push(sum("total", &report.total, by));
    rows
}

const fn name_of(by: By) -> &'static str {
    match by {
        By::Message => "message",
        By::Sender => "sender",
        By::Domain => "domain",
        By::Day => "day",
        By::Reason => "reason",
        By::Client => "client",
    }
}

fn row(line: &Line, by: By) -> Vec<String> {
    let mut row = vec![shown(line.name.as_deref())];
    if by == By::Message {
        row.extend([local(line.last), shown(line.sender.as_deref())]);
    }
    row.extend(numbers(&line.figures));
    if by != By::Reason {
        row.push(why(line));
    }
    row
}

fn sum(what: &str, figures: &Figures, by: By) -> Vec<String> {
    let mut row = vec![what.to_owned()];
    if by == By::Message {
        row.extend([String::new(), String::new()]);
    }
    row.extend(numbers(figures));
    row
}

/// The most frequent reasons; of a message with a single one, what was said.
fn why(line: &Line) -> String {
    if let ([(reason, 1)], Some(text)) = (line.reasons.as_slice(), &line.text) {
        return format!("{}: {text}", reason.code());
    }
    let reasons = line.reasons.iter().take(MAX_SHOWN);
    let mut shown: Vec<String> = reasons.map(|(reason, count)| format!("{count} × {reason}")).collect();
    if line.reasons.len() > MAX_SHOWN {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

fn numbers(figures: &Figures) -> [String; 5] {
    let Figures { received, sent, deferred, bounced, refused } = figures;
    [received, sent, deferred, bounced, refused].map(ToString::to_string)
}

fn shown(name: Option<&str>) -> String {
    match name {
        Some("") => "<>".to_owned(),
        Some(name) => name.to_owned(),
        None => "-".to_owned(),
    }
}

fn to_json(report: &Report, by: By) -> Value {
    json!({
        "by": name_of(by),
        "lines": report.lines.iter().map(line_to_json).collect::<Vec<_>>(),
        "others": figures_to_json(&report.others),
        "total": figures_to_json(&report.total),
    })
}

fn line_to_json(line: &Line) -> Value {
    let reason = |(reason, count): &(Reason, u64)| json!({ "code": reason.code(), "meaning": reason.meaning(), "count": count });
    let mut value = figures_to_json(&line.figures);
    let more = json!({
        "name": line.name,
        "sender": line.sender,
        "reasons": line.reasons.iter().map(reason).collect::<Vec<_>>(),
        "text": line.text,
        "last": line.last.to_string(),
    });
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

fn figures_to_json(figures: &Figures) -> Value {
    let Figures { received, sent, deferred, bounced, refused } = figures;
    json!({ "received": received, "sent": sent, "deferred": deferred, "bounced": bounced, "refused": refused })
}

/// A moment on the operator's clock.
fn local(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
