//! The commands on mailboxes as such: CREATE, DELETE, RENAME, SUBSCRIBE, STATUS. RFC 3501 §6.3.

use std::sync::Arc;

use imap_proto::{StatusItem, quoted};
use mail_types::{MailboxName, SpecialUse};
use tracing::info;

use crate::answer::{Failure, Output};
use crate::session::Session;

/// One mailbox has one use here, and none of those that would be views of all mail. RFC 6154 §3, §5.3.
pub(crate) fn create(session: &Session, name: &MailboxName, uses: &[String]) -> Result<String, Failure> {
    let account = session.account()?;
    let special_use = match uses {
        [] => None,
        [only] => Some(only.parse().ok().filter(|it| !matches!(it, SpecialUse::All | SpecialUse::Flagged))),
        _ => Some(None),
    };
    match special_use {
        Some(None) => return Err(Failure::no("[USEATTR] No mailbox can have this use")),
        Some(special_use) => account.create(name, special_use)?,
        None => account.create(name, None)?,
    }
    info!(mailbox = %name, "created");
    let mailbox_id = account.open(name)?.mailbox_id();
    Ok(format!("[MAILBOXID ({mailbox_id})] Created"))
}

/// A session that deletes the mailbox it selected has none selected then.
pub(crate) fn delete(session: &mut Session, name: &MailboxName) -> Result<String, Failure> {
    session.account()?.delete(name)?;
    if session.selected().is_ok_and(|selected| selected.name() == name) {
        session.unselect();
    }
    info!(mailbox = %name, "deleted");
    Ok("Deleted".to_owned())
}

/// A session that renames the mailbox it selected goes on in it.
pub(crate) fn rename(session: &mut Session, from: &MailboxName, to: &MailboxName) -> Result<String, Failure> {
    let account = Arc::clone(session.account()?);
    account.rename(from, to)?;
    info!(mailbox = %from, %to, "renamed");
    if let Ok(selected) = session.selected()
        && !from.is_inbox()
        && let Some(name) = selected.name().renamed(from, to)
    {
        let mailbox = account.open(&name)?;
        selected.follow(name, mailbox);
    }
    Ok("Renamed".to_owned())
}

pub(crate) fn subscribe(session: &Session, name: &MailboxName, subscribed: bool) -> Result<String, Failure> {
    session.account()?.subscribe(name, subscribed)?;
    Ok("Done".to_owned())
}

pub(crate) fn status(
    session: &Session,
    name: &MailboxName,
    items: &[StatusItem],
    out: &mut Output,
) -> Result<String, Failure> {
    let status = session.account()?.status(name)?;
    let item = |item: &StatusItem| match item {
        StatusItem::Messages => format!("MESSAGES {}", status.messages),
        StatusItem::Recent => format!("RECENT {}", status.recent),
        StatusItem::UidNext => format!("UIDNEXT {}", status.uid_next),
        StatusItem::UidValidity => format!("UIDVALIDITY {}", status.uid_validity),
        StatusItem::Unseen => format!("UNSEEN {}", status.unseen),
        StatusItem::MailboxId => format!("MAILBOXID ({})", status.mailbox_id),
        StatusItem::Size => format!("SIZE {}", status.size),
        StatusItem::HighestModSeq => format!("HIGHESTMODSEQ {}", status.highest_mod_seq),
        StatusItem::AppendLimit => format!("APPENDLIMIT {}", session.max_append()),
        StatusItem::Deleted => format!("DELETED {}", status.deleted.messages),
        StatusItem::DeletedStorage => format!("DELETED-STORAGE {}", status.deleted.storage),
    };
    let items: Vec<String> = items.iter().map(item).collect();
    out.line(format!("* STATUS {} ({})", quoted(&name.to_mutf7()), items.join(" ")));
    Ok("Done".to_owned())
}
