use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use line_codec::line::{Line, LineCodec};
use line_codec::mail_data::DataDecoder;
use mail_config::{Config, SmtpRole};
use mail_directory::sasl::{self, Exchange, Mechanism, SaslStep};
use mail_directory::{Directory, DirectoryError};
use mail_types::Address;
use server_core::{AccountGuard, Connection, Stream};
use smtp_proto::{Command, Recipient, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::{debug, error, info};

use crate::incoming::{Destinations, Incoming, Trace};
use crate::session::{Policy, Session, Step, Transaction, trouble};

/// Longest command line; RFC 5321 §4.5.3.1.4 asks for 512, AUTH for 12,288 (RFC 4954 §4).
const MAX_LINE: usize = 12_288;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
const READ: usize = 16 * 1024;

/// What every connection of the server shares.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) to: Destinations,
}

/// Serves one client until it leaves.
pub(crate) async fn serve(connection: Connection, shared: Shared) {
    let mut dialogue = Dialogue::new(connection, shared);
    dialogue.greet();
    loop {
        match dialogue.run().await {
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
enum Next {
    Closed,
    /// TLS begins, then the dialogue goes on.
    Secure,
}

struct Dialogue {
    connection: Connection,
    shared: Shared,
    session: Session,
    codec: LineCodec,
    input: BytesMut,
    output: String,
    incoming: Option<Incoming>,
    login: Option<AccountGuard>,
    errors: u32,
    login_failures: u32,
}

/// Why there is no next line.
enum End {
    Closed,
    TimedOut,
    Draining,
}

impl Dialogue {
    fn new(connection: Connection, shared: Shared) -> Self {
        let smtp = &shared.config.smtp;
        let policy = Policy {
            hostname: shared.config.hostname.to_ascii(),
            is_submission: connection.listener.role == SmtpRole::Submission,
            max_message_size: smtp.max_message_size,
            max_recipients: smtp.max_recipients,
            may_start_tls: connection.may_start_tls(),
            may_login: connection.may_login(&shared.config),
        };
        Self {
            connection,
            shared,
            session: Session::new(policy),
            codec: LineCodec::new(MAX_LINE),
            input: BytesMut::new(),
            output: String::new(),
            incoming: None,
            login: None,
            errors: 0,
            login_failures: 0,
        }
    }

    fn greet(&mut self) {
        self.say(&Reply::new(220, "", format!("{} ESMTP", self.shared.config.hostname.to_ascii())));
    }

    async fn run(&mut self) -> io::Result<Next> {
        loop {
            let line = match self.next_line().await? {
                Ok(line) => line,
                Err(End::Closed) => return Ok(Next::Closed),
                Err(End::TimedOut) => return self.close(Reply::new(421, "4.4.2", "Too slow; goodbye")).await,
                Err(End::Draining) => {
                    return self.close(Reply::new(421, "4.3.2", "Shutting down; come back later")).await;
                }
            };
            let step = match line {
                Line::Text(line) => match Command::parse(&line) {
                    Ok(command) => self.session.handle(command),
                    Err(error) => Step::Reply(Session::refuse(error)),
                },
                Line::BareCrOrLf => Step::Reply(Reply::new(500, "5.5.2", "Lines end in CRLF")),
                Line::TooLong => Step::Reply(Reply::new(500, "5.5.2", "The line is too long")),
            };
            if matches!(step, Step::StartTls) {
                self.start_tls().await?;
                return Ok(Next::Secure);
            }
            let Some(reply) = self.perform(step).await? else { return Ok(Next::Closed) };
            if !self.session.is_in_transaction() {
                self.incoming = None;
            }
            if self.count_errors(&reply) {
                return self.close(Reply::new(421, "4.7.0", "Too many errors; goodbye")).await;
            }
            self.say(&reply);
        }
    }

    /// Does what the session asks for; the reply to it, or `None` to end the connection.
    async fn perform(&mut self, step: Step) -> io::Result<Option<Reply>> {
        let reply = match step {
            Step::Reply(reply) => reply,
            Step::CheckSender { account, from } => self.check_sender(account, from).await,
            Step::CheckRecipient(recipient) => self.check_recipient(recipient).await,
            Step::ReceiveData => return self.receive_data().await,
            Step::ReceiveChunk { size, last } => return self.receive_chunk(size, last).await,
            Step::SkipChunk { size, reply } => {
                return Ok(self.read_chunk(size, None).await?.map(|()| reply));
            }
            Step::StartTls => trouble(),
            Step::Authenticate { mechanism, initial } => return self.authenticate(mechanism, initial).await,
            Step::Close(reply) => return self.close(reply).await.map(|_| None),
        };
        Ok(Some(reply))
    }

    fn count_errors(&mut self, reply: &Reply) -> bool {
        self.errors += u32::from(reply.is_negative());
        self.errors > self.shared.config.smtp.max_errors
    }

    fn say(&mut self, reply: &Reply) {
        reply.encode(&mut self.output);
    }

    async fn flush(&mut self) -> io::Result<()> {
        let deadline = self.shared.config.smtp.command_timeout;
        let output = std::mem::take(&mut self.output);
        if !output.is_empty() {
            timeout(deadline, self.connection.stream.write_all(output.as_bytes())).await??;
            timeout(deadline, self.connection.stream.flush()).await??;
        }
        Ok(())
    }

    async fn close(&mut self, reply: Reply) -> io::Result<Next> {
        self.say(&reply);
        self.flush().await?;
        timeout(HANDSHAKE_TIMEOUT, self.connection.stream.shutdown()).await??;
        Ok(Next::Closed)
    }

    /// The next line. Replies are held back as long as the client has sent more commands: PIPELINING, RFC 2920 §3.2.
    async fn next_line(&mut self) -> io::Result<Result<Line, End>> {
        loop {
            if let Some(line) = self.codec.next_line(&mut self.input) {
                return Ok(Ok(line));
            }
            self.flush().await?;
            let between = !self.session.is_in_transaction();
            self.input.reserve(1024);
            let (stream, drain) = (&mut self.connection.stream, &self.connection.drain);
            tokio::select! {
                read = timeout(self.shared.config.smtp.command_timeout, stream.read_buf(&mut self.input)) => match read {
                    Ok(Ok(0)) => return Ok(Err(End::Closed)),
                    Ok(read) => { read?; }
                    Err(_) => return Ok(Err(End::TimedOut)),
                },
                () = drain.begun(), if between => return Ok(Err(End::Draining)),
            }
        }
    }

    async fn check_sender(&mut self, account: Address, from: Address) -> Reply {
        let delimiter = self.shared.config.smtp.recipient_delimiter;
        let allowed = self.ask(move |directory| directory.may_send_as(&account, &from, delimiter)).await;
        self.session.sender_checked(allowed)
    }

    async fn check_recipient(&mut self, recipient: Recipient) -> Reply {
        let delimiter = self.shared.config.smtp.recipient_delimiter;
        let answer = self.ask(move |directory| {
            let address = match recipient {
                Recipient::Address(address) => Some(address),
                Recipient::Postmaster => directory.postmaster()?,
            };
            let Some(address) = address else { return Ok(None) };
            let resolution = directory.resolve(&address, delimiter)?;
            Ok(Some((address, resolution)))
        });
        match answer.await {
            Some(Some((address, resolution))) => self.session.recipient_checked(address, Some(resolution)),
            Some(None) => Reply::new(550, "5.1.1", "No such user here"),
            None => trouble(),
        }
    }

    /// Asks the directory off the async threads; `None` if it could not be asked.
    async fn ask<T, F>(&self, question: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&Directory) -> Result<T, DirectoryError> + Send + 'static,
    {
        let directory = Arc::clone(&self.shared.directory);
        match tokio::task::spawn_blocking(move || question(&directory)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                error!(%error, "the directory can't be asked");
                None
            }
            Err(error) => {
                error!(%error, "the directory can't be asked");
                None
            }
        }
    }

    fn trace(&self) -> Trace {
        let (config, greeting) = (&self.shared.config, self.session.greeting());
        let plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c));
        let extended = greeting.is_some_and(|greeting| greeting.is_extended);
        let mut protocol = if extended { "ESMTP" } else { "SMTP" }.to_owned();
        // RFC 3848: S for TLS, A for authentication; only ESMTP has them.
        if extended && self.connection.stream.is_tls() {
            protocol.push('S');
        }
        if extended && self.session.login().is_some() {
            protocol.push('A');
        }
        let ip = self.connection.peer.ip().to_canonical();
        Trace {
            hostname: config.hostname.to_ascii(),
            greeting: greeting.map(|g| g.name.as_str()).filter(plain).unwrap_or("unknown").to_owned(),
            peer: if ip.is_ipv6() { format!("IPv6:{ip}") } else { ip.to_string() },
            protocol,
            is_submission: self.connection.listener.role == SmtpRole::Submission,
            max_hops: config.smtp.max_hops,
            max_size: config.smtp.max_message_size,
        }
    }

    async fn receive_data(&mut self) -> io::Result<Option<Reply>> {
        let Some(transaction) = self.session.take_transaction() else { return Ok(Some(trouble())) };
        self.say(&Reply::new(354, "", "End with <CRLF>.<CRLF>"));
        self.flush().await?;
        let mut incoming = Incoming::new(self.trace());
        let mut decoder = DataDecoder::new();
        while !decoder.decode(&mut self.input, &mut incoming.piece) {
            if incoming.is_piece_full() {
                incoming = self.spill(incoming, &transaction).await?;
            }
            if !self.read_data().await? {
                return Ok(None);
            }
        }
        if decoder.has_bare_cr_or_lf() {
            incoming.refuse(Reply::new(554, "5.6.0", "A CR or LF stands alone; lines end in CRLF"));
        }
        self.finish(incoming, transaction).await.map(Some)
    }

    async fn receive_chunk(&mut self, size: u64, last: bool) -> io::Result<Option<Reply>> {
        let incoming = self.incoming.take().unwrap_or_else(|| Incoming::new(self.trace()));
        let Some(transaction) = self.session.take_transaction() else { return Ok(Some(trouble())) };
        self.session.resume(transaction.clone());
        self.incoming = Some(incoming);
        if self.read_chunk(size, Some(&transaction)).await?.is_none() {
            return Ok(None);
        }
        if !last {
            return Ok(Some(Reply::new(250, "2.0.0", format!("{size} octets received"))));
        }
        self.session.take_transaction();
        match self.incoming.take() {
            Some(incoming) => self.finish(incoming, transaction).await.map(Some),
            None => Ok(Some(trouble())),
        }
    }

    /// Reads a chunk into the message, or nowhere. `None` if the client left.
    async fn read_chunk(&mut self, size: u64, transaction: Option<&Transaction>) -> io::Result<Option<()>> {
        let mut left = size;
        while left > 0 {
            if self.input.is_empty() && !self.read_data().await? {
                return Ok(None);
            }
            let now = self.input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= u64::try_from(now).unwrap_or(left);
            match (self.incoming.take(), transaction) {
                (Some(mut incoming), Some(transaction)) => {
                    incoming.piece.extend_from_slice(&self.input.split_to(now));
                    if incoming.is_piece_full() {
                        incoming = self.spill(incoming, transaction).await?;
                    }
                    self.incoming = Some(incoming);
                }
                _ => self.input.advance(now),
            }
        }
        Ok(Some(()))
    }

    /// Reads more mail data; false if the client left or is too slow (RFC 5321 §4.5.3.2.5).
    async fn read_data(&mut self) -> io::Result<bool> {
        self.flush().await?;
        self.input.reserve(READ);
        let read = self.connection.stream.read_buf(&mut self.input);
        match timeout(self.shared.config.smtp.data_timeout, read).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => {
                self.close(Reply::new(421, "4.4.2", "Too slow; goodbye")).await?;
                Ok(false)
            }
        }
    }

    async fn spill(&self, mut incoming: Incoming, transaction: &Transaction) -> io::Result<Incoming> {
        let (to, transaction) = (self.shared.to.clone(), transaction.clone());
        let written = tokio::task::spawn_blocking(move || {
            incoming.spill(&to, &transaction);
            incoming
        });
        written.await.map_err(io::Error::other)
    }

    async fn finish(&self, incoming: Incoming, transaction: Transaction) -> io::Result<Reply> {
        let to = self.shared.to.clone();
        let stored = tokio::task::spawn_blocking(move || incoming.finish(&to, &transaction));
        Ok(stored.await.unwrap_or_else(|error| {
            error!(%error, "the message can't be stored");
            trouble()
        }))
    }
}

