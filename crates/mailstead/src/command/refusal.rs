use std::path::Path;

use mail_directory::Refusal;
use serde_json::json;

use super::operator::open_directory;
use crate::cli::{RefusalArguments, RefusalCommand};
use crate::output;

pub(super) fn run(config: &Path, command: RefusalCommand) -> anyhow::Result<()> {
    let directory = open_directory(config)?;
    match command {
        RefusalCommand::Add(arguments) => refusals(arguments).try_for_each(|refusal| {
            directory.refuse(&refusal)?;
            Ok(output::line(&format!("{} refused", says(&refusal)))?)
        }),
        RefusalCommand::List(arguments) => list(&directory.refusals()?, arguments.json),
        RefusalCommand::Remove(arguments) => refusals(arguments).try_for_each(|refusal| {
            directory.stop_refusing(&refusal)?;
            Ok(output::line(&format!("{} not refused any more", says(&refusal)))?)
        }),
    }
}

fn refusals(RefusalArguments { senders, account }: RefusalArguments) -> impl Iterator<Item = Refusal> {
    senders.into_iter().map(move |sender| Refusal { account: account.clone(), sender })
}

fn says(Refusal { account, sender }: &Refusal) -> String {
    let whom = account.as_ref().map(|account| format!(" to {account}")).unwrap_or_default();
    format!("mail of {sender}{whom} is")
}

fn list(refusals: &[Refusal], json: bool) -> anyhow::Result<()> {
    if json {
        let refusals = refusals.iter().map(|Refusal { account, sender }| {
            json!({ "sender": sender.to_string(), "account": account.as_ref().map(ToString::to_string) })
        });
        return output::json(&refusals.collect::<Vec<_>>());
    }
    if refusals.is_empty() {
        return Ok(());
    }
    let headings = ["SENDER", "FOR"].map(str::to_owned).to_vec();
    let row = |Refusal { account, sender }: &Refusal| {
        vec![sender.to_string(), account.as_ref().map_or_else(|| "everybody".to_owned(), ToString::to_string)]
    };
    let rows = std::iter::once(headings).chain(refusals.iter().map(row));
    Ok(output::table(&rows.collect::<Vec<_>>())?)
}
