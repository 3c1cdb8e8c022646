//! `mailstead report dmarc`, `tls` and `feedback`: what others report about mail in our name.

use jiff::Timestamp;
use mail_config::Config;
use mail_reports::{Choice, Reports};
use serde::Serialize;

use crate::cli::{ReceivedArguments, ReceivedReports, span};
use crate::output::{self, UsageError};

/// Lines of a table where nothing is said.
const LIMIT: usize = 100;

pub(super) fn run(config: &Config, wanted: &ReceivedReports) -> anyhow::Result<()> {
    if config.reports.addresses.is_empty() {
        output::warn("no mail is read as a report: name the addresses that it comes to in [reports]");
    }
    let reports = Reports::open(&config.reports_file())?;
    match wanted {
        ReceivedReports::Dmarc(arguments) => {
            let heading = ["domain", "source", "messages", "disposition", "DKIM", "SPF", "reported by"];
            show(arguments, &reports.dmarc(&choice(arguments)?)?, heading, |it| {
                let messages = it.messages.to_string();
                [&it.domain, &it.source, &messages, &it.disposition, &it.dkim, &it.spf, &it.reporters]
                    .map(|cell| shown(cell))
            })
        }
        ReceivedReports::Tls(arguments) => {
            let heading = ["domain", "policy", "succeeded", "failed", "why", "reported by"];
            show(arguments, &reports.tls(&choice(arguments)?)?, heading, |it| {
                let (succeeded, failed) = (it.succeeded.to_string(), it.failed.to_string());
                [&it.domain, &it.policy, &succeeded, &failed, &it.result, &it.reporters]
                    .map(|cell| shown(cell))
            })
        }
        ReceivedReports::Feedback(arguments) => {
            let heading = ["received", "type", "recipient", "sender", "source", "domain", "reported by"];
            show(arguments, &reports.complaints(&choice(arguments)?)?, heading, |it| {
                [&it.received, &it.kind, &it.recipient, &it.sender, &it.source, &it.domain, &it.reporter]
                    .map(|cell| shown(cell))
            })
        }
    }
}

fn choice(arguments: &ReceivedArguments) -> Result<Choice, UsageError> {
    let [since, until] = span(arguments.since, arguments.until, Timestamp::now())?;
    Ok(Choice {
        since,
        until,
        domain: arguments.domain.as_ref().map(ToString::to_string),
        limit: arguments.limit.unwrap_or(if arguments.json { usize::MAX } else { LIMIT }),
    })
}

fn show<T: Serialize, const COLUMNS: usize>(
    arguments: &ReceivedArguments,
    lines: &[T],
    heading: [&str; COLUMNS],
    row: impl Fn(&T) -> [String; COLUMNS],
) -> anyhow::Result<()> {
    if arguments.json {
        return output::json(&lines);
    }
    if lines.is_empty() {
        return Ok(output::line("nothing was reported")?);
    }
    let heading = heading.map(ToOwned::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(heading).chain(lines.iter().map(|line| row(line).to_vec())).collect();
    Ok(output::table(&rows)?)
}

fn shown(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { cell.to_owned() }
}
