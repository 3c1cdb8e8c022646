//! Lists of members, to whom what is posted goes on.

use std::str::FromStr;

use mail_types::{Address, AddressPattern};

use crate::{Directory, DirectoryError, Sender, Standing, found, parse, parsed};

/// Members that a list may have.
const MAX_MEMBERS: usize = 10_000;
/// Octets of a list's local part, so that those of its other addresses hold 64 (RFC 5321 §4.5.3.1.1).
const MAX_NAME: usize = 64 - BOUNCES.len();
/// Where reports about its mail go: from here it is sent on.
const BOUNCES: &str = "-bounces";
/// The addresses of a list that reach its owner. RFC 2142 §6 asks for the last one.
const OWNERS: [&str; 3] = [BOUNCES, "-owner", "-request"];

/// Who may post to a list, besides its owner and those who are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posting {
    /// Everybody.
    Anyone,
    /// Members.
    Members,
    /// Nobody else.
    Named,
}

impl Posting {
    /// As the command line writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Members => "members",
            Self::Named => "named",
        }
    }
}

impl FromStr for Posting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Anyone, Self::Members, Self::Named].into_iter().find(|it| it.as_str() == text);
        known.ok_or_else(|| "expected \"anyone\", \"members\" or \"named\"".to_owned())
    }
}

/// A list of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Where to post.
    pub address: Address,
    /// Who gets reports about its mail, and what is sent to `…-owner` and `…-request`.
    pub owner: Address,
    /// Who may post.
    pub posting: Posting,
    /// Who may post in any case.
    pub posters: Vec<AddressPattern>,
    /// Whom the mail goes on to.
    pub members: Vec<Address>,
}

