//! Messages of all sizes come as they were stored, whatever the way from their files to the socket.
#![allow(missing_docs)]

use testkit::Fixture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// On both sides of each limit: what is read at once, what a step holds, what is sent piece by piece.
const SIZES: [usize; 9] = [50, 4096, 131_071, 131_072, 262_143, 262_144, 262_145, 600_000, 1_500_000];

/// A message of which no two stretches are the same.
fn message(size: usize) -> Vec<u8> {
    let mut text = b"Subject: s\r\n\r\n".to_vec();
    while text.len() < size {
        text.extend_from_slice(format!("{}\r\n", text.len()).as_bytes());
    }
    text.truncate(size);
    text
}

/// RFC 3501 §6.4.5: RFC822.SIZE is what clients allot for the message.
#[tokio::test]
async fn every_message_is_as_long_as_its_size_and_comes_whole() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let mut expected = Vec::new();
    for (number, size) in SIZES.iter().cycle().take(3 * SIZES.len()).enumerate() {
        let text = message(*size);
        fixture.add_message("alice", "INBOX", &text)?;
        expected.extend_from_slice(
            format!("* {} FETCH (RFC822.SIZE {size} BODY[] {{{size}}}\r\n", number + 1).as_bytes(),
        );
        expected.extend_from_slice(&text);
        expected.extend_from_slice(b")\r\n");
    }
    let server = fixture.start(imap_server::run)?;
    let mut client = TcpStream::connect(server.plain).await?;
    client.write_all(b"a LOGIN alice alice-secret\r\nb EXAMINE INBOX\r\nc FETCH 1:* (RFC822.SIZE BODY.PEEK[])\r\nd LOGOUT\r\n").await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    let at = answer.windows(expected.len()).position(|it| it == expected);
    assert!(at.is_some_and(|at| answer[at + expected.len()..].starts_with(b"c OK")), "the messages differ");
    Ok(())
}
