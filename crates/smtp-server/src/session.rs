use mail_directory::Resolution;
use mail_directory::sasl::Mechanism;
use mail_types::Address;
use smtp_proto::{Body, Command, MailParameters, ParseError, Recipient, Reply, ReversePath};

/// What the connection must do next. The session itself does no I/O.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this, then read the next command.
    Reply(Reply),
    /// Ask the directory whether `account` may send as `from`, then call [`Session::sender_checked`].
    CheckSender { account: Address, from: Address },
    /// Look the recipient up, then call [`Session::recipient_checked`].
    CheckRecipient(Recipient),
    /// Send 354, read the mail data, store it.
    ReceiveData,
    /// Read a chunk of this size; store the message behind the last one.
    ReceiveChunk { size: u64, last: bool },
    /// Read a chunk and throw it away, then send the reply.
    SkipChunk { size: u64, reply: Reply },
    /// Send 220, then begin TLS and call [`Session::secured`].
    StartTls,
    /// Run the exchange, then call [`Session::logged_in`].
    Authenticate { mechanism: Mechanism, initial: Option<Vec<u8>> },
    /// Send this, then close.
    Close(Reply),
}

/// What the operator allows on this connection.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) hostname: String,
    pub(crate) is_submission: bool,
    pub(crate) max_message_size: u64,
    pub(crate) max_recipients: usize,
    /// STARTTLS may be offered.
    pub(crate) may_start_tls: bool,
    /// AUTH may be offered now.
    pub(crate) may_login: bool,
}

/// What MAIL and RCPT build up.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) from: ReversePath,
    pub(crate) parameters: MailParameters,
    /// As the client named them.
    pub(crate) recipients: Vec<Address>,
    /// Local accounts, each once.
    pub(crate) accounts: Vec<Address>,
    /// Addresses elsewhere, each once.
    pub(crate) remote: Vec<Address>,
}

#[derive(Debug)]
enum State {
    Connected,
    Greeted,
    Mail(Transaction),
    /// In the middle of BDAT: nothing but BDAT and RSET may follow.
    Chunks(Transaction),
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
    login: Option<Address>,
    pending: Option<(ReversePath, MailParameters)>,
    state: State,
}

impl Session {
    pub(crate) const fn new(policy: Policy) -> Self {
        Self { policy, greeting: None, login: None, pending: None, state: State::Connected }
    }

    pub(crate) const fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    pub(crate) const fn login(&self) -> Option<&Address> {
        self.login.as_ref()
    }

    pub(crate) const fn is_in_transaction(&self) -> bool {
        matches!(self.state, State::Mail(_) | State::Chunks(_))
    }

    /// The reply to a line that is no command.
    pub(crate) fn refuse(error: ParseError) -> Reply {
        match error {
            ParseError::UnknownCommand => Reply::new(500, "5.5.2", "No such command"),
            ParseError::Arguments => Reply::new(501, "5.5.4", "Syntax error in the arguments"),
            ParseError::Parameter => Reply::new(555, "5.5.4", "Parameter not known"),
        }
    }