impl Directory {
    /// All lists, sorted.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn lists(&self) -> Result<Vec<List>, DirectoryError> {
        let names = parsed::<Address>(self.database.lists()?).into_iter();
        names.filter_map(|name| self.list(&name).transpose()).collect()
    }

    /// One list; `None` if there is none of this address.
    ///
    /// # Errors
    /// [`DirectoryError::Database`].
    pub fn list(&self, address: &Address) -> Result<Option<List>, DirectoryError> {
        let address = address.to_lowercase();
        let name = address.to_string();
        let Some((owner, posting)) = self.database.list(&name)? else { return Ok(None) };
        let (Some(owner), Some(posting)) = (parse(&owner), parse(&posting)) else { return Ok(None) };
        let (posters, members) = (self.database.posters(&name)?, self.database.members(&name)?);
        Ok(Some(List { address, owner, posting, posters: parsed(posters), members: parsed(members) }))
    }

    /// Adds a list in a local domain, without members yet.
    ///
    /// # Errors
    /// [`DirectoryError::Exists`] (also as an account or alias), [`DirectoryError::NotFound`] for its domain, [`DirectoryError::Refused`]
    /// for a name that its mail can't carry.
    pub fn add_list(
        &self,
        address: &Address,
        owner: &Address,
        posting: Posting,
    ) -> Result<(), DirectoryError> {
        let address = address.to_lowercase();
        self.is_local(address.domain())?;
        self.refuse_taken(&address.to_string())?;
        let name = address.local_part();
        let is_plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        if name.len() > MAX_NAME || !name.split('.').all(is_plain) {
            return Err(DirectoryError::Refused(format!(
                "the name of a list has at most {MAX_NAME} ASCII letters, digits and -_, with single dots within: {name} will not do"
            )));
        }
        self.store_list(&address, owner, posting)
    }

    /// Changes a list's owner and who may post.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`], [`DirectoryError::Database`].
    pub fn change_list(
        &self,
        address: &Address,
        owner: &Address,
        posting: Posting,
    ) -> Result<(), DirectoryError> {
        let address = address.to_lowercase();
        self.is_list(&address)?;
        self.store_list(&address, owner, posting)
    }

    fn store_list(&self, address: &Address, owner: &Address, posting: Posting) -> Result<(), DirectoryError> {
        let owner = self.normalised(owner)?;
        if owner == *address || base(&owner).is_some_and(|base| base == *address) {
            return Err(DirectoryError::Refused(format!("{address} can't be its own owner")));
        }
        let domain = address.domain().as_str();
        self.database.set_list(&address.to_string(), domain, &owner.to_string(), posting.as_str())
    }

    /// Removes a list with its members.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn remove_list(&self, address: &Address) -> Result<(), DirectoryError> {
        let name = address.to_lowercase().to_string();
        found(self.database.remove_list(&name)?, &name)
    }

    /// Adds members: accounts, aliases, lists, or addresses elsewhere.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`] for too many of them, [`DirectoryError::Database`].
    pub fn add_members(&self, list: &Address, members: &[Address]) -> Result<(), DirectoryError> {
        let list = list.to_lowercase();
        self.is_list(&list)?;
        let members = members.iter().map(|it| self.normalised(it)).collect::<Result<Vec<_>, _>>()?;
        if members.contains(&list) {
            return Err(DirectoryError::Refused(format!("{list} can't be its own member")));
        }
        let name = list.to_string();
        if self.database.members(&name)?.len() + members.len() > MAX_MEMBERS {
            return Err(DirectoryError::Refused(format!("a list has at most {MAX_MEMBERS} members")));
        }
        self.database.add_members(&name, &members.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// Removes members, whatever the case in which they are given.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Refused`] for who is no member (then nobody is removed),
    /// [`DirectoryError::Database`].
    pub fn remove_members(&self, list: &Address, members: &[Address]) -> Result<(), DirectoryError> {
        let list = list.to_lowercase();
        self.is_list(&list)?;
        let stored = parsed::<Address>(self.database.members(&list.to_string())?);
        let mut removed = Vec::new();
        for member in members {
            let meant = stored.iter().filter(|it| it.to_lowercase() == member.to_lowercase());
            let before = removed.len();
            removed.extend(meant.map(ToString::to_string));
            if removed.len() == before {
                return Err(DirectoryError::Refused(format!("{member} is no member of {list}")));
            }
        }
        self.database.remove_members(&list.to_string(), &removed)
    }

    /// Says who may post in any case, instead of those who could before.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`], [`DirectoryError::Database`].
    pub fn set_posters(&self, list: &Address, posters: &[AddressPattern]) -> Result<(), DirectoryError> {
        let list = list.to_lowercase();
        self.is_list(&list)?;
        let mut posters: Vec<String> = posters.iter().map(|it| it.to_lowercase().to_string()).collect();
        posters.sort();
        posters.dedup();
        self.database.set_posters(&list.to_string(), &posters)
    }

    fn is_list(&self, address: &Address) -> Result<(), DirectoryError> {
        let name = address.to_string();
        found(self.database.list(&name)?.is_some(), &format!("the list {name}"))
    }

    /// True if what is sent by `sender` may go on to the members. A report never may, and where not everybody may post, nor may who only
    /// says that he is one of ours. What another list sends on may.
    pub(crate) fn may_post(
        &self,
        list: &List,
        sender: Sender<'_>,
        delimiter: Option<char>,
    ) -> Result<bool, DirectoryError> {
        let Some(address) = sender.address else { return Ok(false) };
        if list.posting == Posting::Anyone || sender.standing == Standing::LetIn {
            return Ok(true);
        }
        let is_ours = self.database.is_domain(address.domain().as_str())?;
        if is_ours && sender.standing == Standing::Stranger {
            return Ok(false);
        }
        let address = address.to_lowercase();
        let is_meant = |pattern: &AddressPattern| match pattern {
            AddressPattern::Address(poster) => *poster == address,
            AddressPattern::Domain(domain) => domain == address.domain(),
        };
        if list.owner.to_lowercase() == address || list.posters.iter().any(is_meant) {
            return Ok(true);
        }
        if list.posting == Posting::Named {
            return Ok(false);
        }
        if list.members.iter().any(|member| member.to_lowercase() == address) {
            return Ok(true);
        }
        if !is_ours {
            return Ok(false);
        }
        // A member may be an alias of the sender, or the other way round.
        let accounts = self.stands_for(&address, delimiter)?;
        for member in &list.members {
            let of_member = self.stands_for(member, delimiter)?;
            if of_member.iter().any(|account| accounts.contains(account)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The owner of the list of which this is another address.
    pub(crate) fn owner_by(&self, address: &Address) -> Result<Option<Address>, DirectoryError> {
        let Some(list) = base(address) else { return Ok(None) };
        Ok(self.database.list(&list.to_string())?.and_then(|(owner, _)| parse(&owner)))
    }
}

impl List {
    /// From where its mail is sent on, and where reports about it come to.
    #[must_use]
    pub fn bounces(&self) -> Address {
        let name = format!("{}{BOUNCES}", self.address.local_part());
        Address::new(&name, self.address.domain().clone()).unwrap_or_else(|_| self.owner.clone())
    }

    /// The fields by which its mail is known, each with its line end: RFC 2919 §3, RFC 2369 §3; and the one by which programs that answer
    /// by themselves know that they must not.
    #[must_use]
    pub fn fields(address: &Address) -> String {
        let (name, domain) = (address.local_part(), address.domain().to_ascii());
        format!("List-Id: <{name}.{domain}>\r\nList-Post: <mailto:{name}@{domain}>\r\nPrecedence: list\r\n")
    }
}

/// The list of which this may be another address.
fn base(address: &Address) -> Option<Address> {
    let name = address.local_part().to_lowercase();
    let base = OWNERS.iter().find_map(|suffix| name.strip_suffix(suffix))?;
    Address::new(base, address.domain().clone()).ok()
}
