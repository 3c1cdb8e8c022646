use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use mail_directory::{Forward, Reached, Through};
use mail_types::{Address, LocalRecipient};
use smtp_proto::{Body, MailParameters, Notify, OriginalRecipient, RcptParameters, ReversePath};
use smtp_queue::{Action, Envelope, Handling, Receipt, Requests};

/// Accounts and addresses elsewhere that the aliases among a transaction's recipients may lead to at most.
const MAX_REACHED: usize = 10_000;
/// Addresses of ours through which a message goes on to others: each takes a file of its own.
const MAX_FORWARDS: usize = 50;

/// What MAIL and RCPT build up.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) from: ReversePath,
    pub(crate) parameters: MailParameters,
    /// When MAIL came: from when on the times in `parameters` count. RFC 2852 §4.
    pub(crate) began: Timestamp,
    /// It counts as a message of who has logged in.
    pub(crate) is_counted: bool,
    /// How long the DNS has been waited for because of recipients' domains.
    pub(crate) waited: Duration,
    /// As the client named them.
    pub(crate) recipients: Vec<Address>,
    /// What the sender wants to hear of each of them.
    pub(crate) wishes: Vec<RcptParameters>,
    /// Those here.
    pub(crate) accounts: BTreeSet<LocalRecipient>,
    /// Addresses elsewhere, and what the sender wants to hear of each.
    pub(crate) remote: BTreeMap<Address, RcptParameters>,
    /// What goes on to others in the name of addresses of ours.
    pub(crate) forwards: Vec<Onward>,
    /// What the sender wants to be told once the message is stored.
    pub(crate) receipts: Vec<Receipt>,
}

/// What goes on to others in the name of an address of ours, and what the sender wants to hear of it.
#[derive(Debug)]
pub(crate) struct Onward {
    pub(crate) forward: Forward,
    parameters: RcptParameters,
}

impl Transaction {
    /// Without recipients yet.
    pub(crate) const fn new(from: ReversePath, parameters: MailParameters, began: Timestamp) -> Self {
        Self {
            from,
            parameters,
            began,
            is_counted: false,
            waited: Duration::ZERO,
            recipients: Vec::new(),
            wishes: Vec::new(),
            accounts: BTreeSet::new(),
            remote: BTreeMap::new(),
            forwards: Vec::new(),
            receipts: Vec::new(),
        }
    }

    /// Adds a recipient and whom it reaches; false if there would be too many of those.
    pub(crate) fn add(
        &mut self,
        recipient: Address,
        parameters: &RcptParameters,
        Reached { accounts, remote, forwards }: Reached,
    ) -> bool {
        let targets = |forwards: &[&Forward]| forwards.iter().map(|it| it.targets.len()).sum::<usize>();
        let onward = targets(&forwards.iter().collect::<Vec<_>>());
        let reached = self.reached() + accounts.len() + remote.len() + onward;
        if reached > MAX_REACHED || self.forwards.len() + forwards.len() > MAX_FORWARDS {
            return false;
        }
        // What is held back for all is delivered to nobody yet: the queue finds out then whom an address reaches.
        let Reached { accounts, remote, forwards } = match self.parameters.hold {
            Some(_) => Reached { remote: vec![recipient.clone()], ..Reached::default() },
            None => Reached { accounts, remote, forwards },
        };
        let (lists, others): (Vec<_>, Vec<_>) = forwards.iter().partition(|it| it.through == Through::List);
        let elsewhere = remote.len() + targets(&others);
        // RFC 3461 §5.2.7.3: what a list has taken is delivered.
        let here = accounts.len() + lists.len();
        let (action, notify) = Action::of_recipient(here, elsewhere, parameters.notify);
        if let Some(action) = action.filter(|_| parameters.notify.is_some_and(Notify::of_success)) {
            let original = parameters.original.clone();
            self.receipts.push(Receipt { recipient: recipient.clone(), original, action });
        }
        for address in remote {
            self.add_remote(address, &recipient, RcptParameters { notify, ..parameters.clone() });
        }
        for forward in forwards {
            self.add_forward(forward, &recipient, RcptParameters { notify, ..parameters.clone() });
        }
        self.recipients.push(recipient);
        self.wishes.push(parameters.clone());
        self.accounts.extend(accounts);
        true
    }

    /// Takes an address out of what goes on to others with the same return address; what the sender wants to hear of it.
    fn take_forwarded(&mut self, address: &Address) -> Option<RcptParameters> {
        let Self { forwards, from, .. } = self;
        let is_known = |it: &&mut Onward| {
            it.forward.through != Through::List
                && it.forward.sender == *from
                && it.forward.targets.contains(address)
        };
        let known = forwards.iter_mut().find(is_known)?;
        known.forward.targets.retain(|target| target != address);
        let parameters = known.parameters.clone();
        forwards.retain(|it| !it.forward.targets.is_empty());
        Some(parameters)
    }

