//! Promise 6: a session that waits holds no buffers. Alone in its process, whose memory it measures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use testkit::{Fixture, Security};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Measured so often, of which the least counts: the memory of threads that come and go on a busy machine is no session's.
const ROUNDS: usize = 4;
const SESSIONS: usize = 50;
/// More than the server gathers in memory before it goes to disk.
const MESSAGE: usize = 300_000;
/// Octets that an idle session may cost, its task and the test's own end of it included.
const MOST: usize = 20 * 1024;

/// The memory that this process has in use.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Has a message refused once all of it was read, and waits.
async fn idle(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let commands = format!("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT {MESSAGE} LAST\r\n");
    stream.write_all(commands.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; MESSAGE]).await.unwrap();
    let (mut replies, mut buffer) = (Vec::new(), [0; 512]);
    while !String::from_utf8_lossy(&replies).contains("\n552 ") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "closed");
        replies.extend_from_slice(buffer.get(..read).unwrap());
    }
    stream
}

#[tokio::test]
async fn a_session_that_waits_holds_no_buffers() {
    let mut fixture = tokio::task::spawn_blocking(Fixture::new).await.unwrap().unwrap();
    fixture.set_smtp("max_message_size", "1000").unwrap();
    let server = fixture.start(smtp_server::run).unwrap();
    let address = server.address(Security::Plain);
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(idle(address).await);
    }
    let mut each = usize::MAX;
    for _ in 0..ROUNDS {
        let before = resident();
        for _ in 0..SESSIONS {
            open.push(idle(address).await);
        }
        each = each.min(resident().saturating_sub(before) / SESSIONS);
    }
    assert!(each < MOST, "a session costs {each} octets");
}
