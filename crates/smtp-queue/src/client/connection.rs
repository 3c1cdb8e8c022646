use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use line_codec::line::{Line, LineCodec};
use line_codec::mail_data::DotStuffer;
use mail_trust::{Demand, Failure, Kind};
use smtp_proto::{Body, Reply, ReplyError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tracing::info;

use super::extensions::Extensions;
use super::haste::{Overdue, Patience};
use super::limits::Allowance;
use super::outgoing::{Outgoing, Recipient};
use super::session::{self, NO_TLS, Policy, Session};
use super::tls::Trust;
use super::transaction::{self, Awaited, Form, LOST, Outcome, Transaction};
use crate::message_file::Octets;
use crate::{Diagnosis, Status};

/// RFC 5321 §4.5.3.2
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For the TCP handshake with one address.
    pub(crate) connect: Duration,
    /// §4.5.3.2.1–3: greeting, EHLO, AUTH, MAIL, RCPT.
    pub(crate) command: Duration,
    /// §4.5.3.2.4: the reply to DATA.
    pub(crate) data: Duration,
    /// §4.5.3.2.5: one block of the message.
    pub(crate) block: Duration,
    /// §4.5.3.2.6: the reply to the message.
    pub(crate) end: Duration,
    /// For a TLS handshake.
    pub(crate) tls: Duration,
}

impl Timeouts {
    pub(crate) const RFC: Self = Self {
        connect: Duration::from_secs(60),
        command: Duration::from_secs(300),
        data: Duration::from_secs(120),
        block: Duration::from_secs(180),
        end: Duration::from_secs(600),
        tls: Duration::from_secs(60),
    };
}

/// The longest line of a reply; RFC 5321 §4.5.3.1.5 allows 512 octets, some hosts write more.
const MAX_LINE: usize = 4096;
/// The most lines of one reply.
const MAX_LINES: usize = 128;
/// Octets read from the message's file at once.
const BLOCK: usize = 128 * 1024;

/// Octets of commands that go out at once whether or not the server reads them: RFC 2920 §3.1.
const WINDOW: usize = 4096;
/// Octets of replies that are kept while commands go out.
const MAX_REPLIES: usize = 256 * 1024;

/// Octets to read at once from a message of this size.
fn block_for(size: u64) -> usize {
    // One more, so that its end is seen without another block.
    usize::try_from(size).unwrap_or(BLOCK).saturating_add(1).min(BLOCK)
}
/// How long a server may take to answer QUIT, or to say why it closes.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Timeout(#[from] Overdue),
    #[error("the connection was closed")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server sent something else than a reply")]
    Reply(#[from] ReplyError),
    #[error("the server sent an endless reply")]
    Endless,
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("the server does not prove what {0} requires: {1}")]
    Untrusted(&'static str, Failure),
    #[error("the server spoke before the TLS handshake")]
    Injection,
    #[error("the message file can't be read: {0}")]
    Message(io::Error),
}

/// Why there is no connection for mail.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) diagnosis: Diagnosis,
    /// It was the TLS handshake.
    pub(crate) tls_failed: bool,
    /// What was wrong with its security, if that was it.
    pub(crate) failure: Option<Failure>,
}

/// RFC 8460 §4.3.1
fn no_starttls() -> Failure {
    Failure::new(Kind::StarttlsNotSupported, "it does not offer STARTTLS, or refuses it".to_owned())
}

impl Broken {
    /// What was wrong with the security, if that was it.
    fn failure(self) -> Option<Failure> {
        match self {
            Self::Untrusted(_, failure) => Some(failure),
            Self::Tls(error) => Some(Failure::new(Kind::ValidationFailure, error.to_string())),
            Self::Timeout(_)
            | Self::Closed
            | Self::Io(_)
            | Self::Reply(_)
            | Self::Endless
            | Self::Injection
            | Self::Message(_) => None,
        }
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection over which mail may be sent.
pub(crate) struct Connection {
    stream: Box<dyn Io>,
    codec: LineCodec,
    buffer: BytesMut,
    host: String,
    server_name: String,
    /// What the server must prove.
    demand: Demand,
    extensions: Extensions,
    /// What the server still takes on this connection.
    allowance: Allowance,
    /// TLS is spoken.
    secure: bool,
    /// The server has proved its name, under TLS.
    verified: bool,
    /// What it should have proved, but need not.
    shortcoming: Option<Failure>,
    timeouts: Timeouts,
    /// What is left of the delivery's time.
    patience: Patience,
    /// A transaction was left open.
    open: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("host", &self.host).finish_non_exhaustive()
    }
}

/// What came of one message over one connection.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) outcomes: Vec<Outcome>,
    /// For the next message, if the connection is still good.
    pub(crate) connection: Option<Connection>,
    /// The server had closed the connection before the message; nothing was tried.
    pub(crate) stale: bool,
    /// The connection broke when the message was on its way: it may have been taken. RFC 5321 §4.5.3.2.6, RFC 1047.
    pub(crate) in_doubt: bool,
}

