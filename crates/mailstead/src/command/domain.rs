use std::path::Path;

use serde_json::json;

use super::operator::open_directory;
use crate::cli::DomainCommand;
use crate::output;

pub(super) fn run(config: &Path, command: DomainCommand) -> anyhow::Result<()> {
    let directory = open_directory(config)?;
    match command {
        DomainCommand::Add { domain } => {
            directory.add_domain(&domain)?;
            Ok(output::line(&format!("added {domain}"))?)
        }
        DomainCommand::List(arguments) => {
            let domains = directory.domains()?;
            if arguments.json {
                let domains = domains.iter().map(|domain| json!({ "domain": domain.as_str() }));
                return output::json(&domains.collect::<Vec<_>>());
            }
            domains.iter().try_for_each(|domain| Ok(output::line(domain.as_str())?))
        }
        DomainCommand::Remove { domain } => {
            directory.remove_domain(&domain)?;
            Ok(output::line(&format!("removed {domain}"))?)
        }
    }
}
