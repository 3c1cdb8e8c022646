use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jiff::Timestamp;
use line_codec::line::{Line, LineCodec};
use mail_config::{Config, RelayClient, SmtpConfig, SmtpRole};
use mail_directory::Directory;
use server_core::{AccountGuard, Connection};
use smtp_proto::{Command, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, info};

use crate::ahead::Ahead;
use crate::files::Destinations;
use crate::incoming::{Incoming, trouble};
use crate::milter::{Facts, Milters};
use crate::patience::{Kind, Patience, Wait};
use crate::policy::{Checks, Client, Verdicts};
use crate::room::Rooms;
use crate::session::{FutureRelease, Policy, Session, SpeaksFor, Step};

/// Longest command line; RFC 5321 §4.5.3.1.4 asks for 512, AUTH for 12,288 (RFC 4954 §4).
pub(crate) const MAX_LINE: usize = 12_288;
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long, and up to how many octets, a client may send on that is sent away.
const LINGER: Duration = Duration::from_secs(1);
const MAX_UNREAD: usize = 1 << 20;
/// What a client that sends nothing costs in buffers.
const IDLE: usize = 1024;
/// The same in a transaction, where commands come together.
const BUSY: usize = 4096;
/// Replies of pipelined commands are sent once there are so many octets of them.
const MAX_OUTPUT: usize = 8 * 1024;

/// What every connection of the server shares.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) to: Destinations,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) rooms: Arc<Rooms>,
}

/// Serves one client until it leaves.
pub(crate) async fn serve(connection: Connection, shared: Shared) {
    let mut dialogue = Dialogue::new(connection, shared);
    let greeting = dialogue.first_reply().await;
    let is_refused = greeting.code() == 421;
    if !is_refused {
        dialogue.say(&greeting);
    }
    loop {
        let next = if is_refused { dialogue.close(greeting.clone()).await } else { dialogue.run().await };
        if !matches!(next, Ok(Next::Secure)) && dialogue.milters.is_some() {
            Box::pin(dialogue.leave_milters()).await;
        }
        match next {
            Ok(Next::Closed) => return debug!("closed"),
            Err(error) => return debug!(%error, "the connection broke"),
            Ok(Next::Secure) => match dialogue.secured().await {
                Ok(secured) => dialogue = secured,
                Err(error) => return debug!(%error, "the TLS handshake failed"),
            },
        }
    }
}

/// How a run of the dialogue ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Closed,
    /// TLS begins, then the dialogue goes on.
    Secure,
}

/// One client's connection and what has been said on it.
pub(crate) struct Dialogue {
    pub(crate) connection: Connection,
    pub(crate) shared: Shared,
    pub(crate) session: Session,
    pub(crate) codec: LineCodec,
    pub(crate) input: BytesMut,
    pub(crate) output: String,
    /// What is known of the recipients to come.
    pub(crate) ahead: Ahead,
    /// The message of which BDAT has brought a part.
    pub(crate) incoming: Option<Incoming>,
    /// The filters that are asked, once a message has begun.
    pub(crate) milters: Option<Box<Milters>>,
    /// What they are told of the message, while there is one.
    pub(crate) facts: Option<Box<Facts>>,
    /// How the client has logged in.
    pub(crate) mechanism: Option<&'static str>,
    /// The name of the message to come.
    pub(crate) trace_id: Option<String>,
    /// Milters don't want this client: nothing is taken from it. RFC 5321 §3.1.
    pub(crate) is_turned_away: bool,
    /// What is being found out since MAIL.
    pub(crate) checks: Option<Checks>,
    pub(crate) login: Option<AccountGuard>,
    pub(crate) login_failures: u32,
    pub(crate) patience: Patience,
}

/// Why there is no next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    TimedOut,
    /// It has gone on without a message for too long.
    Fruitless,
    Draining,
    /// Others need the room of who does nothing.
    Crowded,
}