impl Connection {
    /// Brings a fresh stream to where mail may be sent; `implicit` starts with TLS.
    pub(crate) async fn start(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        policy: Policy,
        implicit: bool,
        trust: Option<&Trust>,
        (timeouts, patience): (Timeouts, Patience),
    ) -> Result<Self, Refusal> {
        let mut connection = Self {
            stream: Box::new(stream),
            codec: LineCodec::lenient(MAX_LINE),
            buffer: BytesMut::new(),
            host: policy.host.clone(),
            server_name: policy.server_name.clone(),
            demand: policy.demand.clone(),
            extensions: Extensions::default(),
            allowance: Allowance::default(),
            secure: false,
            verified: policy.is_verified(),
            shortcoming: None,
            timeouts,
            patience,
            open: false,
        };
        match connection.handshake(Session::new(policy, implicit), implicit, trust).await {
            Ok(Ok(extensions)) => {
                let allowance = Allowance::of(extensions.limits);
                Ok(Self { extensions, allowance, ..connection })
            }
            Ok(Err(diagnosis)) => {
                connection.quit().await;
                let is_plain = diagnosis.host.is_none() && diagnosis.status == NO_TLS;
                Err(Refusal { diagnosis, tls_failed: false, failure: is_plain.then(no_starttls) })
            }
            Err(broken) => {
                let diagnosis = connection.lost(&broken);
                if matches!(broken, Broken::Untrusted(..)) {
                    connection.quit().await;
                }
                let tls_failed = matches!(broken, Broken::Tls(_));
                Err(Refusal { diagnosis, tls_failed, failure: broken.failure() })
            }
        }
    }

    async fn handshake(
        &mut self,
        mut session: Session,
        implicit: bool,
        trust: Option<&Trust>,
    ) -> Result<Result<Extensions, Diagnosis>, Broken> {
        if implicit {
            self.start_tls(trust).await?;
        }
        let greeting = self.read(self.timeouts.command).await?;
        let mut step = session.replied(&greeting);
        loop {
            step = match step {
                session::Step::Send(line) => {
                    self.write(format!("{}\r\n", line.reveal()).as_bytes()).await?;
                    let reply = self.read(self.timeouts.command).await?;
                    session.replied(&reply)
                }
                session::Step::StartTls => {
                    self.start_tls(trust).await?;
                    session.secured()
                }
                session::Step::Ready(extensions) => return Ok(Ok(extensions)),
                session::Step::GiveUp(diagnosis) => return Ok(Err(diagnosis)),
            };
        }
    }

    async fn start_tls(&mut self, trust: Option<&Trust>) -> Result<(), Broken> {
        // What stands in the buffer came in the clear, from anyone: it must not be taken for the server's.
        if !self.buffer.is_empty() {
            return Err(Broken::Injection);
        }
        let trust = trust.ok_or_else(|| Broken::Tls(io::Error::other("no trust store")))?;
        let plain = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        let handshake = trust.connect(&self.server_name, plain);
        let secured = self.patience.wait(self.timeouts.tls, handshake).await;
        let secured = secured.map_err(|it| Broken::Tls(io::Error::new(io::ErrorKind::TimedOut, it)))?;
        let secured = secured.map_err(Broken::Tls)?;
        let judged = trust.judge(&self.demand, &self.server_name, &secured);
        self.stream = Box::new(secured);
        self.secure = true;
        self.judged(judged)
    }

    /// What the server has proved, or not, decides whether it is spoken to further.
    fn judged(&mut self, judged: Result<bool, Failure>) -> Result<(), Broken> {
        match judged {
            Ok(proved) => self.verified |= proved,
            Err(failure) if self.demand.is_enforced() => {
                return Err(Broken::Untrusted(self.demand.source(), failure));
            }
            Err(failure) => {
                if !matches!(self.demand, Demand::Name) {
                    self.shortcoming = Some(failure.clone());
                }
                let wanted_by = self.demand.source();
                info!(host = self.host, why = %failure, wanted_by, "the server does not prove what it should");
            }
        }
        Ok(())
    }

