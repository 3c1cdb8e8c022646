use mail_directory::ScramClaim;
use mail_directory::sasl::{self, Exchange, Mechanism, SaslStep};
use mail_types::{Address, ChannelBindings, Secret, Uid};
use pop3_proto::{Command, MessageNumber, ParseError, Response, ResponseCode};

use crate::encoder::Encoder;
use crate::maildrop::Maildrop;

/// Lines in a row that are no commands, after which the client is sent away.
const MAX_BAD_LINES: u32 = 20;

/// What the connection must do next. The session itself does no I/O.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this, then read the next line.
    Reply(Response),
    /// Send this, negotiate TLS, forget all that came before it, then call [`Session::secured`].
    StartTls(Response),
    /// Ask who this is and open the maildrop, then call [`Session::logged_in`].
    LogIn(Credentials),
    /// Ask the directory for what SCRAM needs of this name, then call [`Session::claimed`].
    LookUp(String),
    /// Send the message after a `+OK`, or the refusal of [`Session::no_such_message`].
    Send(Transfer),
    /// Remove these messages, then send what [`Session::updated`] says, and close.
    Update(Vec<Uid>),
    /// Send this, then close.
    Close(Response),
}

/// What a client says it is.
#[derive(Debug)]
pub(crate) enum Credentials {
    /// To be verified.
    Password { username: String, password: Secret<String> },
    /// It has proven to be this account.
    Proven(Address),
    /// It has failed to prove to be this one, for this reason.
    Unproven(String, &'static str),
}

impl Credentials {
    /// Who the client says to be.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Password { username, .. } | Self::Unproven(username, _) => username.clone(),
            Self::Proven(account) => account.to_string(),
        }
    }
}

/// What is said to a wrong name as to a wrong password.
pub(crate) const WRONG: &str = "wrong name or password";

/// A message that was asked for.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) uid: Uid,
    /// The text behind `+OK`.
    pub(crate) text: String,
    pub(crate) encoder: Encoder,
}

/// Why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// Wrong name or password, or why else they don't count.
    Credentials(&'static str),
    /// Too many logins from this address have failed.
    TurnedAway,
    /// Another session has the maildrop.
    InUse,
    /// The account has too many connections.
    TooManyConnections,
    /// There is no room left on the disk.
    DiskFull,
    /// The directory or the store failed.
    Failure,
}

/// What the connection allows at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Security {
    /// Names and passwords may be sent.
    pub(crate) may_login: bool,
    /// STLS may be given.
    pub(crate) may_start_tls: bool,
    /// What a login can be bound to.
    pub(crate) bindings: Option<ChannelBindings>,
}

impl Security {
    fn mechanisms(&self) -> impl Iterator<Item = &'static str> {
        Mechanism::offered(self.bindings.is_some()).filter(|_| self.may_login).map(Mechanism::name)
    }
}

/// The dialogue with one client. RFC 1939 §3.
#[derive(Debug)]
pub(crate) struct Session {
    state: State,
    security: Security,
    utf8: bool,
    failures_left: u32,
    /// Who an exchange is to prove the client to be.
    claimed_name: String,
    /// In a row.
    bad_lines: u32,
}

#[derive(Debug)]
enum State {
    Authorization,
    /// After USER.
    Named(String),
    /// Within AUTH.
    Authenticating(Exchange),
    Transaction(Maildrop),
}

impl Session {
    /// A client has connected, or secured its connection.
    pub(crate) fn new(security: Security, max_login_failures: u32) -> Self {
        let failures_left = max_login_failures;
        let (state, name) = (State::Authorization, String::new());
        Self { state, security, utf8: false, failures_left, claimed_name: name, bad_lines: 0 }
    }

    /// TLS was negotiated: what the client said before is forgotten (RFC 2595 §4).
    pub(crate) fn secured(&mut self, security: Security) {
        *self = Self::new(security, self.failures_left);
    }

    /// True after login.
    pub(crate) const fn is_logged_in(&self) -> bool {
        matches!(self.state, State::Transaction(_))
    }

    /// Advances by one line, given without its line end.
    pub(crate) fn handle(&mut self, line: &[u8]) -> Step {
        if matches!(self.state, State::Authenticating(_)) {
            return self.respond(line);
        }
        match Command::parse(line) {
            Ok(command) => {
                self.bad_lines = 0;
                self.command(command)
            }
            Err(ParseError::UnknownCommand) => self.refuse_line("unknown command"),
            Err(_) => self.refuse_line("the arguments don't fit the command"),
        }
    }

