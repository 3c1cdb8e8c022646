//! NOTIFY: a client hears of what it asked for in all but the selected mailbox, at any time. RFC 5465.

mod directory;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imap_proto::{MailboxFilter, StatusItem};
use mail_store::{Account, KnownStatus, MailboxStatus, News, Notices, Snapshot, StoreError};
use mail_types::{MailboxName, ModSeq, Rights, Uid, UidValidity};
use tracing::{error, info};

use crate::access::{Access, Place};
use crate::answer::{Failure, Output};
use crate::command::list;
use crate::command::mailbox::write_status;
use crate::filter;
use crate::session::Session;
use directory::Directory;
pub(crate) use wanted::{Events, Group, Hears, SelectedEvents, Wanted, When};

/// Why a client can't hear of what it asked for.
#[derive(Debug)]
pub(crate) enum Unheard {
    /// It is too much.
    Overflow,
    Other(Failure),
}

impl From<Failure> for Unheard {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<StoreError> for Unheard {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

/// How far the client knows a mailbox. What is `None` it may not have been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    uid_validity: UidValidity,
    uid_next: Uid,
    highest_mod_seq: ModSeq,
    messages: Option<u32>,
    unseen: Option<u32>,
}

impl From<KnownStatus> for Told {
    fn from(known: KnownStatus) -> Self {
        let KnownStatus { uid_validity, uid_next, highest_mod_seq } = known;
        Self { uid_validity, uid_next, highest_mod_seq, messages: None, unseen: None }
    }
}

impl From<&MailboxStatus> for Told {
    fn from(status: &MailboxStatus) -> Self {
        Self {
            uid_validity: status.uid_validity,
            uid_next: status.uid_next,
            highest_mod_seq: status.highest_mod_seq,
            messages: Some(status.messages),
            unseen: Some(status.unseen),
        }
    }
}

impl Told {
    /// A mailbox of which the client knows nothing is to it as an empty one.
    const fn nothing(uid_validity: UidValidity) -> Self {
        let (uid_next, highest_mod_seq) = (Uid::MIN, ModSeq::MIN);
        Self { uid_validity, uid_next, highest_mod_seq, messages: Some(0), unseen: Some(0) }
    }

    /// What STATUS is to tell of a change from here. RFC 5465 §5.1 to §5.3.
    fn items(&self, now: &Self, events: Events, condstore: bool) -> Vec<StatusItem> {
        let is_changed = self.highest_mod_seq != now.highest_mod_seq;
        let is_renewed = self.uid_validity != now.uid_validity;
        let messages = is_renewed
            || self.uid_next != now.uid_next
            || self.messages.map_or(is_changed, |messages| Some(messages) != now.messages);
        let flags = events.flags && is_changed;
        let mut items = Vec::new();
        if messages {
            items.extend([StatusItem::Messages, StatusItem::UidNext]);
        }
        if is_renewed || (flags && condstore) {
            items.push(StatusItem::UidValidity);
        }
        if condstore && (messages || flags) {
            items.push(StatusItem::HighestModSeq);
        }
        if flags && self.unseen.map_or(!messages, |unseen| Some(unseen) != now.unseen) {
            items.push(StatusItem::Unseen);
        }
        items
    }
}

/// What a session listens to for its client.
#[derive(Debug)]
pub(crate) struct Notify {
    access: Access,
    groups: Vec<Group>,
    /// The most mailboxes that are listened to.
    most: usize,
    notices: Notices,
    /// The mailboxes of whose messages the client hears, and those of which it would if it might.
    told: BTreeMap<MailboxName, Told>,
    /// Those of which it is told nothing for lack of rights, which it knows. RFC 5465 §3.1, §5.9.
    no_access: BTreeSet<MailboxName>,
    directory: Directory,
}

impl Notify {
    /// Begins to listen. Blocks.
    pub(crate) fn begin(access: Access, groups: Vec<Group>, most: usize) -> Result<Self, Unheard> {
        // First: what changes while the names are read is heard.
        let notices = access.account().listen();
        let directory = Directory::read(&access, hear_of_others(&groups))?;
        let (told, no_access) = (BTreeMap::new(), BTreeSet::new());
        let mut notify = Self { access, groups, most, notices, told, no_access, directory };
        notify.no_access = notify.without_access()?;
        for (name, known) in notify.attend()? {
            known.into_iter().for_each(|known| {
                notify.told.insert(name.clone(), known.into());
            });
        }
        Ok(notify)
    }

