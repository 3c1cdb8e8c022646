//! One connection to a milter.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mail_config::{Milter, MilterAddress};
use milter_proto::{Command, Offer, PacketError, Reply, ReplyError, next_packet};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Octets read at once.
const READ: usize = 16 * 1024;
/// Packets that need no reply are sent once there are so many octets of them.
const MAX_OUTPUT: usize = 64 * 1024;

/// Why a milter can't be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MilterError {
    #[error("can't connect to it: {0}")]
    Connect(#[source] io::Error),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("it does not answer in time")]
    TimedOut,
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error(transparent)]
    Reply(#[from] ReplyError),
    #[error("it wants what is not offered: version {}, actions {:#x}, steps {:#x}", .0.version, .0.actions.0, .0.steps.0)]
    Offer(Offer),
    #[error("it answers what is out of place: {0}")]
    OutOfPlace(String),
    #[error("it makes the message too big")]
    TooBig,
    #[error("it has lost what it asks")]
    Lost,
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Socket for T {}

/// The connection, and what was agreed on.
pub(crate) struct Link {
    socket: Box<dyn Socket>,
    input: BytesMut,
    output: BytesMut,
    pub(crate) offer: Offer,
    command_timeout: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("offer", &self.offer).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects and negotiates.
    pub(crate) async fn open(milter: &Milter) -> Result<Self, MilterError> {
        let opened = async {
            let mut link = Self {
                socket: connect(&milter.address).await.map_err(MilterError::Connect)?,
                input: BytesMut::new(),
                output: BytesMut::new(),
                offer: Offer::ours(),
                command_timeout: milter.command_timeout,
            };
            Offer::ours().encode(&mut link.output);
            let answer = link.reply(milter.connect_timeout).await?;
            let Reply::Negotiated(offer) = answer else {
                return Err(MilterError::OutOfPlace(format!("{answer:?}")));
            };
            if !offer.is_acceptable() {
                return Err(MilterError::Offer(offer));
            }
            link.offer = offer;
            Ok(link)
        };
        timeout(milter.connect_timeout, opened).await.unwrap_or(Err(MilterError::TimedOut))
    }

    /// Says something that is not answered.
    pub(crate) async fn say(&mut self, command: Command<'_>) -> Result<(), MilterError> {
        command.encode(&mut self.output);
        if self.output.len() >= MAX_OUTPUT { self.flush(self.command_timeout).await } else { Ok(()) }
    }

    /// Says something, and waits for the answer unless there is none.
    pub(crate) async fn ask(&mut self, command: Command<'_>, is_silent: bool) -> Result<Reply, MilterError> {
        self.say(command).await?;
        if is_silent {
            return Ok(Reply::Continue);
        }
        loop {
            let answer = self.reply(self.command_timeout).await?;
            if !matches!(answer, Reply::Progress) {
                return Ok(answer);
            }
        }
    }

    /// The next answer.
    pub(crate) async fn reply(&mut self, patience: Duration) -> Result<Reply, MilterError> {
        self.flush(patience).await?;
        let packet = timeout(patience, self.packet()).await.map_err(|_| MilterError::TimedOut)??;
        Ok(Reply::parse(&packet)?)
    }

    async fn packet(&mut self) -> Result<Bytes, MilterError> {
        loop {
            if let Some(packet) = next_packet(&mut self.input)? {
                return Ok(packet);
            }
            self.input.reserve(READ);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    pub(crate) async fn flush(&mut self, patience: Duration) -> Result<(), MilterError> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = timeout(patience, self.socket.write_all(&self.output)).await;
        self.output = BytesMut::new();
        Ok(written.map_err(|_| MilterError::TimedOut)??)
    }

    /// Holds no buffers while nothing is to be said.
    pub(crate) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }
}

async fn connect(address: &MilterAddress) -> io::Result<Box<dyn Socket>> {
    Ok(match address {
        MilterAddress::Unix(path) => Box::new(UnixStream::connect(PathBuf::from(path)).await?),
        MilterAddress::Inet(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}
