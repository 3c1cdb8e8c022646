//! Who may do what in a mailbox: its access control list, in `dovecot-acl`, the file that Dovecot keeps in the mailbox's folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mail_types::{Address, Rights};

use crate::disk;
use crate::error::StoreError;

/// The file's name.
pub(crate) const FILE: &str = "dovecot-acl";

/// What an owner can't lose, so that whatever was set can be undone.
pub const OWNERS: Rights = Rights::LOOKUP.union(Rights::ADMINISTER);

/// To whom an entry of an access control list applies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// `anyone`: every account of the owner's domain. Who is elsewhere has to be named.
    Anyone,
    /// `authenticated`: the same, since nobody is here without having logged in.
    Authenticated,
    /// Members of a group: those whom an alias of this address leads to.
    Group(String),
    /// `owner`
    Owner,
    /// An account, by its address in lower case.
    User(String),
    /// As [`Self::Group`], with more weight than [`Self::User`].
    GroupOverride(String),
}

/// An identifier of RFC 4314 §2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier {
    /// What it has is taken away from whom it applies to.
    pub is_negative: bool,
    /// To whom it applies.
    pub subject: Subject,
}

/// What an address is to the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// An account.
    Account,
    /// An alias: a group of those whom it leads to.
    Alias,
}

/// Who asks for his rights.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// His address, in lower case.
    pub address: &'a Address,
    /// Whose mailbox it is, in lower case.
    pub owner: &'a Address,
    /// True for the address of a group that he is in.
    pub is_member: &'a dyn Fn(&str) -> bool,
}

/// An access control list. What it doesn't understand of the file stays in it and grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    entries: Vec<(Identifier, Rights)>,
    foreign: Vec<String>,
}

/// As IMAP shows it: `anyone`, `owner`, `ana@example.org`, `$team@example.org`, and with `-` before it what is negative.
impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_negative { "-" } else { "" })?;
        match &self.subject {
            Subject::Anyone => f.write_str("anyone"),
            Subject::Authenticated => f.write_str("authenticated"),
            Subject::Owner => f.write_str("owner"),
            Subject::User(name) => f.write_str(name),
            Subject::Group(name) => write!(f, "${name}"),
            Subject::GroupOverride(name) => write!(f, "!${name}"),
        }
    }
}

/// The inverse; it never fails.
impl From<&str> for Identifier {
    fn from(text: &str) -> Self {
        let (is_negative, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        let name = name.to_lowercase();
        let subject = match (name.as_str(), name.strip_prefix("!$"), name.strip_prefix('$')) {
            ("anyone", ..) => Subject::Anyone,
            ("authenticated", ..) => Subject::Authenticated,
            ("owner", ..) => Subject::Owner,
            (_, Some(group), _) => Subject::GroupOverride(group.to_owned()),
            (_, _, Some(group)) => Subject::Group(group.to_owned()),
            _ => Subject::User(name),
        };
        Self { is_negative, subject }
    }
}

impl Identifier {
    /// The identifier that a person means, in the form in which it is kept: an account by its whole address, an alias as the group of
    /// those whom it leads to. `look_up` says what the directory knows of an address; `None` if that is nothing.
    ///
    /// # Errors
    /// What `look_up` says.
    pub fn named<E>(
        text: &str,
        owner: &Address,
        look_up: impl Fn(&Address) -> Result<Option<Known>, E>,
    ) -> Result<Option<Self>, E> {
        let Self { is_negative, subject } = Self::from(text);
        let name = match &subject {
            Subject::Anyone | Subject::Authenticated | Subject::Owner => {
                return Ok(Some(Self { is_negative, subject }));
            }
            Subject::User(name) | Subject::Group(name) | Subject::GroupOverride(name) => name,
        };
        let whole = if name.contains('@') { name.clone() } else { format!("{name}@{}", owner.domain()) };
        let Ok(address) = whole.parse::<Address>().map(|it| it.to_lowercase()) else { return Ok(None) };
        let name = address.to_string();
        let subject = match (subject, look_up(&address)?) {
            (Subject::User(_), Some(Known::Account)) => Subject::User(name),
            (Subject::User(_) | Subject::Group(_), Some(Known::Alias)) => Subject::Group(name),
            (Subject::GroupOverride(_), Some(Known::Alias)) => Subject::GroupOverride(name),
            (_, Some(Known::Account) | None)
            | (Subject::Anyone | Subject::Authenticated | Subject::Owner, _) => {
                return Ok(None);
            }
        };
        Ok(Some(Self { is_negative, subject }))
    }

