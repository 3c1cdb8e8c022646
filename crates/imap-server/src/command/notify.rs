//! NOTIFY. RFC 5465 §3.1.

use imap_proto::NotifyRequest;

use crate::answer::{Failure, Output};
use crate::notify::{Notify, SelectedEvents, Unheard, Wanted};
use crate::session::Session;
use crate::text::{RespText, Text};

/// From now on the client hears of what it names, and of nothing else.
pub(crate) fn notify(
    session: &mut Session,
    request: NotifyRequest,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let (status, wanted) = match request {
        NotifyRequest::None => (false, Wanted { selected: SelectedEvents::none(), groups: Vec::new() }),
        NotifyRequest::Set { status, groups } => (status, Wanted::of(groups)?),
    };
    let mut notify = None;
    if !wanted.groups.is_empty() {
        let begun = Notify::begin(session.access()?, wanted.groups, session.max_notify_mailboxes());
        let begun = begun?;
        begun.tell_without_access(session, out);
        notify = Some(Box::new(begun));
    }
    if let Some(notify) = notify.as_mut().filter(|_| status) {
        notify.tell_all(session, out);
    }
    session.hear(wanted.selected, notify, out);
    Ok(Text::Noted.into())
}

impl From<Unheard> for Failure {
    fn from(unheard: Unheard) -> Self {
        match unheard {
            Unheard::Overflow => Failure::no(Text::TooManyMailboxes.coded("NOTIFICATIONOVERFLOW")),
            Unheard::Other(failure) => failure,
        }
    }
}
