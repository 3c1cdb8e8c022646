use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::stream::Stream;

/// A POP3 session.
pub(crate) struct Pop3 {
    stream: Stream,
}

impl Pop3 {
    pub(crate) fn open(address: SocketAddr, user: &str, password: &str) -> Result<Self> {
        let mut this = Self { stream: Stream::plain(address)? };
        this.ok()?;
        this.command(&format!("USER {user}"))?;
        this.command(&format!("PASS {password}"))?;
        Ok(this)
    }

    pub(crate) fn command(&mut self, command: &str) -> Result<()> {
        self.stream.send(format!("{command}\r\n").as_bytes())?;
        self.ok()
    }

    /// A command with an answer of several lines; returns its octets.
    pub(crate) fn lines(&mut self, command: &str) -> Result<u64> {
        self.command(command)?;
        let mut octets = 0;
        loop {
            let line = self.stream.line()?;
            if line == b".\r\n" {
                return Ok(octets);
            }
            octets += line.len() as u64;
        }
    }

    fn ok(&mut self) -> Result<()> {
        let line = self.stream.line()?;
        ensure!(line.starts_with(b"+OK"), "{}", String::from_utf8_lossy(line));
        Ok(())
    }
}
