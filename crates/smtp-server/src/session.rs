mod handling;
mod relaying;

use std::sync::Arc;

use jiff::Timestamp;
use mail_config::{RelayClient, SmtpRole};
use mail_directory::sasl::Mechanism;
use mail_directory::{Reached, Resolution};
use mail_types::Address;
use smtp_proto::{
    Command, MailParameters, ParseError, Priority, RcptParameters, Recipient, Reply, ReversePath, Xclient,
};

use crate::incoming::{too_big, trouble};
use crate::transaction::{Transaction, needs_utf8};
pub(crate) use handling::{FutureRelease, too_much_held_back};

/// RFC 6531 §3.5
const NEEDS_SMTPUTF8: &str =
    "An address that is not ASCII needs SMTPUTF8: use another address, or a mail program that offers it";

/// What the connection must do next. The session itself does no I/O.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this, then read the next command.
    Reply(Reply),
    /// Look whether there is room, begin to look at the client and the sender, and send this.
    Begin(Reply),
    /// Ask the directory whether `account` may send as `from`, then call [`Session::sender_checked`].
    CheckSender { account: Address, from: Address },
    /// Ask the queue whether who is connected may hold back a message more, then call [`Session::sender_checked`].
    CheckHold,
    /// Look the recipient up, then call [`Session::recipient_checked`].
    CheckRecipient(Recipient, Box<RcptParameters>),
    /// Send 354, read the mail data, store it.
    ReceiveData(Box<Transaction>),
    /// Read a chunk of this size, of which the first one brings the transaction; store the message behind the last one.
    ReceiveChunk { first: Option<Box<Transaction>>, size: u64, last: bool },
    /// Read a chunk and throw it away, then send the reply.
    SkipChunk { size: u64, reply: Reply },
    /// Send 220, then begin TLS and call [`Session::secured`].
    StartTls,
    /// Run the exchange, then call [`Session::logged_in`].
    Authenticate { mechanism: Mechanism, initial: Option<Vec<u8>> },
    /// Take the client that a proxy brings for the one who is connected.
    SpeakFor(Box<Xclient>),
    /// Send this, then close.
    Close(Reply),
}

/// What the operator allows on this connection.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) hostname: String,
    pub(crate) role: SmtpRole,
    pub(crate) max_message_size: u64,
    pub(crate) max_recipients: usize,
    /// The connection is under TLS.
    pub(crate) is_tls: bool,
    /// STARTTLS may be offered.
    pub(crate) may_start_tls: bool,
    /// AUTH may be offered now.
    pub(crate) may_login: bool,
    /// A login can be bound to the connection.
    pub(crate) can_bind: bool,
    /// Who is connected may speak for others.
    pub(crate) speaks_for: Option<SpeaksFor>,
    /// Who comes, if the config knows that from its address.
    pub(crate) relay: Option<Arc<RelayClient>>,
    /// Our own users may have their mail held back.
    pub(crate) future_release: Option<FutureRelease>,
}

/// A proxy that the config names.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpeaksFor {
    /// How its client has greeted it, if it said so.
    pub(crate) helo: Option<String>,
}

#[derive(Debug)]
enum State {
    Connected,
    Greeted,
    Mail(Box<Transaction>),
    /// In the middle of BDAT, the transaction with the message: only BDAT goes on, only RSET ends it.
    Chunks,
}

/// How the client greeted.
#[derive(Debug, Clone)]
pub(crate) struct Greeting {
    pub(crate) name: String,
    pub(crate) is_extended: bool,
}

#[derive(Debug)]
pub(crate) struct Session {
    policy: Policy,
    greeting: Option<Greeting>,
    /// The one before it.
    former: Option<Box<Greeting>>,
    login: Option<Address>,
    /// Limits of the account that has logged in.
    own_limits: Option<Arc<RelayClient>>,
    pending: Option<Box<Transaction>>,
    state: State,
}

