use mail_types::Address;

use super::extensions::Extensions;
use crate::message::with_ascii_domain;
use crate::{Diagnosis, Status};

/// What is to be sent to whom.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) sender: Option<Address>,
    pub(crate) recipients: Vec<Address>,
    /// Octets on the wire, before dot-stuffing.
    pub(crate) size: u64,
    /// The message needs SMTPUTF8, whatever its addresses need.
    pub(crate) smtputf8: bool,
    /// The message needs 8BITMIME.
    pub(crate) eight_bit: bool,
}

impl Outgoing {
    /// Why a server with these extensions can't be given the message, whatever it says.
    pub(super) fn obstacle(&self, extensions: &Extensions) -> Option<Diagnosis> {
        let ours = |status, text: String| Some(Diagnosis { status, host: None, text });
        if extensions.is_too_large(self.size) {
            let limit = extensions.size.unwrap_or_default();
            let text = format!("the message has {} octets, the server takes at most {limit}", self.size);
            return ours(Status::new(5, 3, 4), text);
        }
        if self.eight_bit && !extensions.eight_bit_mime {
            // RFC 6152 §3: not to be sent as it is.
            let text = "the message has 8-bit content, which the server does not take".to_owned();
            return ours(Status::new(5, 6, 3), text);
        }
        let sender_needs = self.sender.as_ref().is_some_and(needs_smtputf8);
        ((self.smtputf8 || sender_needs) && !extensions.smtputf8).then(no_smtputf8)
    }

    /// True if the message or one of its addresses does.
    pub(super) fn needs_smtputf8(&self) -> bool {
        self.smtputf8
            || self.sender.as_ref().is_some_and(needs_smtputf8)
            || self.recipients.iter().any(needs_smtputf8)
    }

    /// MAIL with the parameters that the server knows.
    pub(super) fn mail_command(&self, extensions: &Extensions, utf8: bool) -> String {
        let sender = self.sender.as_ref().map(|it| path(it, utf8)).unwrap_or_default();
        let mut command = format!("MAIL FROM:<{sender}>");
        if extensions.size.is_some() {
            command.push_str(&format!(" SIZE={}", self.size));
        }
        if self.eight_bit {
            command.push_str(" BODY=8BITMIME");
        }
        if utf8 {
            command.push_str(" SMTPUTF8");
        }
        command + "\r\n"
    }
}

pub(super) fn rcpt_command(recipient: &Address, utf8: bool) -> String {
    format!("RCPT TO:<{}>\r\n", path(recipient, utf8))
}

/// RFC 6531 §3.5
pub(super) fn no_smtputf8() -> Diagnosis {
    let text = "the server does not take internationalized mail (SMTPUTF8)".to_owned();
    Diagnosis { status: Status::new(5, 6, 7), host: None, text }
}

/// A domain can be written in A-labels, a local part can't.
fn needs_smtputf8(address: &Address) -> bool {
    !address.local_part().is_ascii()
}

fn path(address: &Address, utf8: bool) -> String {
    if utf8 { address.to_string() } else { with_ascii_domain(address) }
}
