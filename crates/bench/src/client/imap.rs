use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::ClientConfig;

use super::stream::Stream;

/// An IMAP session.
pub(crate) struct Imap {
    stream: Stream,
}

impl Imap {
    /// Connects, under TLS if `tls` is given.
    pub(crate) fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let stream = Stream::plain(address)?;
        let mut stream = match tls {
            Some(config) => stream.secure(config)?,
            None => stream,
        };
        stream.line()?;
        Ok(Self { stream })
    }

    pub(crate) fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        self.command(&format!("LOGIN {user} {password}")).map(|_| ())
    }

    /// Sends a command and reads to its end; returns the octets of the answer.
    pub(crate) fn command(&mut self, command: &str) -> Result<u64> {
        self.stream.send(format!("a {command}\r\n").as_bytes())?;
        self.answer()
    }

    /// Whether a line of the command's answer holds `text`.
    pub(crate) fn says(&mut self, command: &str, text: &str) -> Result<bool> {
        let mut found = false;
        self.stream.send(format!("a {command}\r\n").as_bytes())?;
        self.lines(|line| found |= holds(line, text))?;
        Ok(found)
    }

    /// Stores a message.
    pub(crate) fn append(&mut self, mailbox: &str, message: &[u8]) -> Result<()> {
        let mut all = format!("a APPEND {mailbox} {{{}+}}\r\n", message.len()).into_bytes();
        all.extend_from_slice(message);
        all.extend_from_slice(b"\r\n");
        self.stream.send(&all)?;
        self.answer().map(|_| ())
    }

    /// Begins IDLE.
    pub(crate) fn idle(&mut self) -> Result<()> {
        self.stream.send(b"a IDLE\r\n")?;
        self.until("+ ")
    }

    /// Waits for an untagged line that holds `text`.
    pub(crate) fn until(&mut self, text: &str) -> Result<()> {
        loop {
            if holds(self.stream.line()?, text) {
                return Ok(());
            }
        }
    }

    fn answer(&mut self) -> Result<u64> {
        self.lines(|_| ())
    }

    /// Reads an answer to its end, with each of its lines shown to `each`; returns its octets.
    fn lines(&mut self, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let (mut octets, mut bye) = (0, "without a BYE".to_owned());
        loop {
            let line = self.stream.line().with_context(|| bye.clone())?;
            octets += line.len() as u64;
            each(line);
            if line.starts_with(b"* BYE") {
                bye = String::from_utf8_lossy(line).trim_end().to_owned();
            }
            if line.starts_with(b"a ") {
                if line.starts_with(b"a OK") {
                    return Ok(octets);
                }
                bail!("{}", String::from_utf8_lossy(line));
            }
            if let Some(literal) = literal(line) {
                self.stream.skip(literal)?;
                octets += literal;
            }
        }
    }
}

fn holds(line: &[u8], text: &str) -> bool {
    line.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The size of the literal that a line announces.
fn literal(line: &[u8]) -> Option<u64> {
    let text = line.strip_suffix(b"}\r\n")?;
    let open = text.iter().rposition(|octet| *octet == b'{')?;
    std::str::from_utf8(text.get(open + 1..)?).ok()?.parse().ok()
}
