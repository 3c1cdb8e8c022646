use jiff::Timestamp;
use mail_types::Address;
use smtp_proto::{Body, ByMode, DeliverBy, MailParameters, Notify, Priority, RcptParameters, Return};

use super::extensions::Extensions;
use super::hold::Hold;
use crate::{Deadline, Diagnosis, Status};

/// What is to be sent to whom.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) sender: Option<Address>,
    pub(crate) recipients: Vec<Recipient>,
    /// Octets on the wire, before dot-stuffing.
    pub(crate) size: u64,
    /// The message needs SMTPUTF8, whatever its addresses need.
    pub(crate) smtputf8: bool,
    /// What octets the message holds.
    pub(crate) body: Body,
    /// How much comes back with the report of a failure.
    pub(crate) ret: Option<Return>,
    /// By which the sender knows the message.
    pub(crate) envelope_id: Option<String>,
    /// RFC 8689
    pub(crate) require_tls: bool,
    /// When it is to be delivered at the latest. RFC 2852
    pub(crate) deadline: Option<Deadline>,
    /// What is left of that time where it is sent: [`Self::at`].
    pub(crate) deliver_by: Option<DeliverBy>,
    /// RFC 6710
    pub(crate) priority: Option<Priority>,
    /// Held until it is recorded what came of it.
    pub(crate) hold: Hold,
}

/// One of those whom it is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub(crate) address: Address,
    /// What the sender wants to hear of it.
    pub(crate) parameters: RcptParameters,
}

impl Recipient {
    /// RCPT, with what is asked for where the server reports: RFC 3461 §5.2.1, and else without it: §5.2.2.
    ///
    /// Deviates: RFC 3461 §5.2.1 (c) has NOTIFY go on as it came. A server that knows nothing of the time for delivery is asked for delays
    /// besides, as RFC 2852 §4.1.4.2 says.
    fn command(&self, extensions: &Extensions, utf8: bool, is_unbound: bool) -> String {
        let mut command = format!("RCPT TO:<{}>", path(&self.address, utf8));
        if extensions.dsn {
            let RcptParameters { notify, original } = &self.parameters;
            let notify = if is_unbound { Some(with_delays(*notify)) } else { *notify };
            if let Some(notify) = notify {
                command.push_str(&format!(" NOTIFY={notify}"));
            }
            if let Some(original) = original {
                let original = if utf8 { original.in_utf8() } else { original.to_string() };
                command.push_str(&format!(" ORCPT={original}"));
            }
        }
        command + "\r\n"
    }
}

impl Outgoing {
    /// As it is sent `now`: what is left of its time is reckoned when MAIL is said. RFC 2852 §4.1.4.
    pub(super) fn at(self, now: Timestamp) -> Self {
        Self { deliver_by: self.deadline.map(|deadline| deadline.left(now)), ..self }
    }

    /// It goes over verified TLS to hosts that handle it so too, or not at all; a report is sent all the same. RFC 8689 §4.2.1, §5.
    pub(super) const fn must_be_secured(&self) -> bool {
        self.require_tls && self.sender.is_some()
    }

    /// Why a server with these extensions, its name `verified` or not, can't be given the message, whatever it says.
    pub(super) fn obstacle(&self, extensions: &Extensions, verified: bool) -> Option<Diagnosis> {
        let ours = |status, text: String| Some(Diagnosis::ours(status, text));
        if let Some(diagnosis) = self.tls_obstacle(extensions, verified) {
            return Some(diagnosis);
        }
        if let Some((status, text)) = self.time_obstacle(extensions) {
            return ours(status, text.to_owned());
        }
        if extensions.is_too_large(self.size) {
            let limit = extensions.size.unwrap_or_default();
            let text = format!("the message has {} octets, the server takes at most {limit}", self.size);
            return ours(Status::new(5, 3, 4), text);
        }
        let sender_needs = self.sender.as_ref().is_some_and(needs_smtputf8);
        if !extensions.smtputf8 && (self.smtputf8 || sender_needs) {
            let is_of_addresses = self.names_need_smtputf8();
            return Some(if is_of_addresses {
                no_smtputf8()
            } else {
                Diagnosis { status: Status::new(5, 6, 9), ..no_smtputf8() }
            });
        }
        if !extensions.take(self.body) {
            // RFC 6152 §3, RFC 3030 §3: not to be sent as it is.
            let text = "the message has 8-bit or binary content, which the server does not take, and can't be converted";
            return ours(Status::new(5, 6, 3), text.to_owned());
        }
        None
    }

    /// Why the message must not go to such a server, but may to another one.
    pub(super) fn tls_obstacle(&self, extensions: &Extensions, verified: bool) -> Option<Diagnosis> {
        if !self.must_be_secured() {
            return None;
        }
        let unverified = "the message must go over verified TLS (REQUIRETLS), which this way does not have";
        let unsupported =
            "the message must go over TLS all its way (REQUIRETLS), which the server does not support";
        let (status, text) = match (verified, extensions.require_tls) {
            (false, _) => (Status::new(5, 7, 10), unverified),
            (true, false) => (Status::new(5, 7, 30), unsupported),
            (true, true) => return None,
        };
        Some(Diagnosis::ours(status, text))
    }

