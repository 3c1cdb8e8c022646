use std::path::Path;

use anyhow::bail;
use jiff::Timestamp;
use serde_json::{Value, json};
use smtp_queue::{Suppressed, Suppression};

use super::operator::become_operator;
use crate::cli::SuppressionCommand;
use crate::output;

pub(super) fn run(config: &Path, command: SuppressionCommand) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    let list = Suppression::open(&config.suppression_file(), &config.queue.suppression)?;
    let now = Timestamp::now();
    match command {
        SuppressionCommand::List(arguments) => show_all(&list.list(now)?, arguments.json),
        SuppressionCommand::Show { address, json } => match list.find(&address, now)? {
            Some(known) if json => output::json(&to_json(&known)),
            Some(known) => Ok(output::table(&[heading(), row(&known)])?),
            None => bail!("nothing is known of {address}"),
        },
        SuppressionCommand::Add { addresses, why } => addresses.iter().try_for_each(|address| {
            list.add(address, &why, now)?;
            Ok(output::line(&format!("{address} gets no bulk mail"))?)
        }),
        SuppressionCommand::Remove { addresses } => addresses.iter().try_for_each(|address| {
            if !list.remove(address)? {
                bail!("nothing is known of {address}");
            }
            Ok(output::line(&format!("{address} gets mail again"))?)
        }),
    }
}

fn show_all(all: &[Suppressed], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&all.iter().map(to_json).collect::<Vec<_>>());
    }
    if all.is_empty() {
        return Ok(());
    }
    Ok(output::table(&std::iter::once(heading()).chain(all.iter().map(row)).collect::<Vec<_>>())?)
}

fn heading() -> Vec<String> {
    ["ADDRESS", "BULK MAIL", "WHY", "BOUNCES", "LAST", "UNTIL", "SAID"].map(str::to_owned).to_vec()
}

fn row(known: &Suppressed) -> Vec<String> {
    let day = |moment: Timestamp| moment.strftime("%Y-%m-%d").to_string();
    vec![
        known.address.clone(),
        if known.is_suppressed { "no" } else { "yes" }.to_owned(),
        known.reason.as_str().to_owned(),
        known.bounces.to_string(),
        day(known.last),
        known.expires.map_or_else(|| "removed".to_owned(), day),
        known.text.clone(),
    ]
}

fn to_json(known: &Suppressed) -> Value {
    json!({
        "address": known.address,
        "suppressed": known.is_suppressed,
        "reason": known.reason.as_str(),
        "bounces": known.bounces,
        "first": known.first.to_string(),
        "last": known.last.to_string(),
        "expires": known.expires.map(|moment| moment.to_string()),
        "text": known.text,
    })
}
