//! Which mailboxes a filter names. RFC 5465 §6, RFC 7377 §4.

use std::collections::BTreeSet;

use imap_proto::MailboxFilter;
use mail_types::MailboxName;

use crate::access::is_reserved;

/// True if the filter names this mailbox, whether it exists or not; `subscribed` are the names subscribed to. The selected mailbox is
/// known to the session alone, so that `selected` names none here.
pub(crate) fn names(filter: &MailboxFilter, name: &MailboxName, subscribed: &BTreeSet<MailboxName>) -> bool {
    match filter {
        MailboxFilter::Selected => false,
        MailboxFilter::Inboxes => name.is_inbox(),
        MailboxFilter::Personal => !is_reserved(name),
        MailboxFilter::Subscribed => subscribed.contains(name),
        MailboxFilter::Subtree(roots) => roots.iter().any(|root| name == root || name.is_below(root)),
        MailboxFilter::SubtreeOne(roots) => {
            roots.iter().any(|root| name == root || name.parent().as_ref() == Some(root))
        }
        MailboxFilter::Mailboxes(names) => names.contains(name),
    }
}
