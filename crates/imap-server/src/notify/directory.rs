//! The names that a client knows of, and how others differ from them. RFC 5465 §5.4, §5.5.

use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use mail_store::{Account, MailboxEntry};
use mail_types::MailboxName;

use crate::access::{Access, Place};
use crate::answer::Failure;

/// The mailboxes of an account, those that others share with its user, and what is subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// By name, with those that only stand above others.
    pub(crate) entries: BTreeMap<MailboxName, MailboxEntry>,
    /// By the names that the user gives them.
    pub(crate) shared: BTreeMap<MailboxName, Place>,
    pub(crate) subscribed: BTreeSet<MailboxName>,
}

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Old and new names, without those that follow from a name above.
    pub(crate) renamed: Vec<(MailboxName, MailboxName)>,
    /// Names that came or went, and those right above them.
    pub(crate) affected: BTreeSet<MailboxName>,
    /// Names whose subscription began or ended.
    pub(crate) subscriptions: BTreeSet<MailboxName>,
}

impl Directory {
    /// Reads it; what others share only where that is heard of.
    pub(crate) fn read(access: &Access, hears_of_others: bool) -> Result<Self, Failure> {
        // In the midst of a RENAME some mailboxes have their new names, and some have not.
        let (mailboxes, subscriptions) = access.account().names_at_rest()?;
        let shared = if hears_of_others { access.shared()? } else { Vec::new() };
        Ok(Self {
            entries: mailboxes.into_iter().map(|it| (it.name.clone(), it)).collect(),
            shared: shared.into_iter().collect(),
            subscribed: subscriptions.into_iter().collect(),
        })
    }

    /// The names of the mailboxes.
    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = &MailboxName> {
        let own = self.entries.values().filter(|it| it.selectable).map(|it| &it.name);
        own.chain(self.shared.keys())
    }

    /// True if there is a mailbox of this name.
    pub(crate) fn has(&self, name: &MailboxName) -> bool {
        self.shared.contains_key(name) || self.entries.get(name).is_some_and(|it| it.selectable)
    }

    /// The accounts that share something with the user.
    pub(crate) fn others(&self) -> Vec<Arc<Account>> {
        let mut others: Vec<Arc<Account>> =
            self.shared.values().map(|place| Arc::clone(place.account())).collect();
        others.dedup_by(|one, other| Arc::ptr_eq(one, other));
        others
    }

    /// The mailboxes that are not in `other`.
    fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a MailboxEntry> {
        let is_in_other = |name| other.entries.get(name).is_some_and(|it| it.selectable);
        self.entries.values().filter(move |it| it.selectable && !is_in_other(&it.name))
    }

    /// From here to `now`.
    pub(crate) fn differences(&self, now: &Self) -> Differences {
        let mut gone: Vec<&MailboxEntry> = self.without(now).collect();
        let mut differences = Differences::default();
        for new in now.without(self) {
            match gone.iter().position(|old| old.is_same_mailbox(new)) {
                Some(at) => differences.renamed.push((gone.swap_remove(at).name.clone(), new.name.clone())),
                None => differences.affect(&new.name),
            }
        }
        gone.into_iter().for_each(|old| differences.affect(&old.name));
        // Others' mailboxes are renamed by others: to the user one goes and one comes.
        let without = |one: &Self, other: &Self, differences: &mut Differences| {
            let names = one.shared.keys().filter(|name| !other.shared.contains_key(*name));
            names.for_each(|name| differences.affect(name));
        };
        without(self, now, &mut differences);
        without(now, self, &mut differences);
        let all = differences.renamed.clone();
        let follows = |(old, new): &(MailboxName, MailboxName)| {
            all.iter().any(|(from, to)| old != from && old.renamed(from, to).as_ref() == Some(new))
        };
        differences.renamed.retain(|it| !follows(it));
        differences.subscriptions = self.subscribed.symmetric_difference(&now.subscribed).cloned().collect();
        differences
    }

    /// Takes over what `now` says of the names that the client knows of by itself.
    pub(crate) fn adopt(&mut self, mut now: Self, is_known: impl Fn(&MailboxName) -> bool) {
        self.entries.retain(|name, _| !is_known(name));
        now.entries.retain(|name, _| is_known(name));
        self.entries.append(&mut now.entries);
        self.shared.retain(|name, _| !is_known(name));
        now.shared.retain(|name, _| is_known(name));
        self.shared.append(&mut now.shared);
        self.subscribed.retain(|name| !is_known(name));
        self.subscribed.extend(now.subscribed.into_iter().filter(is_known));
    }
}

impl Differences {
    fn affect(&mut self, name: &MailboxName) {
        self.affected.insert(name.clone());
        self.affected.extend(name.parent());
    }
}
