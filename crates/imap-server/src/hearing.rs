//! What a session tells its client without being asked: in IDLE, and by NOTIFY (RFC 5465) at any time.

use std::sync::Arc;

use mail_store::StoreError;
use mail_types::{MailboxName, Uid};
use tracing::{info, warn};

use crate::annotations::Annotations;
use crate::answer::{Output, Status};
use crate::command::fetch::{self, FetchJob};
use crate::notify::{Notify, SelectedEvents, Unheard};
use crate::session::{Session, State};
use crate::text::Text;

impl Session {
    /// From now on its client hears of these events, and of nothing else.
    pub(crate) fn hear(&mut self, events: SelectedEvents, notify: Option<Box<Notify>>, out: &mut Output) {
        self.notify = notify;
        if let State::Selected(_, selected) = &mut self.state {
            selected.hear(events.clone(), out);
        }
        self.events = events;
        self.attend_to_metadata();
    }

    pub(crate) fn has_selected(&self, name: &MailboxName) -> bool {
        matches!(&self.state, State::Selected(_, selected) if selected.name() == name)
    }

    /// Waits until there is something to tell that the client wants to hear of. Safe to drop and call again.
    pub(crate) async fn heard(&mut self) {
        let selected = match &mut self.state {
            State::Selected(_, selected) => selected.changes(),
            State::NotAuthenticated | State::Authenticated(_) => None,
        };
        let (notify, annotations) = (self.notify.as_deref(), self.annotations.as_deref_mut());
        let changed = async {
            let is_watched = match selected {
                Some(changes) => changes.changed().await.is_ok(),
                None => false,
            };
            if !is_watched {
                std::future::pending().await
            }
        };
        let others = async {
            if notify.is_none() && annotations.is_none() {
                std::future::pending().await
            }
            // In a box: few wait for it, and all who wait would have the room for it.
            Box::pin(heard_of_others(notify, annotations)).await
        };
        tokio::select! {
            () = changed => {}
            () = others => {}
        }
    }

    /// Tells what was heard of; what is gone of the selected mailbox only with `allow_expunge`, or if the client wants that at once.
    /// Blocks.
    pub(crate) fn tell_news(&mut self, allow_expunge: bool, out: &mut Output) -> Result<(), StoreError> {
        let of_annotations = self.annotations.as_ref().is_some_and(|it| it.is_due());
        let State::Selected(_, selected) = &mut self.state else {
            self.tell_of_others(out);
            return Ok(());
        };
        if selected.view().is_of_reader() {
            // What the user has seen is not in the mailbox's own snapshot.
            return self.look_for_news(allow_expunge, out);
        }
        let now = selected.mailbox().snapshot();
        if of_annotations && (Arc::ptr_eq(&now, selected.now()) || selected.changes().is_none()) {
            // Of the mailbox there is nothing to tell, or not now.
            self.tell_of_others(out);
            return Ok(());
        }
        if Arc::ptr_eq(&now, selected.now()) {
            // Without news this is the wake of a mailbox that was deleted or renamed.
            return self.look_for_news(allow_expunge, out);
        }
        selected.tell(now, allow_expunge, out);
        self.tell_of_others(out);
        self.tell_mod_seq(out);
        Ok(())
    }

    /// As [`Self::tell_news`], and looks for changes in the selected mailbox itself. Blocks.
    pub(crate) fn look_for_news(&mut self, allow_expunge: bool, out: &mut Output) -> Result<(), StoreError> {
        let told = self.tell_changes(allow_expunge, out);
        self.tell_of_others(out);
        self.tell_mod_seq(out);
        told
    }

    /// Tells what NOTIFY asks for of other mailboxes, and of annotations.
    fn tell_of_others(&mut self, out: &mut Output) {
        self.tell_metadata(out);
        let Some(mut notify) = self.notify.take() else { return };
        match notify.tell(self, out) {
            Ok(()) => {
                self.notify = Some(notify);
                // Others may share something by now, or no more.
                self.attend_to_metadata();
            }
            Err(Unheard::Other(failure)) => {
                warn!(?failure, "a client may not be told of what changed in its account");
                self.notify = Some(notify);
            }
            // RFC 5465 §5.8: as if it had sent NOTIFY NONE.
            Err(Unheard::Overflow) => {
                info!("more mailboxes than can be watched");
                out.say(Status::Ok, Text::NotAllTold.coded("NOTIFICATIONOVERFLOW"));
                self.hear(SelectedEvents::none(), None, out);
            }
        }
    }

    /// The client changed these names itself.
    pub(crate) fn knows_names(&mut self, is_known: impl Fn(&MailboxName) -> bool) {
        if let Some(notify) = &mut self.notify {
            notify.knows_names(is_known);
        }
    }

    /// The client itself added these messages to a mailbox.
    pub(crate) fn knows_messages(&mut self, name: &MailboxName, uids: impl IntoIterator<Item = Uid>) {
        match &mut self.state {
            State::Selected(_, selected) if selected.name() == name => selected.added(uids),
            State::Selected(..) | State::Authenticated(_) | State::NotAuthenticated => {
                if let Some(notify) = &mut self.notify {
                    notify.knows_messages(name, uids.into_iter().count());
                }
            }
        }
    }

    /// True if there are messages to call [`Self::tell_arrivals`] for.
    pub(crate) fn has_arrivals(&self) -> bool {
        self.arriving.is_some()
            || matches!(&self.state, State::Selected(_, selected) if selected.has_arrivals())
    }

    /// Tells the next part of what is to be fetched of messages that arrived. Blocks.
    pub(crate) fn tell_arrivals(&mut self, out: &mut Output) {
        let State::Selected(_, selected) = &mut self.state else {
            self.arriving = None;
            return;
        };
        let next = self.arriving.take().or_else(|| {
            let (named, items) = selected.next_arrivals()?;
            Some(Box::new(FetchJob::of(None, named, items, Text::Fetched.into())))
        });
        let Some(mut job) = next else { return };
        if !fetch::step(&mut job, selected, out) {
            self.arriving = Some(job);
        }
    }
}

/// Waits for news of other mailboxes or of annotations, of what there is.
async fn heard_of_others(notify: Option<&Notify>, annotations: Option<&mut Annotations>) {
    let heard = async {
        match notify {
            Some(notify) => notify.heard().await,
            None => std::future::pending().await,
        }
    };
    let annotated = async {
        match annotations {
            Some(annotations) => annotations.changed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = heard => {}
        () = annotated => {}
    }
}
