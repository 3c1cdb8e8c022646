use std::io::{self, Write as _};
use std::sync::Arc;

use mail_directory::{Directory, Resolution};
use mail_store::Store;
use mail_types::Address;

use crate::client::Outcome;
use crate::message_file::MessageFile;
use crate::{Diagnosis, Status};

/// The accounts of this host: who is one, and delivery to them. All calls block.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) directory: Directory,
    pub(crate) store: Arc<Store>,
    pub(crate) delimiter: Option<char>,
}

/// Where a recipient's mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// Into these INBOXes, and on to these addresses.
    Local { accounts: Vec<Address>, remote: Vec<Address> },
    /// To another host.
    Elsewhere,
    /// Nowhere, or not now.
    Nowhere(Outcome),
}

impl Local {
    pub(crate) fn route(&self, recipient: &Address) -> Route {
        match self.directory.resolve(recipient, self.delimiter) {
            Ok(Resolution::Ours { accounts, remote }) => Route::Local { accounts, remote },
            Ok(Resolution::UnknownUser) => {
                let text = format!("{} has no user {}", recipient.domain(), recipient.local_part());
                Route::Nowhere(Outcome::Failed(diagnosis(Status::new(5, 1, 1), &text)))
            }
            Ok(Resolution::Foreign) => Route::Elsewhere,
            Err(error) => {
                tracing::error!(%recipient, %error, "the directory can't be asked");
                let text = "the directory of accounts can't be read";
                Route::Nowhere(Outcome::Deferred(diagnosis(Status::new(4, 3, 0), text)))
            }
        }
    }

    /// Delivers to each account, once. Tells for each whether the message is there for good.
    pub(crate) fn deliver(
        &self,
        sender: Option<&Address>,
        accounts: &[Address],
        message: &MessageFile,
    ) -> Vec<bool> {
        match self.write(sender, accounts, message) {
            Ok(delivered) => delivered,
            Err(error) => {
                tracing::error!(%error, "local delivery failed");
                vec![false; accounts.len()]
            }
        }
    }

    fn write(
        &self,
        sender: Option<&Address>,
        accounts: &[Address],
        message: &MessageFile,
    ) -> Result<Vec<bool>, Box<dyn std::error::Error>> {
        let mut delivery = self.store.deliver(accounts)?;
        // RFC 5321 §4.4: the final delivery adds it.
        let sender = sender.map(ToString::to_string).unwrap_or_default();
        write!(delivery, "Return-Path: <{sender}>\r\n")?;
        io::copy(&mut message.rewound()?, &mut delivery)?;
        delivery.flush()?;
        let results = delivery.commit().into_iter().zip(accounts);
        Ok(results.map(|(result, account)| is_delivered(&result, account)).collect())
    }
}

fn is_delivered(result: &Result<(), mail_store::StoreError>, account: &Address) -> bool {
    if let Err(error) = result {
        tracing::error!(%account, %error, "local delivery failed");
    }
    result.is_ok()
}

/// What became of a recipient with these accounts.
pub(crate) fn mailbox_unavailable() -> Diagnosis {
    diagnosis(Status::new(4, 2, 0), "the mailbox can't be written now")
}

/// See [`mailbox_unavailable`].
pub(crate) fn delivered_locally() -> Diagnosis {
    diagnosis(Status::new(2, 1, 5), "delivered to the mailbox")
}

fn diagnosis(status: Status, text: &str) -> Diagnosis {
    Diagnosis { status, host: None, text: text.to_owned() }
}