    /// True if the server knows nothing of the time for delivery, which is not over yet, and the sender wants to be told.
    fn is_unbound(&self, extensions: &Extensions) -> bool {
        let has_time = |by: DeliverBy| by.mode == ByMode::Notify && by.seconds > 0;
        self.deliver_by.is_some_and(has_time) && extensions.deliver_by.is_none()
    }

    /// True if the sender is to hear that a server with these extensions has the message. RFC 2852 §4.1.4.
    pub(super) fn has_to_be_told(&self, extensions: &Extensions) -> bool {
        self.deliver_by.is_some_and(|by| by.trace) || self.is_unbound(extensions)
    }

    /// RCPT for one of the recipients.
    pub(super) fn rcpt_command(&self, recipient: &Recipient, extensions: &Extensions, utf8: bool) -> String {
        recipient.command(extensions, utf8, self.is_unbound(extensions))
    }

    /// RFC 2852 §4.1.4.1: what must not be delivered late goes to who sees to that.
    fn time_obstacle(&self, extensions: &Extensions) -> Option<(Status, &'static str)> {
        let by = self.deliver_by.filter(|by| by.mode == ByMode::Return)?;
        match extensions.deliver_by {
            None => {
                Some((Status::new(5, 4, 7), "the server does not support a time for delivery (DELIVERBY)"))
            }
            Some(least) if by.seconds < least.max(1) => {
                Some((Status::new(5, 4, 7), "the server can't deliver the message in the time that is left"))
            }
            Some(_) => None,
        }
    }

    /// True if a server that offers it is asked for it. RFC 6531 §3.4.
    pub(super) fn asks_for_smtputf8(&self) -> bool {
        self.smtputf8 || self.names_need_smtputf8()
    }

    fn names_need_smtputf8(&self) -> bool {
        let mut names = self.sender.iter().chain(self.recipients.iter().map(|recipient| &recipient.address));
        names.any(needs_smtputf8)
    }

    /// MAIL with the parameters that the server knows.
    pub(super) fn mail_command(&self, extensions: &Extensions, utf8: bool) -> String {
        let sender = self.sender.as_ref().map(|it| path(it, utf8)).unwrap_or_default();
        let requests = extensions.dsn;
        let parameters = MailParameters {
            size: extensions.size.map(|_| self.size),
            body: self.body,
            smtputf8: utf8,
            ret: self.ret.filter(|_| requests),
            envelope_id: self.envelope_id.clone().filter(|_| requests),
            require_tls: self.require_tls && extensions.require_tls,
            deliver_by: self.deliver_by.filter(|_| extensions.deliver_by.is_some()),
            // RFC 6710 §4.2, §4.1: of who has said nothing it is 0.
            priority: extensions.priorities.then(|| self.priority.unwrap_or_default()),
            hold: None,
        };
        // RFC 4954 §5: nobody here vouches for who has submitted the message.
        let submitter = if extensions.authenticated { " AUTH=<>" } else { "" };
        format!("MAIL FROM:<{sender}>{parameters}{submitter}\r\n")
    }
}

/// What is asked of a server that knows nothing of the time for delivery. RFC 2852 §4.1.4.2.
const fn with_delays(notify: Option<Notify>) -> Notify {
    match notify {
        None => Notify::On { success: false, failure: true, delay: true },
        Some(Notify::On { success, failure, .. }) => Notify::On { success, failure, delay: true },
        Some(Notify::Never) => Notify::Never,
    }
}

/// RFC 6531 §3.5: of an address; of the message itself the detail is 9.
pub(super) fn no_smtputf8() -> Diagnosis {
    Diagnosis::ours(Status::new(5, 6, 7), "the server does not take internationalized mail (SMTPUTF8)")
}

/// A domain can be written in A-labels, a local part can't.
fn needs_smtputf8(address: &Address) -> bool {
    !address.local_part().is_ascii()
}

fn path(address: &Address, utf8: bool) -> String {
    if utf8 { address.to_string() } else { address.with_ascii_domain() }
}

#[cfg(test)]
impl Outgoing {
    /// A message that needs nothing, from nobody if `sender` is empty.
    pub(crate) fn plain(sender: &str, recipients: &[&str], size: u64) -> Self {
        let recipient =
            |it: &&str| Recipient { address: it.parse().unwrap(), parameters: RcptParameters::default() };
        Self {
            sender: sender.parse().ok(),
            recipients: recipients.iter().map(recipient).collect(),
            size,
            smtputf8: false,
            body: Body::SevenBit,
            ret: None,
            envelope_id: None,
            require_tls: false,
            deadline: None,
            deliver_by: None,
            priority: None,
            hold: Hold::default(),
        }
    }
}
