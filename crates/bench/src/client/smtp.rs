use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::ClientConfig;

use super::stream::{PATIENCE, Stream};

/// How long a client waits to be greeted.
pub(super) const GREETING: Duration = Duration::from_secs(10);

/// An SMTP session.
pub(crate) struct Smtp {
    stream: Stream,
    offers_login: bool,
}

impl Smtp {
    /// Connects, and is greeted.
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let mut this = Self { stream: Stream::plain(address)?, offers_login: false };
        this.stream.be_patient(GREETING)?;
        this.reply("220")?;
        this.stream.be_patient(PATIENCE)?;
        this.command("EHLO bench.test\r\n", "250")?;
        Ok(this)
    }

    pub(crate) fn secure(mut self, tls: &Arc<ClientConfig>) -> Result<Self> {
        self.command("STARTTLS\r\n", "220")?;
        Ok(Self { stream: self.stream.secure(tls)?, ..self })
    }

    /// Logs in where that is offered.
    pub(crate) fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        if !self.offers_login {
            return Ok(());
        }
        let response = BASE64.encode(format!("\0{user}\0{password}"));
        self.command(&format!("AUTH PLAIN {response}\r\n"), "235")
    }

    /// Sends one message, its commands pipelined as real servers do. When its last octet was sent.
    pub(crate) fn send(&mut self, recipients: &[String], message: &[u8]) -> Result<Instant> {
        self.send_as("sender@elsewhere.test", recipients, message)
    }

    pub(crate) fn send_as(&mut self, sender: &str, recipients: &[String], message: &[u8]) -> Result<Instant> {
        self.stream.send(envelope(sender, recipients).as_bytes())?;
        for _ in 0..=recipients.len() {
            self.reply("250")?;
        }
        self.reply("354")?;
        let mut data = message.to_vec();
        data.extend_from_slice(b".\r\n");
        self.stream.send(&data)?;
        let sent = Instant::now();
        self.reply("250").map(|()| sent)
    }

    pub(crate) fn quit(mut self) -> Result<()> {
        self.command("QUIT\r\n", "221")
    }

    fn command(&mut self, command: &str, code: &str) -> Result<()> {
        self.stream.send(command.as_bytes())?;
        self.reply(code)
    }

    fn reply(&mut self, code: &str) -> Result<()> {
        loop {
            let line = self.stream.line()?;
            self.offers_login |= line.get(4..9) == Some(b"AUTH ");
            if is_last(line, code)? {
                return Ok(());
            }
        }
    }
}

/// True for the last line of a reply, which must have this code.
pub(super) fn is_last(line: &[u8], code: &str) -> Result<bool> {
    if !line.starts_with(code.as_bytes()) {
        bail!("{code} was expected, and there came {}", String::from_utf8_lossy(line));
    }
    Ok(line.get(3) != Some(&b'-'))
}

/// The commands before a message, pipelined as real servers do.
pub(super) fn envelope(sender: &str, recipients: &[String]) -> String {
    let mut commands = format!("MAIL FROM:<{sender}>\r\n");
    for recipient in recipients {
        commands.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
    }
    commands.push_str("DATA\r\n");
    commands
}
