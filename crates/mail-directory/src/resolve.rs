//! Who gets mail for an address.

use std::collections::{BTreeSet, HashSet};

use mail_types::{Address, AddressPattern, LocalRecipient};

use crate::database::Inflow;
use crate::{Directory, DirectoryError, List, MAX_REACHED, Moment, ROLE_NAMES, Returned, parse, parsed};

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
    /// The sender may not post to the list: 550 5.7.2.
    MayNotPost,
    /// It has the form of a return address of ours, and takes nothing: it is forged or too old, or this is no report. 550 5.7.1.
    NoReturn,
    /// Not our domain.
    Foreign,
}

/// By whom mail is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sender<'a> {
    /// `None` for `<>`.
    pub address: Option<&'a Address>,
    /// How much of it is known.
    pub standing: Standing,
}

/// What is known of who sends mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: anybody may say to be anybody.
    #[default]
    Stranger,
    /// Who brings the mail is one of ours.
    Ours,
    /// The mail has been let in before, and is on its way.
    LetIn,
}

/// Whom mail for an address of ours reaches, each once (an alias may have several targets).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Those here.
    pub accounts: Vec<LocalRecipient>,
    /// Addresses elsewhere that get it as it came.
    pub remote: Vec<Address>,
    /// What goes on to others in the name of an address of ours.
    pub forwards: Vec<Forward>,
}

/// Mail that goes on to others in the name of an address of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// What it goes through.
    pub via: Address,
    /// What that is.
    pub through: Through,
    /// Who is told of failures; `None` for `<>`.
    pub sender: Option<Address>,
    /// To whom; members of a list may be here, those of others are elsewhere. At least one.
    pub targets: Vec<Address>,
}

/// What mail goes through on its way to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Through {
    /// An alias.
    Alias,
    /// An account; with who gets what can't go on, where it keeps no copy.
    Account(Option<LocalRecipient>),
    /// A list.
    List,
}

impl Reached {
    /// Takes out what would go through an address of `passed` again, by the mail's own Delivered-To fields. An account gets it itself then.
    /// True if there was any.
    pub fn take_out_loops(&mut self, passed: &[Address]) -> bool {
        let (looped, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.forwards).into_iter().partition(|it| passed.contains(&it.via));
        self.forwards = others;
        let is_looped = !looped.is_empty();
        let accounts = looped.into_iter().filter_map(|it| match it.through {
            Through::Account(account) => account,
            Through::Alias | Through::List => None,
        });
        self.accounts.extend(accounts);
        is_looped
    }
}

impl Forward {
    /// The field by which a loop is found, and those of a list, each with its line end, to stand above all others. In ASCII but for local parts:
    /// RFC 6531 §3.7.3.
    #[must_use]
    pub fn fields(&self) -> String {
        let list = if self.through == Through::List { List::fields(&self.via) } else { String::new() };
        format!("Delivered-To: {}\r\n{list}", self.via.with_ascii_domain())
    }
}

/// What a local address is.
enum Known {
    Account { recipient: LocalRecipient, inflow: Inflow },
    Alias { name: Address, targets: Vec<Address> },
    List(List),
    Return(Returned),
}

/// What the walk from an address to those that it stands for is made for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// Mail from this sender, whom somebody may refuse.
    Mail(Sender<'a>),
    /// Mail from this sender for somebody who must not refuse any.
    RoleMail(Sender<'a>),
    /// To find out for whom it stands, whether or not they take mail now.
    Identity { catches_all: bool },
}

/// A walk along aliases and forwards. No address is followed twice, so that loops end, and so that it does not matter how many ways lead to it.
struct Walk<'a> {
    moment: &'a Moment<'a>,
    delimiter: Option<char>,
    purpose: Purpose<'a>,
    seen: HashSet<Address>,
    /// Where it goes next, and through what.
    ahead: Vec<(Address, Option<(Address, Through)>)>,
    reached: Reached,
    /// Accounts whose mail has gone on to others.
    gone_on: Vec<LocalRecipient>,
    /// Why the first one gets nothing that gets nothing.
    refusal: Option<Resolution>,
}

impl Directory {
    /// As [`Moment::resolve`], for one question.
    ///
    /// # Errors
    /// As there.
    pub fn resolve(
        &self,
        address: &Address,
        sender: Sender<'_>,
        delimiter: Option<char>,
    ) -> Result<Resolution, DirectoryError> {
        self.moment()?.resolve(address, sender, delimiter)
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
        self.stands_for(address, None)
    }

