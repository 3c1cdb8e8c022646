//! Messages of all sizes come as they were stored, whatever the way from their files to the socket.
#![allow(missing_docs)]

use std::io::Write as _;
use std::net::SocketAddr;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress};
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
    let commands = "b EXAMINE INBOX\r\nc FETCH 1:* (RFC822.SIZE BODY.PEEK[])\r\nd LOGOUT\r\n";
    let mut client = TcpStream::connect(server.plain).await?;
    client.write_all(format!("a LOGIN alice alice-secret\r\n{commands}").as_bytes()).await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    check(&answer, &expected);
    check(&compressed(server.plain, commands).await?, &expected);
    Ok(())
}

/// What is answered to commands behind COMPRESS, restored.
async fn compressed(address: SocketAddr, commands: &str) -> anyhow::Result<Vec<u8>> {
    let mut client = TcpStream::connect(address).await?;
    client.write_all(b"a LOGIN alice alice-secret\r\nb COMPRESS DEFLATE\r\n").await?;
    let (mut clear, last) = (Vec::new(), b"b OK DEFLATE active\r\n");
    while !clear.ends_with(last) {
        clear.push(client.read_u8().await?);
    }
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(commands.as_bytes())?;
    deflate.flush()?;
    client.write_all(deflate.get_ref()).await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    let mut restored = Vec::new();
    // It never says that it ends.
    let mut inflate = Decompress::new(false);
    while inflate.total_in() < answer.len() as u64 {
        let at = usize::try_from(inflate.total_in())?;
        restored.reserve(1 << 20);
        inflate.decompress_vec(answer.get(at..).unwrap_or_default(), &mut restored, FlushDecompress::Sync)?;
    }
    assert!(answer.len() < restored.len() / 2, "{} octets for {}", answer.len(), restored.len());
    Ok(restored)
}

#[track_caller]
fn check(answer: &[u8], expected: &[u8]) {
    let at = answer.windows(expected.len()).position(|it| it == expected);
    let behind = at.and_then(|at| answer.get(at + expected.len()..));
    assert!(behind.is_some_and(|rest| rest.starts_with(b"c OK")), "the messages differ");
}
