//! Who is told of annotations that others change. RFC 5464 §4.4.2, RFC 5465 §5.6, §5.7.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use imap_proto::metadata_changed;
use mail_store::{Account, MetadataChange, StoreError};
use mail_types::{Address, MailboxName, MetadataEntry, Rights};
use tokio::sync::watch;
use tracing::error;

use crate::access::Place;
use crate::answer::Output;
use crate::session::Session;

/// Which changes of annotations a client has been told of that wants to be told: in its own account, and by NOTIFY in those that share
/// something with it.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    sources: Vec<Source>,
}

/// Those of one account.
#[derive(Debug)]
struct Source {
    account: Arc<Account>,
    /// The user, where the account is another's.
    reader: Option<Address>,
    /// Wakes when there are new ones.
    changes: watch::Receiver<()>,
    /// It woke, and nothing was told since.
    is_due: bool,
    /// The number of the last one.
    up_to: i64,
    /// Later ones that the session made itself.
    own: Vec<Range<i64>>,
}

impl Source {
    /// What changes from now on is to be told.
    fn begin((account, reader): (Arc<Account>, Option<Address>)) -> Self {
        let changes = account.watch_metadata();
        let up_to = account.last_metadata_change().unwrap_or_else(|error| {
            error!(%error, "what changed of annotations can't be looked up");
            0
        });
        Self { account, reader, changes, is_due: false, up_to, own: Vec::new() }
    }

    async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending().await
        }
        self.is_due = true;
    }

    /// What others have changed.
    fn take(&mut self) -> Result<Vec<MetadataChange>, StoreError> {
        self.changes.mark_unchanged();
        self.is_due = false;
        let mut changes = self.account.metadata_changes_since(self.up_to, self.reader.as_ref())?;
        self.up_to = changes.iter().map(|it| it.number).max().unwrap_or(self.up_to);
        changes.retain(|change| !self.own.iter().any(|own| own.contains(&change.number)));
        self.own.retain(|own| own.end > self.up_to + 1);
        Ok(changes)
    }
}

impl Annotations {
    /// Listens to these accounts, and to no others.
    fn follow(&mut self, accounts: Vec<(Arc<Account>, Option<Address>)>) {
        let mut before = std::mem::take(&mut self.sources);
        self.sources.extend(accounts.into_iter().map(|(account, reader)| {
            match before.iter().position(|source| Arc::ptr_eq(&source.account, &account)) {
                Some(at) => before.swap_remove(at),
                None => Source::begin((account, reader)),
            }
        }));
    }

    /// Waits until there may be something to tell. Safe to drop and call again.
    pub(crate) async fn changed(&mut self) {
        let mut waits: Vec<_> = self.sources.iter_mut().map(|source| Box::pin(source.changed())).collect();
        poll_fn(|context| {
            let is_ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
            if is_ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    pub(crate) fn is_due(&self) -> bool {
        self.sources.iter().any(|source| source.is_due)
    }

    /// The session made these changes itself.
    pub(crate) fn knows(&mut self, account: &Arc<Account>, own: Range<i64>) {
        let source = self.sources.iter_mut().find(|source| Arc::ptr_eq(&source.account, account));
        if let Some(source) = source.filter(|_| !own.is_empty()) {
            source.own.push(own);
        }
    }
}

impl Session {
    /// Begins to tell of annotations that change, or ends it, as the client wants it now.
    pub(crate) fn attend_to_metadata(&mut self) {
        let notify = self.notify.as_ref().filter(|notify| notify.hears_of_annotations());
        let Some(account) = self.account().ok().filter(|_| self.enabled.metadata || notify.is_some()) else {
            self.annotations = None;
            return;
        };
        let mut accounts = vec![(Arc::clone(account), None)];
        let user = self.owner.as_ref().map(|owner| owner.address.clone());
        accounts.extend(notify.iter().flat_map(|notify| notify.others()).map(|it| (it, user.clone())));
        self.annotations.get_or_insert_default().follow(accounts);
    }

    /// Tells which annotations others have changed, without their values. RFC 5464 §4.4.2.
    pub(crate) fn tell_metadata(&mut self, out: &mut Output) {
        let Some(mut annotations) = self.annotations.take() else { return };
        let mut told: BTreeMap<Option<MailboxName>, Vec<MetadataEntry>> = BTreeMap::new();
        for source in &mut annotations.sources {
            match source.take() {
                Ok(changes) => {
                    for MetadataChange { mailbox, entry, .. } in changes {
                        let shown = self.heard_of(source, mailbox);
                        shown
                            .into_iter()
                            .for_each(|shown| told.entry(shown).or_default().push(entry.clone()));
                    }
                }
                Err(error) => error!(%error, "changes of annotations can't be told"),
            }
        }
        self.annotations = Some(annotations);
        for (mailbox, entries) in told {
            out.line(format!("* {}", metadata_changed(&self.place_name(mailbox.as_ref()), &entries)));
        }
    }

    /// What the client calls the mailbox, or the server, if it is to hear of its annotations.
    fn heard_of(&self, source: &Source, mailbox: Option<MailboxName>) -> Option<Option<MailboxName>> {
        let notify = self.notify.as_ref();
        if source.reader.is_none() {
            let hears = self.enabled.metadata
                || notify.is_some_and(|notify| notify.hears_of_annotations_of(mailbox.as_ref()));
            return hears.then_some(mailbox);
        }
        let (shown, place) = notify?.shared_as(&source.account, mailbox.as_ref()?)?;
        // RFC 5465 §5.
        let needed = Rights::LOOKUP.union(Rights::READ);
        let may_see = |place: &Place| place.rights_now().is_ok_and(|it| it.contains(needed));
        (notify?.hears_of_annotations_of(Some(shown)) && may_see(place)).then(|| Some(shown.clone()))
    }
}