    /// What the client hears of a mailbox, when it is not selected.
    fn events(&self, name: &MailboxName) -> Events {
        let of_it =
            self.groups.iter().filter(|it| filter::names(&it.filter, name, &self.directory.subscribed));
        of_it.fold(Events::default(), |events, group| events.or(group.events))
    }

    /// True if the client hears of any annotations.
    pub(crate) fn hears_of_annotations(&self) -> bool {
        self.groups.iter().any(|group| group.events.annotations || group.events.server_annotations)
    }

    /// True if it hears of those of a mailbox or, without one, of the server. RFC 5465 §5.6, §5.7.
    pub(crate) fn hears_of_annotations_of(&self, of: Option<&MailboxName>) -> bool {
        match of {
            Some(name) => self.events(name).annotations && !self.no_access.contains(name),
            None => self.groups.iter().any(|group| group.events.server_annotations),
        }
    }

    /// The accounts that share something with the client.
    pub(crate) fn others(&self) -> Vec<Arc<Account>> {
        self.directory.others()
    }

    /// A mailbox of another's account, and what the client calls it.
    pub(crate) fn shared_as(
        &self,
        account: &Arc<Account>,
        inner: &MailboxName,
    ) -> Option<(&MailboxName, &Place)> {
        let mut shared = self.directory.shared.iter();
        shared.find(|(_, place)| Arc::ptr_eq(place.account(), account) && place.name() == inner)
    }

    /// Listens to the mailboxes that there are, and to no others. Gives those that it did not listen to before.
    fn attend(&mut self) -> Result<Vec<(MailboxName, Option<KnownStatus>)>, Unheard> {
        let names = self.directory.mailboxes().filter(|name| self.events(name).messages);
        let names: BTreeSet<MailboxName> = names.cloned().collect();
        if names.len() > self.most {
            return Err(Unheard::Overflow);
        }
        self.notices.retain(&names);
        self.told.retain(|name, _| names.contains(name) || self.no_access.contains(name));
        if hear_of_others(&self.groups) {
            self.notices.listen_to_others(self.access.store(), &self.directory.others());
        }
        let mut new = Vec::new();
        for name in names {
            if !self.notices.is_listening(&name) {
                let known = match self.directory.shared.get(&name) {
                    Some(place) => self.notices.listen(&name, place.account(), place.name())?,
                    None => self.notices.listen(&name, self.access.account(), &name)?,
                };
                new.push((name, known));
            }
        }
        Ok(new)
    }

    /// Waits until there is something to tell.
    pub(crate) async fn heard(&self) {
        self.notices.heard().await;
    }

    /// `STATUS`: the figures of all mailboxes of whose messages the client hears. RFC 5465 §3.1. Blocks.
    pub(crate) fn tell_all(&mut self, session: &Session, out: &mut Output) {
        let names: Vec<MailboxName> = self.notices.mailboxes().cloned().collect();
        for name in names.into_iter().filter(|name| !session.has_selected(name)) {
            let Some(status) = self.look(&name) else { continue };
            let mut items = vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
            if self.events(&name).flags || session.enabled.condstore {
                items.push(StatusItem::HighestModSeq);
            }
            write_status(session, &name, &status, &items, out);
            self.told.insert(name, Told::from(&status));
        }
    }

    /// Names the mailboxes of which the client would hear if it might do more than list them. RFC 5465 §3.1.
    pub(crate) fn tell_without_access(&self, session: &Session, out: &mut Output) {
        for name in &self.no_access {
            out.line(format!("* LIST (\\NoAccess) \"/\" {}", session.shown(name)));
        }
    }

    /// The mailboxes that the client asks to hear of, and may see but not read: all events need both (RFC 5465 §5). Blocks.
    fn without_access(&self) -> Result<BTreeSet<MailboxName>, Failure> {
        let mut without = BTreeSet::new();
        for name in self.directory.mailboxes().filter(|name| self.events(name).is_any_of_mailboxes()) {
            let rights = match self.directory.shared.get(name) {
                Some(place) => place.rights(),
                None => self.access.find(name)?.rights(),
            };
            if !rights.contains(Rights::READ) {
                without.insert(name.clone());
            }
        }
        Ok(without)
    }

