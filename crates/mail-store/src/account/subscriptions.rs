//! Subscriptions, and what every account has from the start.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use mail_types::{MailboxName, SpecialUse};

use super::Account;
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::mailbox_file::MailboxFile;

/// What the mailboxes are for that every account has.
const USES: [SpecialUse; 5] =
    [SpecialUse::Drafts, SpecialUse::Sent, SpecialUse::Junk, SpecialUse::Trash, SpecialUse::Archive];

impl Account {
    /// The subscribed names, sorted; they need not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn subscriptions(&self) -> Result<Vec<MailboxName>, StoreError> {
        subscriptions_of(&self.maildir())
    }

    /// Subscribes to `name` (`true`) or ends that (`false`).
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn subscribe(&self, name: &MailboxName, subscribed: bool) -> Result<(), StoreError> {
        self.change_subscriptions(|names| {
            if subscribed {
                names.insert(name.clone())
            } else {
                names.remove(name)
            };
        })
    }

    pub(super) fn change_subscriptions(
        &self,
        change: impl Fn(&mut BTreeSet<MailboxName>),
    ) -> Result<(), StoreError> {
        self.locked(|_| {
            let before: BTreeSet<_> = self.subscriptions()?.into_iter().collect();
            let mut names = before.clone();
            change(&mut names);
            if names == before {
                return Ok(());
            }
            let line = |name: &MailboxName| match name.to_maildir().strip_prefix('.') {
                Some(folder) => format!("{folder}\n"),
                None => "INBOX\n".to_owned(),
            };
            let text: String = names.iter().map(line).collect();
            disk::replace(&self.maildir().join("subscriptions"), text.as_bytes())
        })
    }

    /// Makes what every account has and this one lacks: the mailboxes of [`USES`], subscribed (Thunderbird lists no others),
    /// and last the file of INBOX, by which a whole account is known. A crash in the middle leaves work for the next call.
    pub(crate) fn complete(self: &Arc<Self>) -> Result<(), StoreError> {
        let is_new =
            !["subscriptions", "courierimapsubscribed"].iter().any(|it| self.maildir().join(it).exists());
        let uses =
            USES.into_iter().filter_map(|it| Some((it.as_str().trim_start_matches('\\').parse().ok()?, it)));
        let uses: Vec<(MailboxName, SpecialUse)> = uses.collect();
        let mut missing = Vec::new();
        for (name, special_use) in &uses {
            if self.exists(name)? {
                self.open(name)?.set_special_use(*special_use)?;
            } else {
                missing.push((name.clone(), *special_use));
            }
        }
        self.change_subscriptions(|names| {
            names.extend(is_new.then(MailboxName::inbox));
            names.extend(missing.iter().map(|(name, _)| name.clone()));
        })?;
        for (name, special_use) in &missing {
            match self.create(name, Some(*special_use)) {
                Ok(()) | Err(StoreError::MailboxExists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.open(&MailboxName::inbox()).map(|_| ())
    }

    /// True once [`Self::complete`] came to its end in this folder.
    pub(crate) fn is_complete(home: &Path) -> Result<bool, StoreError> {
        let file = MailboxFile::path(&home.join("Maildir"));
        file.try_exists().context("looking at", &file)
    }
}

/// The subscribed names in Dovecot's file, which is ours too, or in Courier's.
pub(crate) fn subscriptions_of(maildir: &Path) -> Result<Vec<MailboxName>, StoreError> {
    let dovecot = disk::read_optional(&maildir.join("subscriptions"))?;
    let courier = || disk::read_optional(&maildir.join("courierimapsubscribed"));
    let text = dovecot.map_or_else(courier, |it| Ok(Some(it)))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let name = |line: &str| {
        let line = line.strip_prefix("INBOX.").unwrap_or(line).replace('\t', ".");
        if line.eq_ignore_ascii_case("INBOX") {
            return Some(MailboxName::inbox());
        }
        MailboxName::from_maildir(&format!(".{line}")).ok()
    };
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("V\t"));
    Ok(lines.filter_map(name).collect::<BTreeSet<_>>().into_iter().collect())
}
