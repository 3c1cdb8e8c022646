//! The commands on mailboxes as such: CREATE, DELETE, RENAME, SUBSCRIBE, STATUS. RFC 3501 §6.3.

use std::sync::Arc;

use imap_proto::StatusItem;
use mail_store::{MailboxStatus, StoreError};
use mail_types::{MailboxName, Rights, SpecialUse};
use tracing::info;
use unicode_normalization::UnicodeNormalization as _;

use crate::access::{Access, Place, is_reserved};
use crate::answer::{Failure, Output};
use crate::command::list;
use crate::mod_seqs::Enabled;
use crate::session::Session;
use crate::text::{RespText, Text};

/// The name in Net-Unicode, for clients that know that names may be changed so. RFC 9051 §5.1.
fn normalised(enabled: Enabled, name: &MailboxName) -> MailboxName {
    let normalised = || name.as_str().nfc().collect::<String>().parse().ok();
    enabled.imap4rev2.then(normalised).flatten().unwrap_or_else(|| name.clone())
}

/// The mailbox that a client means by a name: where there is none of the very name, that of the name in Net-Unicode. RFC 9051 §5.1.
pub(crate) fn resolved(session: &Session, name: &MailboxName) -> Result<MailboxName, Failure> {
    meant(&session.access()?, session.enabled, name)
}

/// As [`resolved`].
pub(crate) fn meant(access: &Access, enabled: Enabled, name: &MailboxName) -> Result<MailboxName, Failure> {
    let normalised = normalised(enabled, name);
    if normalised == *name {
        return Ok(normalised);
    }
    let place = access.find(name);
    match place.and_then(|place| Ok(place.account().open(place.name())?)) {
        Ok(_) => Ok(name.clone()),
        Err(Failure::Store(StoreError::NoSuchMailbox(_))) => Ok(normalised),
        Err(failure) => Err(failure),
    }
}

/// One mailbox has one use here, and none of those that would be views of all mail. RFC 6154 §3, §5.3.
pub(crate) fn create(
    session: &mut Session,
    name: MailboxName,
    uses: &[String],
    out: &mut Output,
) -> Result<RespText, Failure> {
    let given = name;
    let name = &normalised(session.enabled, &given);
    let place = may_create(session, name)?;
    let special_use = match uses {
        [] => None,
        [only] => Some(only.parse().ok().filter(|it| !matches!(it, SpecialUse::All | SpecialUse::Flagged))),
        _ => Some(None),
    };
    match special_use {
        Some(None) => return Err(Failure::no(Text::NoSuchUse.coded("USEATTR"))),
        // What another's mailboxes are for he says himself.
        Some(Some(_)) if !place.is_own() => {
            return Err(Failure::no(Text::NoSuchUseHere.coded("USEATTR")));
        }
        Some(special_use) => place.account().create(place.name(), special_use)?,
        None => place.account().create(place.name(), None)?,
    }
    info!(mailbox = %name, "created");
    session.knows_names(|it| it == name || name.is_below(it));
    if *name != given {
        list::tell(session, name, Some(&given), out)?;
    }
    let mailbox_id = place.open()?.mailbox().mailbox_id();
    Ok(Text::MailboxCreated.coded_as(format!("MAILBOXID ({mailbox_id})")))
}

/// A place where the user may create or to which he may rename a mailbox: he has the right in the nearest one above it. RFC 4314 §4.
fn may_create(session: &Session, name: &MailboxName) -> Result<Place, Failure> {
    let place = session.access()?.find(name)?;
    if place.is_own() && is_reserved(name) {
        return Err(Failure::no(Text::NameOfOthers.coded("CANNOT")));
    }
    let exists = |name: &MailboxName| match place.account().open(name) {
        Ok(_) => Ok(true),
        Err(StoreError::NoSuchMailbox(_)) => Ok(false),
        Err(error) => Err(error),
    };
    for above in std::iter::successors(place.name().parent(), MailboxName::parent) {
        if exists(&above)? {
            place.beside(above)?.needs(Rights::CREATE)?;
            return Ok(place);
        }
    }
    // Beside another's own mailboxes nobody makes one.
    if place.is_own() { Ok(place) } else { Err(StoreError::NoSuchMailbox(name.clone()).into()) }
}

/// A session that deletes the mailbox it selected has none selected then.
pub(crate) fn delete(
    session: &mut Session,
    given: &MailboxName,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let name = &resolved(session, given)?;
    let place = session.check(name, Rights::DELETE)?;
    let account = place.account();
    match account.delete(place.name()) {
        Err(StoreError::NoSuchMailbox(_))
            if account.mailboxes()?.iter().any(|it| it.name.is_below(place.name())) =>
        {
            return Err(Failure::no(Text::HasChildren.coded("HASCHILDREN")));
        }
        result => result?,
    }
    if session.selected().is_ok_and(|selected| selected.name() == name) {
        session.unselect();
    }
    info!(mailbox = %name, "deleted");
    session.knows_names(|it| it == name);
    if name != given {
        list::tell(session, name, Some(given), out)?;
    }
    Ok(Text::MailboxDeleted.into())
}

/// A session that renames the mailbox it selected goes on in it.
pub(crate) fn rename(
    session: &mut Session,
    given: &MailboxName,
    given_new: &MailboxName,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let (from, to) = (&resolved(session, given)?, &normalised(session.enabled, given_new));
    let access = session.access()?;
    let (old, new) = (access.check(from, Rights::DELETE)?, may_create(session, to)?);
    if !Arc::ptr_eq(old.account(), new.account()) {
        return Err(Failure::no(Text::NotToAnotherAccount.coded("CANNOT")));
    }
    if !from.is_inbox() {
        // What lies below goes along.
        let mut all =
            old.account().mailboxes()?.into_iter().filter(|it| it.selectable && it.name.is_below(old.name()));
        all.try_for_each(|entry| old.beside(entry.name)?.needs(Rights::DELETE))?;
    }
    old.account().rename(old.name(), new.name())?;
    info!(mailbox = %from, %to, "renamed");
    let is_moved = |it: &MailboxName| [from, to].into_iter().any(|root| it == root || it.is_below(root));
    session.knows_names(|it| is_moved(it) || to.is_below(it));
    if let Ok(selected) = session.selected()
        && !from.is_inbox()
        && let Some(name) = selected.name().renamed(from, to)
    {
        let place = access.find(&name)?;
        selected.follow(name, place)?;
    }
    if (from, to) != (given, given_new) {
        list::tell(session, to, Some(given), out)?;
    }
    Ok(Text::MailboxRenamed.into())
}

pub(crate) fn subscribe(
    session: &mut Session,
    name: &MailboxName,
    subscribed: bool,
) -> Result<RespText, Failure> {
    session.account()?.subscribe(name, subscribed)?;
    session.knows_names(|it| it == name);
    Ok(Text::Done.into())
}

pub(crate) fn status(
    session: &Session,
    name: &MailboxName,
    items: &[StatusItem],
    out: &mut Output,
) -> Result<RespText, Failure> {
    let status = session.check(name, Rights::READ)?.open()?.status()?;
    write_status(session, name, &status, items, out);
    Ok(Text::Done.into())
}

/// A STATUS response.
pub(crate) fn write_status(
    session: &Session,
    name: &MailboxName,
    status: &MailboxStatus,
    items: &[StatusItem],
    out: &mut Output,
) {
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
    out.line(format!("* STATUS {} ({})", session.shown(name), items.join(" ")));
}