    /// How many addresses the recipients lead to.
    fn reached(&self) -> usize {
        let targets = self.forwards.iter().map(|it| it.forward.targets.len()).sum::<usize>();
        self.accounts.len() + self.remote.len() + targets
    }

    /// Adds what goes on to others; nobody gets the message twice from the same return address.
    fn add_forward(&mut self, mut forward: Forward, named: &Address, mut parameters: RcptParameters) {
        let (is_list, sender) = (forward.through == Through::List, forward.sender.clone());
        let is_like = |known: &&Onward| {
            known.forward.sender == sender && known.forward.via.domain() == forward.via.domain()
        };
        let likes: Vec<&Onward> = self.forwards.iter().filter(is_like).collect();
        let known = |target: &Address| {
            self.remote.contains_key(target) || likes.iter().any(|it| it.forward.targets.contains(target))
        };
        if !is_list {
            forward.targets.retain(|target| !known(target));
        }
        if parameters.original.is_none() {
            parameters.original = OriginalRecipient::standing_for(named);
        }
        let is_there = || self.forwards.iter().any(|it| it.forward.via == forward.via);
        let is_superfluous = forward.targets.is_empty() || (is_list && is_there());
        if !is_superfluous {
            self.forwards.push(Onward { forward, parameters });
        }
    }

    /// Decides what goes on, now that the message is known. Junk stays in the Junk mailbox of the account that would send it on. Where nothing
    /// proves that the sender is who it says, it is told of nothing that comes later than our reply, since it may never have sent it: neither
    /// what fails nor, `NOTIFY=SUCCESS`, what does not; an account keeps a copy.
    ///
    /// Deviates: RFC 3461 §5.2.3 would have a delivery reported to whoever is said to have asked for it, junk or not.
    pub(crate) fn settle(&mut self, is_junk: bool, is_proven: bool) {
        if is_junk || !is_proven {
            self.receipts.clear();
        }
        if !is_proven {
            self.remote.values_mut().for_each(|parameters| parameters.notify = Some(Notify::Never));
        }
        for onward in &mut self.forwards {
            if !is_proven && onward.forward.through != Through::List {
                onward.parameters.notify = Some(Notify::Never);
            }
            if let Through::Account(Some(account)) = &onward.forward.through
                && (is_junk || !is_proven)
            {
                self.accounts.insert(account.clone());
            }
        }
        if is_junk {
            self.forwards.retain(|it| !matches!(it.forward.through, Through::Account(_)));
        }
    }

    /// True if it goes to nobody but accounts here.
    pub(crate) fn stays_here(&self) -> bool {
        self.remote.is_empty() && self.forwards.is_empty()
    }

    /// True if it goes to nobody but addresses elsewhere, and on in nobody's name.
    pub(crate) fn leaves_as_it_is(&self) -> bool {
        self.accounts.is_empty() && self.forwards.is_empty() && !self.remote.is_empty()
    }

    /// What the queue is told of the message to those elsewhere, if there are any.
    pub(crate) fn envelope(&self, origin: &str, body: Body, handling: Handling) -> Envelope {
        Envelope {
            sender: self.from.clone(),
            origin: origin.to_owned(),
            recipients: self.remote.keys().cloned().collect(),
            smtputf8: self.needs_utf8(),
            body,
            requests: self.requests(self.remote.clone()),
            handling,
        }
    }

    /// What the queue is told of what goes on to others.
    pub(crate) fn envelope_of(
        &self,
        Onward { forward, parameters }: &Onward,
        origin: &str,
        body: Body,
        handling: Handling,
    ) -> Envelope {
        let recipients = forward.targets.iter().map(|it| (it.clone(), parameters.clone())).collect();
        let is_list = forward.through == Through::List;
        let fields = forward.fields();
        Envelope {
            sender: forward.sender.clone(),
            origin: origin.to_owned(),
            recipients: forward.targets.clone(),
            smtputf8: self.needs_utf8()
                || forward.sender.iter().chain(&forward.targets).any(needs_utf8)
                || !fields.is_ascii(),
            body: body.max(Body::of(fields.as_bytes())),
            // RFC 3461 §5.2.7.3: of a list's mail its owner hears.
            requests: if is_list { Requests::default() } else { self.requests(recipients) },
            handling,
        }
    }

    fn requests(&self, recipients: BTreeMap<Address, RcptParameters>) -> Requests {
        let MailParameters { ret, envelope_id, .. } = &self.parameters;
        Requests { ret: *ret, envelope_id: envelope_id.clone(), recipients }
    }