    /// True if the server takes a message of such octets as it is.
    pub(crate) const fn takes(&self, body: Body) -> bool {
        self.extensions.take(body)
    }

    /// The places of those who may be the recipients of the next transaction; none if they must have another connection. RFC 9422
    pub(crate) fn choose(&self, recipients: &[&Recipient]) -> Vec<usize> {
        self.allowance.choose(recipients)
    }

    /// True if the server takes no further transaction on this connection. RFC 9422 §4.1
    pub(crate) fn is_used_up(&self) -> bool {
        self.allowance.is_used_up()
    }

    /// Whether the connection is as secure as the domain wants it.
    pub(crate) fn security(&self) -> Result<(), Failure> {
        match &self.shortcoming {
            Some(shortcoming) => Err(shortcoming.clone()),
            None if self.secure => Ok(()),
            None => Err(no_starttls()),
        }
    }

    /// Why a message must not go to this server, but may to another one.
    pub(crate) fn tls_obstacle(&self, outgoing: &Outgoing) -> Option<Diagnosis> {
        let found = outgoing.tls_obstacle(&self.extensions, self.verified);
        found.map(|it| Diagnosis { text: format!("{}: {}", self.host, it.text), ..it }.at(&self.host))
    }

    /// Sends one message, `file` standing at its first octet.
    pub(crate) async fn deliver(mut self, outgoing: &Outgoing, file: Octets) -> Delivered {
        let mut transaction =
            Transaction::new(&self.host, outgoing, &self.extensions, self.verified, self.open);
        if transaction.is_begun() {
            self.allowance.spend(&outgoing.recipients);
        }
        let mut in_doubt = false;
        if let Err(broken) = self.run(&mut transaction, outgoing.size, file).await {
            // What follows on something that is no reply can't be told whose it is; and who waits for the rest of a message says nothing.
            if !matches!(broken, Broken::Reply(_) | Broken::Endless | Broken::Message(_)) {
                self.hear_last_words(&mut transaction).await;
            }
            in_doubt = transaction.is_at_body() && transaction.is_waiting();
            transaction.abandon(self.lost(&broken));
        }
        self.open = transaction.is_open();
        Delivered {
            stale: !transaction.is_answered() && !transaction.is_usable(),
            in_doubt,
            connection: transaction.is_usable().then_some(self),
            outcomes: transaction.finish(),
        }
    }

