use std::path::Path;

use jiff::Zoned;
use mail_dkim::{Generation, Keys};
use mail_types::Domain;
use serde_json::json;

use super::operator::become_operator;
use crate::cli::{DkimCommand, DkimListArguments};
use crate::output;

pub(super) fn run(config: &Path, command: DkimCommand) -> anyhow::Result<()> {
    let keys = Keys::new(become_operator(config)?.dkim_dir());
    match command {
        DkimCommand::List(arguments) => list(&keys, &arguments),
        DkimCommand::Rotate { domain } => rotate(&keys, &domain),
        DkimCommand::Use { domain, keys: name } => {
            keys.put_to_use(&domain, &name)?;
            Ok(output::line(&format!("what is from {domain} is signed with {name} from now on"))?)
        }
        DkimCommand::Remove { domain, keys: Some(name), .. } => {
            keys.remove(&domain, &name)?;
            Ok(output::line(&format!("removed {name}; its records may go from the DNS"))?)
        }
        DkimCommand::Remove { domain, .. } => {
            keys.remove_all(&domain)?;
            Ok(output::line(&format!(
                "removed all keys of {domain}, whose mail goes out without a signature"
            ))?)
        }
    }
}

/// Makes keys of the day.
pub(super) fn generate(keys: &Keys, domain: &Domain) -> anyhow::Result<Generation> {
    Ok(keys.generate(domain, Zoned::now().date())?)
}

/// What must stand in the DNS for a generation: name, type, value.
pub(super) fn records(keys: &Keys, domain: &Domain, generation: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let records = keys.records(domain, generation)?;
    let row = |record: mail_dkim::Record| {
        vec![format!("{}.", record.name), "TXT".to_owned(), record.in_zone_file()]
    };
    Ok(records.into_iter().map(row).collect())
}

fn rotate(keys: &Keys, domain: &Domain) -> anyhow::Result<()> {
    let Generation { name, is_in_use } = generate(keys, domain)?;
    let records = output::columns(&records(keys, domain, &name)?);
    let next = if is_in_use {
        format!("What is from {domain} is signed with these keys from now on.")
    } else {
        format!("Once they can be seen everywhere, in a day or so:\n  mailstead dkim use {domain} {name}")
    };
    Ok(output::line(&format!("Made the keys {name}. Publish these DNS records:\n\n{records}\n\n{next}"))?)
}

fn list(keys: &Keys, arguments: &DkimListArguments) -> anyhow::Result<()> {
    let domains = match &arguments.domain {
        Some(domain) => vec![domain.clone()],
        None => keys.domains()?,
    };
    let mut all = Vec::new();
    for domain in domains {
        for generation in keys.generations(&domain)? {
            all.push((domain.clone(), generation));
        }
    }
    if arguments.json {
        let shown = all.iter().map(|(domain, Generation { name, is_in_use })| {
            let records = keys.records(domain, name)?;
            let records: Vec<_> = records
                .iter()
                .map(|it| json!({ "name": it.name, "type": "TXT", "value": it.value }))
                .collect();
            Ok(json!({ "domain": domain.as_str(), "keys": name, "in_use": is_in_use, "records": records }))
        });
        return output::json(&shown.collect::<anyhow::Result<Vec<_>>>()?);
    }
    for (domain, Generation { name, is_in_use }) in &all {
        let state = if *is_in_use { ", in use" } else { "" };
        output::line(&format!("{domain}: {name}{state}"))?;
        output::table(&records(keys, domain, name)?)?;
    }
    Ok(())
}
