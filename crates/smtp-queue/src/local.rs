use std::io::{self, Write as _};
use std::sync::Arc;

use mail_config::{FullMailbox, QuotaConfig};
use mail_directory::{Directory, Reached, Resolution, Sender, Standing};
use mail_store::Store;
use mail_types::{Address, LocalRecipient, Usage};

use crate::client::Outcome;
use crate::message_file::MessageFile;
use crate::{Diagnosis, Status};

/// The accounts of this host: who is one, and delivery to them. All calls block.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) directory: Directory,
    pub(crate) store: Arc<Store>,
    pub(crate) delimiter: Option<char>,
    pub(crate) quota: QuotaConfig,
}

/// Where a recipient's mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// To these here, and on to these addresses.
    Local(Reached),
    /// To another host.
    Elsewhere,
    /// Nowhere, or not now.
    Nowhere(Outcome),
}

impl Local {
    /// Where mail of `sender` goes.
    pub(crate) fn route(&self, recipient: &Address, sender: Option<&Address>) -> Route {
        let sender = Sender { address: sender, standing: Standing::LetIn };
        match self.directory.resolve(recipient, sender, self.delimiter) {
            Ok(Resolution::Ours(reached)) => Route::Local(reached),
            Ok(Resolution::UnknownUser) => {
                let text = format!("{} has no user {}", recipient.domain(), recipient.local_part());
                Route::Nowhere(Outcome::Failed(diagnosis(Status::new(5, 1, 1), &text)))
            }
            Ok(Resolution::Disabled) => {
                let text = format!("{recipient} takes no mail at present");
                Route::Nowhere(Outcome::Failed(diagnosis(Status::new(5, 2, 1), &text)))
            }
            Ok(Resolution::SenderRefused) => {
                let text = format!("{recipient} does not take mail of this sender");
                Route::Nowhere(Outcome::Failed(diagnosis(Status::new(5, 7, 1), &text)))
            }
            Ok(Resolution::MayNotPost) => {
                let text = format!("what is sent so does not go on to the members of {recipient}");
                Route::Nowhere(Outcome::Failed(diagnosis(Status::new(5, 7, 2), &text)))
            }
            Ok(Resolution::NoReturn) => {
                let text = format!("{recipient} takes reports only, and for a limited time");
                Route::Nowhere(Outcome::Failed(diagnosis(Status::new(5, 7, 1), &text)))
            }
            Ok(Resolution::Foreign) => Route::Elsewhere,
            Err(error) => {
                tracing::error!(%recipient, %error, "the directory can't be asked");
                let text = "the directory of accounts can't be read";
                Route::Nowhere(Outcome::Deferred(diagnosis(Status::new(4, 3, 0), text)))
            }
        }
    }

    /// Delivers to each recipient whose account has room, once. Tells for each whether the message is there for good, or what comes of it.
    pub(crate) fn deliver(
        &self,
        sender: Option<&Address>,
        recipients: &[LocalRecipient],
        message: &MessageFile,
    ) -> Vec<Result<(), Outcome>> {
        let full: Vec<bool> =
            recipients.iter().map(|it| !self.has_room(&it.account, message.size())).collect();
        let with_room: Vec<LocalRecipient> = recipients
            .iter()
            .zip(&full)
            .filter(|(_, full)| !**full)
            .map(|(recipient, _)| recipient.clone())
            .collect();
        let mut delivered = self.write_all(sender, &with_room, message).into_iter();
        let mut outcome = |full: bool| match full {
            true => Err(self.full()),
            false if delivered.next().unwrap_or(false) => Ok(()),
            false => {
                Err(Outcome::Deferred(diagnosis(Status::new(4, 2, 0), "the mailbox can't be written now")))
            }
        };
        full.into_iter().map(&mut outcome).collect()
    }

    /// An account of which that can't be told gets its mail.
    fn has_room(&self, account: &Address, size: u64) -> bool {
        let quota = self.directory.quota(account, self.quota.default);
        let quota = quota.inspect_err(|error| tracing::error!(%account, %error, "the quota can't be read"));
        let room = self.store.has_room(account, quota.unwrap_or_default(), Usage::message(size));
        room.inspect_err(|error| tracing::error!(%account, %error, "the mail can't be counted"))
            .unwrap_or(true)
    }

    /// RFC 3463 §3.3.
    fn full(&self) -> Outcome {
        let class = if self.quota.full == FullMailbox::Reject { 5 } else { 4 };
        let diagnosis = diagnosis(Status::new(class, 2, 2), "the mailbox is full");
        if class == 5 { Outcome::Failed(diagnosis) } else { Outcome::Deferred(diagnosis) }
    }

    fn write_all(
        &self,
        sender: Option<&Address>,
        recipients: &[LocalRecipient],
        message: &MessageFile,
    ) -> Vec<bool> {
        if recipients.is_empty() {
            return Vec::new();
        }
        self.write(sender, recipients, message).unwrap_or_else(|error| {
            tracing::error!(%error, "local delivery failed");
            Vec::new()
        })
    }

    fn write(
        &self,
        sender: Option<&Address>,
        recipients: &[LocalRecipient],
        message: &MessageFile,
    ) -> Result<Vec<bool>, Box<dyn std::error::Error>> {
        let mut delivery = self.store.deliver(recipients)?;
        if message.is_binary() {
            delivery.keep_octets();
        }
        // RFC 5321 §4.4: the final delivery adds it.
        let sender = sender.map(ToString::to_string).unwrap_or_default();
        write!(delivery, "Return-Path: <{sender}>\r\n")?;
        io::copy(&mut message.reader()?, &mut delivery)?;
        delivery.flush()?;
        let results = delivery.commit().into_iter().zip(recipients);
        Ok(results.map(|(result, recipient)| is_delivered(&result, &recipient.account)).collect())
    }
}

fn is_delivered(result: &Result<(), mail_store::StoreError>, account: &Address) -> bool {
    if let Err(error) = result {
        tracing::error!(%account, %error, "local delivery failed");
    }
    result.is_ok()
}

/// RFC 5321 §6.3.
pub(crate) fn looped() -> Outcome {
    Outcome::Failed(diagnosis(Status::new(5, 4, 6), "the message goes round in a loop"))
}

/// What became of a recipient with these accounts.
pub(crate) fn delivered_locally() -> Diagnosis {
    diagnosis(Status::new(2, 1, 5), "delivered to the mailbox")
}

fn diagnosis(status: Status, text: &str) -> Diagnosis {
    Diagnosis::ours(status, text)
}
