//! What accounts hold, and files to fill them from.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use mail_store::{Account, Store};

use super::Installation;

/// The mail of an account.
pub struct Mail(Arc<Account>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub text: String,
    pub flags: String,
    pub date: i64,
}

impl Mail {
    pub fn of(installation: &Installation, address: &str) -> Self {
        let store = Store::open(&installation.data().join("mail")).unwrap();
        Self(store.account(&address.parse().unwrap()).unwrap())
    }

    /// The messages of a mailbox, in the order of their UIDs; characters stand for octets.
    pub fn messages(&self, mailbox: &str) -> Vec<Stored> {
        let mailbox = self.0.open(&mailbox.parse().unwrap()).unwrap();
        let snapshot = mailbox.sync().unwrap();
        let message = |position| {
            let message = snapshot.get(position).unwrap();
            let octets = mailbox.open_message(message.uid).unwrap().read().unwrap();
            let text = octets.into_iter().map(char::from).collect();
            Stored { text, flags: message.flags.to_string(), date: message.internal_date.unix_seconds() }
        };
        (0..snapshot.len()).map(message).collect()
    }

    pub fn has(&self, mailbox: &str) -> bool {
        self.mailboxes().iter().any(|name| name == mailbox)
    }

    pub fn mailboxes(&self) -> Vec<String> {
        self.0
            .mailboxes()
            .unwrap()
            .into_iter()
            .filter(|it| it.selectable)
            .map(|it| it.name.to_string())
            .collect()
    }

    pub fn subscriptions(&self) -> Vec<String> {
        self.0.subscriptions().unwrap().iter().map(ToString::to_string).collect()
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.0
    }
}

/// Writes a file, and the folders above it.
pub fn file(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub fn set_modified(path: &Path, seconds: u64) {
    let file = std::fs::File::options().append(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}
