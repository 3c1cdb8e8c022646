//! LOGIN and AUTHENTICATE: who the client is. RFC 3501 §6.2, RFC 4959.

use std::net::IpAddr;
use std::sync::Arc;

use mail_directory::ScramClaim;
use mail_directory::sasl::{Exchange, Mechanism, SaslStep, Unbound, decode, decode_initial, encode};
use mail_events::{EventLog, LoginFailure};
use mail_store::Account;
use mail_types::{Address, ChannelBindings, Secret};
use server_core::{AccountGuard, ConnectionGuard};
use tracing::{error, info};

use crate::answer::Failure;
use crate::server::Shared;
use crate::text::Text;

/// A login that succeeded.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) address: Address,
    pub(crate) account: Arc<Account>,
    pub(crate) guard: AccountGuard,
}

/// What the directory and the store say.
enum Answer {
    Wrong(Text),
    Failed(Text),
    Right(Address, Arc<Account>),
}

/// Asks the directory and opens the account. RFC 5530.
pub(crate) async fn log_in(
    shared: &Arc<Shared>,
    door: &Door<'_>,
    username: String,
    password: Secret<String>,
) -> Result<LoggedIn, Failure> {
    door.admits(&username).await?;
    let answer = ask(shared, username.clone(), password).await;
    door.admit(&username, answer).await
}

/// As [`log_in`] for a client that has proven to be `account`, or failed to prove to be `username` for a reason.
pub(crate) async fn log_in_proven(
    shared: &Arc<Shared>,
    door: &Door<'_>,
    username: &str,
    account: Result<Address, Text>,
) -> Result<LoggedIn, Failure> {
    let answer = match account {
        Ok(account) => open(shared, account).await,
        Err(reason) => Answer::Wrong(reason),
    };
    door.admit(username, answer).await
}

/// Where clients come in.
pub(crate) struct Door<'c> {
    pub(crate) guard: &'c ConnectionGuard,
    pub(crate) listener: &'c str,
    pub(crate) peer: IpAddr,
    pub(crate) events: &'c EventLog,
}

impl Door<'_> {
    /// Whether a password of this name may be tried.
    pub(crate) async fn admits(&self, username: &str) -> Result<(), Failure> {
        if self.guard.admits(username).await {
            return Ok(());
        }
        info!(username, "login refused after too many that failed");
        self.note(username, "not tried after too many that failed");
        Err(Failure::no(Text::TryLater.coded("UNAVAILABLE")))
    }

    async fn admit(&self, username: &str, answer: Answer) -> Result<LoggedIn, Failure> {
        match answer {
            Answer::Right(address, account) => {
                // Clients take AUTHENTICATIONFAILED for a wrong password, so a limit must be told from it.
                let too_many = Failure::no(Text::TooManyConnections.coded("LIMIT"));
                let guard = self.guard.login(&address).ok_or(too_many)?;
                info!(account = %address, "logged in");
                Ok(LoggedIn { address, account, guard })
            }
            Answer::Wrong(reason) => {
                info!(username, "login failed");
                self.note(username, "wrong name or password");
                self.guard.login_failed(username).await;
                Err(Failure::no(reason.coded("AUTHENTICATIONFAILED")))
            }
            Answer::Failed(reason) => Err(Failure::no(reason.coded("UNAVAILABLE"))),
        }
    }

    fn note(&self, username: &str, reason: &str) {
        let event = || LoginFailure::event(self.listener, self.peer, username, reason);
        self.events.note_refusal(&self.peer.to_string(), event);
    }
}

async fn ask(shared: &Arc<Shared>, username: String, password: Secret<String>) -> Answer {
    let address = match shared.directory.log_in(username, password).await {
        Ok(Some(address)) => address,
        Ok(None) => return Answer::Wrong(Text::WrongCredentials),
        Err(error) => {
            error!(%error, "the directory failed");
            return Answer::Failed(Text::TryLater);
        }
    };
    open(shared, address).await
}

