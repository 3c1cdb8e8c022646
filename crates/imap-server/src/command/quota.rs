//! GETQUOTA, GETQUOTAROOT, SETQUOTA, and what an account may hold. RFC 9208.

use std::sync::Arc;

use imap_proto::{QuotaResource, quota_response, quotaroot_response};
use mail_store::Account;
use mail_types::{Address, MailboxName, Quota, Rights};
use tracing::error;

use crate::access::Place;
use crate::answer::{Failure, Output};
use crate::server::Shared;
use crate::session::Session;
use crate::text::{RespText, Text};

/// The quota root of all an account's mailboxes, by the name that Dovecot gives it.
const ROOT: &str = "User quota";
/// Before the address in the root of another's.
const OF: &str = " of ";

/// Whose session it is.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) address: Address,
    pub(crate) shared: Arc<Shared>,
}

impl Owner {
    /// What an account may hold.
    pub(crate) fn quota_of(&self, account: &Address) -> Result<Quota, Failure> {
        self.shared.directory.quota(account, self.shared.config.quota.default).map_err(|error| {
            error!(%error, %account, "the directory can't be asked for the quota");
            Failure::no(Text::TryLater.coded("UNAVAILABLE"))
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
}

/// Another's can be asked for by who may read one of his mailboxes.
pub(crate) fn get_quota(session: &Session, root: &str, out: &mut Output) -> Result<RespText, Failure> {
    let missing = || Failure::no(Text::NoSuchQuotaRoot.coded("NONEXISTENT"));
    let access = session.access()?;
    if root == ROOT {
        let own = Root::of(&access.find(&MailboxName::inbox())?)?;
        return if own.quota.is_limited() { own.tell(out) } else { Err(missing()) };
    }
    let owner = root.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix(OF)).ok_or_else(missing)?;
    let is_root = |place: &Place| place.owner().to_string() == owner && place.rights().contains(Rights::READ);
    let place = access.shared()?.into_iter().map(|(_, place)| place).find(is_root).ok_or_else(missing)?;
    let root = Root::of(&place)?;
    if root.quota.is_limited() { root.tell(out) } else { Err(missing()) }
}

/// One's own mailbox need not be there (RFC 9208 §4.1.2), another's must be readable.
pub(crate) fn get_quota_root(
    session: &Session,
    mailbox: &MailboxName,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let place = session.access()?.find(mailbox)?;
    if !place.is_own() {
        place.needs(Rights::READ)?;
    }
    let root = Root::of(&place)?;
    // A list of resources has at least one (RFC 9208 §7), so that without a limit there is no root.
    let name = root.quota.is_limited().then_some(root.name.as_str());
    out.line(format!("* {}", quotaroot_response(&session.wire_name(mailbox), name)));
    if name.is_some() { root.tell(out) } else { Ok(Text::Done.into()) }
}

/// QUOTASET is not offered: the operator sets quotas.
pub(crate) fn set_quota() -> Result<RespText, Failure> {
    Err(Failure::no(Text::OnlyAdministratorSetsQuotas.coded("NOPERM")))
}

/// What an account holds, and may hold.
struct Root {
    name: String,
    account: Arc<Account>,
    quota: Quota,
}

impl Root {
    /// That of the account in which a mailbox is.
    fn of(place: &Place) -> Result<Self, Failure> {
        let name = if place.is_own() { ROOT.to_owned() } else { format!("{ROOT}{OF}{}", place.owner()) };
        Ok(Self { name, account: Arc::clone(place.account()), quota: place.limit()? })
    }

    fn tell(&self, out: &mut Output) -> Result<RespText, Failure> {
        let usage = self.account.usage()?;
        // RFC 9208 §5.1: in units of 1024 octets.
        let storage = self.quota.storage.map(|limit| QuotaResource {
            name: "STORAGE",
            usage: usage.storage.div_ceil(1024),
            limit: limit.div_ceil(1024),
        });
        let messages =
            self.quota.messages.map(|limit| QuotaResource { name: "MESSAGE", usage: usage.messages, limit });
        let resources: Vec<QuotaResource> = storage.into_iter().chain(messages).collect();
        out.line(format!("* {}", quota_response(&self.name, &resources)));
        Ok(Text::Done.into())
    }
}