impl Dialogue {
    fn new(connection: Connection, shared: Shared) -> Self {
        let peer = connection.peer.ip();
        let is_proxy = shared.config.smtp.xclient.iter().any(|network| network.contains(peer));
        let policy = policy(&connection, &shared, is_proxy.then(SpeaksFor::default));
        Self {
            connection,
            shared,
            session: Session::new(policy),
            codec: LineCodec::new(MAX_LINE),
            input: BytesMut::new(),
            output: String::new(),
            ahead: Ahead::default(),
            incoming: None,
            milters: None,
            facts: None,
            mechanism: None,
            trace_id: None,
            is_turned_away: false,
            checks: None,
            login: None,
            login_failures: 0,
            patience: Patience::new(Instant::now()),
        }
    }

    pub(crate) fn greeting(&self) -> Reply {
        let protocol = if self.is_lmtp() { "LMTP" } else { "ESMTP" };
        Reply::new(220, "", format!("{} {protocol}", self.shared.config.hostname.to_ascii()))
    }

    /// The greeting, or why there is none. Boxed, so that no session without milters has to have room for it.
    pub(crate) async fn first_reply(&mut self) -> Reply {
        self.is_turned_away = false;
        if self.shared.config.smtp.milters.is_empty() {
            self.greeting()
        } else {
            Box::pin(self.welcome()).await
        }
    }

    pub(crate) fn is_lmtp(&self) -> bool {
        self.connection.listener.role == SmtpRole::Lmtp
    }

    async fn run(&mut self) -> io::Result<Next> {
        loop {
            let line = match self.next_line().await? {
                Ok(line) => self.mended(line),
                Err(end) => return self.end(end).await,
            };
            let command = understand(&line);
            // RFC 2920 §3.2: replies to unknown commands don't wait for others either.
            let ends_group = command.as_ref().map_or(true, Command::ends_group);
            let leads_nowhere = command.as_ref().is_ok_and(Command::leads_nowhere);
            if command.as_ref().is_ok_and(|command| self.is_hasty(command)) {
                info!(command = named(&line), "the client does not wait for replies");
                return self
                    .close(Reply::new(554, "5.5.0", "Wait for the reply before you go on; goodbye"))
                    .await;
            }
            let step = match command {
                Ok(command) if self.is_turned_away && !matches!(command, Command::Quit) => turned_away(),
                Ok(command) => self.session.handle(command, Timestamp::now()),
                Err(step) => step,
            };
            if !matches!(step, Step::CheckRecipient(..)) {
                self.ahead.clear();
            }
            if matches!(step, Step::StartTls) {
                self.start_tls().await?;
                return Ok(Next::Secure);
            }
            let Some(mut reply) = self.perform(step).await? else { return Ok(Next::Closed) };
            if reply.is_negative() {
                self.note_refusal_of(&line, &reply);
            }
            if !self.session.is_in_transaction() {
                self.incoming = None;
                self.checks = None;
                self.trace_id = None;
                if self.facts.is_some() {
                    Box::pin(self.end_with_milters()).await;
                }
            }
            if let (Line::Text(text), true) = (&line, self.milters.is_some()) {
                reply = Box::pin(self.ask_about_command(text, reply)).await;
            }
            // RFC 5321 §3.8.
            if reply.code() == 421 {
                return self.close(reply).await;
            }
            if reply.is_negative() {
                info!(command = named(&line), %reply, "refused");
                self.tarpit().await;
            }
            let kind = if leads_nowhere { Kind::Junk } else { self.kind(&line) };
            if let Some(goodbye) = self.patience.command(kind, &reply, &self.shared.config.smtp) {
                return self.close(goodbye).await;
            }
            self.say(&reply);
            if ends_group {
                self.flush().await?;
            }
        }
    }