    /// A server that refuses in the middle of a message, or closes because it has enough of us, says why before it closes.
    async fn hear_last_words(&mut self, transaction: &mut Transaction) {
        while transaction.is_waiting() {
            match timeout(FAREWELL, self.read_reply()).await {
                Ok(Ok(reply)) => transaction.replied(&reply),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    async fn run(&mut self, transaction: &mut Transaction, size: u64, file: Octets) -> Result<(), Broken> {
        let mut file = Some(file);
        loop {
            match transaction.next() {
                transaction::Step::Send(lines) => self.write_commands(lines.as_bytes()).await?,
                transaction::Step::Read(awaited) => {
                    let reply = self.read_awaited(awaited).await?;
                    tracing::debug!(?awaited, code = reply.code(), "reply");
                    transaction.replied(&reply);
                }
                transaction::Step::SendBody(form) => self.send_body(form, size, file.take()).await?,
                transaction::Step::Done => return Ok(()),
            }
        }
    }

    async fn read_awaited(&mut self, awaited: Awaited) -> Result<Reply, Broken> {
        let Timeouts { command, data, end, .. } = self.timeouts;
        match awaited {
            Awaited::Reset | Awaited::Mail | Awaited::Recipient(_) => self.read(command).await,
            Awaited::Data => self.read(data).await,
            Awaited::Body => self.patience.clone().wait_long(end, self.read_reply()).await?,
        }
    }

    /// The connection is used for another delivery.
    pub(crate) fn renew(&mut self, patience: Patience) {
        self.patience = patience;
    }

    async fn send_body(&mut self, form: Form, size: u64, file: Option<Octets>) -> Result<(), Broken> {
        match (form, file) {
            (Form::Dotted, Some(file)) => self.send_dotted(file, size).await,
            (Form::Chunk, Some(file)) => {
                self.write(format!("BDAT {size} LAST\r\n").as_bytes()).await?;
                self.send_chunk(file, size).await
            }
            (Form::Empty, _) | (_, None) => self.write(b".\r\n").await,
        }
    }

    async fn send_dotted(&mut self, mut file: Octets, size: u64) -> Result<(), Broken> {
        let (mut stuffer, mut stuffed) = (DotStuffer::new(), BytesMut::new());
        let mut block = BytesMut::with_capacity(block_for(size));
        while file.read_buf(&mut block).await.map_err(Broken::Message)? > 0 {
            stuffer.write(&block, &mut stuffed);
            block.clear();
            // A small message goes in one piece, with its end.
            if stuffed.len() >= BLOCK {
                self.write_block(&stuffed).await?;
                stuffed.clear();
            }
        }
        stuffer.finish(&mut stuffed);
        self.write(&stuffed).await
    }

    /// RFC 3030 §2: exactly as many octets as announced.
    async fn send_chunk(&mut self, file: Octets, size: u64) -> Result<(), Broken> {
        let (mut file, mut left) = (file.take(size), size);
        let mut block = BytesMut::with_capacity(block_for(size));
        while left > 0 {
            let length = file.read_buf(&mut block).await.map_err(Broken::Message)?;
            if length == 0 {
                return Err(Broken::Message(io::ErrorKind::UnexpectedEof.into()));
            }
            self.write_block(&block).await?;
            block.clear();
            left = left.saturating_sub(length as u64);
        }
        self.flush().await
    }

    async fn write(&mut self, data: &[u8]) -> Result<(), Broken> {
        self.write_block(data).await?;
        self.flush().await
    }

    /// Sends a group of commands. What does not fit into any window goes out while replies come in: a server that must wait until its replies are
    /// taken takes no more commands. RFC 2920 §3.1.
    async fn write_commands(&mut self, lines: &[u8]) -> Result<(), Broken> {
        if lines.len() <= WINDOW {
            return self.write(lines).await;
        }
        let (mut input, mut output) = tokio::io::split(&mut self.stream);
        let (replies, mut is_open) = (&mut self.buffer, true);
        let exchange = async {
            let mut sent = Box::pin(async {
                output.write_all(lines).await?;
                output.flush().await
            });
            loop {
                tokio::select! {
                    sent = &mut sent => return sent,
                    read = input.read_buf(replies), if is_open && replies.len() < MAX_REPLIES => is_open = matches!(read, Ok(1..)),
                }
            }
        };
        Ok(self.patience.wait(self.timeouts.block, exchange).await??)
    }

    async fn write_block(&mut self, data: &[u8]) -> Result<(), Broken> {
        Ok(self.patience.wait(self.timeouts.block, self.stream.write_all(data)).await??)
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        Ok(self.patience.wait(self.timeouts.block, self.stream.flush()).await??)
    }

    async fn read(&mut self, patience: Duration) -> Result<Reply, Broken> {
        self.patience.clone().wait(patience, self.read_reply()).await?
    }

    async fn read_reply(&mut self) -> Result<Reply, Broken> {
        let mut lines = Vec::new();
        while lines.len() < MAX_LINES {
            let line = self.read_line().await?;
            let is_last = Reply::is_last_line(&line);
            lines.push(line);
            if is_last {
                return Ok(Reply::parse(&lines)?);
            }
        }
        Err(Broken::Endless)
    }

    async fn read_line(&mut self) -> Result<Bytes, Broken> {
        loop {
            match self.codec.next_line(&mut self.buffer) {
                Some(Line::Text(line)) => return Ok(line),
                Some(Line::BareCrOrLf) => return Err(ReplyError.into()),
                Some(Line::TooLong) => return Err(Broken::Endless),
                None => {}
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Broken::Closed);
            }
        }
    }

    fn lost(&self, broken: &Broken) -> Diagnosis {
        let status = match broken {
            Broken::Timeout(_) | Broken::Closed | Broken::Io(_) => LOST,
            Broken::Reply(_) | Broken::Endless | Broken::Injection => Status::new(4, 5, 0),
            Broken::Tls(_) | Broken::Untrusted(..) => Status::new(4, 7, 5),
            Broken::Message(_) => Status::new(4, 3, 0),
        };
        Diagnosis::ours(status, format!("{}: {broken}", self.host)).at(&self.host)
    }

    /// Takes leave, without insisting on an answer.
    pub(crate) async fn quit(mut self) {
        let farewell = async {
            self.write(b"QUIT\r\n").await?;
            self.read(FAREWELL).await?;
            self.stream.shutdown().await?;
            Ok::<(), Broken>(())
        };
        if let Ok(Err(broken)) = timeout(FAREWELL, farewell).await {
            tracing::debug!(%broken, "no farewell");
        }
    }
}
