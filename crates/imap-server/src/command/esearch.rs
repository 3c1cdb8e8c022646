//! ESEARCH: a search of several mailboxes, whichever is selected. RFC 7377.

use std::collections::BTreeSet;
use std::sync::Arc;

use imap_proto::{MailboxFilter, SearchRequest, SearchReturns, Tag};
use mail_store::{Account, StoreError};
use mail_types::{MailboxName, Rights};

use crate::access::Access;
use crate::answer::{Failure, Output, Status};
use crate::command::search::{check_relevancy, tell};
use crate::filter;
use crate::search::find_hits;
use crate::selected::SelectedMailbox;
use crate::session::Session;
use crate::text::{RespText, Text};

pub(crate) fn esearch(
    session: &mut Session,
    tag: &Tag,
    sources: &[MailboxFilter],
    request: SearchRequest,
    now: i64,
    out: &mut Output,
) -> Result<RespText, Failure> {
    check_relevancy(&request, &[])?;
    let returns = request.returns.unwrap_or(SearchReturns { all: true, ..SearchReturns::default() });
    let request = SearchRequest { returns: Some(returns), ..request };
    if returns.save && sources != [MailboxFilter::Selected] {
        return Err(Failure::bad(Text::SaveOfSelected));
    }
    if returns.update {
        session.selected()?;
        out.say(Status::No, Text::OnlySearchUpdated.coded_as(format!("NOUPDATE \"{tag}\"")));
    }
    let account = Arc::clone(session.account()?);
    let enabled = session.enabled;
    let access = session.access()?;
    let mut names = named(&account, &access, sources)?;
    if sources.contains(&MailboxFilter::Selected) {
        let name = session.selected()?.name().clone();
        let correlator = format!("TAG \"{tag}\" MAILBOX {}", session.shown(&name));
        search(session.selected()?, &correlator, &request, now, out)?;
        names.remove(&name);
    }
    for name in names {
        let correlator = format!("TAG \"{tag}\" MAILBOX {}", session.shown(&name));
        let place = access.check(&name, Rights::READ);
        let opened = place.and_then(|it| Ok(SelectedMailbox::open(name, it, true, enabled)?));
        match opened {
            Ok(mut mailbox) => search(&mut mailbox, &correlator, &request, now, out)?,
            // RFC 7377 §2.2: of what can't be read nothing is told.
            Err(Failure::Store(StoreError::NoSuchMailbox(_)) | Failure::No(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(Text::Searched.into())
}

/// One mailbox; where nothing is found, nothing is told (RFC 7377 §2.1).
fn search(
    mailbox: &mut SelectedMailbox,
    correlator: &str,
    request: &SearchRequest,
    now: i64,
    out: &mut Output,
) -> Result<(), Failure> {
    let found = find_hits(mailbox, request, now);
    if found.as_ref().is_ok_and(Vec::is_empty) {
        // It is saved that nothing was found, all the same.
        if request.returns.is_some_and(|it| it.save) {
            mailbox.save(Vec::new());
        }
        return Ok(());
    }
    let correlator = format!("{correlator} UIDVALIDITY {}", mailbox.mailbox().uid_validity());
    tell(mailbox, &correlator, request, found, "SEARCH", out)
}

/// The mailboxes that there may be of those named, but for the selected one, each once. What is named itself needs not be listed, that is
/// have `l` (RFC 7377 §2.2).
fn named(
    account: &Arc<Account>,
    access: &Access,
    sources: &[MailboxFilter],
) -> Result<BTreeSet<MailboxName>, Failure> {
    let own = account.mailboxes()?.into_iter().filter(|it| it.selectable).map(|it| it.name);
    let others = access.shared()?.into_iter().map(|(name, _)| name);
    let is_subscribed = sources.contains(&MailboxFilter::Subscribed);
    let subscribed = if is_subscribed { account.subscriptions()? } else { Vec::new() };
    let subscribed: BTreeSet<MailboxName> = subscribed.into_iter().collect();
    let is_named = |name: &MailboxName| sources.iter().any(|source| filter::names(source, name, &subscribed));
    let itself = sources.iter().flat_map(|source| match source {
        MailboxFilter::Mailboxes(names) => names.as_slice(),
        MailboxFilter::Selected
        | MailboxFilter::Inboxes
        | MailboxFilter::Personal
        | MailboxFilter::Subscribed
        | MailboxFilter::Subtree(_)
        | MailboxFilter::SubtreeOne(_) => &[],
    });
    Ok(own.chain(others).filter(is_named).chain(itself.cloned()).collect())
}
