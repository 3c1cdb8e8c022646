use std::path::Path;

use mail_types::{Address, AddressPattern};
use serde_json::json;

use super::operator::open_directory;
use crate::cli::AliasCommand;
use crate::output;

pub(super) fn run(config: &Path, command: AliasCommand) -> anyhow::Result<()> {
    let directory = open_directory(config)?;
    match command {
        AliasCommand::Add { alias, targets } => {
            directory.add_alias(&alias, &targets)?;
            Ok(output::line(&format!("{alias} goes to {}", list(&targets)))?)
        }
        AliasCommand::List(arguments) => show(&directory.aliases()?, arguments.json),
        AliasCommand::Remove { alias, targets } => {
            let left = if targets.is_empty() {
                directory.remove_alias(&alias)?;
                Vec::new()
            } else {
                directory.remove_targets(&alias, &targets)?
            };
            let done = if left.is_empty() {
                format!("removed {alias}")
            } else {
                format!("{alias} goes to {}", list(&left))
            };
            Ok(output::line(&done)?)
        }
    }
}

fn show(aliases: &[(AddressPattern, Vec<Address>)], json: bool) -> anyhow::Result<()> {
    if !json {
        let mut lines = aliases.iter().map(|(alias, targets)| format!("{alias} -> {}", list(targets)));
        return lines.try_for_each(|line| Ok(output::line(&line)?));
    }
    let strings = |targets: &[Address]| targets.iter().map(ToString::to_string).collect::<Vec<_>>();
    let aliases = aliases
        .iter()
        .map(|(alias, targets)| json!({ "alias": alias.to_string(), "targets": strings(targets) }));
    output::json(&aliases.collect::<Vec<_>>())
}

fn list(targets: &[Address]) -> String {
    targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
