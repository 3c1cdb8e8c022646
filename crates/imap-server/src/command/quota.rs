//! GETQUOTA, GETQUOTAROOT, SETQUOTA, and what an account may hold. RFC 9208.

use std::sync::Arc;

use imap_proto::{QuotaResource, quota_response, quotaroot_response};
use mail_types::{Address, MailboxName, Quota};
use tracing::error;

use crate::answer::{Failure, Output};
use crate::server::Shared;
use crate::session::Session;

/// The quota root of all an account's mailboxes, by the name that Dovecot gives it.
const ROOT: &str = "User quota";

/// Whose session it is.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) address: Address,
    pub(crate) shared: Arc<Shared>,
}

impl Owner {
    fn quota(&self) -> Result<Quota, Failure> {
        self.shared.directory.quota(&self.address, self.shared.config.quota.default).map_err(|error| {
            error!(%error, account = %self.address, "the directory can't be asked for the quota");
            Failure::no("[UNAVAILABLE] Try again later")
        })
    }
}

impl Session {
    /// Octets that a message may have.
    pub(crate) fn max_append(&self) -> u64 {
        self.owner.as_ref().map_or(u64::MAX, |owner| owner.shared.config.imap.max_append)
    }

    /// Mailboxes that NOTIFY may watch.
    pub(crate) fn max_notify_mailboxes(&self) -> usize {
        self.owner.as_ref().map_or(0, |owner| owner.shared.config.imap.max_notify_mailboxes)
    }

    /// What the account may hold now; the store takes no more from here on.
    pub(crate) fn limit(&self) -> Result<Quota, Failure> {
        let quota = self.owner.as_ref().map(Owner::quota).transpose()?.unwrap_or_default();
        self.account()?.set_quota(quota);
        Ok(quota)
    }
}

pub(crate) fn get_quota(session: &Session, root: &str, out: &mut Output) -> Result<String, Failure> {
    let quota = session.limit()?;
    if root != ROOT || !quota.is_limited() {
        return Err(Failure::no("[NONEXISTENT] No such quota root"));
    }
    tell(session, quota, out)
}

/// The mailbox need not be there. RFC 9208 §4.1.2.
pub(crate) fn get_quota_root(
    session: &Session,
    mailbox: &MailboxName,
    out: &mut Output,
) -> Result<String, Failure> {
    let quota = session.limit()?;
    // A list of resources has at least one (RFC 9208 §7), so that without a limit there is no root.
    let root = quota.is_limited().then_some(ROOT);
    let shown = session.wire_name(mailbox);
    out.line(format!("* {}", quotaroot_response(&shown, root)));
    if root.is_some() { tell(session, quota, out) } else { Ok("Done".to_owned()) }
}

/// QUOTASET is not offered: the operator sets quotas.
pub(crate) fn set_quota() -> Result<String, Failure> {
    Err(Failure::no("[NOPERM] Only the administrator sets quotas"))
}

fn tell(session: &Session, quota: Quota, out: &mut Output) -> Result<String, Failure> {
    let usage = session.account()?.usage()?;
    // RFC 9208 §5.1: in units of 1024 octets.
    let storage = quota.storage.map(|limit| QuotaResource {
        name: "STORAGE",
        usage: usage.storage.div_ceil(1024),
        limit: limit.div_ceil(1024),
    });
    let messages =
        quota.messages.map(|limit| QuotaResource { name: "MESSAGE", usage: usage.messages, limit });
    let resources: Vec<QuotaResource> = storage.into_iter().chain(messages).collect();
    out.line(format!("* {}", quota_response(ROOT, &resources)));
    Ok("Done".to_owned())
}
