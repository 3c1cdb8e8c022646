//! Who is to get no mail of this kind: its sender is told so at once, instead of by a bounce.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use mail_config::Config;
use mail_types::{Address, AddressPattern};
use smtp_proto::Reply;
use smtp_queue::{QueueError, Suppression};
use tracing::error;

use crate::policy::{Rates, Verdicts};
use crate::transaction::Transaction;

/// The suppression list, and for whose mail it is obeyed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Suppressed {
    /// `None` where it is switched off.
    list: Option<Arc<Suppression>>,
    /// It is obeyed for all mail of our own users.
    all_mail: bool,
    /// Accounts all of whose mail is bulk mail.
    bulk: Arc<[AddressPattern]>,
    /// What one may have in an hour before its mail is, too.
    bulk_recipients: u32,
    /// Counts these. `None` in the default, which has no limit.
    rates: Option<Arc<Rates>>,
}

impl Suppressed {
    /// Blocks.
    pub(crate) fn open(config: &Config) -> Result<Self, QueueError> {
        let settings = &config.queue.suppression;
        let list = settings.enabled.then(|| Suppression::open(&config.suppression_file(), settings));
        let list = list.transpose()?.map(Arc::new);
        Ok(Self {
            list,
            all_mail: settings.all_mail,
            bulk: config.queue.bulk.clone().into(),
            bulk_recipients: config.queue.bulk_recipients,
            rates: Some(Arc::new(Rates::new(&config.smtp.rates))),
        })
    }

    pub(crate) const fn list(&self) -> Option<&Arc<Suppression>> {
        self.list.as_ref()
    }

    /// True for an account all of whose mail is bulk mail.
    pub(crate) fn is_bulk(&self, account: &Address) -> bool {
        self.bulk.iter().any(|it| it.fits(account))
    }

    /// Counts a message of one of ours to so many elsewhere; true if they are more than those who write to people have.
    pub(crate) fn are_many(&self, user: &str, recipients: usize) -> bool {
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        let many =
            |rates: &Arc<Rates>| rates.are_many(user, recipients, self.bulk_recipients, Instant::now());
        self.rates.as_ref().is_some_and(many)
    }

    /// The list, if it is obeyed for whatever comes of one of ours: an account, or a machine.
    pub(crate) fn for_all_of(&self, account: Option<&Address>) -> Option<Arc<Suppression>> {
        let is_bulk = || account.is_some_and(|account| self.is_bulk(account));
        self.list.clone().filter(|_| self.all_mail || is_bulk())
    }

    /// Why bulk mail that goes to nobody but addresses elsewhere reaches none of them. Blocks.
    pub(crate) fn refusal(&self, transaction: &Transaction) -> Option<Reply> {
        let list = self.list.as_ref().filter(|_| transaction.leaves_as_it_is())?;
        let obstacles = transaction.remote.keys().map(|address| obstacle(list, address));
        let obstacles: Option<Vec<String>> = obstacles.collect();
        obstacles?.first().map(|text| unwanted(text))
    }
}

/// Why mail is not to go to an address. A list that can't be read holds up nothing. Blocks.
pub(crate) fn obstacle(list: &Suppression, address: &Address) -> Option<String> {
    list.obstacle(address, Timestamp::now()).unwrap_or_else(|error| {
        error!(%error, "the suppression list can't be read");
        None
    })
}

/// The answer for who is to get no such mail. RFC 3463 §3.2.
pub(crate) fn unwanted(text: &str) -> Reply {
    Verdicts::reply(550, "5.1.1", text)
}
