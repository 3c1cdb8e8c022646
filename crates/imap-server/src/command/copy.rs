//! COPY (RFC 3501 §6.4.7) and MOVE (RFC 6851), with COPYUID (RFC 4315 §3).

use imap_proto::MessageSet;
use mail_store::{Mailbox, View};
use mail_types::{MailboxName, Rights, Uid, UidSet};

use crate::answer::{Failure, Output, Status};
use crate::selected::SelectedMailbox;
use crate::session::Session;
use crate::text::{RespText, Text};

pub(crate) fn copy(
    session: &mut Session,
    set: &MessageSet,
    target: &MailboxName,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let name = target;
    let (target, rights) = open_target(session, name)?;
    let selected = session.selected()?;
    let uids = named(selected, set, out)?;
    if uids.is_empty() {
        return Ok(Text::NothingToCopy.into());
    }
    let pairs = selected.view().transfer(&uids, &target, rights, false)?;
    session.knows_messages(name, pairs.iter().map(|(_, to)| *to));
    Ok(match copy_uid(target.mailbox(), &pairs) {
        Some(code) => Text::Copied.coded_as(code),
        None => Text::NothingToCopy.into(),
    })
}

pub(crate) fn move_to(
    session: &mut Session,
    set: &MessageSet,
    target: &MailboxName,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let name = target;
    let (target, rights) = open_target(session, name)?;
    let selected = session.selected()?;
    let uids = named(selected, set, out)?;
    let view = selected.writable(Rights::DELETE_MESSAGES.union(Rights::EXPUNGE))?.clone();
    if uids.is_empty() {
        return Ok(Text::NothingToMove.into());
    }
    let pairs = view.transfer(&uids, &target, rights, true)?;
    // RFC 6851 §4.3: COPYUID comes before the EXPUNGEs.
    match copy_uid(target.mailbox(), &pairs) {
        Some(code) => out.say(Status::Ok, Text::Moved.coded_as(code)),
        None => return Ok(Text::NothingToMove.into()),
    }
    // RFC 6851 §4.4.
    selected.owe_mod_seq();
    selected.owe_changes();
    session.knows_messages(name, pairs.iter().map(|(_, to)| *to));
    Ok(Text::Moved.into())
}

/// A copy by sequence number is of all messages or of none (RFC 3501 §6.4.7).
fn named(selected: &mut SelectedMailbox, set: &MessageSet, out: &mut Output) -> Result<Vec<Uid>, Failure> {
    if matches!(set, MessageSet::Seq(_)) {
        selected.sync(false, out)?;
    }
    let named = selected.named(set)?;
    if named.gone > 0 {
        return Err(Failure::no(Text::MessagesGone.coded("EXPUNGEISSUED")));
    }
    Ok(selected.uids(&named))
}

/// The target, and what the user may do there; its owner's quota holds from here on.
fn open_target(session: &Session, target: &MailboxName) -> Result<(View, Rights), Failure> {
    let place = session.check(target, Rights::INSERT).map_err(Failure::try_create)?;
    let view = place.open().map_err(|error| Failure::from(error).try_create())?;
    place.limit()?;
    Ok((view, place.rights()))
}

/// `COPYUID`, both sets in the same order and compact; `None` if nothing was copied.
fn copy_uid(target: &Mailbox, pairs: &[(Uid, Uid)]) -> Option<String> {
    if pairs.is_empty() {
        return None;
    }
    let from = UidSet::from_ascending(pairs.iter().map(|(from, _)| *from));
    let to = UidSet::from_ascending(pairs.iter().map(|(_, to)| *to));
    Some(format!("COPYUID {} {from} {to}", target.uid_validity()))
}
