//! `store stats`: how much an account holds.

use std::path::Path;

use serde_json::json;

use super::open_account;
use crate::cli::StatsArguments;
use crate::command::operator::become_operator;
use crate::output;

pub(super) fn stats(config: &Path, arguments: &StatsArguments) -> anyhow::Result<()> {
    let account = open_account(&become_operator(config)?, &arguments.account)?;
    let names = account.mailboxes()?.into_iter().filter(|entry| entry.selectable).map(|entry| entry.name);
    let mailboxes =
        names.map(|name| Ok((account.status(&name)?, name))).collect::<anyhow::Result<Vec<_>>>()?;
    let messages: u64 = mailboxes.iter().map(|(status, _)| u64::from(status.messages)).sum();
    let octets: u64 = mailboxes.iter().map(|(status, _)| status.size).sum();
    let index = account.index_octets()?;
    if arguments.json {
        let each = mailboxes.iter().map(|(status, name)| {
            json!({
                "mailbox": name.as_str(),
                "messages": status.messages,
                "unseen": status.unseen,
                "octets": status.size,
            })
        });
        return output::json(&json!({
            "account": arguments.account.to_string(),
            "messages": messages,
            "octets": octets,
            "mailboxes": each.collect::<Vec<_>>(),
            "index_octets": index,
        }));
    }
    let heading = ["mailbox", "messages", "unseen", "octets"].map(ToOwned::to_owned).to_vec();
    let row = |name: &str, messages: u64, unseen: u64, octets: u64| {
        vec![name.to_owned(), messages.to_string(), unseen.to_string(), octets.to_string()]
    };
    let rows = mailboxes
        .iter()
        .map(|(status, name)| row(name.as_str(), status.messages.into(), status.unseen.into(), status.size));
    let unseen = mailboxes.iter().map(|(status, _)| u64::from(status.unseen)).sum();
    let total = row("total", messages, unseen, octets);
    output::table(&std::iter::once(heading).chain(rows).chain([total]).collect::<Vec<_>>())?;
    Ok(output::line(&format!("index: {index} octets"))?)
}