    fn identity(
        &self,
        address: &Address,
        purpose: Purpose<'_>,
        delimiter: Option<char>,
    ) -> Result<Vec<Address>, DirectoryError> {
        let moment = self.moment()?;
        if !moment.is_domain(address)? {
            return Ok(Vec::new());
        }
        let walk = Walk::new(&moment, purpose, delimiter).follow(address)?;
        let accounts = walk.reached.accounts.into_iter().map(|it| it.account);
        Ok(accounts.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// True if `address` stands for `account`, or leads there because nothing else takes its mail.
    pub(crate) fn is_reached_by(
        &self,
        account: &Address,
        address: &Address,
        delimiter: Option<char>,
    ) -> Result<bool, DirectoryError> {
        let purpose = Purpose::Identity { catches_all: true };
        Ok(is_own_address(account, address, delimiter)
            || self.identity(address, purpose, delimiter)?.contains(account))
    }

    /// The accounts for which an address stands that somebody sends from.
    pub(crate) fn stands_for(
        &self,
        address: &Address,
        delimiter: Option<char>,
    ) -> Result<Vec<Address>, DirectoryError> {
        self.identity(address, Purpose::Identity { catches_all: false }, delimiter)
    }

    /// The account that has been there longest, if possible in this domain and one that takes mail.
    fn in_charge(&self, address: &Address) -> Result<Option<Address>, DirectoryError> {
        Ok(self.database.first_account(address.domain().as_str())?.and_then(|first| parse(&first)))
    }
}

impl Moment<'_> {
    /// Who gets mail of `sender` for `address`. `delimiter` splits a detail off the local part (`bob+lists@`).
    /// `postmaster` of a local domain, and the bare `postmaster`, always resolve (RFC 5321 §4.5.1), and refuse no sender.
    ///
    /// # Errors
    /// [`DirectoryError::Database`], [`DirectoryError::LeadsTooFar`]: answer 451, not 550.
    pub fn resolve(
        &self,
        address: &Address,
        sender: Sender<'_>,
        delimiter: Option<char>,
    ) -> Result<Resolution, DirectoryError> {
        if !self.is_domain(address)? {
            return Ok(Resolution::Foreign);
        }
        let purpose = if is_role(address) { Purpose::RoleMail(sender) } else { Purpose::Mail(sender) };
        if matches!(purpose, Purpose::Mail(_)) && self.everybody_refuses(sender.address)? {
            return Ok(Resolution::SenderRefused);
        }
        let mut walk = Walk::new(self, purpose, delimiter).follow(address)?;
        if walk.reached == Reached::default() {
            // Forwards that lead back, or to nobody: the mail stays where it was.
            walk.reached.accounts.append(&mut walk.gone_on);
        }
        if walk.reached == Reached::default() && is_role(address) {
            walk.reached.accounts.extend(self.directory.in_charge(address)?.map(LocalRecipient::from));
        }
        if walk.reached == Reached::default() {
            return Ok(walk.refusal.unwrap_or(Resolution::UnknownUser));
        }
        Ok(Resolution::Ours(walk.reached))
    }

    /// What takes mail for a local address: an account, alias or list of its full name, or without its detail; else what is behind a return
    /// address; else a list whose other address it is, the domain's catch-all, and who has the role.
    fn known(
        &self,
        address: &Address,
        delimiter: Option<char>,
        catches_all: bool,
    ) -> Result<Option<Known>, DirectoryError> {
        let whole = LocalRecipient::from(address.to_lowercase());
        for recipient in std::iter::once(whole).chain(without_detail(address, delimiter)) {
            if let Some(known) = self.by_name(recipient)? {
                return Ok(Some(known));
            }
        }
        if let Some(returned) = self.directory.srs.as_ref().and_then(|srs| srs.returned(address.local_part()))
        {
            return Ok(Some(Known::Return(returned)));
        }
        let name = address.to_lowercase();
        if let Some(owner) = self.directory.owner_by(&name)? {
            return Ok(Some(Known::Alias { name, targets: vec![owner] }));
        }
        if catches_all {
            let catch_all = AddressPattern::Domain(address.domain().clone()).to_string();
            let targets = self.directory.database.targets(&catch_all)?;
            if !targets.is_empty() {
                return Ok(Some(Known::Alias { name, targets: parsed(targets) }));
            }
        }
        let in_charge = if is_role(address) { self.directory.in_charge(address)? } else { None };
        let inflow = Inflow { receives: true, forwards: false, keeps_copy: true, may_refuse: true };
        Ok(in_charge.map(|account| Known::Account { recipient: account.into(), inflow }))
    }

    /// The account, alias or list of this name.
    fn by_name(&self, recipient: LocalRecipient) -> Result<Option<Known>, DirectoryError> {
        let text = recipient.account.to_string();
        if let Some(row) = self.account(&text)? {
            return Ok(Some(Known::Account { recipient, inflow: row.inflow }));
        }
        let targets = self.directory.database.targets(&text)?;
        if !targets.is_empty() {
            return Ok(Some(Known::Alias { name: recipient.account, targets: parsed(targets) }));
        }
        Ok(self.directory.list(&recipient.account)?.map(Known::List))
    }

    /// From whom mail goes on that an address of ours sends on: RFC 5321 §3.9.1 leaves it as it is, but the SPF record of another domain
    /// does not name us. Where no return address can be made, reports come to who sends it on.
    fn sent_on_by(&self, sender: Option<&Address>, via: &Address) -> Result<Option<Address>, DirectoryError> {
        let (Some(sender), Some(srs)) = (sender, &self.directory.srs) else { return Ok(sender.cloned()) };
        if self.is_domain(sender)? {
            return Ok(Some(sender.clone()));
        }
        Ok(Some(srs.rewrite(sender, via.domain()).unwrap_or_else(|| via.clone())))
    }
}

impl<'a> Walk<'a> {
    fn new(moment: &'a Moment<'a>, purpose: Purpose<'a>, delimiter: Option<char>) -> Self {
        Self {
            moment,
            delimiter,
            purpose,
            seen: HashSet::new(),
            ahead: Vec::new(),
            reached: Reached::default(),
            gone_on: Vec::new(),
            refusal: None,
        }
    }