impl Session {
    pub(crate) const fn new(policy: Policy) -> Self {
        let (greeting, former, login, own_limits, pending) = (None, None, None, None, None);
        Self { policy, greeting, former, login, own_limits, pending, state: State::Connected }
    }

    pub(crate) const fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    pub(crate) const fn login(&self) -> Option<&Address> {
        self.login.as_ref()
    }

    /// What MAIL and RCPT have built up so far.
    pub(crate) fn transaction(&self) -> Option<&Transaction> {
        match &self.state {
            State::Mail(transaction) => Some(transaction),
            State::Connected | State::Greeted | State::Chunks => None,
        }
    }

    /// The reverse path of the transaction, if one has begun: `None` within for `<>`.
    pub(crate) fn sender(&self) -> Option<&ReversePath> {
        match &self.state {
            State::Mail(transaction) => Some(&transaction.from),
            State::Connected | State::Greeted | State::Chunks => None,
        }
    }

    /// True if the transaction counts as a message of its account already.
    pub(crate) fn is_counted(&self) -> bool {
        matches!(&self.state, State::Mail(transaction) if transaction.is_counted)
    }

    /// The transaction, if one has begun.
    pub(crate) fn transaction_mut(&mut self) -> Option<&mut Transaction> {
        match &mut self.state {
            State::Mail(transaction) => Some(transaction),
            State::Connected | State::Greeted | State::Chunks => None,
        }
    }

    pub(crate) const fn is_in_transaction(&self) -> bool {
        matches!(self.state, State::Mail(_) | State::Chunks)
    }

    /// What the client says that its message has, in octets. RFC 1870 §6.
    pub(crate) fn declared_size(&self) -> Option<u64> {
        match &self.state {
            State::Mail(transaction) => transaction.parameters.size,
            State::Connected | State::Greeted | State::Chunks => None,
        }
    }

    /// What comes of a line that is no command.
    pub(crate) fn refuse(error: ParseError) -> Step {
        let reply = match error {
            ParseError::UnknownCommand => Reply::new(500, "5.5.2", "No such command"),
            ParseError::Arguments => Reply::new(501, "5.5.4", "Syntax error in the arguments"),
            // RFC 3463 §3.2.
            ParseError::ReversePath => Reply::new(
                501,
                "5.1.7",
                "The sender's address can't be read: it is written as <name@example.org>",
            ),
            ParseError::ForwardPath => Reply::new(
                501,
                "5.1.3",
                "The recipient's address can't be read: it is written as <name@example.org>",
            ),
            ParseError::Parameter => Reply::new(555, "5.5.4", "Parameter not known"),
            ParseError::ChunkSize => {
                let text = "BDAT has to say how many octets follow; goodbye";
                return Step::Close(Reply::new(501, "5.5.4", text));
            }
            ParseError::Http => {
                return Step::Close(Reply::new(421, "4.7.0", "This is no web server; goodbye"));
            }
        };
        Step::Reply(reply)
    }

    /// True if nothing may be sent behind `command` before its reply is here: RFC 2920 §3.1; and who has not been offered PIPELINING
    /// waits for each. What stands behind QUIT is lost, whatever it is.
    pub(crate) fn must_await(&self, command: &Command) -> bool {
        let may_pipeline = self.greeting.as_ref().is_some_and(|greeting| greeting.is_extended);
        !matches!(command, Command::Quit) && (command.ends_group() || !may_pipeline)
    }

