use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use line_codec::line::{Line, LineCodec};
use mail_events::LoginFailure;
use mail_types::{Address, Uid};
use pop3_proto::Response;
use server_core::{AccountGuard, Connection, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, error, info};

use crate::maildrop::Maildrop;
use crate::server::{Mail, OpenMaildrop};
use crate::session::{
    Credentials, LoginError, Security, Session, Step, Transfer, no_such_message, temporary,
};

/// RFC 2449 §4 wants 255 octets; a response of SASL may be longer.
const MAX_LINE: usize = 8192;
/// Octets of a message read and sent at a time.
const CHUNK: usize = 64 << 10;
/// How long a client may be silent before its login.
///
/// Deviates: RFC 1939 §3 wants 10 minutes in every state; as with other servers, nobody holds a connection that long without a name.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a login waits for the session that has the maildrop.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(50);
/// How long a client may be silent once we are to stop.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Speaks with one client until it goes.
pub(crate) async fn serve(connection: Connection, mail: Arc<Mail>) {
    let mut session =
        Session::new(security(&connection, &mail), mail.config.limits.max_login_failures.max(1));
    let mut client = Client::new(connection, mail);
    client.queue(&Response::ok("Mailstead POP3 ready"));
    loop {
        let step = match client.line(session.is_logged_in()).await {
            Ok(Some(Line::Text(line))) => session.handle(&line),
            Ok(Some(Line::TooLong)) => session.refuse_line("the line is too long"),
            Ok(Some(Line::BareCrOrLf)) => session.refuse_line("a CR must be followed by LF"),
            Ok(None) => break,
            Err(error) => {
                debug!(%error, "the connection ended");
                break;
            }
        };
        match client.perform(step, &mut session).await {
            Ok(Some(same)) => client = same,
            Ok(None) => break,
            Err(error) => {
                debug!(%error, "the connection ended");
                break;
            }
        }
    }
}

fn security(connection: &Connection, mail: &Mail) -> Security {
    Security {
        may_login: connection.may_login(&mail.config),
        may_start_tls: connection.may_start_tls(),
        bindings: connection.stream.channel_bindings(),
    }
}

/// Opens a maildrop. Another session may be about to notice that its client has gone, so its lock is waited for a little.
async fn open_maildrop(mail: &Arc<Mail>, account: &Address) -> Result<(OpenMaildrop, Maildrop), LoginError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let (mail, owner) = (Arc::clone(mail), account.clone());
        let opened = spawn_blocking(move || mail.open_maildrop(&owner));
        match opened.await.map_err(|_| LoginError::Failure)? {
            Err(LoginError::InUse) if Instant::now() < deadline => tokio::time::sleep(LOCK_POLL).await,
            Err(LoginError::InUse) => {
                info!(%account, "the maildrop is in use");
                return Err(LoginError::InUse);
            }
            opened => return opened,
        }
    }
}

/// A client's connection and, after login, its maildrop.
struct Client {
    connection: Connection,
    mail: Arc<Mail>,
    codec: LineCodec,
    input: BytesMut,
    /// Responses to pipelined commands, sent together.
    output: Vec<u8>,
    login: Option<Login>,
}

struct Login {
    maildrop: Arc<OpenMaildrop>,
    _counted: AccountGuard,
}

impl Client {
    fn new(connection: Connection, mail: Arc<Mail>) -> Self {
        let (codec, input, output) = (LineCodec::lenient(MAX_LINE), BytesMut::new(), Vec::new());
        Self { connection, mail, codec, input, output, login: None }
    }

    fn queue(&mut self, response: &Response) {
        self.output.extend_from_slice(&response.encode());
    }

    /// Does what the session decided; `None` once the connection is to be closed.
    async fn perform(mut self, step: Step, session: &mut Session) -> io::Result<Option<Self>> {
        let step = if let Step::LookUp(username) = step {
            if self.admits(&username).await {
                let claim = self.mail.directory.scram_claim(username).await;
                let claim = claim.inspect_err(|error| error!(%error, "the directory can't be asked"));
                session.claimed(claim.ok())
            } else {
                session.turned_away()
            }
        } else {
            step
        };
        let step = if let Step::LogIn(credentials) = step {
            let outcome = self.log_in(credentials).await;
            session.logged_in(outcome)
        } else {
            step
        };
        match step {
            Step::Reply(response) => self.queue(&response),
            Step::StartTls(response) => {
                self.queue(&response);
                self = self.start_tls().await?;
                session.secured(security(&self.connection, &self.mail));
            }
            Step::Send(transfer) => self.transfer(transfer).await?,
            Step::Update(uids) => return self.update(uids).await.map(|()| None),
            Step::Close(response) => {
                self.queue(&response);
                return self.close().await.map(|()| None);
            }
            // A login is never answered by another one.
            Step::LogIn(_) | Step::LookUp(_) => return Ok(None),
        }
        Ok(Some(self))
    }

    /// Whether a password of this name may be tried.
    async fn admits(&self, username: &str) -> bool {
        let admits = self.connection.guard.admits(username).await;
        if !admits {
            info!(username, "login refused after too many that failed");
            self.note_login_failure(username, "not tried after too many that failed");
        }
        admits
    }