    /// Walks to the end, from a local address.
    fn follow(mut self, address: &Address) -> Result<Self, DirectoryError> {
        self.ahead.push((address.clone(), None));
        while let Some((next, through)) = self.ahead.pop() {
            if !self.moment.is_domain(&next)? {
                // The local part of a foreign address is its host's affair: RFC 5321 §2.4.
                if self.seen.insert(next.clone()) {
                    self.leave(next, through)?;
                }
            } else if self.seen.insert(next.to_lowercase()) {
                self.arrive(&next)?;
            }
            if self.seen.len() > MAX_REACHED {
                return Err(DirectoryError::LeadsTooFar(address.clone()));
            }
        }
        Ok(self)
    }

    /// At an address elsewhere.
    fn leave(&mut self, address: Address, through: Option<(Address, Through)>) -> Result<(), DirectoryError> {
        let Some((via, through)) = through else {
            self.reached.remote.push(address);
            return Ok(());
        };
        if let Some(known) = self.reached.forwards.iter_mut().find(|it| it.via == via) {
            known.targets.push(address);
            return Ok(());
        }
        let sender = self.moment.sent_on_by(self.sender().address, &via)?;
        self.reached.forwards.push(Forward { via, through, sender, targets: vec![address] });
        Ok(())
    }

    /// At a local address.
    fn arrive(&mut self, address: &Address) -> Result<(), DirectoryError> {
        let catches_all = !matches!(self.purpose, Purpose::Identity { catches_all: false });
        match self.moment.known(address, self.delimiter, catches_all)? {
            Some(Known::Account { recipient, inflow }) => self.reach(recipient, inflow)?,
            Some(Known::Alias { name, targets }) => self.go_on(targets, &name, &Through::Alias),
            Some(Known::List(list)) => self.post(list)?,
            // RFC 5321 §4.5.5: reports come from nobody.
            Some(Known::Return(Returned::To(sender))) if self.sender().address.is_none() => {
                self.ahead.push((sender, None));
            }
            Some(Known::Return(_)) => drop(self.refusal.get_or_insert(Resolution::NoReturn)),
            None => {}
        }
        Ok(())
    }

    fn sender(&self) -> Sender<'a> {
        match self.purpose {
            Purpose::Mail(sender) | Purpose::RoleMail(sender) => sender,
            Purpose::Identity { .. } => Sender::default(),
        }
    }