    /// What a line is that does not lead nowhere. A recipient is one also where nothing can be made of its address.
    fn kind(&self, line: &Line) -> Kind {
        let Line::Text(text) = line else { return Kind::Other };
        if !text.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"RCPT ")) {
            Kind::Other
        } else if self.comes_from_us() {
            Kind::OurRecipient
        } else {
            Kind::Recipient
        }
    }

    /// The line as it is meant, of a device of ours.
    fn mended(&self, line: Line) -> Line {
        match line {
            Line::Text(text) if self.session.is_ours() => {
                Line::Text(Command::with_brackets(&text).map_or(text, Into::into))
            }
            Line::Text(_) | Line::BareCrOrLf | Line::TooLong => line,
        }
    }

    /// True if a stranger has sent more behind a command whose reply it had to wait for: as programs do that listen to no reply, and
    /// what another protocol's client was made to send. RFC 2920 §3.1.
    ///
    /// Deviates: what stands behind is lost with the connection, RFC 2920 §3.2 (9).
    fn is_hasty(&self, command: &Command) -> bool {
        !self.input.is_empty() && self.session.must_await(command) && self.is_stranger()
    }

    /// Does what the session asks for; the reply to it, or `None` to end the connection.
    async fn perform(&mut self, step: Step) -> io::Result<Option<Reply>> {
        let reply = match step {
            Step::Reply(reply) => reply,
            Step::Begin(reply) => self.begin_transaction(reply).await,
            Step::CheckSender { account, from } => {
                let reply = self.check_sender(account, from).await;
                self.begin_transaction(reply).await
            }
            Step::CheckHold => {
                let reply = Box::pin(self.check_hold()).await;
                self.begin_transaction(reply).await
            }
            Step::CheckRecipient(recipient, parameters) => self.check_recipient(recipient, &parameters).await,
            Step::ReceiveData(transaction) => return self.receive_data(*transaction).await,
            Step::ReceiveChunk { first, size, last } => return self.receive_chunk(first, size, last).await,
            Step::SkipChunk { size, reply } => {
                return Ok(self.skip_chunk(size).await?.map(|()| reply));
            }
            Step::StartTls => trouble(),
            Step::Authenticate { mechanism, initial } => return self.authenticate(mechanism, initial).await,
            // Boxed, so that no other session has to have room for it.
            Step::SpeakFor(client) => return Box::pin(self.speak_for(*client)).await,
            Step::Close(reply) => return self.close(reply).await.map(|_| None),
        };
        Ok(Some(reply))
    }

    /// True for who is to be looked at: another server, from outside.
    fn is_stranger(&self) -> bool {
        self.connection.listener.role == SmtpRole::Mx
            && !self.session.is_ours()
            && self.shared.verdicts.concern(self.connection.peer.ip().to_canonical())
    }

    /// Holds a refusal of a stranger back.
    async fn tarpit(&mut self) {
        let time = self.shared.verdicts.tarpit();
        if !time.is_zero() && self.is_stranger() {
            self.ahead.clear();
            sleep(time).await;
        }
    }

    /// The reply to MAIL, if nothing else stands against the transaction. A stranger and its sender are looked at from now on.
    async fn begin_transaction(&mut self, reply: Reply) -> Reply {
        let reply = self.check_room(reply).await;
        self.begin_checks();
        self.ask_milters(reply).await
    }

    /// The reply to MAIL, if it isn't the milters'. Boxed, so that no session without them has to have room for it.
    async fn ask_milters(&mut self, reply: Reply) -> Reply {
        if self.shared.config.smtp.milters.is_empty() {
            return reply;
        }
        Box::pin(self.ask_about_sender(reply)).await
    }

    /// Begins to look at a stranger and its sender.
    fn begin_checks(&mut self) {
        let ip = self.connection.peer.ip().to_canonical();
        if let Some(from) = self.session.sender().filter(|_| self.is_stranger()) {
            let helo = self.session.greeting().map(|greeting| greeting.name.clone()).unwrap_or_default();
            self.checks = Some(Checks::begin(&self.shared.verdicts, Client { ip, helo, from: from.clone() }));
        }
    }

    /// Says it, in our name where it is the last word, with the operator's hint where a refusal concerns people.
    pub(crate) fn say(&mut self, reply: &Reply) {
        let begins = self.output.len();
        let named;
        let reply = if matches!(reply.code(), 221 | 421) {
            named = reply.in_the_name_of(&self.shared.config.hostname.to_ascii());
            &named
        } else {
            reply
        };
        match self.shared.config.smtp.verdicts.help.as_ref().filter(|_| reply.concerns_people()) {
            Some(hint) => reply.with_hint(hint).encode(&mut self.output),
            None => reply.encode(&mut self.output),
        }
        // RFC 5321 §4.2, RFC 6531 §3.7.4: names in it, and what the operator has written, may be other than ASCII.
        if self.output.get(begins..).is_some_and(|said| !said.is_ascii()) {
            let said = self.output.split_off(begins);
            self.output.extend(said.chars().map(|c| if c.is_ascii() { c } else { '?' }));
        }
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let deadline = self.shared.config.smtp.command_timeout;
        let output = std::mem::take(&mut self.output);
        if !output.is_empty() {
            timeout(deadline, self.connection.stream.write_all(output.as_bytes())).await??;
            timeout(deadline, self.connection.stream.flush()).await??;
        }
        Ok(())
    }

    pub(crate) async fn close(&mut self, reply: Reply) -> io::Result<Next> {
        self.say(&reply);
        self.flush().await?;
        timeout(HANDSHAKE_TIMEOUT, self.connection.stream.shutdown()).await??;
        if !self.input.is_empty() || reply.code() == 421 {
            self.linger().await;
        }
        Ok(Next::Closed)
    }

    /// Reads what the client sends on, for a moment: closing with that unread would take our last words away from it. RFC 1122 §4.2.2.13.
    async fn linger(&mut self) {
        let stream = &mut self.connection.stream;
        // On the heap, so that no other session has to have room for it.
        let read_on = Box::pin(async {
            let mut unread = [0; IDLE];
            for _ in 0..MAX_UNREAD / IDLE {
                if !matches!(stream.read(&mut unread).await, Ok(1..)) {
                    return;
                }
            }
        });
        let _ = timeout(LINGER, read_on).await;
    }

    /// Says why no more commands are taken, and closes.
    pub(crate) async fn end(&mut self, end: End) -> io::Result<Next> {
        match end {
            End::Closed => Ok(Next::Closed),
            End::TimedOut => {
                self.close(Reply::new(421, "4.4.2", "Too little came for too long; goodbye")).await
            }
            End::Fruitless => {
                self.close(Reply::new(421, "4.4.2", "No mail came for too long; goodbye")).await
            }
            End::Crowded => {
                let text = "There is hardly room here for who does nothing; come back later";
                self.close(Reply::new(421, "4.3.2", text)).await
            }
            End::Draining => self.close(Reply::new(421, "4.3.2", "Shutting down; come back later")).await,
        }
    }

    /// The next line. Replies are held back while more commands are here already: PIPELINING, RFC 2920 §3.2.
    pub(crate) async fn next_line(&mut self) -> io::Result<Result<Line, End>> {
        let mut wait = None;
        loop {
            if self.output.len() >= MAX_OUTPUT {
                self.flush().await?;
            }
            if let Some(line) = self.codec.next_line(&mut self.input) {
                return Ok(Ok(line));
            }
            self.flush().await?;
            let now = Instant::now();
            // One for the whole line: octets that trickle in gain no time.
            let wait =
                *wait.get_or_insert_with(|| self.patience.wait(self.shared.config.smtp.command_timeout, now));
            if wait.deadline <= now {
                return Ok(Err(wait.end));
            }
            if let Some(end) = self.read_commands(wait).await? {
                return Ok(Err(end));
            }
        }
    }

    /// Waits for more commands, with next to no memory held. A drain ends the wait between transactions, and shortly before all ends.
    async fn read_commands(&mut self, wait: Wait) -> io::Result<Option<End>> {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        let between = !self.session.is_in_transaction();
        self.input.reserve(if between { IDLE } else { BUSY });
        let may_be_sent_away = !self.comes_from_us();
        let whole = self.shared.config.limits.drain_timeout;
        let Connection { stream, drain, guard, .. } = &mut self.connection;
        let crowd = async {
            guard.crowd().await;
            sleep_until(wait.in_crowd).await;
        };
        let drained = async {
            if between {
                drain.begun().await;
            } else {
                Box::pin(drain.nearly_over(whole)).await;
            }
        };
        tokio::select! {
            read = timeout_at(wait.deadline, stream.read_buf(&mut self.input)) => match read {
                Ok(Ok(0)) => Ok(Some(End::Closed)),
                Ok(read) => read.map(|_| None),
                Err(_) => Ok(Some(wait.end)),
            },
            () = drained => Ok(Some(End::Draining)),
            () = crowd, if may_be_sent_away => Ok(Some(End::Crowded)),
        }
    }

    /// True for users of ours, and servers of ours. Anybody else has to make room for others where it does nothing.
    pub(crate) fn comes_from_us(&self) -> bool {
        self.session.is_ours() || self.is_lmtp()
    }
}