    fn note_login_failure(&self, username: &str, reason: &str) {
        let Connection { peer, listener, .. } = &self.connection;
        let peer = peer.ip().to_canonical();
        let event = || LoginFailure::event(&listener.name, peer, username, reason);
        self.mail.events.note_refusal(&peer.to_string(), event);
    }

    async fn log_in(&mut self, credentials: Credentials) -> Result<Maildrop, LoginError> {
        let name = credentials.name();
        let is_password = matches!(credentials, Credentials::Password { .. });
        if is_password && !self.admits(&name).await {
            return Err(LoginError::TurnedAway);
        }
        let account = self.mail.authenticate(credentials).await;
        if let Err(LoginError::Credentials(reason)) = account {
            info!(username = name, reason, "login failed");
            self.note_login_failure(&name, reason);
            self.connection.guard.login_failed(&name).await;
        }
        let account = account?;
        let counted = self.connection.guard.login(&account).ok_or(LoginError::TooManyConnections)?;
        let (open, maildrop) = open_maildrop(&self.mail, &account).await?;
        info!(%account, "logged in");
        self.login = Some(Login { maildrop: Arc::new(open), _counted: counted });
        Ok(maildrop)
    }

    /// RFC 1939 §6. The maildrop is free again before the client hears of it.
    async fn update(mut self, uids: Vec<Uid>) -> io::Result<()> {
        let removed = match self.login.take() {
            Some(login) => spawn_blocking(move || login.maildrop.remove(&uids)).await.unwrap_or(false),
            None => true,
        };
        self.queue(&Session::updated(removed));
        self.close().await
    }

    async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.connection.stream.shutdown().await
    }

    /// RFC 2595 §4. What the client sent in the clear behind STLS is thrown away unread.
    async fn start_tls(mut self) -> io::Result<Self> {
        self.flush().await?;
        self.input.clear();
        self.codec = LineCodec::lenient(MAX_LINE);
        let Connection { stream, peer, local, is_behind_tls, listener, tls, guard, drain } = self.connection;
        let (Stream::Plain(stream), Some(context)) = (stream, &tls) else {
            return Err(io::Error::other("TLS is not to be had"));
        };
        let stream = timeout(HANDSHAKE_TIMEOUT, context.accept(stream)).await??;
        let connection = Connection { stream, peer, local, is_behind_tls, listener, tls, guard, drain };
        Ok(Self { connection, ..self })
    }

    /// Sends a message from its file, chunk by chunk. Nothing is sent before its first chunk was read.
    async fn transfer(&mut self, mut transfer: Transfer) -> io::Result<()> {
        let Some(login) = &self.login else { return Ok(()) };
        let (maildrop, uid) = (Arc::clone(&login.maildrop), transfer.uid);
        let opened = spawn_blocking(move || {
            maildrop.message(uid)?.map(|message| read(message.file, Vec::with_capacity(CHUNK))).transpose()
        });
        let (mut file, mut chunk) = match opened.await? {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                self.queue(&no_such_message());
                return Ok(());
            }
            Err(error) => {
                error!(%error, %uid, "a message can't be read");
                self.queue(&temporary());
                return Ok(());
            }
        };
        self.queue(&Response::ok(transfer.text));
        while !chunk.is_empty() && !transfer.encoder.is_complete() {
            transfer.encoder.encode(&chunk, &mut self.output);
            if chunk.len() < CHUNK {
                break;
            }
            self.flush().await?;
            (file, chunk) = spawn_blocking(move || read(file, chunk)).await?.inspect_err(|error| {
                // The terminating octet is never sent, so the client knows that it has half a message.
                error!(%error, %uid, "a message can't be read to its end");
            })?;
        }
        transfer.encoder.finish(&mut self.output);
        Ok(())
    }

    /// The client's next line, `None` once it has gone. Whatever is to be sent is sent before we wait for it.
    async fn line(&mut self, logged_in: bool) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.codec.next_line(&mut self.input) {
                return Ok(Some(line));
            }
            self.flush().await?;
            if self.read(logged_in).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// RFC 1939 §3: the connection of a client that is silent for too long is closed, and nothing is deleted.
    async fn read(&mut self, logged_in: bool) -> io::Result<usize> {
        let patience = self.mail.config.pop3.idle_timeout;
        let patience = if logged_in { patience } else { patience.min(LOGIN_TIMEOUT) };
        let drain = self.connection.drain.clone();
        let draining = async {
            drain.begun().await;
            tokio::time::sleep(DRAIN_GRACE).await;
        };
        tokio::select! {
            read = timeout(patience, self.connection.stream.read_buf(&mut self.input)) => read?,
            () = draining => Ok(0),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let stream = &mut self.connection.stream;
        let write = async {
            stream.write_all(&self.output).await?;
            stream.flush().await
        };
        timeout(self.mail.config.pop3.idle_timeout, write).await??;
        self.output.clear();
        // An idle session shall not keep the space of its largest message.
        self.output.shrink_to(CHUNK / 8);
        Ok(())
    }
}

/// Reads the next [`CHUNK`] octets, or fewer at the end of the file.
fn read(mut file: File, mut chunk: Vec<u8>) -> io::Result<(File, Vec<u8>)> {
    chunk.clear();
    file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok((file, chunk))
}
