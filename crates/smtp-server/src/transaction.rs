use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mail_directory::Reached;
use mail_types::{Address, LocalRecipient};
use smtp_proto::{Body, MailParameters, Notify, OriginalRecipient, RcptParameters, ReversePath};
use smtp_queue::{Action, Handling, Receipt};

/// Accounts and addresses elsewhere that the aliases among a transaction's recipients may lead to at most.
const MAX_REACHED: usize = 10_000;

/// What MAIL and RCPT build up.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) from: ReversePath,
    pub(crate) parameters: MailParameters,
    /// As the client named them.
    pub(crate) recipients: Vec<Address>,
    /// Those here.
    pub(crate) accounts: BTreeSet<LocalRecipient>,
    /// Addresses elsewhere, and what the sender wants to hear of each.
    pub(crate) remote: BTreeMap<Address, RcptParameters>,
    /// What the sender wants to be told once the message is stored.
    pub(crate) receipts: Vec<Receipt>,
}

impl Transaction {
    /// Without recipients yet.
    pub(crate) const fn new(from: ReversePath, parameters: MailParameters) -> Self {
        Self {
            from,
            parameters,
            recipients: Vec::new(),
            accounts: BTreeSet::new(),
            remote: BTreeMap::new(),
            receipts: Vec::new(),
        }
    }

    /// Adds a recipient and whom it reaches; false if there would be too many of those.
    pub(crate) fn add(
        &mut self,
        recipient: Address,
        parameters: &RcptParameters,
        Reached { accounts, remote }: Reached,
    ) -> bool {
        let reached = [self.accounts.len(), self.remote.len(), accounts.len(), remote.len()];
        if reached.iter().sum::<usize>() > MAX_REACHED {
            return false;
        }
        // What is held back for all is delivered to nobody yet: the queue finds out then whom an address reaches.
        let (accounts, remote) = match self.parameters.hold {
            Some(_) => (Vec::new(), vec![recipient.clone()]),
            None => (accounts, remote),
        };
        let (action, notify) = Action::of_recipient(accounts.len(), remote.len(), parameters.notify);
        if let Some(action) = action.filter(|_| parameters.notify.is_some_and(Notify::of_success)) {
            let original = parameters.original.clone();
            self.receipts.push(Receipt { recipient: recipient.clone(), original, action });
        }
        for address in remote {
            self.add_remote(address, &recipient, RcptParameters { notify, ..parameters.clone() });
        }
        self.recipients.push(recipient);
        self.accounts.extend(accounts);
        true
    }

    /// Adds an address elsewhere. One to which an alias leads keeps the name by which the sender knows it: RFC 3461 §5.2.7.
    fn add_remote(&mut self, address: Address, named: &Address, mut parameters: RcptParameters) {
        if address != *named && parameters.original.is_none() {
            parameters.original = Some(OriginalRecipient::of(named));
        }
        match self.remote.get_mut(&address) {
            Some(known) => known.notify = Notify::both(known.notify, parameters.notify),
            None => drop(self.remote.insert(address, parameters)),
        }
    }

    /// The message needs RFC 6531 on its way: it says so, or an address has no other form. A domain always has one.
    pub(crate) fn needs_utf8(&self) -> bool {
        self.parameters.smtputf8
            || self.from.iter().chain(&self.recipients).chain(self.remote.keys()).any(needs_utf8)
    }

    /// How it is to be handled, having come `now`.
    pub(crate) fn handling(&self, now: Timestamp) -> Handling {
        Handling::of(&self.parameters, now)
    }

    /// The message is to come in chunks, and need not be lines. RFC 3030 §3.
    pub(crate) const fn is_binary(&self) -> bool {
        matches!(self.parameters.body, Body::Binary)
    }

    /// The sender as the log shows it.
    pub(crate) fn sender(&self) -> String {
        self.from.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string)
    }
}

/// True for an address that cannot be written in ASCII.
pub(crate) fn needs_utf8(address: &Address) -> bool {
    !address.local_part().is_ascii()
}
