use std::path::Path;

use jiff::Zoned;
use mail_directory::Directory;
use mail_dkim::Keys;
use mail_types::Domain;
use serde_json::json;

use super::operator::become_operator;
use super::{dkim, publish};
use crate::cli::DomainCommand;
use crate::output;

pub(super) fn run(config: &Path, command: DomainCommand) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    let directory = Directory::open(&config.directory_file())?;
    match command {
        DomainCommand::Add { domain } => {
            directory.add_domain(&domain)?;
            output::line(&format!("added {domain}"))?;
            if domain.is_literal() {
                return Ok(());
            }
            output::line("publish these DNS records:")?;
            let mut records = sign(&Keys::new(config.dkim_dir()), &domain)?;
            records.push(publish::tls_reports(&domain));
            output::table(&records)?;
            Ok(output::line(&format!("\n{}", publish::mta_sts(&domain, &config.hostname, &Zoned::now())))?)
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

/// Makes keys for a domain that has none. Returns the DNS records of those that sign.
fn sign(keys: &Keys, domain: &Domain) -> anyhow::Result<Vec<Vec<String>>> {
    let known = keys.generations(domain)?;
    if known.is_empty() {
        return dkim::records(keys, domain, &dkim::generate(keys, domain)?.name);
    }
    let in_use = known.into_iter().find(|it| it.is_in_use);
    in_use.map_or(Ok(Vec::new()), |it| dkim::records(keys, domain, &it.name))
}
