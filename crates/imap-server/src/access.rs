//! Where a mailbox lies that a client names, whosever it is, and what the user may do there. RFC 4314, RFC 2342.
//!
//! Every command asks here: [`Session::check`] for one mailbox, [`Access::shared`] for all that others share.

use std::cell::RefCell;
use std::sync::Arc;

use imap_proto::Language;
use mail_directory::DirectoryError;
use mail_store::{Account, Asker, Identifier, Known, Store, StoreError, View};
use mail_types::{Address, Localised as _, MailboxName, Quota, Rights};
use tracing::{debug, error};

use crate::answer::Failure;
use crate::command::quota::Owner;
use crate::session::Session;
use crate::text::Text;

/// Below this the mailboxes of others have their names: `Other Users/ana@example.org/INBOX`.
const OTHER_USERS: &str = "Other Users";

/// Said of what the user may not do to a mailbox that he sees. RFC 5530.
pub(crate) const NO_PERMISSION: Failure = Failure::no(Text::NoPermission.coded("NOPERM"));

/// The mailboxes that a user can name: his own, and those of others as far as they let him.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    account: Arc<Account>,
    user: Arc<Owner>,
}

/// Where a mailbox lies, and what the user may do there. It need not exist.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    access: Access,
    /// Whose it is, if not the user's.
    owner: Option<Address>,
    account: Arc<Account>,
    /// Its name in the owner's account.
    name: MailboxName,
    rights: Rights,
}

impl Session {
    /// The mailboxes that the user can name.
    pub(crate) fn access(&self) -> Result<Access, Failure> {
        let account = Arc::clone(self.account()?);
        let user = self.owner.as_ref().ok_or(Failure::bad(Text::LogInFirst))?;
        Ok(Access { account, user: Arc::clone(user) })
    }

    /// As [`Access::check`].
    pub(crate) fn check(&self, name: &MailboxName, needed: Rights) -> Result<Place, Failure> {
        self.access()?.check(name, needed)
    }
}

impl Access {
    /// Finds a mailbox in which the user must have all of these rights. One that he may not see is as one that is not there
    /// (RFC 4314 §6).
    pub(crate) fn check(&self, name: &MailboxName, needed: Rights) -> Result<Place, Failure> {
        let place = self.find(name)?;
        place.needs(needed)?;
        Ok(place)
    }

    /// Finds a mailbox, whatever the rights.
    pub(crate) fn find(&self, name: &MailboxName) -> Result<Place, Failure> {
        let Some((owner, inner)) = of_other(name) else { return self.own(name.clone()) };
        if owner == self.user.address {
            return self.own(inner);
        }
        let account = self.account_of(&owner)?;
        let account = account.ok_or_else(|| StoreError::NoSuchMailbox(name.clone()))?;
        self.others(owner, account, inner)
    }

    /// The user's own account.
    pub(crate) const fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// All accounts.
    pub(crate) fn store(&self) -> &Store {
        &self.user.shared.store
    }

    fn own(&self, name: MailboxName) -> Result<Place, Failure> {
        let account = Arc::clone(&self.account);
        self.place(None, account, name)
    }

    fn others(&self, owner: Address, account: Arc<Account>, name: MailboxName) -> Result<Place, Failure> {
        self.place(Some(owner), account, name)
    }

    fn place(
        &self,
        owner: Option<Address>,
        account: Arc<Account>,
        name: MailboxName,
    ) -> Result<Place, Failure> {
        let mut place = Place { access: self.clone(), owner, account, name, rights: Rights::NONE };
        place.rights = place.rights_now()?;
        Ok(place)
    }

    /// The mail of another account; `None` if there is none.
    fn account_of(&self, owner: &Address) -> Result<Option<Arc<Account>>, Failure> {
        let shared = &self.user.shared;
        if !self.leads_to(owner, owner).map_err(unavailable)? {
            return Ok(None);
        }
        Ok(shared.store.existing_account(owner)?)
    }

    /// True if `address` stands for `account`: it is its own address, or an alias that leads there.
    fn leads_to(&self, address: &Address, account: &Address) -> Result<bool, DirectoryError> {
        Ok(self.user.shared.directory.accounts_of(address)?.contains(account))
    }