/// What the operator allows who is connected.
pub(crate) fn policy(connection: &Connection, shared: &Shared, speaks_for: Option<SpeaksFor>) -> Policy {
    let smtp = &shared.config.smtp;
    Policy {
        hostname: shared.config.hostname.to_ascii(),
        role: connection.listener.role,
        max_message_size: smtp.max_message_size,
        max_recipients: max_recipients(connection.listener.role, smtp),
        is_tls: connection.is_secure(),
        may_start_tls: connection.may_start_tls(),
        may_login: connection.may_login(&shared.config),
        can_bind: connection.stream.channel_bindings().is_some(),
        speaks_for,
        relay: relay_client(connection, smtp),
        future_release: future_release(smtp.max_future_release),
    }
}

/// Who is known by its address to have mail sent by us. By LMTP comes what is for here.
fn relay_client(connection: &Connection, smtp: &SmtpConfig) -> Option<Arc<RelayClient>> {
    let is_meant = connection.listener.role != SmtpRole::Lmtp;
    smtp.relay_client_at(connection.peer.ip()).filter(|_| is_meant).cloned().map(Arc::new)
}

/// The limit as it is now, to be told to the client.
fn future_release(longest: Duration) -> Option<FutureRelease> {
    let seconds = u32::try_from(longest.as_secs()).ok().filter(|seconds| *seconds > 0)?;
    let latest = Timestamp::now().checked_add(longest).ok()?;
    Some(FutureRelease { seconds, latest })
}

/// Recipients that a message may have.
fn max_recipients(role: SmtpRole, smtp: &SmtpConfig) -> usize {
    match smtp.rates.per_message {
        1.. if role == SmtpRole::Submission => smtp.rates.per_message.min(smtp.max_recipients),
        _ => smtp.max_recipients,
    }
}

/// What is said to who was not greeted. RFC 5321 §3.1.
fn turned_away() -> Step {
    Step::Reply(Reply::new(503, "5.5.1", "Nothing is taken from you here, but QUIT"))
}

/// A command as the log shows it.
fn named(line: &Line) -> String {
    understand(line).map_or_else(|_| String::new(), |command| command.to_string())
}

/// The command that a line is, or what comes of a line that is none.
fn understand(line: &Line) -> Result<Command, Step> {
    match line {
        Line::Text(line) => Command::parse(line).map_err(Session::refuse),
        Line::BareCrOrLf => Err(Step::Reply(Reply::new(500, "5.5.2", "Lines end in CRLF"))),
        Line::TooLong => Err(Step::Reply(Reply::new(500, "5.5.2", "The line is too long"))),
    }
}
