use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::smtp::{GREETING, envelope, is_last};

/// What every session of a crowd sends.
#[derive(Debug)]
pub(crate) struct Mail {
    /// A session sends to one of them, in turns.
    pub(crate) recipients: Vec<String>,
    pub(crate) text: Vec<u8>,
    /// Messages of each session.
    pub(crate) each: usize,
}

impl Mail {
    /// With the line that ends it, so that both go out at once.
    fn ended(mut self) -> Self {
        self.text.extend_from_slice(b".\r\n");
        self
    }
}

/// What a session has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How long it took to connect and to be greeted.
    pub(crate) greeted: Duration,
    /// How long each message took, to its last reply.
    pub(crate) messages: Vec<Duration>,
}

/// SMTP sessions that send at once, all on this thread: as many threads would wait for processors, not for the server.
///
/// One that is not greeted in time sends nothing: Postfix leaves half of 500 waiting.
pub(crate) fn crowd(address: SocketAddr, sessions: usize, mail: Mail) -> Result<Vec<Seen>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mail = Arc::new(mail.ended());
        let mut running = JoinSet::new();
        for number in 0..sessions {
            running.spawn(session(address, number, Arc::clone(&mail)));
        }
        let mut seen = Vec::new();
        while let Some(ended) = running.join_next().await {
            seen.push(ended.map_err(|_| anyhow!("a client panicked"))??);
        }
        Ok(seen)
    })
}

async fn session(address: SocketAddr, number: usize, mail: Arc<Mail>) -> Result<Seen> {
    let began = Instant::now();
    let Ok(mut session) = timeout(GREETING, Session::open(address)).await else {
        return Ok(Seen { greeted: GREETING, messages: Vec::new() });
    };
    let session = session.as_mut().map_err(|error| anyhow!("{error:#}"))?;
    let greeted = began.elapsed();
    session.command("EHLO bench.test\r\n", "250").await?;
    let recipient = mail.recipients.iter().cycle().nth(number).map(std::slice::from_ref).unwrap_or_default();
    let mut messages = Vec::with_capacity(mail.each);
    for _ in 0..mail.each {
        let began = Instant::now();
        session.send(recipient, &mail.text).await?;
        messages.push(began.elapsed());
    }
    session.command("QUIT\r\n", "221").await?;
    Ok(Seen { greeted, messages })
}

struct Session {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Session {
    /// Connects, and is greeted.
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut this = Self { stream: BufReader::new(stream), line: Vec::new() };
        this.reply("220").await?;
        Ok(this)
    }

    /// As [`super::Smtp::send`].
    async fn send(&mut self, recipients: &[String], text: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(envelope("sender@elsewhere.test", recipients).as_bytes()).await?;
        for _ in 0..=recipients.len() {
            self.reply("250").await?;
        }
        self.reply("354").await?;
        self.stream.get_mut().write_all(text).await?;
        self.reply("250").await
    }

    async fn command(&mut self, command: &str, code: &str) -> Result<()> {
        self.stream.get_mut().write_all(command.as_bytes()).await?;
        self.reply(code).await
    }

    async fn reply(&mut self, code: &str) -> Result<()> {
        loop {
            self.line.clear();
            self.stream.read_until(b'\n', &mut self.line).await?;
            if is_last(&self.line, code)? {
                return Ok(());
            }
        }
    }
}