    /// Asks as the user. What the directory can't answer is an error, since an identifier may take rights away too.
    fn ask<T>(&self, owner: &Address, question: impl FnOnce(&Asker<'_>) -> T) -> Result<T, Failure> {
        let failed = RefCell::new(None);
        let is_member = |group: &str| {
            let group = group.parse::<Address>();
            let member = group.map(|group| self.leads_to(&group, &self.user.address));
            member.unwrap_or(Ok(false)).unwrap_or_else(|error| {
                failed.replace(Some(error));
                false
            })
        };
        let answer = question(&Asker { address: &self.user.address, owner, is_member: &is_member });
        match failed.into_inner() {
            Some(error) => Err(unavailable(error)),
            None => Ok(answer),
        }
    }

    /// The mailboxes of others that the user may see, under the names by which he knows them. One account that can't be read
    /// hides no other.
    pub(crate) fn shared(&self) -> Result<Vec<(MailboxName, Place)>, Failure> {
        let asks = RefCell::new(Ok(()));
        let is_meant = |owner: &Address, identifier: &Identifier| {
            let applies = self.ask(owner, |asker| identifier.applies_to(asker));
            applies.unwrap_or_else(|failure| {
                *asks.borrow_mut() = Err(failure);
                false
            })
        };
        let owners = self.user.shared.store.owners_sharing(is_meant)?;
        asks.into_inner()?;
        let mut shared = Vec::new();
        for owner in owners.into_iter().filter(|owner| *owner != self.user.address) {
            match self.shared_by(&owner) {
                Ok(mailboxes) => shared.extend(mailboxes),
                Err(Failure::Store(error)) => error!(%error, %owner, "what is shared is not listed"),
                Err(failure) => return Err(failure),
            }
        }
        Ok(shared)
    }

    fn shared_by(&self, owner: &Address) -> Result<Vec<(MailboxName, Place)>, Failure> {
        let Some(account) = self.account_of(owner)? else { return Ok(Vec::new()) };
        let mut shared = Vec::new();
        for entry in account.mailboxes()?.into_iter().filter(|entry| entry.selectable) {
            let place = self.others(owner.clone(), Arc::clone(&account), entry.name)?;
            if !place.rights.contains(Rights::LOOKUP) {
                continue;
            }
            match place.shown() {
                Ok(name) => shared.push((name, place)),
                Err(error) => debug!(%error, %owner, mailbox = %place.name, "it can't be named by others"),
            }
        }
        Ok(shared)
    }

    /// As [`Identifier::named`].
    pub(crate) fn identifier(&self, text: &str, owner: &Address) -> Result<Option<Identifier>, Failure> {
        let look_up = |address: &Address| {
            Ok(match self.user.shared.directory.accounts_of(address)? {
                accounts if accounts.contains(address) => Some(Known::Account),
                accounts if accounts.is_empty() => None,
                _ => Some(Known::Alias),
            })
        };
        Identifier::named(text, owner, look_up).map_err(unavailable)
    }
}

impl Place {
    /// The user must have all of these rights.
    pub(crate) fn needs(&self, needed: Rights) -> Result<(), Failure> {
        if self.rights.contains(needed) {
            return Ok(());
        }
        if self.rights.contains(Rights::LOOKUP) {
            return Err(NO_PERMISSION);
        }
        Err(StoreError::NoSuchMailbox(self.name.clone()).into())
    }

    /// What the user may do there.
    pub(crate) const fn rights(&self) -> Rights {
        self.rights
    }

    /// The account that it is in.
    pub(crate) const fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Its name in the owner's account.
    pub(crate) const fn name(&self) -> &MailboxName {
        &self.name
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> &Address {
        self.owner.as_ref().unwrap_or(&self.access.user.address)
    }

    /// True if it is the user's.
    pub(crate) const fn is_own(&self) -> bool {
        self.owner.is_none()
    }

    /// The user, if it is another's.
    pub(crate) fn reader(&self) -> Option<&Address> {
        self.owner.as_ref().map(|_| &self.access.user.address)
    }

    /// The name by which the user knows it.
    fn shown(&self) -> Result<MailboxName, mail_types::MailboxNameError> {
        match &self.owner {
            None => Ok(self.name.clone()),
            Some(owner) => format!("{OTHER_USERS}/{owner}/{}", self.name).parse(),
        }
    }

    /// Opens it as the user sees it.
    pub(crate) fn open(&self) -> Result<View, StoreError> {
        let mailbox = self.account.open(&self.name)?;
        Ok(match &self.owner {
            None => View::of_owner(mailbox),
            Some(_) => View::of_reader(mailbox, &self.access.user.address),
        })
    }

    /// What the user may do there now: others may have changed it.
    pub(crate) fn rights_now(&self) -> Result<Rights, Failure> {
        let acl = self.account.acl(&self.name)?;
        self.access.ask(self.owner(), |asker| acl.rights_of(asker))
    }

    /// The place of another name in the same account, with the user's rights there.
    pub(crate) fn beside(&self, name: MailboxName) -> Result<Self, Failure> {
        self.access.place(self.owner.clone(), Arc::clone(&self.account), name)
    }

    /// Has the store take no more than what the owner may hold.
    pub(crate) fn limit(&self) -> Result<Quota, Failure> {
        let quota = self.access.user.quota_of(self.owner())?;
        self.account.set_quota(quota);
        Ok(quota)
    }
}

/// Whose mailbox it is that has this name, if it is one of others, and its name there.
fn of_other(name: &MailboxName) -> Option<(Address, MailboxName)> {
    let (first, rest) = name.as_str().split_once(MailboxName::DELIMITER)?;
    let (owner, inner) = rest.split_once(MailboxName::DELIMITER).filter(|_| first == OTHER_USERS)?;
    Some((owner.parse::<Address>().ok()?.to_lowercase(), inner.parse().ok()?))
}

/// True for the names below which only the mailboxes of others have theirs.
pub(crate) fn is_reserved(name: &MailboxName) -> bool {
    name.levels().next() == Some(OTHER_USERS)
}

/// The NAMESPACE response. RFC 2342 §5, with what people call a prefix in their language (RFC 5255 §3.4).
pub(crate) fn namespaces(language: Language) -> String {
    let others = Text::OtherUsers.within(language).to_string();
    let translation = match others.as_str() {
        OTHER_USERS => String::new(),
        others => format!(" \"TRANSLATION\" (\"{others}/\")"),
    };
    format!("* NAMESPACE ((\"\" \"/\")) ((\"{OTHER_USERS}/\" \"/\"{translation})) NIL")
}

fn unavailable(error: DirectoryError) -> Failure {
    error!(%error, "the directory can't be asked who may do what");
    Failure::no(Text::TryLater.coded("UNAVAILABLE"))
}

#[cfg(test)]
mod tests;
