use std::path::Path;

use anyhow::bail;
use mail_directory::{Directory, DirectoryError};
use mail_store::{Account, Identifier, Known};
use mail_types::{Address, MailboxName, Rights};
use serde_json::json;

use super::operator::become_operator;
use super::store::open_account;
use crate::cli::AclCommand;
use crate::output;

pub(super) fn run(config: &Path, command: AclCommand) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    match command {
        AclCommand::Set { account, mailbox, identifier, rights } => {
            let directory = Directory::open(&config.directory_file())?;
            let account = account.to_lowercase();
            let store = open_account(&config, &account)?;
            let Some(identifier) =
                Identifier::named(&identifier, &account, |address| look_up(&directory, address))?
            else {
                bail!("{identifier} is no account and no alias: `mailstead account list` shows the accounts");
            };
            store.change_acl(&mailbox, |acl| acl.set(identifier.clone(), rights))?;
            Ok(output::line(&format!("{identifier} has {} in {mailbox} of {account}", shown(rights)))?)
        }
        AclCommand::List { account, json } => list(&*open_account(&config, &account)?, json),
        AclCommand::Remove { account, mailbox, identifier } => {
            remove(&*open_account(&config, &account)?, &account, &mailbox, &identifier)
        }
    }
}

fn look_up(directory: &Directory, address: &Address) -> Result<Option<Known>, DirectoryError> {
    Ok(match directory.accounts_of(address)? {
        accounts if accounts.contains(address) => Some(Known::Account),
        accounts if accounts.is_empty() => None,
        _ => Some(Known::Alias),
    })
}

fn shown(rights: Rights) -> String {
    if rights.is_empty() { "no rights".to_owned() } else { rights.letters() }
}

fn list(account: &Account, json: bool) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for entry in account.mailboxes()?.into_iter().filter(|entry| entry.selectable) {
        let acl = account.acl(&entry.name)?;
        all.extend(
            acl.entries().iter().map(|(who, rights)| (entry.name.clone(), who.to_string(), rights.letters())),
        );
    }
    if json {
        let entry = |(mailbox, who, rights): &(MailboxName, String, String)| json!({ "mailbox": mailbox.as_str(), "identifier": who, "rights": rights });
        return output::json(&all.iter().map(entry).collect::<Vec<_>>());
    }
    if all.is_empty() {
        return Ok(());
    }
    let headings = ["MAILBOX", "WHO", "RIGHTS"].map(str::to_owned).to_vec();
    let rows = all.into_iter().map(|(mailbox, who, rights)| vec![mailbox.to_string(), who, rights]);
    Ok(output::table(&std::iter::once(headings).chain(rows).collect::<Vec<_>>())?)
}

/// Also of an account that is no more, and as another program wrote it.
fn remove(store: &Account, owner: &Address, mailbox: &MailboxName, who: &str) -> anyhow::Result<()> {
    let given = Identifier::from(who);
    let domain = owner.domain();
    let whole =
        if who.contains('@') { given.clone() } else { Identifier::from(format!("{who}@{domain}").as_str()) };
    let acl = store.acl(mailbox)?;
    let Some(identifier) = [given, whole].into_iter().find(|it| acl.get(it).is_some()) else {
        bail!("{mailbox} of {owner} says nothing of {who}: `mailstead acl list {owner}` shows what it says");
    };
    store.change_acl(mailbox, |acl| {
        acl.remove(&identifier);
    })?;
    Ok(output::line(&format!("removed {identifier} from {mailbox} of {owner}"))?)
}