    /// In the order of the targets.
    fn go_on(&mut self, targets: Vec<Address>, via: &Address, through: &Through) {
        let ahead = targets.into_iter().rev().map(|target| (target, Some((via.clone(), through.clone()))));
        self.ahead.extend(ahead);
    }

    fn reach(&mut self, recipient: LocalRecipient, inflow: Inflow) -> Result<(), DirectoryError> {
        match self.purpose {
            Purpose::Mail(_) | Purpose::RoleMail(_) if !inflow.receives => {
                self.refusal.get_or_insert(Resolution::Disabled);
                return Ok(());
            }
            Purpose::Mail(sender) if self.refuses(&recipient.account, inflow, sender)? => {
                self.refusal.get_or_insert(Resolution::SenderRefused);
                return Ok(());
            }
            Purpose::Mail(_) | Purpose::RoleMail(_) if inflow.forwards => {
                if self.forward(&recipient, inflow.keeps_copy)? {
                    return Ok(());
                }
            }
            Purpose::Mail(_) | Purpose::RoleMail(_) | Purpose::Identity { .. } => {}
        }
        if !self.reached.accounts.contains(&recipient) {
            self.reached.accounts.push(recipient);
        }
        Ok(())
    }

    fn refuses(&self, account: &Address, inflow: Inflow, sender: Sender<'_>) -> Result<bool, DirectoryError> {
        Ok(inflow.may_refuse && self.moment.directory.refuses(Some(account), sender.address)?)
    }

    /// Goes on from an account; false if the mail stays as well.
    fn forward(&mut self, recipient: &LocalRecipient, keeps_copy: bool) -> Result<bool, DirectoryError> {
        let mut targets: Vec<Address> =
            parsed(self.moment.directory.database.forwards(&recipient.account.to_string())?);
        let mut lead_on = Vec::new();
        for target in targets.drain(..) {
            if self.leads_on(&target)? {
                lead_on.push(target);
            }
        }
        let leaves = !keeps_copy && !lead_on.is_empty();
        let stays = leaves.then(|| recipient.clone());
        self.gone_on.extend(stays.clone());
        self.go_on(lead_on, &recipient.account, &Through::Account(stays));
        Ok(leaves)
    }

    /// True if mail that goes on to this address arrives there, as far as one step shows.
    fn leads_on(&self, target: &Address) -> Result<bool, DirectoryError> {
        if !self.moment.is_domain(target)? {
            return Ok(true);
        }
        let is_new = !self.seen.contains(&target.to_lowercase());
        Ok(match self.moment.known(target, self.delimiter, true)? {
            Some(Known::Account { recipient, inflow }) => {
                is_new && inflow.receives && !self.refuses(&recipient.account, inflow, self.sender())?
            }
            Some(Known::Alias { .. } | Known::List(_)) => is_new,
            Some(Known::Return(_)) | None => false,
        })
    }

    fn post(&mut self, list: List) -> Result<(), DirectoryError> {
        if matches!(self.purpose, Purpose::Identity { .. }) {
            return Ok(());
        }
        if !self.moment.directory.may_post(&list, self.sender(), self.delimiter)? {
            self.refusal.get_or_insert(Resolution::MayNotPost);
        } else if list.members.is_empty() {
            self.refusal.get_or_insert(Resolution::Disabled);
        } else {
            let sender = Some(list.bounces());
            let List { address: via, members: targets, .. } = list;
            self.reached.forwards.push(Forward { via, through: Through::List, sender, targets });
        }
        Ok(())
    }
}

fn is_role(address: &Address) -> bool {
    ROLE_NAMES.iter().any(|name| address.local_part().eq_ignore_ascii_case(name))
}

/// True if `address` is an account's own, in any case, with or without a detail behind `delimiter`: no directory has to be asked then
/// whether the account may send as it.
#[must_use]
pub fn is_own_address(account: &Address, address: &Address, delimiter: Option<char>) -> bool {
    let (account, address) = (account.to_lowercase(), address.to_lowercase());
    address == account || without_detail(&address, delimiter).is_some_and(|it| it.account == account)
}

/// `bob@…` with `lists` for `bob+lists@…`.
fn without_detail(address: &Address, delimiter: Option<char>) -> Option<LocalRecipient> {
    let (user, detail) = address.local_part().split_once(delimiter?)?;
    let account = Address::new(user, address.domain().clone()).ok()?.to_lowercase();
    Some(LocalRecipient { account, detail: Some(detail.into()).filter(|_| !detail.is_empty()) })
}