    /// A line that is no command, or none at all; it ends an AUTH in progress. Whoever sends nothing else, be it a browser that
    /// was led here, is sent away.
    pub(crate) fn refuse_line(&mut self, why: &'static str) -> Step {
        if matches!(self.state, State::Authenticating(_)) {
            self.state = State::Authorization;
        }
        self.bad_lines += 1;
        let response = Response::failed(why);
        if self.bad_lines >= MAX_BAD_LINES { Step::Close(response) } else { Step::Reply(response) }
    }

    fn command(&mut self, command: Command) -> Step {
        match command {
            Command::Capa => reply(self.capabilities()),
            Command::Lang(language) => reply(lang(language.as_deref())),
            Command::Stls => self.start_tls(),
            Command::Utf8 => self.enable_utf8(),
            Command::AuthList => reply(self.mechanisms()),
            Command::Auth { mechanism, initial } => self.authenticate(&mechanism, initial),
            Command::User(name) => self.user(name),
            Command::Pass(password) => self.pass(password),
            Command::Quit => self.quit(),
            Command::Noop => self.in_transaction(|_| Response::ok("")),
            Command::Stat => self.in_transaction(|maildrop| {
                let (count, size) = maildrop.totals();
                Response::ok(format!("{count} {size}"))
            }),
            Command::List(message) => self.in_transaction(|maildrop| list(maildrop, message)),
            Command::Uidl(message) => self.in_transaction(|maildrop| uidl(maildrop, message)),
            Command::Dele(message) => self.in_transaction(|maildrop| dele(maildrop, message)),
            Command::Rset => self.in_transaction(|maildrop| {
                maildrop.reset();
                let (count, size) = maildrop.totals();
                Response::ok(format!("maildrop has {count} messages ({size} octets)"))
            }),
            Command::Retr(message) => self.send(message, Encoder::whole()),
            Command::Top { message, lines } => self.send(message, Encoder::top(lines)),
        }
    }

    /// RFC 2449 §5, §6. No APOP, no LOGIN-DELAY; messages stay until they are deleted (EXPIRE NEVER).
    fn capabilities(&self) -> Response {
        let sasl = format!("SASL {}", self.security.mechanisms().collect::<Vec<_>>().join(" "));
        let mut lines = vec![
            "TOP",
            "UIDL",
            "RESP-CODES",
            "AUTH-RESP-CODE",
            "PIPELINING",
            "EXPIRE NEVER",
            "UTF8 USER",
            "LANG",
        ];
        if self.security.may_login {
            lines.extend(["USER", &sasl]);
        }
        if self.security.may_start_tls && !self.is_logged_in() {
            lines.push("STLS");
        }
        lines.push("IMPLEMENTATION Mailstead");
        Response::listing("capabilities follow", lines)
    }

    /// RFC 2595 §4; not after UTF8 (RFC 6856 §2.1).
    fn start_tls(&self) -> Step {
        if self.is_logged_in() || self.utf8 {
            return reply(Response::failed("STLS must come first"));
        }
        if !self.security.may_start_tls {
            return reply(Response::failed("TLS is not available or in use already"));
        }
        Step::StartTls(Response::ok("begin TLS negotiation"))
    }

    /// RFC 6856 §2.1. Valid in AUTHORIZATION only.
    ///
    /// Deviates: RFC 6856 §2.1 wants a message with UTF-8 in its header to be refused without this command. Such messages
    /// go out as they are, as POP3 servers have always sent them; a refusal would block a mail client on its maildrop.
    fn enable_utf8(&mut self) -> Step {
        if self.is_logged_in() {
            return reply(Response::failed("UTF8 must come before the login"));
        }
        self.utf8 = true;
        reply(Response::ok("UTF8 enabled"))
    }

    /// `AUTH` alone: Outlook asks so for the mechanisms.
    fn mechanisms(&self) -> Response {
        if self.is_logged_in() {
            return already();
        }
        Response::listing("mechanisms follow", self.security.mechanisms())
    }