    /// Adds an address elsewhere. One to which an alias leads keeps the name by which the sender knows it: RFC 3461 §5.2.7.
    fn add_remote(&mut self, address: Address, named: &Address, mut parameters: RcptParameters) {
        if address != *named && parameters.original.is_none() {
            parameters.original = OriginalRecipient::standing_for(named);
        }
        if let Some(known) = self.take_forwarded(&address) {
            parameters.notify = Notify::both(known.notify, parameters.notify);
            parameters.original = parameters.original.or(known.original);
        }
        match self.remote.get_mut(&address) {
            Some(known) => known.notify = Notify::both(known.notify, parameters.notify),
            None => drop(self.remote.insert(address, parameters)),
        }
    }

    /// The message needs RFC 6531 on its way: it says so, or an address has no other form. A domain always has one.
    pub(crate) fn needs_utf8(&self) -> bool {
        self.parameters.smtputf8
            || self.from.iter().chain(&self.recipients).chain(self.remote.keys()).any(needs_utf8)
    }

    /// All of it is for a postmaster, from whom no policy keeps mail: RFC 5321 §4.5.1.
    pub(crate) fn is_for_postmaster(&self) -> bool {
        !self.recipients.is_empty() && self.recipients.iter().all(is_postmaster)
    }

    /// How it is to be handled.
    pub(crate) fn handling(&self) -> Handling {
        Handling::of(&self.parameters, self.began)
    }

    /// The message is to come in chunks, and need not be lines. RFC 3030 §3.
    pub(crate) const fn is_binary(&self) -> bool {
        matches!(self.parameters.body, Body::Binary)
    }

    /// The sender as the log shows it.
    pub(crate) fn sender(&self) -> String {
        self.from.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string)
    }
}

/// `postmaster` at any domain of ours. RFC 5321 §4.5.1.
pub(crate) fn is_postmaster(address: &Address) -> bool {
    address.local_part().eq_ignore_ascii_case("postmaster")
}

/// True for an address that cannot be written in ASCII.
pub(crate) fn needs_utf8(address: &Address) -> bool {
    !address.local_part().is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(keeps_copy: bool) -> Transaction {
        let bob: Address = "bob@example.org".parse().unwrap();
        let through = Through::Account((!keeps_copy).then(|| bob.clone().into()));
        let forward = |via: &Address, through| Forward {
            via: via.clone(),
            through,
            sender: None,
            targets: vec![format!("{}@example.net", via.local_part()).parse().unwrap()],
        };
        let sales = "sales@example.org".parse().unwrap();
        let mut transaction = Transaction::new(None, MailParameters::default(), Timestamp::UNIX_EPOCH);
        let forwards = vec![forward(&bob, through), forward(&sales, Through::Alias)];
        let reached = Reached { forwards, ..Reached::default() };
        assert!(transaction.add(bob, &RcptParameters::default(), reached));
        transaction
    }

    fn vias(transaction: &Transaction) -> Vec<&str> {
        transaction.forwards.iter().map(|it| it.forward.via.local_part()).collect()
    }

    /// RFC 6531 §3.2: our own Delivered-To field names it.
    #[test]
    fn what_goes_on_through_an_address_in_utf8_needs_smtputf8() {
        for (via, needs) in
            [("josé@example.org", true), ("bob@bücher.example", false), ("bob@example.org", false)]
        {
            let via = via.parse().unwrap();
            let targets = vec!["bob@example.net".parse().unwrap()];
            let forward = Forward { via, through: Through::Alias, sender: None, targets };
            let onward = Onward { forward, parameters: RcptParameters::default() };
            let transaction = Transaction::new(None, MailParameters::default(), Timestamp::UNIX_EPOCH);
            let envelope = transaction.envelope_of(&onward, "", Body::SevenBit, Handling::default());
            let body = if needs { Body::EightBit } else { Body::SevenBit };
            assert_eq!((envelope.smtputf8, envelope.body), (needs, body));
        }
    }

    #[test]
    fn junk_stays_in_the_account_that_would_send_it_on() {
        let mut junk = transaction(false);
        junk.settle(true, true);
        assert_eq!((vias(&junk), junk.accounts.len()), (vec!["sales"], 1));
    }

    /// RFC 5321 §6.2: who is told of what fails must be who has sent it.
    #[test]
    fn who_is_not_proven_is_not_told_of_what_fails_and_a_copy_stays() {
        let mut unproven = transaction(false);
        let full: Address = "carol@example.org".parse().unwrap();
        unproven.remote.insert(full.clone(), RcptParameters::default());
        unproven.settle(false, false);
        assert_eq!(
            unproven.remote.get(&full).unwrap().notify,
            Some(Notify::Never),
            "nor when she stays full"
        );
        assert_eq!((vias(&unproven), unproven.accounts.len()), (vec!["bob", "sales"], 1));
        assert!(unproven.forwards.iter().all(|it| it.parameters.notify == Some(Notify::Never)));
        let mut proven = transaction(false);
        proven.settle(false, true);
        assert_eq!((vias(&proven), proven.accounts.len()), (vec!["bob", "sales"], 0));
        assert!(proven.forwards.iter().all(|it| it.parameters.notify.is_none()));
    }
}