    /// Those that are there and that the client could not see when the directory was read, of these that it knew. One that it may see again by now
    /// is told of when the directory is read again. Blocks.
    fn hidden<'a>(&self, known: impl Iterator<Item = &'a MailboxName>) -> BTreeSet<MailboxName> {
        let is_there = |name: &&MailboxName| {
            self.access.find(name).is_ok_and(|place| place.account().open(place.name()).is_ok())
        };
        let unseen = known.filter(|name| !self.directory.has(name));
        unseen.filter(|name| self.events(name).is_any_of_mailboxes()).filter(is_there).cloned().collect()
    }

    /// The figures of a mailbox; `None` where there are none to tell.
    fn look(&self, name: &MailboxName) -> Option<MailboxStatus> {
        match self.status(name) {
            Ok(status) => Some(status),
            Err(Failure::Store(StoreError::NoSuchMailbox(_)) | Failure::No(_)) => None,
            Err(failure) => {
                error!(?failure, mailbox = %name, "changes in a mailbox can't be told");
                None
            }
        }
    }

    fn status(&self, name: &MailboxName) -> Result<MailboxStatus, Failure> {
        // The rights may be others by now.
        let view = self.access.check(name, Rights::READ)?.open()?;
        self.notices.looked_at(name, view.mailbox());
        Ok(view.status()?)
    }

    /// Tells what was heard. Blocks.
    pub(crate) fn tell(&mut self, session: &Session, out: &mut Output) -> Result<(), Unheard> {
        let News { mut mailboxes, mut names, overflow } = self.notices.take();
        if overflow {
            return Err(Unheard::Overflow);
        }
        let may_be_read = |name: &MailboxName| self.access.check(name, Rights::READ).is_ok();
        names |= mailboxes.iter().any(|name| self.no_access.contains(name) && may_be_read(name));
        if names {
            mailboxes.append(&mut self.tell_directory(session, out)?);
        }
        // What changes in the selected mailbox is told of its messages.
        mailboxes.retain(|name| !session.has_selected(name) && !self.no_access.contains(name));
        let mut is_any_lost = false;
        for name in mailboxes {
            if self.notices.is_listening(&name) {
                is_any_lost |= !self.tell_status(session, &name, out);
            }
        }
        if is_any_lost && !names {
            // The rights may be others without a sign, as where a group has other members.
            self.tell_directory(session, out)?.iter().for_each(|name| self.notices.look_again(name));
        }
        Ok(())
    }

    /// Tells what changed of names and rights, and gives the mailboxes of whose messages there may be news for that.
    fn tell_directory(
        &mut self,
        session: &Session,
        out: &mut Output,
    ) -> Result<BTreeSet<MailboxName>, Unheard> {
        let without = self.no_access.clone();
        self.tell_names(session, out)?;
        // What a mailbox holds that others made is news too.
        let new: Vec<MailboxName> = self.attend()?.into_iter().map(|(name, _)| name).collect();
        Ok(without.difference(&self.no_access).cloned().chain(new).collect())
    }

    /// False if there is nothing to look at any more.
    fn tell_status(&mut self, session: &Session, name: &MailboxName, out: &mut Output) -> bool {
        let Some(status) = self.look(name) else { return false };
        let now = Told::from(&status);
        let before = self.told.insert(name.clone(), now).unwrap_or(Told::nothing(now.uid_validity));
        let items = before.items(&now, self.events(name), session.enabled.condstore);
        if !items.is_empty() {
            write_status(session, name, &status, &items, out);
        }
        true
    }

