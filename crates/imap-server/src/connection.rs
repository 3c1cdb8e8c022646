//! One connection: the only place that knows the socket, its deadlines, TLS and the flow of continuations.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imap_proto::{Command, Language, ParseError, Request, Tag};
use line_codec::imap::{Event, Refusal};
use mail_config::Listener;
use mail_types::ChannelBindings;
use server_core::{AccountGuard, Connection, ConnectionGuard, Drain, TlsContext};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error, info};

use crate::answer::{Failure, Output, Status};
use crate::capabilities::Offer;
use crate::command::quota::Owner;
use crate::idle::{Idled, heard};
use crate::limits;
use crate::login::{Authenticating, Authentication, Door, LoggedIn, log_in, log_in_proven};
use crate::server::Shared;
use crate::session::{Progress, Session, State};
use crate::text::{RespText, Text};
use crate::wire::Wire;

/// RFC 3501 §5.4.
pub(crate) const SILENT: Text = Text::TooLongSilent;
pub(crate) const FLOOD: RespText = Text::TooMuchAtOnce.coded("TOOBIG");
pub(crate) const RESTARTING: Text = Text::Restarting;

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wire: Wire,
    pub(crate) drain: Drain,
    /// `None` only while a blocking task works with it.
    pub(crate) session: Option<Box<Session>>,
    tls: Option<Arc<TlsContext>>,
    /// Login is allowed without TLS: on loopback, or by the operator's will.
    trusted: bool,
    offers_tls: bool,
    guard: ConnectionGuard,
    listener: Arc<Listener>,
    peer: IpAddr,
    account: Option<AccountGuard>,
    /// Commands answered BAD since the last one that was not.
    errors: u32,
    failed_logins: u32,
    /// As it said by ID.
    client_name: Option<String>,
    /// In which it is spoken to, whoever is logged in. RFC 5255 §3.
    pub(crate) language: Language,
}

/// What comes after a command.
pub(crate) enum Next {
    Command,
    Close,
    StartTls,
}

/// Serves one connection to its end.
pub(crate) async fn run(connection: Connection, shared: Arc<Shared>) {
    let mut client = Client {
        trusted: connection.may_login(&shared.config),
        offers_tls: connection.may_start_tls(),
        wire: Wire::new(connection.stream, &shared.config.imap),
        drain: connection.drain,
        session: Some(Box::new(Session::new())),
        tls: connection.tls,
        guard: connection.guard,
        listener: connection.listener,
        peer: connection.peer.ip().to_canonical(),
        account: None,
        errors: 0,
        failed_logins: 0,
        client_name: None,
        language: Language::Unchosen,
        shared,
    };
    let greeting = format!("* OK [CAPABILITY {}] Mailstead ready", client.capabilities());
    if let Err(error) = client.wire.line(&greeting).await {
        debug!(%error, "the client did not take the greeting");
        return;
    }
    loop {
        match client.serve().await {
            Ok(Next::StartTls) => match Box::pin(client.start_tls()).await {
                Ok(secured) => client = secured,
                Err(error) => {
                    info!(%error, "STARTTLS failed");
                    return;
                }
            },
            Ok(Next::Command | Next::Close) => break,
            Err(error) => {
                debug!(%error, "the connection broke");
                break;
            }
        }
    }
    client.wire.shutdown().await;
}