    /// Advances by one command that comes `now`. RFC 5321 §4.1.4 gives the legal order.
    pub(crate) fn handle(&mut self, command: Command, now: Timestamp) -> Step {
        match command {
            // RFC 2033 §4.1: LMTP begins with LHLO only.
            Command::Ehlo(_) | Command::Helo(_) if self.policy.role == SmtpRole::Lmtp => {
                Step::Reply(Reply::new(500, "5.5.1", "This is LMTP: say LHLO"))
            }
            Command::Lhlo(_) if self.policy.role != SmtpRole::Lmtp => {
                Step::Reply(Reply::new(500, "5.5.1", "This is SMTP: say EHLO"))
            }
            Command::Ehlo(name) | Command::Lhlo(name) => self.greet(name, true),
            Command::Helo(name) => self.greet(name, false),
            Command::Mail { from, parameters } => {
                self.mail(Box::new(Transaction::new(from, parameters, now)))
            }
            Command::Rcpt { to, parameters } => self.rcpt(to, parameters),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Rset => {
                self.reset();
                Step::Reply(Reply::new(250, "2.0.0", "OK"))
            }
            Command::Noop => Step::Reply(Reply::new(250, "2.0.0", "OK")),
            Command::Quit => Step::Close(Reply::new(221, "2.0.0", "Goodbye")),
            // RFC 5321 §3.5.3, §7.3: who has which mailbox is answered to RCPT only.
            Command::Vrfy => Step::Reply(Reply::new(252, "2.0.0", "Not told; send mail, and RCPT tells")),
            Command::Expn => Step::Reply(Reply::new(502, "5.5.1", "Lists are not shown")),
            // RFC 1985 §5.3: what is known and not offered is 502.
            Command::NotOffered("ETRN") => {
                let text =
                    "ETRN is not offered here; mail that waits is sent as soon as its host can be reached";
                Step::Reply(Reply::new(502, "5.5.1", text))
            }
            Command::NotOffered(verb) => {
                Step::Reply(Reply::new(502, "5.5.1", format!("{verb} is not offered here")))
            }
            Command::Help => Step::Reply(self.help()),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial),
            Command::Xclient(client) => self.xclient(client),
        }
    }

    fn greet(&mut self, name: String, is_extended: bool) -> Step {
        self.reset();
        self.state = State::Greeted;
        let told = self.policy.speaks_for.as_ref().and_then(|proxy| proxy.helo.clone());
        let greeting = Greeting { name: told.unwrap_or(name), is_extended };
        self.former = self.greeting.replace(greeting).map(Box::new);
        if !is_extended {
            return Step::Reply(Reply::new(250, "", self.policy.hostname.clone()));
        }
        Step::Reply(Reply::lines(250, self.extensions()))
    }

    /// What is offered, behind our name. RFC 5321 §4.1.1.1.
    fn extensions(&self) -> Vec<String> {
        let mut lines = vec![
            self.policy.hostname.clone(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.max_message_size()),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "CHUNKING".to_owned(),
            "BINARYMIME".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
            "DSN".to_owned(),
            "DELIVERBY".to_owned(),
            "MT-PRIORITY".to_owned(),
            // RFC 9422.
            format!("LIMITS RCPTMAX={}", self.max_recipients()),
        ];
        if let Some(FutureRelease { seconds, latest }) = self.future_release() {
            lines.push(format!("FUTURERELEASE {seconds} {}", latest.strftime("%Y-%m-%dT%H:%M:%SZ")));
        }
        if self.policy.is_tls {
            lines.push("REQUIRETLS".to_owned());
        }
        if self.policy.speaks_for.is_some() {
            let login = if self.policy.role == SmtpRole::Submission { " LOGIN" } else { "" };
            lines.push(format!("XCLIENT NAME ADDR PORT HELO DESTADDR DESTPORT{login}"));
        }
        if self.policy.may_start_tls {
            lines.push("STARTTLS".to_owned());
        }
        if self.offers_auth() {
            let mechanisms: Vec<&str> =
                Mechanism::offered(self.policy.can_bind).map(Mechanism::name).collect();
            lines.push(format!("AUTH {}", mechanisms.join(" ")));
        }
        lines
    }

    /// What may be said here. RFC 5321 §4.1.1.8.
    fn help(&self) -> Reply {
        let greeting = if self.policy.role == SmtpRole::Lmtp { "LHLO" } else { "EHLO HELO" };
        let mut commands = format!("{greeting} MAIL RCPT DATA BDAT RSET VRFY NOOP HELP QUIT");
        if self.policy.may_start_tls {
            commands.push_str(" STARTTLS");
        }
        if self.offers_auth() {
            commands.push_str(" AUTH");
        }
        let lines = vec![
            format!("Commands: {commands}"),
            "This is Mailstead: RFC 5321 says how they are used, the reply to EHLO which extensions there are".to_owned(),
            "Mail to <postmaster> reaches a person".to_owned(),
        ];
        Reply::paragraph(214, "2.0.0", lines)
    }

    const fn offers_auth(&self) -> bool {
        matches!(self.policy.role, SmtpRole::Submission) && self.policy.may_login
    }

    fn mail(&mut self, transaction: Box<Transaction>) -> Step {
        match self.state {
            State::Connected => {
                let greeting = if self.policy.role == SmtpRole::Lmtp { "LHLO" } else { "EHLO" };
                return out_of_order(&format!("{greeting} comes first"));
            }
            State::Mail(_) | State::Chunks => return out_of_order("One transaction at a time"),
            State::Greeted => {}
        }
        if self.policy.role == SmtpRole::Submission && !self.is_ours() {
            return Step::Reply(self.login_first());
        }
        let Transaction { from, parameters, began, .. } = &*transaction;
        if parameters.size.is_some_and(|size| size > self.max_message_size()) {
            return Step::Reply(too_big(self.max_message_size()));
        }
        if let Some(refusal) = self.refusal_of_handling(parameters, *began) {
            return Step::Reply(refusal);
        }
        if from.as_ref().is_some_and(|from| self.is_undeclared(from, parameters)) {
            return Step::Reply(Reply::new(550, "5.6.7", NEEDS_SMTPUTF8));
        }
        if let Some(refusal) = from.as_ref().and_then(|from| self.refusal_of_relay(from)) {
            return Step::Reply(refusal);
        }
        match (&self.login, from) {
            (Some(account), Some(address)) => {
                let step = Step::CheckSender { account: account.clone(), from: address.clone() };
                self.pending = Some(transaction);
                step
            }
            // What it holds back is counted, whoever is to hear of its failure.
            (None, _) | (_, None) if parameters.hold.is_some() => {
                self.pending = Some(transaction);
                Step::CheckHold
            }
            (None, _) | (_, None) => Step::Begin(self.begin(transaction)),
        }
    }

    fn login_first(&self) -> Reply {
        if self.policy.may_login {
            Reply::new(
                530,
                "5.7.0",
                "Authentication required: log in with user name and password before you send",
            )
        } else {
            // RFC 3207 §4.
            Reply::new(530, "5.7.0", "Encryption required: STARTTLS comes first, then authentication")
        }
    }

    /// True for a non-ASCII address without SMTPUTF8. RFC 6531 §3.5.
    ///
    /// Deviates: our own users' programs may leave the parameter out (Apple Mail), and so may anybody whose address is
    /// non-ASCII only in its domain, which has a form in ASCII.
    fn is_undeclared(&self, address: &Address, parameters: &MailParameters) -> bool {
        self.policy.role != SmtpRole::Submission && !parameters.smtputf8 && needs_utf8(address)
    }

    /// Strangers' mail matters no more than any: RFC 6710 §4.1 lets a server say so.
    fn begin(&mut self, mut transaction: Box<Transaction>) -> Reply {
        let parameters = &mut transaction.parameters;
        let is_lowered = self.policy.role == SmtpRole::Mx
            && !self.is_ours()
            && parameters.priority.is_some_and(|priority| priority > Priority::NORMAL);
        if is_lowered {
            parameters.priority = Some(Priority::NORMAL);
        }
        self.state = State::Mail(transaction);
        if is_lowered {
            Reply::new(250, "2.3.6", "0 is the new priority assigned to the message")
        } else {
            Reply::new(250, "2.1.0", "OK")
        }
    }

    /// The answer to [`Step::CheckSender`]; `None` if the directory could not be asked.
    pub(crate) fn sender_checked(&mut self, allowed: Option<bool>) -> Reply {
        match (allowed, self.pending.take()) {
            (Some(true), Some(transaction)) => self.begin(transaction),
            (Some(_), _) => Reply::new(
                553,
                "5.7.1",
                "This sender address is not yours: send from an address of your account",
            ),
            (None, _) => trouble(),
        }
    }

    fn rcpt(&self, recipient: Recipient, parameters: RcptParameters) -> Step {
        let State::Mail(transaction) = &self.state else { return Step::Reply(self.no_data_now()) };
        if transaction.recipients.len() >= self.max_recipients() {
            return Step::Reply(too_many_recipients());
        }
        match &recipient {
            Recipient::Address(address) if self.is_undeclared(address, &transaction.parameters) => {
                Step::Reply(Reply::new(553, "5.6.7", NEEDS_SMTPUTF8))
            }
            Recipient::Address(_) | Recipient::Postmaster => {
                Step::CheckRecipient(recipient, Box::new(parameters))
            }
        }
    }

    /// The answer to [`Step::CheckRecipient`]; `None` if the directory could not be asked.
    pub(crate) fn recipient_checked(
        &mut self,
        address: Address,
        parameters: &RcptParameters,
        resolution: Option<Resolution>,
    ) -> Reply {
        let (may_relay, denied) = (self.is_ours(), self.relaying_denied());
        let State::Mail(transaction) = &mut self.state else { return trouble() };
        let reached = match resolution {
            Some(Resolution::Ours(reached)) => reached,
            // RFC 6409 §4.2.
            Some(Resolution::Foreign) if may_relay && !is_fully_qualified(&address) => {
                return Reply::new(
                    554,
                    "5.1.2",
                    "The domain is not fully qualified: write the whole of it, such as example.org",
                );
            }
            // Only who is ours may have mail sent elsewhere: never an open relay.
            Some(Resolution::Foreign) if may_relay => {
                Reached { remote: vec![address.clone()], ..Reached::default() }
            }
            Some(Resolution::Foreign) => return denied,
            // RFC 3463 §3.3.
            Some(Resolution::Disabled) => {
                return Reply::new(550, "5.2.1", "The mailbox takes no mail at present");
            }
            Some(Resolution::SenderRefused) => {
                return Reply::new(550, "5.7.1", "Mail of this sender is not wanted here");
            }
            // RFC 3463 §3.8.
            Some(Resolution::MayNotPost) => {
                return Reply::new(
                    550,
                    "5.7.2",
                    "You may not post to this list; its -owner address reaches who decides",
                );
            }
            Some(Resolution::NoReturn) => {
                let text = "This address takes reports about mail that we sent on, and for a limited time";
                return Reply::new(550, "5.7.1", text);
            }
            Some(Resolution::UnknownUser) => return no_such_user(),
            None => return trouble(),
        };
        if transaction.add(address, parameters, reached) {
            Reply::new(250, "2.1.5", "OK")
        } else {
            too_many_recipients()
        }
    }

    fn data(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Greeted) {
            State::Mail(transaction) if transaction.is_binary() => {
                self.state = State::Mail(transaction);
                out_of_order("Binary mail comes by BDAT, not DATA")
            }
            State::Mail(transaction) if !transaction.recipients.is_empty() => Step::ReceiveData(transaction),
            other @ (State::Connected | State::Greeted | State::Mail(_) | State::Chunks) => {
                self.state = other;
                Step::Reply(self.no_data_now())
            }
        }
    }

    /// BDAT. Whatever the reply is, the chunk is read: RFC 3030 §2.
    fn bdat(&mut self, size: u64, last: bool) -> Step {
        let behind = if last { State::Greeted } else { State::Chunks };
        match std::mem::replace(&mut self.state, behind) {
            State::Mail(transaction) if !transaction.recipients.is_empty() => {
                Step::ReceiveChunk { first: Some(transaction), size, last }
            }
            State::Chunks => Step::ReceiveChunk { first: None, size, last },
            other @ (State::Connected | State::Greeted | State::Mail(_)) => {
                self.state = other;
                Step::SkipChunk { size, reply: self.no_data_now() }
            }
        }
    }

    fn no_data_now(&self) -> Reply {
        match self.state {
            // RFC 2033 §4.2.
            State::Mail(_) if self.policy.role == SmtpRole::Lmtp => {
                Reply::new(503, "5.5.1", "No valid recipients")
            }
            State::Mail(_) => Reply::new(554, "5.5.1", "No valid recipients"),
            State::Chunks => Reply::new(503, "5.5.1", "What BDAT began BDAT must finish"),
            State::Connected | State::Greeted => Reply::new(503, "5.5.1", "MAIL comes first"),
        }
    }

    fn start_tls(&self) -> Step {
        match (self.policy.is_tls, self.policy.may_start_tls) {
            (true, _) => out_of_order("TLS is in use already"),
            (false, true) => Step::StartTls,
            (false, false) => Step::Reply(Reply::new(502, "5.5.1", "TLS is not available here")),
        }
    }

    /// TLS has begun: everything said before is forgotten. RFC 3207 §4.2.
    pub(crate) fn secured(&mut self, can_bind: bool) {
        let policy =
            Policy { is_tls: true, may_start_tls: false, may_login: true, can_bind, ..self.policy.clone() };
        *self = Self::new(policy);
    }

    fn auth(&self, mechanism: &str, initial: Option<Vec<u8>>) -> Step {
        if self.policy.role != SmtpRole::Submission {
            return Step::Reply(Reply::new(502, "5.5.1", "Authentication is for the submission port"));
        }
        if !self.policy.may_login {
            return Step::Reply(Reply::new(538, "5.7.11", "Encryption required: STARTTLS comes first"));
        }
        if self.login.is_some() || !matches!(self.state, State::Greeted) {
            return out_of_order("AUTH comes once, behind EHLO and before MAIL");
        }
        match Mechanism::named(mechanism, self.policy.can_bind) {
            Some(mechanism) => Step::Authenticate { mechanism, initial },
            None => Step::Reply(Reply::new(504, "5.5.4", "Mechanism not known")),
        }
    }

    /// XCLIENT_README: from proxies that the config names, and between transactions.
    fn xclient(&self, client: Box<Xclient>) -> Step {
        let is_login_out_of_place = client.login.is_some() && self.policy.role != SmtpRole::Submission;
        if self.policy.speaks_for.is_none() {
            Step::Reply(Reply::new(550, "5.7.0", "You may not speak for others"))
        } else if self.is_in_transaction() {
            out_of_order("XCLIENT comes before or behind a transaction")
        } else if is_login_out_of_place {
            Step::Reply(Reply::new(501, "5.5.4", "LOGIN is for the submission port"))
        } else {
            Step::SpeakFor(client)
        }
    }

    /// The same proxy, speaking for a client that has greeted so.
    pub(crate) fn speaks_for(&self, helo: Option<String>) -> Option<SpeaksFor> {
        self.policy.speaks_for.as_ref().map(|_| SpeaksFor { helo })
    }

    /// The client is not to be known by the name that it has just given, but by that before it, if it has given one. RFC 5321 §4.1.4.
    pub(crate) fn ungreet(&mut self) {
        self.greeting = self.former.take().map(|former| *former);
        self.state = if self.greeting.is_some() { State::Greeted } else { State::Connected };
    }

    pub(crate) fn reset(&mut self) {
        if self.is_in_transaction() {
            self.state = State::Greeted;
        }
    }
}

/// True if the address can be reached from anywhere: its domain is a literal or has a dot.
pub(crate) fn is_fully_qualified(address: &Address) -> bool {
    address.domain().is_literal() || address.domain().as_str().contains('.')
}

fn out_of_order(text: &str) -> Step {
    Step::Reply(Reply::new(503, "5.5.1", text))
}

pub(crate) fn no_such_user() -> Reply {
    Reply::new(550, "5.1.1", "No such user here: look for a typing error in the address")
}

fn too_many_recipients() -> Reply {
    Reply::new(452, "4.5.3", "Too many recipients; send the message again for the others")
}

#[cfg(test)]
mod tests;
