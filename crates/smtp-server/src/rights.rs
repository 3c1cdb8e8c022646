use std::sync::Arc;

use mail_config::RelayClient;
use mail_directory::{Directory, DirectoryError};
use mail_message::{Envelope, EnvelopeAddress};
use mail_store::Append;
use mail_types::{Address, Flag, Flags, SpecialUse};

use tracing::error;

use crate::header::{Captured, Seen};
use crate::quota::{QuotaError, Quotas};
use crate::trace::shown;

/// What `mail_message` writes for the domain of an address without one.
const NO_DOMAIN: &[u8] = b"MISSING_DOMAIN";

/// Whose submission it is: what it may say in its From field.
#[derive(Debug, Clone)]
pub(crate) struct SendRights {
    pub(crate) directory: Arc<Directory>,
    pub(crate) holder: Holder,
    pub(crate) delimiter: Option<char>,
    /// From must name addresses of it only.
    pub(crate) checks_from: bool,
}

/// Who has the rights.
#[derive(Debug, Clone)]
pub(crate) enum Holder {
    Account(Address),
    /// Known by its address.
    Machine(Arc<RelayClient>),
}

impl SendRights {
    /// True if the message is from nobody but the account, or sent on by it: RFC 6409 §6.1, for what people see. An address
    /// without a domain, as scripts and devices write it, names nobody. Blocks.
    pub(crate) fn allow(&self, seen: &Seen) -> Result<bool, DirectoryError> {
        if !self.checks_from {
            return Ok(true);
        }
        let sent_on = seen.resent_from != Captured::default();
        let from = if sent_on { &seen.resent_from } else { &seen.from };
        if from.is_cut {
            return Ok(false);
        }
        for address in Envelope::parse(&from.fields).from {
            if address.host.as_ref().is_some_and(|host| host != NO_DOMAIN) && !self.owns(&address)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Begins a copy in the account's Sent mailbox, if it wants one saved and has such a mailbox. Blocks.
    pub(crate) fn copy(&self, quotas: &Quotas) -> Option<Append> {
        let Holder::Account(account) = &self.holder else { return None };
        let copy = self.begin_copy(account, quotas);
        copy.inspect_err(|error| error!(%account, %error, "no copy of a sent message can be saved"))
            .unwrap_or_default()
    }

    fn begin_copy(&self, address: &Address, quotas: &Quotas) -> Result<Option<Append>, QuotaError> {
        if !self.directory.saves_sent(address)? {
            return Ok(None);
        }
        let account = quotas.store.account(address)?;
        account.set_quota(self.directory.quota(address, quotas.config.default)?);
        let Some(sent) = account.special(SpecialUse::Sent)? else { return Ok(None) };
        let mut flags = Flags::new();
        flags.insert(Flag::Seen);
        Ok(Some(account.open(&sent)?.append(flags, None)?))
    }

    /// The Sender field that the message must have, with its line end; empty where From says it all, one address of the account, and of a machine,
    /// which has no address. What the
    /// message itself says is kept if it is true: RFC 5322 §3.6.2, RFC 6409 §8.1. Blocks.
    pub(crate) fn sender_field(&self, seen: &Seen, utf8: bool) -> String {
        let given = seen.sender.as_fields("Sender");
        // What is sent on has the Sender field of who sent it first.
        if seen.resent_from != Captured::default() {
            return given;
        }
        let is_sole = |field: &Captured| {
            let addresses = Envelope::parse(&field.fields).from;
            match addresses.as_slice() {
                [only] => {
                    !field.is_cut
                        && self.owns(only).unwrap_or_else(|error| {
                            error!(%error, "the directory can't be asked");
                            false
                        })
                }
                _ => false,
            }
        };
        if seen.sender != Captured::default() && is_sole(&seen.sender) {
            return given;
        }
        // Where there is no From field, one of its own is added.
        if seen.from == Captured::default() || is_sole(&seen.from) {
            return String::new();
        }
        match &self.holder {
            Holder::Account(account) => format!("Sender: {}\r\n", shown(account, utf8)),
            Holder::Machine(_) => String::new(),
        }
    }

    fn owns(&self, address: &EnvelopeAddress) -> Result<bool, DirectoryError> {
        match (parse(address), &self.holder) {
            (Some(address), Holder::Account(account)) => {
                self.directory.may_send_as(account, &address, self.delimiter)
            }
            (Some(address), Holder::Machine(client)) => Ok(client.may_send_as(&address)),
            (None, _) => Ok(false),
        }
    }
}

fn parse(address: &EnvelopeAddress) -> Option<Address> {
    let text = |octets: &Option<Vec<u8>>| String::from_utf8(octets.clone()?).ok();
    Address::new(&text(&address.mailbox)?, text(&address.host)?.parse().ok()?).ok()
}
