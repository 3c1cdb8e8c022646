//! A client, and the maildrop that it looks into.

use std::path::PathBuf;
use std::time::Duration;

use testkit::{Fixture, Server};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.plain).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream: BufReader::new(stream) };
        assert!(client.line().await.starts_with(b"+OK"));
        client
    }

    /// Logged in as bob.
    pub(crate) async fn bob(server: &Server) -> Self {
        let mut client = Self::connect(server).await;
        client.ok("USER bob").await;
        client.ok("PASS bob-secret").await;
        client
    }

    /// A line with its CRLF; nothing at the end of the connection.
    pub(crate) async fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await.expect("no answer").unwrap();
        line
    }

    pub(crate) async fn send(&mut self, command: &str) -> String {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        String::from_utf8(self.line().await).unwrap().trim_end().to_owned()
    }

    pub(crate) async fn ok(&mut self, command: &str) -> String {
        let answer = self.send(command).await;
        assert!(answer.starts_with("+OK"), "{command}: {answer}");
        answer
    }
}

pub(crate) fn maildir(fixture: &Fixture) -> PathBuf {
    fixture.config.mail_dir().join("example.org/bob/Maildir")
}
