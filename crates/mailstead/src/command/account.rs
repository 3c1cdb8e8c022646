use std::path::Path;

use anyhow::{Context, bail};
use mail_directory::{Directory, Forwarding};
use mail_store::Store;
use mail_types::{Address, AddressPattern};
use serde_json::json;

use super::operator::{become_operator, open_directory};
use super::quota::{self, Held};
use crate::cli::{AccountCommand, Switch};
use crate::{output, password};

pub(super) fn run(config: &Path, command: AccountCommand) -> anyhow::Result<()> {
    match command {
        AccountCommand::Add { address } => add(config, &address.to_lowercase()),
        AccountCommand::List(arguments) => list(config, arguments.json),
        AccountCommand::Remove { address } => {
            open_directory(config)?.remove_account(&address)?;
            Ok(output::line(&format!("removed {address}; its mail is kept"))?)
        }
        AccountCommand::Receive { address, switch, json } => receive(config, &address, switch, json),
        AccountCommand::Forward { address, targets, copy, none, json } => {
            let change = Change { targets: Some(targets).filter(|it| none || !it.is_empty()), copy };
            forward(config, &address, change, json)
        }
        AccountCommand::SentCopy { address, switch, json } => sent_copy(config, &address, switch, json),
        AccountCommand::SendAs { address, senders, none, json } => {
            send_as(config, &address, Some(senders).filter(|it| none || !it.is_empty()), json)
        }
        AccountCommand::Quota(arguments) => quota::run(config, &arguments),
        AccountCommand::Password { address } => {
            let directory = open_directory(config)?;
            // Said before a password is asked for.
            if !directory.accounts()?.contains(&address.to_lowercase()) {
                bail!("{address} does not exist: `mailstead account list` shows the accounts");
            }
            directory.set_password(&address, &password::read_new()?)?;
            Ok(output::line(&format!("the password of {address} is changed"))?)
        }
    }
}

fn receive(config: &Path, address: &Address, switch: Option<Switch>, json: bool) -> anyhow::Result<()> {
    let directory = open_directory(config)?;
    let address = address.to_lowercase();
    if let Some(switch) = switch {
        directory.set_receives(&address, switch == Switch::On)?;
    }
    let receives = directory.receives(&address)?;
    if json {
        return output::json(&json!({ "address": address.to_string(), "receives": receives }));
    }
    let says = if receives { "takes mail" } else { "takes no mail" };
    Ok(output::line(&format!("{address} {says}"))?)
}

/// What is to become of an account's forwarding.
struct Change {
    targets: Option<Vec<Address>>,
    copy: Option<Switch>,
}

fn forward(config: &Path, address: &Address, change: Change, json: bool) -> anyhow::Result<()> {
    let directory = open_directory(config)?;
    let address = address.to_lowercase();
    let before = directory.forwarding(&address)?;
    let wanted = Forwarding {
        targets: change.targets.unwrap_or_else(|| before.targets.clone()),
        keeps_copy: change.copy.map_or(before.keeps_copy, |copy| copy == Switch::On),
    };
    if wanted != before {
        directory.set_forwarding(&address, &wanted)?;
    }
    let now = directory.forwarding(&address)?;
    let targets: Vec<String> = now.targets.iter().map(ToString::to_string).collect();
    if json {
        let forwarding =
            json!({ "address": address.to_string(), "targets": targets, "copy": now.keeps_copy });
        return output::json(&forwarding);
    }
    Ok(output::line(&match (targets.is_empty(), now.keeps_copy) {
        (true, _) => format!("mail of {address} does not go on"),
        (false, true) => format!("mail of {address} goes on to {}, and stays", targets.join(", ")),
        (false, false) => format!("mail of {address} goes on to {}, and does not stay", targets.join(", ")),
    })?)
}

fn sent_copy(config: &Path, address: &Address, switch: Option<Switch>, json: bool) -> anyhow::Result<()> {
    let directory = open_directory(config)?;
    let address = address.to_lowercase();
    if let Some(switch) = switch {
        directory.set_saves_sent(&address, switch == Switch::On)?;
    }
    let saves_sent = directory.saves_sent(&address)?;
    if json {
        return output::json(&json!({ "address": address.to_string(), "sent_copy": saves_sent }));
    }
    let says = if saves_sent { "is saved in Sent" } else { "is not saved by the server" };
    Ok(output::line(&format!("what {address} sends {says}"))?)
}

fn send_as(
    config: &Path,
    address: &Address,
    senders: Option<Vec<AddressPattern>>,
    json: bool,
) -> anyhow::Result<()> {
    let directory = open_directory(config)?;
    let address = address.to_lowercase();
    if let Some(senders) = senders {
        directory.set_send_rights(&address, &senders)?;
    }
    let senders: Vec<String> = directory.send_rights(&address)?.iter().map(ToString::to_string).collect();
    if json {
        return output::json(&json!({ "address": address.to_string(), "send_as": senders }));
    }
    let others = if senders.is_empty() { "nobody else".to_owned() } else { senders.join(", ") };
    Ok(output::line(&format!("{address} may send as itself, its aliases, and {others}"))?)
}

/// The folders come first: an account that can log in always finds its INBOX.
fn add(config: &Path, address: &Address) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    let directory = Directory::open(&config.directory_file())?;
    refuse_unknown_domain(&directory, address)?;
    if directory.accounts()?.contains(address) {
        bail!("{address} exists already: `mailstead account password {address}` gives it another password");
    }
    let password = password::read_new()?;
    let folders = Store::open(&config.mail_dir()).and_then(|store| store.create_account(address));
    folders.with_context(|| format!("can't make the folders of {address}"))?;
    directory.add_account(address, &password)?;
    Ok(output::line(&format!("added {address}"))?)
}

/// Said before a password is asked for, with what to do.
fn refuse_unknown_domain(directory: &Directory, address: &Address) -> anyhow::Result<()> {
    let domain = address.domain();
    if directory.domains()?.contains(domain) {
        return Ok(());
    }
    bail!("{domain} is no domain of this server: add it with `mailstead domain add {domain}`")
}

fn list(config: &Path, json: bool) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    let directory = Directory::open(&config.directory_file())?;
    let store = Store::open(&config.mail_dir())?;
    let accounts = directory.accounts()?.into_iter();
    let held = accounts.map(|address| quota::held(&config, &directory, &store, address));
    let held = held.collect::<anyhow::Result<Vec<_>>>()?;
    if json {
        return output::json(&held.iter().map(Held::json).collect::<Vec<_>>());
    }
    if held.is_empty() {
        return Ok(());
    }
    let rows = std::iter::once(Held::headings()).chain(held.iter().map(Held::row));
    Ok(output::table(&rows.collect::<Vec<_>>())?)
}