    /// As it stands in the file.
    fn in_file(&self) -> String {
        let name = match &self.subject {
            Subject::Anyone => "anyone".to_owned(),
            Subject::Authenticated => "authenticated".to_owned(),
            Subject::Owner => "owner".to_owned(),
            Subject::User(name) => format!("user={name}"),
            Subject::Group(name) => format!("group={name}"),
            Subject::GroupOverride(name) => format!("group-override={name}"),
        };
        let text = format!("{}{name}", if self.is_negative { "-" } else { "" });
        let is_plain = !text.contains(|c: char| c.is_whitespace() || c == '"' || c == '\\');
        if is_plain { text } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
    }

    fn of_file(text: &str) -> Option<Self> {
        let (is_negative, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        let subject = match name.split_once('=') {
            None => match name {
                "anyone" => Subject::Anyone,
                "authenticated" => Subject::Authenticated,
                "owner" => Subject::Owner,
                _ => return None,
            },
            Some(("user", name)) => Subject::User(name.to_lowercase()),
            Some(("group", name)) => Subject::Group(name.to_lowercase()),
            Some(("group-override", name)) => Subject::GroupOverride(name.to_lowercase()),
            Some(_) => return None,
        };
        Some(Self { is_negative, subject })
    }

    /// True if it applies to who asks.
    #[must_use]
    pub fn applies_to(&self, asker: &Asker<'_>) -> bool {
        match &self.subject {
            Subject::Anyone | Subject::Authenticated => asker.address.domain() == asker.owner.domain(),
            Subject::Owner => asker.address == asker.owner,
            Subject::User(name) => is_called(asker.address, name, asker.owner),
            Subject::Group(name) | Subject::GroupOverride(name) => (asker.is_member)(name),
        }
    }

    /// Which of several that apply has the say.
    const fn weight(&self) -> u8 {
        match self.subject {
            Subject::Anyone => 0,
            Subject::Authenticated => 1,
            Subject::Group(_) => 2,
            Subject::Owner => 3,
            Subject::User(_) => 4,
            Subject::GroupOverride(_) => 5,
        }
    }
}

/// A name without a domain is one of the owner's domain, as in a Dovecot that has only one.
fn is_called(address: &Address, name: &str, owner: &Address) -> bool {
    if name.contains('@') {
        return name.parse::<Address>().is_ok_and(|it| it == *address);
    }
    address.local_part() == name && address.domain() == owner.domain()
}

impl Acl {
    /// The entries, in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[(Identifier, Rights)] {
        &self.entries
    }

    /// What an identifier is granted, or loses if it is negative; `None` if it has no entry.
    #[must_use]
    pub fn get(&self, identifier: &Identifier) -> Option<Rights> {
        self.entries.iter().find(|(it, _)| it == identifier).map(|(_, rights)| *rights)
    }

    /// Gives an identifier these rights instead of those it had.
    pub fn set(&mut self, identifier: Identifier, rights: Rights) {
        match self.entries.iter_mut().find(|(it, _)| *it == identifier) {
            Some((_, old)) => *old = rights,
            None => self.entries.push((identifier, rights)),
        }
    }

