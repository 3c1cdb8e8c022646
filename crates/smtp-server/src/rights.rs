use std::sync::Arc;

use mail_directory::{Directory, DirectoryError};
use mail_message::{Envelope, EnvelopeAddress};
use mail_types::Address;

use crate::header::{Captured, Seen};

/// What `mail_message` writes for the domain of an address without one.
const NO_DOMAIN: &[u8] = b"MISSING_DOMAIN";

/// Whose submission it is: what it may say in its From field.
#[derive(Debug, Clone)]
pub(crate) struct SendRights {
    pub(crate) directory: Arc<Directory>,
    pub(crate) account: Address,
    pub(crate) delimiter: Option<char>,
}

impl SendRights {
    /// True if the message is from nobody but the account, or sent on by it: RFC 6409 §6.1, for what people see. An address
    /// without a domain, as scripts and devices write it, names nobody. Blocks.
    pub(crate) fn allow(&self, seen: &Seen) -> Result<bool, DirectoryError> {
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

    fn owns(&self, address: &EnvelopeAddress) -> Result<bool, DirectoryError> {
        match parse(address) {
            Some(address) => self.directory.may_send_as(&self.account, &address, self.delimiter),
            None => Ok(false),
        }
    }
}

fn parse(address: &EnvelopeAddress) -> Option<Address> {
    let text = |octets: &Option<Vec<u8>>| String::from_utf8(octets.clone()?).ok();
    Address::new(&text(&address.mailbox)?, text(&address.host)?.parse().ok()?).ok()
}
