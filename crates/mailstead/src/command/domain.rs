use std::path::Path;

use mail_directory::Directory;
use mail_dkim::Keys;
use mail_types::Domain;
use serde_json::json;

use super::dkim;
use super::operator::become_operator;
use crate::cli::DomainCommand;
use crate::output;

pub(super) fn run(config: &Path, command: DomainCommand) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    let directory = Directory::open(&config.directory_file())?;
    match command {
        DomainCommand::Add { domain } => {
            directory.add_domain(&domain)?;
            output::line(&format!("added {domain}"))?;
            sign(&Keys::new(config.dkim_dir()), &domain)
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

/// Makes keys for a domain that has none, and prints their DNS records.
fn sign(keys: &Keys, domain: &Domain) -> anyhow::Result<()> {
    if domain.is_literal() || !keys.generations(domain)?.is_empty() {
        return Ok(());
    }
    let generation = dkim::generate(keys, domain)?;
    output::line("its mail is signed; publish these DNS records:")?;
    Ok(output::table(&dkim::records(keys, domain, &generation.name)?)?)
}