async fn open(shared: &Arc<Shared>, address: Address) -> Answer {
    let (shared, owner) = (Arc::clone(shared), address.clone());
    let opened = tokio::task::spawn_blocking(move || shared.store.account(&owner)).await;
    match opened {
        Ok(Ok(account)) => Answer::Right(address, account),
        Ok(Err(error)) => {
            error!(%error, account = %address, "the account's mail can't be opened");
            Answer::Failed(if error.is_full() { Text::DiskFull } else { Text::TryLater })
        }
        Err(error) => {
            error!(%error, account = %address, "opening the account's mail failed unexpectedly");
            Answer::Failed(Text::TryLater)
        }
    }
}

/// An AUTHENTICATE in progress.
#[derive(Debug)]
pub(crate) struct Authentication {
    exchange: Exchange,
}

/// What an AUTHENTICATE needs next.
pub(crate) enum Authenticating {
    /// Send `+ ` and this, then give the answer to [`Authentication::respond`].
    Challenge(Authentication, String),
    Credentials(String, Secret<String>),
    /// Ask the directory for what SCRAM needs of this name, then call [`Authentication::claimed`].
    LookUp(Authentication, String),
    /// The client has proven to be this account.
    Proven(Address),
    /// It has not, for this reason.
    Wrong(Text),
    /// It can't go on.
    Refused(Failure),
}

impl Authentication {
    /// `bindings` as [`Exchange::start`] has it.
    pub(crate) fn start(
        mechanism: &str,
        bindings: Option<ChannelBindings>,
        initial: Option<&[u8]>,
    ) -> Authenticating {
        let Some(mechanism) = Mechanism::named(mechanism, bindings.is_some()) else {
            return Authenticating::Refused(Failure::no(Text::UnknownMechanism.coded("CANNOT")));
        };
        let initial = match initial.map(decode_initial) {
            Some(None) => return Authenticating::Refused(Failure::bad(Text::NotBase64)),
            Some(Some(initial)) => Some(initial),
            None => None,
        };
        let (exchange, step) = Exchange::start(mechanism, bindings, initial.as_deref());
        Self { exchange }.then(step)
    }

    /// Goes on with a line of the client's; `*` cancels.
    pub(crate) fn respond(mut self, line: &[u8]) -> Authenticating {
        if line == b"*" {
            return Authenticating::Refused(Failure::bad(Text::Cancelled));
        }
        let response = if line.is_empty() { Some(Vec::new()) } else { decode(line) };
        match response {
            Some(response) => {
                let step = self.exchange.respond(&response);
                self.then(step)
            }
            None => Authenticating::Refused(Failure::bad(Text::NotBase64)),
        }
    }

    /// Goes on with what the directory knows.
    pub(crate) fn claimed(mut self, claim: ScramClaim) -> Authenticating {
        let step = self.exchange.claimed(claim);
        self.then(step)
    }

    fn then(self, step: SaslStep) -> Authenticating {
        match step {
            SaslStep::Challenge(challenge) => Authenticating::Challenge(self, encode(&challenge)),
            SaslStep::LookUp(username) => Authenticating::LookUp(self, username),
            SaslStep::Proven(account) => Authenticating::Proven(account),
            SaslStep::Wrong => Authenticating::Wrong(Text::WrongCredentials),
            SaslStep::Refused(Unbound::NotTold) => Authenticating::Wrong(Text::NotToldOfPlus),
            SaslStep::Refused(Unbound::UnknownBinding) => Authenticating::Wrong(Text::UnknownBinding),
            SaslStep::Refused(Unbound::OtherConnection) => Authenticating::Wrong(Text::OtherConnection),
            SaslStep::Credentials { username, password } => Authenticating::Credentials(username, password),
            SaslStep::Malformed => Authenticating::Refused(Failure::bad(Text::MalformedResponse)),
        }
    }
}