/// AUTH and STARTTLS.
impl Dialogue {
    async fn authenticate(
        &mut self,
        mechanism: Mechanism,
        initial: Option<Vec<u8>>,
    ) -> io::Result<Option<Reply>> {
        let malformed = || Reply::new(501, "5.5.2", "Not what the mechanism prescribes");
        let initial = match initial.map(|line| sasl::decode(&line)) {
            Some(None) => return Ok(Some(malformed())),
            Some(decoded) => decoded,
            None => None,
        };
        let (mut exchange, mut step) = Exchange::start(mechanism, initial.as_deref());
        loop {
            match step {
                SaslStep::Challenge(challenge) => {
                    self.say(&Reply::new(334, "", sasl::encode(challenge)));
                    let Ok(Line::Text(line)) = self.next_line().await? else { return Ok(Some(malformed())) };
                    if &line[..] == b"*" {
                        return Ok(Some(Reply::new(501, "5.7.0", "Authentication cancelled")));
                    }
                    step =
                        sasl::decode(&line).map_or(SaslStep::Malformed, |answer| exchange.respond(&answer));
                }
                SaslStep::Credentials { username, password } => {
                    let name = username.clone();
                    let found = self.ask(move |directory| directory.authenticate(&username, &password)).await;
                    return self.judge(&name, found).await;
                }
                SaslStep::Malformed => return Ok(Some(malformed())),
            }
        }
    }

