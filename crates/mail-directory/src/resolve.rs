//! Who gets mail for an address.

use std::collections::{BTreeSet, HashSet};

use mail_types::{Address, AddressPattern, LocalRecipient};

use crate::{Directory, DirectoryError, MAX_REACHED, ROLE_NAMES, parse, parsed};

/// The answer to RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Ours: deliver to these.
    Ours(Reached),
    /// The domain is ours, the address is not known: 550 5.1.1.
    UnknownUser,
    /// The account takes no mail at present: 550 5.2.1.
    Disabled,
    /// Mail of this sender is refused, by everybody or by who would get it: 550 5.7.1.
    SenderRefused,
    /// Not our domain.
    Foreign,
}

/// Whom mail for an address of ours reaches, each once (an alias may have several targets).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Those here.
    pub accounts: Vec<LocalRecipient>,
    /// Addresses elsewhere.
    pub remote: Vec<Address>,
}

/// What a local address is.
enum Known {
    Account { recipient: LocalRecipient, receives: bool },
    Alias(Vec<Address>),
}

/// What the walk from an address to those that it stands for is made for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// Mail from this sender, whom somebody may refuse.
    Mail(Option<&'a Address>),
    /// Mail for somebody who must not refuse any.
    RoleMail,
    /// To find out for whom it stands, whether or not they take mail now.
    Identity { catches_all: bool },
}

/// A walk along aliases. No address is followed twice, so that loops end, and so that it does not matter how many ways lead to it.
struct Walk<'a> {
    directory: &'a Directory,
    delimiter: Option<char>,
    purpose: Purpose<'a>,
    seen: HashSet<Address>,
    reached: Reached,
    /// Why the first one gets nothing that gets nothing.
    refusal: Option<Resolution>,
}

impl Directory {
    /// Who gets mail of `sender` (`None` for `<>`) for `address`. `delimiter` splits a detail off the local part (`bob+lists@`).
    /// `postmaster` of a local domain, and the bare `postmaster`, always resolve (RFC 5321 §4.5.1), and refuse no sender.
    ///
    /// # Errors
    /// [`DirectoryError::Database`], [`DirectoryError::LeadsTooFar`]: answer 451, not 550.
    pub fn resolve(
        &self,
        address: &Address,
        sender: Option<&Address>,
        delimiter: Option<char>,
    ) -> Result<Resolution, DirectoryError> {
        if !self.database.is_domain(address.domain().as_str())? {
            return Ok(Resolution::Foreign);
        }
        let purpose = if is_role(address) { Purpose::RoleMail } else { Purpose::Mail(sender) };
        if matches!(purpose, Purpose::Mail(_)) && self.refuses(None, sender)? {
            return Ok(Resolution::SenderRefused);
        }
        let mut walk = Walk::new(self, purpose, delimiter).follow(address)?;
        if walk.reached == Reached::default() && is_role(address) {
            walk.reached.accounts.extend(self.in_charge(address)?.map(LocalRecipient::from));
        }
        if walk.reached == Reached::default() {
            return Ok(walk.refusal.unwrap_or(Resolution::UnknownUser));
        }
        Ok(Resolution::Ours(walk.reached))
    }