    /// RFC 5034 §4
    fn authenticate(&mut self, mechanism: &str, initial: Option<Secret<String>>) -> Step {
        if self.is_logged_in() {
            return reply(already());
        }
        if !self.security.may_login {
            return reply(needs_tls());
        }
        let bindings = self.security.bindings.clone();
        let Some(mechanism) = Mechanism::named(mechanism, bindings.is_some()) else {
            return reply(Response::failed("unknown mechanism; AUTH alone lists those we know"));
        };
        let initial = match initial.map(|initial| sasl::decode_initial(initial.reveal().as_bytes())) {
            Some(None) => return self.refuse_line("this is no base64"),
            Some(Some(initial)) => Some(initial),
            None => None,
        };
        let (exchange, step) = Exchange::start(mechanism, bindings, initial.as_deref());
        self.state = State::Authenticating(exchange);
        self.proceed(step)
    }

    /// A line within AUTH: base64, or `*` to give up.
    fn respond(&mut self, line: &[u8]) -> Step {
        let State::Authenticating(exchange) = &mut self.state else {
            return reply(Response::failed("unknown command"));
        };
        let step = match line {
            b"*" => None,
            line => sasl::decode(line).map(|response| exchange.respond(&response)),
        };
        match step {
            Some(step) => self.proceed(step),
            None if line == b"*" => {
                self.state = State::Authorization;
                reply(Response::failed("AUTH cancelled"))
            }
            None => self.refuse_line("this is no base64"),
        }
    }

    fn proceed(&mut self, step: SaslStep) -> Step {
        match step {
            SaslStep::Challenge(challenge) => reply(Response::Challenge(sasl::encode(&challenge))),
            SaslStep::Credentials { username, password } => {
                self.state = State::Authorization;
                Step::LogIn(Credentials::Password { username, password })
            }
            SaslStep::LookUp(username) => {
                self.claimed_name.clone_from(&username);
                Step::LookUp(username)
            }
            SaslStep::Proven(account) => {
                self.state = State::Authorization;
                Step::LogIn(Credentials::Proven(account))
            }
            SaslStep::Malformed => self.login_failed(WRONG),
            SaslStep::Wrong => self.unproven(WRONG),
            SaslStep::Refused(reason) => self.unproven(reason.text()),
        }
    }

    fn unproven(&mut self, reason: &'static str) -> Step {
        self.state = State::Authorization;
        Step::LogIn(Credentials::Unproven(std::mem::take(&mut self.claimed_name), reason))
    }

    /// The answer to [`Step::LookUp`]; `None` if the directory failed.
    pub(crate) fn claimed(&mut self, claim: Option<ScramClaim>) -> Step {
        let (State::Authenticating(exchange), Some(claim)) = (&mut self.state, claim) else {
            self.state = State::Authorization;
            return reply(temporary());
        };
        let step = exchange.claimed(claim);
        self.proceed(step)
    }

    fn user(&mut self, name: String) -> Step {
        if self.is_logged_in() {
            return reply(already());
        }
        if !self.security.may_login {
            return reply(needs_tls());
        }
        self.state = State::Named(name);
        reply(Response::ok("send PASS"))
    }

    fn pass(&mut self, password: Secret<String>) -> Step {
        match std::mem::replace(&mut self.state, State::Authorization) {
            State::Named(username) => Step::LogIn(Credentials::Password { username, password }),
            state @ State::Transaction(_) => {
                self.state = state;
                reply(already())
            }
            State::Authorization | State::Authenticating(_) => reply(Response::failed("send USER first")),
        }
    }

    /// The answer to [`Step::LogIn`].
    pub(crate) fn logged_in(&mut self, outcome: Result<Maildrop, LoginError>) -> Step {
        match outcome {
            Ok(maildrop) => {
                let (count, size) = maildrop.totals();
                self.state = State::Transaction(maildrop);
                reply(Response::ok(format!("maildrop has {count} messages ({size} octets)")))
            }
            Err(LoginError::Credentials(reason)) => self.login_failed(reason),
            Err(LoginError::TurnedAway) => self.turned_away(),
            Err(LoginError::InUse) => {
                reply(Response::failed_with(ResponseCode::InUse, "another session has the maildrop"))
            }
            Err(LoginError::TooManyConnections) => {
                reply(Response::failed_with(ResponseCode::SysTemp, "too many connections of this account"))
            }
            Err(LoginError::DiskFull) => {
                let text = "the server's disk is full; tell its administrator";
                reply(Response::failed_with(ResponseCode::SysTemp, text))
            }
            Err(LoginError::Failure) => reply(temporary()),
        }
    }