    async fn judge(&mut self, username: &str, found: Option<Option<Address>>) -> io::Result<Option<Reply>> {
        match found {
            None => Ok(Some(Reply::new(454, "4.7.0", "A temporary failure; try again later"))),
            Some(Some(account)) => {
                let Some(guard) = self.connection.guard.login(&account) else {
                    self.close(Reply::new(421, "4.7.0", "Too many connections of this account")).await?;
                    return Ok(None);
                };
                info!(%account, "logged in");
                self.login = Some(guard);
                Ok(Some(self.session.logged_in(account)))
            }
            Some(None) => {
                info!(username, "login failed");
                self.connection.guard.login_failed();
                self.login_failures += 1;
                if self.login_failures >= self.shared.config.limits.max_login_failures {
                    self.close(Reply::new(421, "4.7.0", "Too many failed logins; goodbye")).await?;
                    return Ok(None);
                }
                Ok(Some(Reply::new(535, "5.7.8", "Wrong user name or password")))
            }
        }
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        self.say(&Reply::new(220, "2.0.0", "Ready to start TLS"));
        self.flush().await?;
        // What came before the handshake came in the clear: it is not obeyed. RFC 3207 §4.2.
        self.input.clear();
        self.codec = LineCodec::new(MAX_LINE);
        Ok(())
    }

    /// The same dialogue under TLS.
    async fn secured(self) -> io::Result<Self> {
        let Connection { stream, peer, local, listener, tls, guard, drain } = self.connection;
        let (Stream::Plain(plain), Some(context)) = (stream, &tls) else {
            return Err(io::Error::other("STARTTLS without a certificate"));
        };
        let stream = timeout(HANDSHAKE_TIMEOUT, context.accept(plain)).await??;
        let connection = Connection { stream, peer, local, listener, tls, guard, drain };
        let mut session = self.session;
        session.secured();
        Ok(Self { connection, session, ..self })
    }
}