    /// Takes an identifier's entry away; false if it had none.
    pub fn remove(&mut self, identifier: &Identifier) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(it, _)| it != identifier);
        self.entries.len() < before
    }

    /// What who asks may do. As with Dovecot the most specific identifier has the say: an account's over its groups' over
    /// `anyone`; several groups count together. Then all that is negative is taken away. An owner has all rights unless an
    /// entry for `owner` or for himself says less, and always [`OWNERS`].
    #[must_use]
    pub fn rights_of(&self, asker: &Asker<'_>) -> Rights {
        let applying: Vec<_> = self.entries.iter().filter(|(it, _)| it.applies_to(asker)).collect();
        let is_owner = asker.address == asker.owner;
        let granting = applying.iter().filter(|(it, _)| !it.is_negative);
        let (least, own) = if is_owner { (3, OWNERS) } else { (0, Rights::NONE) };
        let granting: Vec<_> = granting.filter(|(it, _)| it.weight() >= least).collect();
        let sum = |rights: Rights, more: Rights| rights.union(more);
        let granted = match granting.iter().map(|(it, _)| it.weight()).max() {
            Some(weight) => granting
                .iter()
                .filter(|(it, _)| it.weight() == weight)
                .map(|(_, it)| *it)
                .fold(Rights::NONE, sum),
            None if is_owner => Rights::ALL,
            None => Rights::NONE,
        };
        let taken = applying.iter().filter(|(it, _)| it.is_negative).map(|(_, it)| *it);
        granted.without(taken.fold(Rights::NONE, sum)).union(own)
    }

    /// The identifiers by which others than the owner may have rights.
    pub(crate) fn shared_with(&self) -> impl Iterator<Item = &Identifier> {
        let grants = |(identifier, rights): &&(Identifier, Rights)| {
            !identifier.is_negative && !rights.is_empty() && identifier.subject != Subject::Owner
        };
        self.entries.iter().filter(grants).map(|(identifier, _)| identifier)
    }

    pub(crate) fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// The list of the mailbox in a folder. That it can't be read is an error, never a right.
    pub(crate) fn read(folder: &Path) -> Result<Self, StoreError> {
        let text = disk::read_optional(&Self::path(folder))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).parse().unwrap_or_default())
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), StoreError> {
        disk::replace(&Self::path(folder), self.to_string().as_bytes())
    }
}

impl FromStr for Acl {
    type Err = std::convert::Infallible;

    /// Reads the file's text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut acl = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match entry(line) {
                Some((identifier, rights)) => acl.set(identifier, rights),
                None => acl.foreign.push(line.to_owned()),
            }
        }
        Ok(acl)
    }
}

impl fmt::Display for Acl {
    /// The file's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |(identifier, rights): &(Identifier, Rights)| {
            format!("{} {}", identifier.in_file(), rights.letters())
        };
        let lines = self.entries.iter().map(known).chain(self.foreign.iter().cloned());
        lines.into_iter().try_for_each(|line| writeln!(f, "{}", line.trim_end()))
    }
}

/// `<identifier> [<letters>] [:<names>]`, the identifier in quotes where it has a space.
fn entry(line: &str) -> Option<(Identifier, Rights)> {
    let (identifier, rights) = match line.strip_prefix('"') {
        None => {
            let (identifier, rights) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            (identifier.to_owned(), rights)
        }
        Some(quoted) => unquoted(quoted)?,
    };
    let (letters, names) = rights.split_once(':').unwrap_or((rights, ""));
    let named = names.split_whitespace().try_fold(Rights::NONE, |all, name| Some(all.union(named(name)?)))?;
    let letters: Rights = letters.trim().parse().ok()?;
    Some((Identifier::of_file(&identifier)?, letters.union(named)))
}

/// What stands before the quote that ends it, and what behind that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((inner, text.get(at + 1..)?)),
            '\\' => inner.push(chars.next()?.1),
            c => inner.push(c),
        }
    }
    None
}

