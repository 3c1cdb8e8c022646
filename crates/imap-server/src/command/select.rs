//! SELECT, EXAMINE and CLOSE. RFC 3501 §6.3.1, §6.3.2, §6.4.2, RFC 7162 §3.1.8, §3.2.5.

use std::sync::Arc;

use imap_proto::{FetchItem, SelectParams, Tag};
use mail_store::StoreError;
use mail_types::{MailboxName, Rights};
use tracing::info;

use crate::answer::{Failure, Output, Status};
use crate::command::expunge::deleted;
use crate::command::fetch::FetchJob;
use crate::command::list;
use crate::command::mailbox::resolved;
use crate::command::resync::resync;
use crate::selected::SelectedMailbox;
use crate::session::{Answer, Session, State};
use crate::text::{RespText, Text};

/// What SELECT and EXAMINE are asked.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a MailboxName,
    pub(crate) params: &'a SelectParams,
    pub(crate) read_only: bool,
}

/// A SELECT that fails leaves no mailbox selected.
pub(crate) fn select(
    session: &mut Session,
    tag: &Tag,
    wanted: &Wanted<'_>,
    out: &mut Output,
) -> Result<Answer, Failure> {
    let Wanted { name: given, params, read_only } = *wanted;
    if params.qresync.is_some() && !session.enabled.qresync {
        return Err(Failure::bad(Text::EnableQresyncFirst));
    }
    session.enabled.condstore |= params.condstore;
    if session.unselect() {
        out.say(Status::Ok, Text::NextMailbox.coded("CLOSED"));
    }
    let account = Arc::clone(session.account()?);
    let name = &resolved(session, given)?;
    let place = session.access()?.check(name, Rights::READ)?;
    let mut selected = SelectedMailbox::open(name.clone(), place, read_only, session.enabled)?;
    selected.hear(session.events.clone(), out);
    tell(&mut selected, out);
    if session.enabled.imap4rev2 {
        list::tell(session, name, Some(given).filter(|given| *given != name), out)?;
    }
    info!(mailbox = %name, read_only, "selected");
    let missed = params.qresync.as_ref().map(|client| resync(&selected, client, out));
    let mode = if selected.is_told_read_only() { "READ-ONLY" } else { "READ-WRITE" };
    session.state = State::Selected(account, Box::new(selected));
    let text = Text::MailboxSelected.coded(mode);
    Ok(match missed {
        Some(missed) => {
            let mut items = vec![FetchItem::Flags, FetchItem::ModSeq];
            items.extend((!session.enabled.uid_only).then_some(FetchItem::Uid));
            Answer::Fetching(Box::new(FetchJob::of(Some(tag.clone()), missed, items, text)))
        }
        None => Answer::Whole(text),
    })
}

/// IMAP4rev2 has no UNSEEN here (RFC 9051, appendix E), nor have those that know no sequence numbers.
fn tell(selected: &mut SelectedMailbox, out: &mut Output) {
    selected.tell_select(out);
    let now = selected.now();
    let has_unseen = !selected.enabled().imap4rev2 && !selected.enabled().uid_only;
    if let Some(first) = now.first_unseen().filter(|_| has_unseen) {
        out.say(Status::Ok, Text::FirstUnseen.coded_as(format!("UNSEEN {}", first + 1)));
    }
    let validity = selected.mailbox().uid_validity();
    out.say(Status::Ok, Text::UidsValid.coded_as(format!("UIDVALIDITY {validity}")));
    out.say(Status::Ok, Text::NextUid.coded_as(format!("UIDNEXT {}", now.uid_next())));
    selected.tell_select_mod_seq(out);
    let mailbox_id = selected.mailbox().mailbox_id();
    out.say(Status::Ok, Text::ByWhichItIsKnown.coded_as(format!("MAILBOXID ({mailbox_id})")));
}

/// Removes what is `\Deleted` without telling, unless the mailbox is read-only or the right to it is missing (RFC 4314 §4).
pub(crate) fn close(session: &mut Session) -> Result<RespText, Failure> {
    let selected = session.selected()?;
    match expunge_deleted(selected) {
        // A mailbox that another session has deleted is left all the same.
        Ok(()) | Err(Failure::Store(StoreError::NoSuchMailbox(_))) => drop(session.unselect()),
        Err(failure) => return Err(failure),
    }
    Ok(Text::MailboxClosed.into())
}

fn expunge_deleted(selected: &SelectedMailbox) -> Result<(), Failure> {
    let Ok(view) = selected.writable(Rights::EXPUNGE) else { return Ok(()) };
    let uids = deleted(selected, None)?;
    if !uids.is_empty() {
        view.mailbox().expunge(&uids)?;
    }
    Ok(())
}
