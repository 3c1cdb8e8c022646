//! Who may have mail sent to everywhere: our accounts, and machines that the config names.

use std::sync::Arc;

use mail_config::{RelayClient, SmtpRole};
use mail_types::Address;
use smtp_proto::Reply;

use super::Session;

impl Session {
    /// The machine that has mail sent by us without having logged in.
    pub(crate) fn relay_client(&self) -> Option<&Arc<RelayClient>> {
        let admitted = |client: &&Arc<RelayClient>| self.policy.may_login || client.allows_plaintext();
        self.policy.relay.as_ref().filter(|_| self.login.is_none()).filter(admitted)
    }

    /// True for who has mail sent by us: what it says is not judged as a stranger's is.
    pub(crate) fn is_ours(&self) -> bool {
        self.login.is_some() || self.relay_client().is_some()
    }

    /// The account, or the machine's name: as logs, reports and schedules know who it is.
    pub(crate) fn user(&self) -> Option<String> {
        let client = || self.relay_client().map(|client| client.name.clone());
        self.login.as_ref().map(ToString::to_string).or_else(client)
    }

    /// Whose limits hold, besides those of all.
    pub(crate) const fn limits(&self) -> Option<&Arc<RelayClient>> {
        if self.login.is_some() { self.own_limits.as_ref() } else { self.policy.relay.as_ref() }
    }

    /// Octets of a message.
    pub(crate) fn max_message_size(&self) -> u64 {
        let own = self.limits().and_then(|client| client.max_message_size);
        self.policy.max_message_size.min(own.unwrap_or(u64::MAX))
    }

    /// Recipients of a message.
    pub(super) fn max_recipients(&self) -> usize {
        let own = self.limits().and_then(|client| client.recipients_per_message);
        self.policy.max_recipients.min(own.unwrap_or(usize::MAX))
    }

    /// Why a machine may not send as this; an account's rights are in the directory.
    pub(super) fn refusal_of_relay(&self, from: &Address) -> Option<Reply> {
        let client = self.relay_client().filter(|client| !client.may_send_as(from))?;
        let text =
            format!("What comes from your network ({}) may not be from this sender address", client.name);
        Some(Reply::new(553, "5.7.1", text))
    }

    /// Why mail for elsewhere is not taken. RFC 5321 §3.6.2.
    pub(super) fn relaying_denied(&self) -> Reply {
        if self.policy.relay.is_some() && self.policy.role == SmtpRole::Mx {
            // RFC 3207 §4.
            return Reply::new(
                530,
                "5.7.0",
                "Encryption required: STARTTLS comes first, before mail for elsewhere",
            );
        }
        let text = "Relaying denied: here is taken mail for our own domains only; users of ours log in on port 587 or 465 first";
        Reply::new(550, "5.7.1", text)
    }

    /// The client has proved who it is, and has limits of its own if there are any.
    pub(crate) fn logged_in(&mut self, account: Address, limits: Option<Arc<RelayClient>>) -> Reply {
        self.login = Some(account);
        self.own_limits = limits;
        Reply::new(235, "2.7.0", "Authentication successful")
    }
}