    /// Advances by one command. RFC 5321 §4.1.4 gives the legal order.
    pub(crate) fn handle(&mut self, command: Command) -> Step {
        match command {
            Command::Ehlo(name) => self.greet(name, true),
            Command::Helo(name) => self.greet(name, false),
            Command::Mail { from, parameters } => self.mail(from, parameters),
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::Rset => {
                self.reset();
                Step::Reply(Reply::new(250, "2.0.0", "OK"))
            }
            Command::Noop => Step::Reply(Reply::new(250, "2.0.0", "OK")),
            Command::Quit => Step::Close(Reply::new(221, "2.0.0", "Goodbye")),
            Command::Vrfy => Step::Reply(Reply::new(252, "2.1.5", "Send mail, and it will be seen")),
            Command::Expn => Step::Reply(Reply::new(502, "5.5.1", "Lists are not shown")),
            Command::Help => Step::Reply(Reply::new(214, "2.0.0", "See RFC 5321")),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial),
        }
    }

    fn greet(&mut self, name: String, is_extended: bool) -> Step {
        self.reset();
        self.state = State::Greeted;
        self.greeting = Some(Greeting { name, is_extended });
        if !is_extended {
            return Step::Reply(Reply::new(250, "", self.policy.hostname.clone()));
        }
        let mut lines = vec![
            self.policy.hostname.clone(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.policy.max_message_size),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "CHUNKING".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ];
        if self.policy.may_start_tls {
            lines.push("STARTTLS".to_owned());
        }
        if self.offers_auth() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        Step::Reply(Reply::lines(250, lines))
    }

    const fn offers_auth(&self) -> bool {
        self.policy.is_submission && self.policy.may_login
    }

    fn mail(&mut self, from: ReversePath, parameters: MailParameters) -> Step {
        match self.state {
            State::Connected => return out_of_order("EHLO comes first"),
            State::Mail(_) | State::Chunks(_) => return out_of_order("One transaction at a time"),
            State::Greeted => {}
        }
        if self.policy.is_submission && self.login.is_none() {
            return Step::Reply(Reply::new(530, "5.7.0", "Authentication required"));
        }
        if parameters.size.is_some_and(|size| size > self.policy.max_message_size) {
            return Step::Reply(too_big());
        }
        match (&self.login, &from) {
            (Some(account), Some(address)) => {
                let step = Step::CheckSender { account: account.clone(), from: address.clone() };
                self.pending = Some((from, parameters));
                step
            }
            (None, _) | (_, None) => Step::Reply(self.begin(from, parameters)),
        }
    }

    fn begin(&mut self, from: ReversePath, parameters: MailParameters) -> Reply {
        let (recipients, accounts, remote) = (Vec::new(), Vec::new(), Vec::new());
        self.state = State::Mail(Transaction { from, parameters, recipients, accounts, remote });
        Reply::new(250, "2.1.0", "OK")
    }

    /// The answer to [`Step::CheckSender`]; `None` if the directory could not be asked.
    pub(crate) fn sender_checked(&mut self, allowed: Option<bool>) -> Reply {
        match (allowed, self.pending.take()) {
            (Some(true), Some((from, parameters))) => self.begin(from, parameters),
            (Some(_), _) => Reply::new(553, "5.7.1", "This sender address is not yours"),
            (None, _) => trouble(),
        }
    }

    fn rcpt(&self, recipient: Recipient) -> Step {
        match &self.state {
            State::Mail(transaction) if transaction.recipients.len() >= self.policy.max_recipients => {
                Step::Reply(Reply::new(452, "4.5.3", "Too many recipients"))
            }
            State::Mail(_) => Step::CheckRecipient(recipient),
            State::Connected | State::Greeted | State::Chunks(_) => out_of_order("MAIL comes first"),
        }
    }

    /// The answer to [`Step::CheckRecipient`]; `None` if the directory could not be asked.
    pub(crate) fn recipient_checked(&mut self, address: Address, resolution: Option<Resolution>) -> Reply {
        let may_relay = self.login.is_some();
        let State::Mail(transaction) = &mut self.state else { return trouble() };
        let (accounts, remote) = match resolution {
            Some(Resolution::Ours { accounts, remote }) => (accounts, remote),
            // Only our own users may have mail sent elsewhere: never an open relay.
            Some(Resolution::Foreign) if may_relay => (Vec::new(), vec![address.clone()]),
            Some(Resolution::Foreign) => return Reply::new(550, "5.7.1", "Relaying denied"),
            Some(Resolution::UnknownUser) => return Reply::new(550, "5.1.1", "No such user here"),
            None => return trouble(),
        };
        add_each_once(&mut transaction.accounts, accounts);
        add_each_once(&mut transaction.remote, remote);
        transaction.recipients.push(address);
        Reply::new(250, "2.1.5", "OK")
    }

    fn data(&self) -> Step {
        match &self.state {
            State::Mail(transaction) if transaction.recipients.is_empty() => Step::Reply(no_recipients()),
            State::Mail(_) => Step::ReceiveData,
            State::Connected | State::Greeted => out_of_order("MAIL comes first"),
            State::Chunks(_) => out_of_order("BDAT must be finished by BDAT"),
        }
    }

    fn bdat(&mut self, size: u64, last: bool) -> Step {
        match std::mem::replace(&mut self.state, State::Greeted) {
            State::Mail(transaction) if transaction.recipients.is_empty() => {
                self.state = State::Mail(transaction);
                Step::SkipChunk { size, reply: no_recipients() }
            }
            State::Mail(transaction) | State::Chunks(transaction) => {
                self.state = State::Chunks(transaction);
                Step::ReceiveChunk { size, last }
            }
            other @ (State::Connected | State::Greeted) => {
                self.state = other;
                Step::SkipChunk { size, reply: Reply::new(503, "5.5.1", "MAIL comes first") }
            }
        }
    }

    /// The transaction whose message has arrived; the next one may begin.
    pub(crate) fn take_transaction(&mut self) -> Option<Transaction> {
        match std::mem::replace(&mut self.state, State::Greeted) {
            State::Mail(transaction) | State::Chunks(transaction) => Some(transaction),
            State::Connected | State::Greeted => None,
        }
    }

    /// Puts a transaction back whose message has not arrived whole.
    pub(crate) fn resume(&mut self, transaction: Transaction) {
        self.state = State::Chunks(transaction);
    }

    fn start_tls(&self) -> Step {
        if self.policy.may_start_tls {
            Step::StartTls
        } else {
            Step::Reply(Reply::new(502, "5.5.1", "TLS is not available, or in use already"))
        }
    }

    /// TLS has begun: everything said before is forgotten. RFC 3207 §4.2.
    pub(crate) fn secured(&mut self) {
        let policy = Policy { may_start_tls: false, may_login: true, ..self.policy.clone() };
        *self = Self::new(policy);
    }

    fn auth(&self, mechanism: &str, initial: Option<Vec<u8>>) -> Step {
        if !self.policy.is_submission {
            return Step::Reply(Reply::new(502, "5.5.1", "Authentication is for the submission port"));
        }
        if !self.policy.may_login {
            return Step::Reply(Reply::new(538, "5.7.11", "Encryption required: STARTTLS comes first"));
        }
        if self.login.is_some() || !matches!(self.state, State::Greeted) {
            return out_of_order("AUTH comes once, behind EHLO and before MAIL");
        }
        match Mechanism::named(mechanism) {
            Some(mechanism) => Step::Authenticate { mechanism, initial },
            None => Step::Reply(Reply::new(504, "5.5.4", "Mechanism not known")),
        }
    }

    /// The client has proved who it is.
    pub(crate) fn logged_in(&mut self, account: Address) -> Reply {
        self.login = Some(account);
        Reply::new(235, "2.7.0", "Authentication successful")
    }

    pub(crate) fn reset(&mut self) {
        if self.is_in_transaction() {
            self.state = State::Greeted;
        }
    }
}

fn add_each_once(all: &mut Vec<Address>, more: Vec<Address>) {
    for address in more {
        if !all.contains(&address) {
            all.push(address);
        }
    }
}

fn out_of_order(text: &str) -> Step {
    Step::Reply(Reply::new(503, "5.5.1", text))
}

fn no_recipients() -> Reply {
    Reply::new(554, "5.5.1", "No valid recipients")
}

pub(crate) fn too_big() -> Reply {
    Reply::new(552, "5.3.4", "The message is too big")
}

pub(crate) fn trouble() -> Reply {
    Reply::new(451, "4.3.0", "A temporary failure; try again later")
}

impl Transaction {
    /// The message needs RFC 6531 on its way.
    pub(crate) fn needs_utf8(&self) -> bool {
        self.parameters.smtputf8
            || self.from.iter().chain(&self.recipients).any(|address| !address.is_ascii())
    }

    pub(crate) const fn says_eight_bit(&self) -> bool {
        matches!(self.parameters.body, Body::EightBit)
    }
}
