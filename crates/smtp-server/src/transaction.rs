use std::collections::BTreeSet;

use mail_types::Address;
use smtp_proto::{Body, MailParameters, ReversePath};

/// Accounts and addresses elsewhere that the aliases among a transaction's recipients may lead to at most.
const MAX_REACHED: usize = 10_000;

/// What MAIL and RCPT build up.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) from: ReversePath,
    pub(crate) parameters: MailParameters,
    /// As the client named them.
    pub(crate) recipients: Vec<Address>,
    /// Local accounts.
    pub(crate) accounts: BTreeSet<Address>,
    /// Addresses elsewhere.
    pub(crate) remote: BTreeSet<Address>,
}

impl Transaction {
    /// Without recipients yet.
    pub(crate) const fn new(from: ReversePath, parameters: MailParameters) -> Self {
        Self { from, parameters, recipients: Vec::new(), accounts: BTreeSet::new(), remote: BTreeSet::new() }
    }

    /// Adds a recipient and whom it reaches; false if there would be too many of those.
    pub(crate) fn add(&mut self, recipient: Address, accounts: Vec<Address>, remote: Vec<Address>) -> bool {
        let reached = [self.accounts.len(), self.remote.len(), accounts.len(), remote.len()];
        if reached.iter().sum::<usize>() > MAX_REACHED {
            return false;
        }
        self.recipients.push(recipient);
        self.accounts.extend(accounts);
        self.remote.extend(remote);
        true
    }

    /// The message needs RFC 6531 on its way: it says so, or an address has no other form. A domain always has one.
    pub(crate) fn needs_utf8(&self) -> bool {
        self.parameters.smtputf8
            || self.from.iter().chain(&self.recipients).chain(&self.remote).any(needs_utf8)
    }

    pub(crate) const fn says_eight_bit(&self) -> bool {
        matches!(self.parameters.body, Body::EightBit)
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
