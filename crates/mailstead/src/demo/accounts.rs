use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use jiff::{Zoned, fmt::rfc2822};
use mail_config::Config;
use mail_directory::{Directory, DirectoryError};
use mail_store::Store;
use mail_types::{Address, MailboxName, Secret};
use serde::{Deserialize, Serialize};

use super::{DOMAIN, HOSTNAME};
use crate::data_dir;

/// Whom the demo has.
const PEOPLE: [&str; 2] = ["alice", "bob"];
/// Without characters that look alike.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The demo's accounts, as kept in a file that only its owner may read: the passwords are shown at each start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Accounts(pub(super) Vec<Account>);

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) address: String,
    pub(super) password: String,
}

impl Accounts {
    /// Makes the accounts where they are missing, each with a message that welcomes its owner.
    pub(super) fn ensure(folder: &Path, config: &Config) -> anyhow::Result<Self> {
        let accounts = Self::read_or_make(&folder.join("accounts.json"))?;
        let directory = Directory::open(&config.directory_file())?;
        match directory.add_domain(&DOMAIN.parse()?) {
            Ok(()) | Err(DirectoryError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let store = Store::open(&config.mail_dir())?;
        let known = directory.accounts()?;
        for account in &accounts.0 {
            let address: Address = account.address.parse()?;
            let password = Secret::new(account.password.clone());
            if !known.contains(&address) {
                welcome(&store, &address).with_context(|| format!("can't welcome {address}"))?;
                directory.add_account(&address, &password)?;
            } else if directory.authenticate(&account.address, &password)?.is_none() {
                // What is printed must be true.
                directory.set_password(&address, &password)?;
            }
        }
        Ok(accounts)
    }

    fn read_or_make(file: &Path) -> anyhow::Result<Self> {
        if file.exists() {
            let text = std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
            return serde_json::from_slice(&text).with_context(|| {
                format!("{} is damaged: remove it, and the accounts get new passwords", file.display())
            });
        }
        let account =
            |name: &&str| Ok(Account { address: format!("{name}@{DOMAIN}"), password: random_password()? });
        let accounts = Self(PEOPLE.iter().map(account).collect::<anyhow::Result<_>>()?);
        data_dir::write_whole(file, &serde_json::to_vec_pretty(&accounts)?, 0o600)?;
        Ok(accounts)
    }
}

/// Eighty random bits, in groups that can be typed.
fn random_password() -> anyhow::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).context("can't get random octets")?;
    let character = |octet: &u8| ALPHABET.get(usize::from(octet % 32)).copied().map_or('a', char::from);
    let groups = random.chunks(4).map(|group| group.iter().map(character).collect::<String>());
    Ok(groups.collect::<Vec<_>>().join("-"))
}

/// Puts the first message into an INBOX that has none.
fn welcome(store: &Arc<Store>, address: &Address) -> anyhow::Result<()> {
    store.create_account(address)?;
    let inbox: MailboxName = MailboxName::inbox();
    if store.account(address)?.status(&inbox)?.messages > 0 {
        return Ok(());
    }
    let mut delivery = store.deliver(&[address.clone().into()])?;
    delivery.write_all(welcome_message(address)?.as_bytes())?;
    for result in delivery.commit() {
        result?;
    }
    Ok(())
}

/// A message as RFC 5322 has it, its lines ended by CRLF.
fn welcome_message(address: &Address) -> anyhow::Result<String> {
    let others: Vec<String> = PEOPLE
        .iter()
        .map(|name| format!("{name}@{DOMAIN}"))
        .filter(|other| *other != address.to_string())
        .collect();
    let now = Zoned::now();
    let text = include_str!("welcome.txt")
        .replace("{domain}", DOMAIN)
        .replace("{address}", &address.to_string())
        .replace("{other}", &others.join(", "))
        .replace("{date}", &rfc2822::to_string(&now)?)
        .replace(
            "{id}",
            &format!("welcome.{}.{}@{HOSTNAME}", now.timestamp().as_millisecond(), address.local_part()),
        );
    Ok(text.replace('\n', "\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_has_no_place_left_open_and_only_whole_lines() {
        let message = welcome_message(&"alice@demo.test".parse().unwrap()).unwrap();
        assert!(!message.contains('{'), "{message}");
        assert!(message.ends_with("\r\n") && !message.replace("\r\n", "").contains(['\r', '\n']));
        assert!(message.lines().all(|line| line.len() <= 78 && line.is_ascii()), "{message}");
        assert!(message.contains("bob@demo.test"));
    }

    #[test]
    fn passwords_differ_and_can_be_typed() {
        let (one, other) = (random_password().unwrap(), random_password().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 19);
    }
}