    /// True if there is this account.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn is_account(&self, address: &Address) -> Result<bool, DirectoryError> {
        self.database.is_account(&address.to_lowercase().to_string())
    }

    /// The accounts for which `address` stands: itself, or those that its aliases lead to, a catch-all not counted.
    ///
    /// # Errors
    /// [`DirectoryError::Database`], [`DirectoryError::LeadsTooFar`].
    pub fn accounts_of(&self, address: &Address) -> Result<Vec<Address>, DirectoryError> {
        self.identity(address, Purpose::Identity { catches_all: false }, None)
    }

    fn identity(
        &self,
        address: &Address,
        purpose: Purpose<'_>,
        delimiter: Option<char>,
    ) -> Result<Vec<Address>, DirectoryError> {
        if !self.database.is_domain(address.domain().as_str())? {
            return Ok(Vec::new());
        }
        let walk = Walk::new(self, purpose, delimiter).follow(address)?;
        let accounts = walk.reached.accounts.into_iter().map(|it| it.account);
        Ok(accounts.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// True if `account` may send mail as `from`: its own address, with or without a detail, its aliases, and what a
    /// catch-all brings it.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn may_send_as(
        &self,
        account: &Address,
        from: &Address,
        delimiter: Option<char>,
    ) -> Result<bool, DirectoryError> {
        let account = account.to_lowercase();
        let is_own = from.to_lowercase() == account
            || without_detail(from, delimiter).is_some_and(|plain| plain.account == account);
        let purpose = Purpose::Identity { catches_all: true };
        Ok(is_own || self.identity(from, purpose, delimiter)?.contains(&account))
    }

    /// What takes mail for a local address: an account or alias of its full name, or without its detail, else the domain's catch-all, else who
    /// has the role.
    fn known(
        &self,
        address: &Address,
        delimiter: Option<char>,
        catches_all: bool,
    ) -> Result<Option<Known>, DirectoryError> {
        let whole = LocalRecipient::from(address.to_lowercase());
        for recipient in std::iter::once(whole).chain(without_detail(address, delimiter)) {
            let text = recipient.account.to_string();
            if let Some(receives) = self.database.receives(&text)? {
                return Ok(Some(Known::Account { recipient, receives }));
            }
            let targets = self.database.targets(&text)?;
            if !targets.is_empty() {
                return Ok(Some(Known::Alias(parsed(targets))));
            }
        }
        let catch_all = AddressPattern::Domain(address.domain().clone()).to_string();
        let catch_all = if catches_all { self.database.targets(&catch_all)? } else { Vec::new() };
        if !catch_all.is_empty() {
            return Ok(Some(Known::Alias(parsed(catch_all))));
        }
        let in_charge = if is_role(address) { self.in_charge(address)? } else { None };
        Ok(in_charge.map(|account| Known::Account { recipient: account.into(), receives: true }))
    }

    /// The account that has been there longest, if possible in this domain and one that takes mail.
    fn in_charge(&self, address: &Address) -> Result<Option<Address>, DirectoryError> {
        Ok(self.database.first_account(address.domain().as_str())?.and_then(|first| parse(&first)))
    }
}

impl<'a> Walk<'a> {
    fn new(directory: &'a Directory, purpose: Purpose<'a>, delimiter: Option<char>) -> Self {
        let (seen, reached) = (HashSet::new(), Reached::default());
        Self { directory, delimiter, purpose, seen, reached, refusal: None }
    }

    /// Walks to the end, from a local address.
    fn follow(mut self, address: &Address) -> Result<Self, DirectoryError> {
        let catches_all = !matches!(self.purpose, Purpose::Identity { catches_all: false });
        let mut ahead = vec![address.clone()];
        while let Some(next) = ahead.pop() {
            if !self.directory.database.is_domain(next.domain().as_str())? {
                // The local part of a foreign address is its host's affair: RFC 5321 §2.4.
                if self.seen.insert(next.clone()) {
                    self.reached.remote.push(next);
                }
            } else if self.seen.insert(next.to_lowercase()) {
                match self.directory.known(&next, self.delimiter, catches_all)? {
                    Some(Known::Account { recipient, receives }) => self.reach(recipient, receives)?,
                    // In the order of the targets.
                    Some(Known::Alias(targets)) => ahead.extend(targets.into_iter().rev()),
                    None => {}
                }
            }
            if self.seen.len() > MAX_REACHED {
                return Err(DirectoryError::LeadsTooFar(address.clone()));
            }
        }
        Ok(self)
    }

    fn reach(&mut self, recipient: LocalRecipient, receives: bool) -> Result<(), DirectoryError> {
        match self.purpose {
            Purpose::Mail(_) | Purpose::RoleMail if !receives => {
                self.refusal.get_or_insert(Resolution::Disabled);
            }
            Purpose::Mail(sender) if self.directory.refuses(Some(&recipient.account), sender)? => {
                self.refusal.get_or_insert(Resolution::SenderRefused);
            }
            Purpose::Mail(_) | Purpose::RoleMail | Purpose::Identity { .. } => {
                if !self.reached.accounts.contains(&recipient) {
                    self.reached.accounts.push(recipient);
                }
            }
        }
        Ok(())
    }
}

fn is_role(address: &Address) -> bool {
    ROLE_NAMES.iter().any(|name| address.local_part().eq_ignore_ascii_case(name))
}

/// `bob@…` with `lists` for `bob+lists@…`.
fn without_detail(address: &Address, delimiter: Option<char>) -> Option<LocalRecipient> {
    let (user, detail) = address.local_part().split_once(delimiter?)?;
    let account = Address::new(user, address.domain().clone()).ok()?.to_lowercase();
    Some(LocalRecipient { account, detail: Some(detail.into()).filter(|_| !detail.is_empty()) })
}