impl Client {
    /// Takes commands until the connection is to be closed or secured.
    async fn serve(&mut self) -> io::Result<Next> {
        let mut silent_at = Instant::now() + self.patience();
        loop {
            let event = tokio::select! {
                event = timeout_at(silent_at, self.wire.event()) => event,
                () = heard(self.session.as_deref_mut()) => {
                    if let Some(text) = self.tell_news(false).await? {
                        return self.bye(text).await;
                    }
                    continue;
                }
                () = self.drain.begun() => {
                    return self.bye(RESTARTING).await;
                }
            };
            let Ok(event) = event else {
                return self.bye(SILENT).await;
            };
            let Some(event) = event? else { return Ok(Next::Close) };
            // On the heap, so that only a client that is served, or in IDLE, has it.
            match Box::pin(self.on_event(event)).await? {
                Next::Command => silent_at = Instant::now() + self.patience(),
                next @ (Next::Close | Next::StartTls) => return Ok(next),
            }
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        let config = &self.shared.config.imap;
        if self.account.is_some() { config.idle_timeout } else { config.login_timeout }
    }

    async fn on_event(&mut self, event: Event) -> io::Result<Next> {
        match event {
            Event::Command(line) => match self.parse(&line) {
                Ok(request) => {
                    let before = self.errors;
                    let next = self.on_request(request).await?;
                    if self.errors == before {
                        self.errors = 0;
                    }
                    Ok(next)
                }
                Err(error) => self.refuse(&error).await,
            },
            Event::Continue => {
                self.wire.line("+ OK").await?;
                Ok(Next::Command)
            }
            Event::Append { head, literal } => self.append(&head, literal).await,
            Event::Refused { tag, refusal } => {
                let tag = tag.as_deref().map_or("*".into(), String::from_utf8_lossy);
                self.fail(tag, &refused(refusal)).await?;
                self.count_error().await
            }
            Event::AppendMore { .. } | Event::AppendEnd(_) | Event::Flood => self.bye(FLOOD).await,
        }
    }

    /// Mailbox names are in UTF-8 once the client has said so.
    pub(crate) fn parse(&self, line: &[u8]) -> Result<Request, ParseError> {
        let is_utf8 = self.session.as_deref().is_some_and(|session| session.enabled.utf8);
        if is_utf8 { Request::parse_utf8(line) } else { Request::parse(line) }
    }

    async fn refuse(&mut self, error: &ParseError) -> io::Result<Next> {
        self.fail(tag_of(error), &Failure::from(error)).await?;
        self.count_error().await
    }

    pub(crate) async fn count_error(&mut self) -> io::Result<Next> {
        self.errors += 1;
        if self.errors < self.shared.config.imap.max_errors {
            return Ok(Next::Command);
        }
        self.bye(Text::TooManyErrors).await
    }

    async fn on_request(&mut self, request: Request) -> io::Result<Next> {
        let Request { tag, mut command } = request;
        if let Command::Enable(names) = &mut command {
            names.retain(|name| !self.is_hidden(name));
        }
        if let Err(failure) = self.check(&command)? {
            self.fail(&tag, &failure).await?;
            return if matches!(failure, Failure::Bad(_)) {
                self.count_error().await
            } else {
                Ok(Next::Command)
            };
        }
        self.act(tag, command).await
    }

    /// Does what a command asks for that may be performed.
    async fn act(&mut self, tag: Tag, command: Command) -> io::Result<Next> {
        match command {
            Command::Capability => {
                let capabilities = self.capabilities();
                self.tell(&tag, &format!("* CAPABILITY {capabilities}"), Text::Done).await?;
            }
            Command::Logout => {
                let goodbye = self.status("*", Status::Bye, Text::Goodbye);
                self.tell(&tag, &goodbye, Text::Done).await?;
                return Ok(Next::Close);
            }
            Command::Unauthenticate => return self.unauthenticate(&tag).await,
            Command::Id(fields) => self.on_id(&tag, &fields).await?,
            Command::Language(ranges) => self.on_language(&tag, &ranges).await?,
            Command::StartTls => return self.agree_to_tls(&tag).await,
            Command::Login { username, password } => return self.log_in(&tag, username, password).await,
            Command::Authenticate { mechanism, initial } => {
                let initial = initial.as_ref().map(|initial| initial.reveal().as_slice());
                return self.authenticate(&tag, &mechanism, initial).await;
            }
            Command::Idle => return self.on_idle(&tag).await,
            Command::Compress => self.compress(&tag).await?,
            Command::Append(request) => return self.append_at_once(tag.to_string(), request).await,
            command @ (Command::Noop
            | Command::Enable(_)
            | Command::Select(..)
            | Command::Examine(..)
            | Command::Create(..)
            | Command::Delete(_)
            | Command::Rename(..)
            | Command::Subscribe(_)
            | Command::Unsubscribe(_)
            | Command::List(_)
            | Command::Lsub(..)
            | Command::XList(..)
            | Command::Namespace
            | Command::Notify(_)
            | Command::Status(..)
            | Command::GetQuota(_)
            | Command::GetQuotaRoot(_)
            | Command::SetQuota(..)
            | Command::GetMetadata(..)
            | Command::SetMetadata(..)
            | Command::SetAcl(..)
            | Command::DeleteAcl(..)
            | Command::GetAcl(_)
            | Command::ListRights(..)
            | Command::MyRights(_)
            | Command::Check
            | Command::Close
            | Command::Unselect
            | Command::Expunge
            | Command::UidExpunge(_)
            | Command::Search(_)
            | Command::CancelUpdate(_)
            | Command::Esearch(..)
            | Command::Sort(..)
            | Command::Thread(..)
            | Command::Fetch(..)
            | Command::Store { .. }
            | Command::Copy(..)
            | Command::Move(..)) => return self.perform(Request { tag, command }).await,
        }
        Ok(Next::Command)
    }

    /// Whether a command may be performed at all.
    pub(crate) fn check(&self, command: &Command) -> io::Result<Result<(), Failure>> {
        let session = self.session()?;
        if !session.allows(command) {
            return Ok(Err(Failure::bad(Text::NotInThisState)));
        }
        let checked = session.check_numbers(command);
        Ok(checked.and_then(|()| limits::check(command, &self.shared.config.imap.commands)))
    }

    fn capabilities(&self) -> String {
        let offer = Offer {
            is_logged_in: self.account.is_some(),
            may_start_tls: self.offers_tls && !self.wire.is_tls(),
            may_login: self.may_login(),
            can_bind: self.channel_bindings().is_some(),
            is_compressed: self.wire.is_compressed(),
            max_append: self.shared.config.imap.max_append,
        };
        offer.list(|name| self.is_hidden(name))
    }

    /// What this client may bind its login to: SCRAM-SHA-256-PLUS is offered to it.
    fn channel_bindings(&self) -> Option<ChannelBindings> {
        self.wire.channel_bindings().filter(|_| !self.is_hidden("AUTH=SCRAM-SHA-256-PLUS"))
    }

    /// True if the operator does not want this capability to be used by this client.
    pub(crate) fn is_hidden(&self, capability: &str) -> bool {
        if capability.eq_ignore_ascii_case("UIDONLY") && !self.shared.config.imap.uid_only {
            return true;
        }
        let owner = self.session.as_deref().and_then(|session| session.owner.as_ref());
        let account = owner.map(|owner| &owner.address);
        let masks = self.shared.config.imap.masks.iter();
        masks
            .filter(|mask| mask.applies(account, self.client_name.as_deref()))
            .any(|mask| mask.hide.iter().any(|name| name.eq_ignore_ascii_case(capability)))
    }

    /// Tells who we are, and what is offered if that depends on who the client is.
    async fn on_id(&mut self, tag: &Tag, fields: &[(Vec<u8>, Option<Vec<u8>>)]) -> io::Result<()> {
        let before = self.capabilities();
        let name = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"name"));
        let name = name.and_then(|(_, value)| value.as_deref());
        self.client_name = name.map(|name| String::from_utf8_lossy(name).into_owned());
        let now = self.capabilities();
        let done = RespText::new(Text::Done);
        let done = if now == before { done } else { done.or_coded(|| format!("CAPABILITY {now}")) };
        self.tell(tag, "* ID (\"name\" \"Mailstead\")", done).await
    }

    /// Promise 5: never a password in the clear.
    const fn may_login(&self) -> bool {
        self.trusted || self.wire.is_tls()
    }

    async fn agree_to_tls(&mut self, tag: &Tag) -> io::Result<Next> {
        if !self.offers_tls || self.wire.is_tls() || self.tls.is_none() {
            self.say(tag, Status::Bad, Text::StartTlsNotOffered).await?;
            return self.count_error().await;
        }
        self.say(tag, Status::Ok, Text::BeginTls).await?;
        Ok(Next::StartTls)
    }

    /// RFC 4978 §3.
    async fn compress(&mut self, tag: &Tag) -> io::Result<()> {
        if self.wire.is_compressed() {
            return self.say(tag, Status::No, Text::DeflateIsActive.coded("COMPRESSIONACTIVE")).await;
        }
        self.say(tag, Status::Ok, Text::DeflateActive).await?;
        self.wire.compress();
        Ok(())
    }

    /// Back to where a client is before login; what COMPRESS and STARTTLS made of the connection stays. RFC 8437 §3. It is a stranger's again, of
    /// whose network there may be too many.
    async fn unauthenticate(&mut self, tag: &Tag) -> io::Result<Next> {
        self.session = Some(Box::new(Session::new()));
        self.account = None;
        self.language = Language::Unchosen;
        self.wire.distrust(&self.shared.config.imap);
        self.say(tag, Status::Ok, Text::NobodyLoggedIn).await?;
        if self.guard.logout().is_err() {
            return self.bye(Text::TooManyFromThere.coded("UNAVAILABLE")).await;
        }
        Ok(Next::Command)
    }

    /// The language is to be chosen anew: who chose it before may be somebody else (RFC 5255 §7).
    async fn start_tls(self) -> io::Result<Self> {
        let tls = self.tls.clone().ok_or_else(|| io::Error::other("no certificate"))?;
        let wire = self.wire.start_tls(&tls, &self.shared.config.imap).await?;
        Ok(Self { wire, language: Language::Unchosen, ..self })
    }

    async fn authenticate(&mut self, tag: &Tag, mechanism: &str, initial: Option<&[u8]>) -> io::Result<Next> {
        if !self.may_login() {
            return self.refuse_login(tag).await;
        }
        let mut claimed = String::new();
        let mut step = Authentication::start(mechanism, self.channel_bindings(), initial);
        loop {
            match step {
                Authenticating::Challenge(authentication, challenge) => {
                    self.wire.line(&format!("+ {challenge}")).await?;
                    let event = timeout(self.patience(), self.wire.event()).await??;
                    let Some(Event::Command(line)) = event else { return Ok(Next::Close) };
                    step = authentication.respond(&line);
                }
                Authenticating::Credentials(username, password) => {
                    return self.log_in(tag, username, password).await;
                }
                Authenticating::LookUp(authentication, username) => {
                    if let Err(failure) = self.door().admits(&username).await {
                        return self.end_login(tag, Err(failure)).await;
                    }
                    claimed.clone_from(&username);
                    let Ok(claim) = self.shared.directory.scram_claim(username).await.inspect_err(|error| {
                        error!(%error, "the directory failed");
                    }) else {
                        self.say(tag, Status::No, Text::TryLater.coded("UNAVAILABLE")).await?;
                        return Ok(Next::Command);
                    };
                    step = authentication.claimed(claim);
                }
                Authenticating::Proven(account) => {
                    let login = log_in_proven(&self.shared, &self.door(), &claimed, Ok(account)).await;
                    return self.end_login(tag, login).await;
                }
                Authenticating::Wrong(reason) => {
                    let login = log_in_proven(&self.shared, &self.door(), &claimed, Err(reason)).await;
                    return self.end_login(tag, login).await;
                }
                Authenticating::Refused(failure) => {
                    self.fail(tag, &failure).await?;
                    return self.count_error().await;
                }
            }
        }
    }

    async fn refuse_login(&mut self, tag: &Tag) -> io::Result<Next> {
        self.say(tag, Status::No, Text::UseStartTls.coded("PRIVACYREQUIRED")).await?;
        self.count_error().await
    }

    async fn log_in(
        &mut self,
        tag: &Tag,
        username: String,
        password: mail_types::Secret<String>,
    ) -> io::Result<Next> {
        if !self.may_login() {
            return self.refuse_login(tag).await;
        }
        let login = log_in(&self.shared, &self.door(), username, password).await;
        self.end_login(tag, login).await
    }

    fn door(&self) -> Door<'_> {
        let Self { guard, listener, peer, shared, .. } = self;
        Door { guard, listener: &listener.name, peer: *peer, events: &shared.events }
    }

    async fn end_login(&mut self, tag: &Tag, login: Result<LoggedIn, Failure>) -> io::Result<Next> {
        match login {
            Ok(login) => {
                debug!(account = %login.address, "session begins");
                self.account = Some(login.guard);
                self.wire.trust(&self.shared.config.imap);
                let owner = Arc::new(Owner { address: login.address, shared: Arc::clone(&self.shared) });
                self.session = Some(Box::new(Session {
                    state: State::Authenticated(login.account),
                    owner: Some(owner),
                    ..Session::new()
                }));
                let capabilities = self.capabilities();
                let text = Text::LoggedIn.coded_as(format!("CAPABILITY {capabilities}"));
                self.say(tag, Status::Ok, text).await?;
                Ok(Next::Command)
            }
            Err(failure) => {
                self.fail(tag, &failure).await?;
                self.failed_logins += 1;
                if self.failed_logins < self.shared.config.limits.max_login_failures {
                    return Ok(Next::Command);
                }
                self.bye(Text::TooManyFailedLogins).await
            }
        }
    }

    async fn on_idle(&mut self, tag: &Tag) -> io::Result<Next> {
        match self.idle().await? {
            Idled::Done => self.say(tag, Status::Ok, Text::DoneIdling).await?,
            // What came instead of DONE is taken as the next command: iOS sends some at once behind IDLE.
            Idled::By(event) => {
                self.say(tag, Status::Bad, Text::DoneExpected).await?;
                return Box::pin(self.on_event(event)).await;
            }
            Idled::Gone => return Ok(Next::Close),
            Idled::Bye(text) => return self.bye(text).await,
        }
        Ok(Next::Command)
    }

    pub(crate) fn session(&self) -> io::Result<&Session> {
        self.session.as_deref().ok_or_else(lost)
    }

    pub(crate) fn session_mut(&mut self) -> io::Result<&mut Session> {
        self.session.as_deref_mut().ok_or_else(lost)
    }

    /// Works with the session off the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Session, &mut Output) -> T + Send + 'static,
    ) -> io::Result<(T, Output)> {
        let work = self.begin_work(Output::new(self.language), work)?;
        self.end_work(work.await)
    }

    /// Begins to work with the session; [`Self::end_work`] waits for it.
    pub(crate) fn begin_work<T: Send + 'static>(
        &mut self,
        mut out: Output,
        work: impl FnOnce(&mut Session, &mut Output) -> T + Send + 'static,
    ) -> io::Result<JoinHandle<(Box<Session>, T, Output)>> {
        let mut session = self.session.take().ok_or_else(lost)?;
        Ok(tokio::task::spawn_blocking(move || {
            let result = work(&mut session, &mut out);
            (session, result, out)
        }))
    }

    pub(crate) fn end_work<T>(
        &mut self,
        ended: Result<(Box<Session>, T, Output), JoinError>,
    ) -> io::Result<(T, Output)> {
        let (session, result, out) = ended.map_err(|error| {
            error!(%error, "a command failed to end");
            lost()
        })?;
        self.session = Some(session);
        Ok((result, out))
    }

    /// What comes after a command that ended so.
    pub(crate) async fn after(&mut self, ended: &Progress) -> io::Result<Next> {
        match ended {
            Progress::Bad => self.count_error().await,
            Progress::Lost => Ok(Next::Close),
            Progress::Done | Progress::Fetching(_) => Ok(Next::Command),
        }
    }

    /// Performs a command that needs the store. Its answer goes out in steps: while one is sent, the next is made, and
    /// that after it only when the first was taken.
    async fn perform(&mut self, request: Request) -> io::Result<Next> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let tag = request.tag.to_string();
        let (mut progress, mut out) =
            self.command(&tag, move |session, out| session.handle(request, now, out)).await?;
        let mut sent = Vec::new();
        loop {
            let pieces = out.take();
            let next = match progress {
                Progress::Fetching(job) => {
                    let out = Output::reusing(sent, self.language);
                    Ok(self.begin_work(out, move |session, out| session.go_on(*job, out))?)
                }
                ended @ (Progress::Done | Progress::Bad | Progress::Lost) => Err(ended),
            };
            sent = self.wire.send(pieces).await?;
            match next {
                Ok(next) => (progress, out) = self.end_work(next.await)?,
                Err(ended) => {
                    self.tell_arrivals().await?;
                    return self.after(&ended).await;
                }
            }
        }
    }
}

/// The tag for the answer to what is no command.
pub(crate) fn tag_of(error: &ParseError) -> String {
    error.tag().map_or_else(|| "*".to_owned(), Tag::to_string)
}

pub(crate) const fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::LineTooLong => Failure::bad(Text::CommandTooLong),
        Refusal::LiteralTooBig => Failure::Bad(Text::LiteralTooBig.coded("TOOBIG")),
        Refusal::MessageTooBig => Failure::no(Text::MessageTooBig.coded("TOOBIG")),
    }
}

pub(crate) fn lost() -> io::Error {
    io::Error::other("the session was lost")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size_of_task<F: Future>(_: &impl Fn(Connection, Arc<Shared>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_a_session_is_small() {
        // All that a waiting session holds beside its socket, and the mailbox that it shares with others.
        let task = size_of_task(&run);
        assert!(task <= 4096, "{task}");
    }
}