/// Dovecot's names of the rights.
fn named(name: &str) -> Option<Rights> {
    Some(match name {
        "lookup" => Rights::LOOKUP,
        "read" => Rights::READ,
        "write" => Rights::WRITE,
        "write-seen" => Rights::SEEN,
        "write-deleted" => Rights::DELETE_MESSAGES,
        "insert" => Rights::INSERT,
        "post" => Rights::POST,
        "expunge" => Rights::EXPUNGE,
        "create" => Rights::CREATE,
        "delete" => Rights::DELETE,
        "admin" => Rights::ADMINISTER,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(text: &str) -> Acl {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(text: &str, asker: &str, expected: &str) {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let (address, owner) = (address(asker), address("fred@example.org"));
        let is_member = |group: &str| group == "team@example.org";
        let asker = Asker { address: &address, owner: &owner, is_member: &is_member };
        assert_eq!(acl(text).rights_of(&asker).letters(), expected, "{text}");
    }

    #[test]
    fn the_most_specific_identifier_has_the_say() {
        let chris = "chris@example.org";
        check("", chris, "");
        check("anyone lr\n", chris, "lr");
        check("user=chris@example.org lrs\nanyone lrwi\n", chris, "lrs");
        check("user=Chris lrs\nanyone lrwi\n", chris, "lrs");
        check("user=chris@example.org\nanyone lr\n", chris, "");
        check("group=team@example.org lrs\ngroup=others@example.org w\nauthenticated a\n", chris, "lrs");
        check("group-override=team@example.org l\nuser=chris@example.org lrs\n", chris, "l");
        check("owner lrswi\n", chris, "");
    }

    #[test]
    fn what_is_negative_is_taken_from_whom_it_applies_to() {
        check("anyone lrsw\n-user=chris@example.org w\n", "chris@example.org", "lrs");
        check("user=chris@example.org lrsw\n-anyone sw\n", "chris@example.org", "lr");
        check("user=chris@example.org lrsw\n-user=ana@example.org sw\n", "chris@example.org", "lrsw");
    }

    #[test]
    fn anyone_is_of_the_owners_domain() {
        check("anyone lr\nauthenticated lrs\n", "chris@elsewhere.net", "");
        check("user=chris@elsewhere.net lr\n", "chris@elsewhere.net", "lr");
        check("user=chris lr\n", "chris@elsewhere.net", "");
    }

    #[test]
    fn an_owner_has_all_rights_but_for_what_he_gave_up_himself() {
        let fred = "fred@example.org";
        check("", fred, "lrswipkxtea");
        check("anyone lr\ngroup=team@example.org l\n", fred, "lrswipkxtea");
        check("owner rs\n", fred, "lrsa");
        check("user=fred@example.org lr\nowner lrswi\n", fred, "lra");
        check("-owner xla\n", fred, "lrswipktea");
    }

    #[test]
    fn the_file_is_dovecots_and_keeps_what_it_does_not_know() {
        let text = "\"user=anna maria\" lr\n-group=x lrs\nanyone lr:post write-seen\nuser=b l:fly\nhello\n";
        let mut acl = acl(text);
        acl.set(Identifier::from("Chris@example.org"), "lrd".parse().unwrap());
        assert_eq!(
            acl.to_string(),
            "\"user=anna maria\" lr\n-group=x lrs\nanyone lrsp\nuser=chris@example.org lrte\nuser=b l:fly\nhello\n"
        );
        assert_eq!(acl.to_string().parse::<Acl>().unwrap(), acl);
        assert!(acl.remove(&Identifier::from("anyone")) && !acl.remove(&Identifier::from("anyone")));
    }

    #[test]
    fn identifiers_are_shown_as_they_are_read() {
        for text in ["anyone", "authenticated", "owner", "-ana@example.org", "$team@example.org", "-!$x"] {
            assert_eq!(Identifier::from(text).to_string(), text);
            let identifier = Identifier::from(text);
            assert_eq!(Identifier::of_file(&identifier.in_file()), Some(identifier));
        }
    }
}