    /// RFC 3206 §4: no client takes this for a wrong password.
    pub(crate) fn turned_away(&mut self) -> Step {
        self.state = State::Authorization;
        reply(Response::failed_with(ResponseCode::SysTemp, "too many failed logins; try again later"))
    }

    /// RFC 3206 §5. After too many the connection is closed.
    fn login_failed(&mut self, reason: &'static str) -> Step {
        self.state = State::Authorization;
        self.failures_left = self.failures_left.saturating_sub(1);
        let response = Response::failed_with(ResponseCode::Auth, reason);
        if self.failures_left == 0 { Step::Close(response) } else { Step::Reply(response) }
    }

    /// RFC 1939 §4, §5: only QUIT after login enters UPDATE.
    fn quit(&mut self) -> Step {
        match &self.state {
            State::Transaction(maildrop) => Step::Update(maildrop.deleted()),
            State::Authorization | State::Named(_) | State::Authenticating(_) => {
                Step::Close(Response::ok("goodbye"))
            }
        }
    }

    /// The answer to [`Step::Update`].
    pub(crate) fn updated(removed: bool) -> Response {
        if removed {
            Response::ok("goodbye")
        } else {
            Response::failed_with(ResponseCode::SysTemp, "some deleted messages were not removed")
        }
    }

    fn send(&mut self, message: MessageNumber, encoder: Encoder) -> Step {
        let State::Transaction(maildrop) = &self.state else { return reply(login_first()) };
        match (maildrop.uid(message), maildrop.size(message)) {
            (Some(uid), Some(size)) => Step::Send(Transfer { uid, text: format!("{size} octets"), encoder }),
            _ => reply(no_such_message()),
        }
    }

    fn in_transaction(&mut self, respond: impl FnOnce(&mut Maildrop) -> Response) -> Step {
        match &mut self.state {
            State::Transaction(maildrop) => reply(respond(maildrop)),
            State::Authorization | State::Named(_) | State::Authenticating(_) => reply(login_first()),
        }
    }
}

const fn reply(response: Response) -> Step {
    Step::Reply(response)
}

/// The file of a message can't be read now, or the directory or the store failed.
pub(crate) fn temporary() -> Response {
    Response::failed_with(ResponseCode::SysTemp, "a failure on our side, please try again later")
}

/// Also for a message that was removed by someone else meanwhile.
pub(crate) fn no_such_message() -> Response {
    Response::failed("no such message")
}

fn login_first() -> Response {
    Response::failed("log in first")
}

fn already() -> Response {
    Response::failed("you are logged in already")
}

fn needs_tls() -> Response {
    Response::failed_with(ResponseCode::SysPerm, "passwords are taken under TLS only; use STLS first")
}

fn list(maildrop: &Maildrop, message: Option<MessageNumber>) -> Response {
    let line = |number| maildrop.size(number).map(|size| format!("{number} {size}"));
    listing(maildrop, message, "messages follow", line)
}

fn uidl(maildrop: &Maildrop, message: Option<MessageNumber>) -> Response {
    let line = |number| maildrop.unique_id(number).map(|unique_id| format!("{number} {unique_id}"));
    listing(maildrop, message, "unique ids follow", line)
}

fn listing(
    maildrop: &Maildrop,
    message: Option<MessageNumber>,
    text: &'static str,
    line: impl Fn(MessageNumber) -> Option<String>,
) -> Response {
    match message {
        None => Response::listing(text, maildrop.numbers().filter_map(line)),
        Some(message) => line(message).map_or_else(no_such_message, Response::ok),
    }
}

fn dele(maildrop: &mut Maildrop, message: MessageNumber) -> Response {
    if maildrop.delete(message) { Response::ok("marked as deleted") } else { no_such_message() }
}

/// RFC 6856 §3.2. English is what we speak.
fn lang(language: Option<&str>) -> Response {
    match language {
        None => Response::listing("languages follow", ["en English"]),
        Some(range) if range == "*" || range.eq_ignore_ascii_case("en") => {
            Response::ok("en Language is English")
        }
        Some(_) => Response::failed("we speak English only"),
    }
}

#[cfg(test)]
mod tests;