    fn tell_names(&mut self, session: &Session, out: &mut Output) -> Result<(), Unheard> {
        let now = Directory::read(&self.access, hear_of_others(&self.groups))?;
        let differences = self.directory.differences(&now);
        self.follow(&differences.renamed);
        let before = std::mem::replace(&mut self.directory, now);
        let either: BTreeSet<MailboxName> =
            before.subscribed.union(&self.directory.subscribed).cloned().collect();
        let mut no_access = self.hidden(before.shared.keys().chain(&self.no_access));
        no_access.append(&mut self.without_access()?);
        let known = std::mem::replace(&mut self.no_access, no_access);
        // What is gone altogether is not accessible again, nor what is not asked about any more.
        let is_heard_of =
            |name: &MailboxName| self.events(name).is_any_of_mailboxes() && self.directory.has(name);
        let is_told = |name: &&MailboxName| self.no_access.contains(*name) || is_heard_of(name);
        let hears = |name: &MailboxName, is_told: fn(Events) -> bool| {
            self.groups.iter().any(|it| is_told(it.events) && filter::names(&it.filter, name, &either))
        };
        let (names, subscriptions) = (|it: Events| it.names, |it: Events| it.subscriptions);
        let mut lines: BTreeMap<&MailboxName, Option<&MailboxName>> = BTreeMap::new();
        lines.extend(
            differences.subscriptions.iter().filter(|it| hears(it, subscriptions)).map(|it| (it, None)),
        );
        lines.extend(differences.affected.iter().filter(|it| hears(it, names)).map(|it| (it, None)));
        let renamed = differences.renamed.iter().filter(|(old, new)| hears(old, names) || hears(new, names));
        lines.extend(renamed.map(|(old, new)| (new, Some(old))));
        for name in known.symmetric_difference(&self.no_access).filter(is_told) {
            lines.entry(name).or_default();
        }
        if !lines.is_empty() {
            let mut names = list::Names::of(self.directory.entries.values(), &self.directory.subscribed);
            names.add_shared(self.directory.shared.iter().map(|(name, place)| (name.clone(), place.clone())));
            names.tell(session, lines, &self.no_access, out);
        }
        Ok(())
    }

    /// The client itself changed these names: it is not told of that (RFC 5465 §5). Blocks.
    pub(crate) fn knows_names(&mut self, is_known: impl Fn(&MailboxName) -> bool) {
        match Directory::read(&self.access, hear_of_others(&self.groups)) {
            Ok(now) => {
                let mut renamed = self.directory.differences(&now).renamed;
                renamed.retain(|(_, new)| is_known(new));
                self.follow(&renamed);
                self.directory.adopt(now, is_known);
            }
            Err(failure) => info!(?failure, "a client may be told of names that it changed itself"),
        }
    }

    /// What the client was told of a mailbox holds under its new name.
    fn follow(&mut self, renamed: &[(MailboxName, MailboxName)]) {
        for (from, to) in renamed {
            let moved = self.told.keys().filter_map(|old| Some((old.clone(), old.renamed(from, to)?)));
            for (old, new) in moved.collect::<Vec<_>>() {
                self.told.remove(&old).into_iter().for_each(|told| {
                    self.told.insert(new.clone(), told);
                });
            }
        }
    }

    /// The client itself added so many messages. Where others changed something too, that is told with the rest. Blocks.
    pub(crate) fn knows_messages(&mut self, name: &MailboxName, added: usize) {
        let Some(now) = self.look(name).as_ref().map(Told::from) else { return };
        let Some(before) = self.told.get_mut(name) else { return };
        let added = u32::try_from(added).unwrap_or(u32::MAX);
        let is_only = before.uid_validity == now.uid_validity
            && before.uid_next.value().checked_add(added) == Some(now.uid_next.value())
            && before.highest_mod_seq.value() + u64::from(added) == now.highest_mod_seq.value()
            && before.messages.is_none_or(|messages| messages.checked_add(added) == now.messages);
        if is_only {
            *before = now;
        }
    }

    /// The client leaves the mailbox that it had selected, and knows what `snapshot` holds.
    pub(crate) fn left(&mut self, name: &MailboxName, uid_validity: UidValidity, snapshot: &Snapshot) {
        let Some(told) = self.told.get_mut(name) else { return };
        *told = Told {
            uid_validity,
            uid_next: snapshot.uid_next(),
            highest_mod_seq: snapshot.highest_mod_seq(),
            messages: u32::try_from(snapshot.len()).ok(),
            unseen: None,
        };
        self.notices.look_again(name);
    }
}

/// True if it may concern the client what others share with it.
fn hear_of_others(groups: &[Group]) -> bool {
    let is_of_own = |group: &Group| matches!(group.filter, MailboxFilter::Personal | MailboxFilter::Inboxes);
    !groups.iter().all(is_of_own)
}
