//! RFC 8474: ids are the same whatever is lost, also of messages that other programs delivered.
#![allow(missing_docs)]

use testkit::{Fixture, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn answer(server: &Server, command: &str) -> anyhow::Result<String> {
    let mut client = TcpStream::connect(server.plain).await?;
    let commands = format!("a LOGIN alice alice-secret\r\nb SELECT INBOX\r\n{command}\r\nd LOGOUT\r\n");
    client.write_all(commands.as_bytes()).await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(answer
        .lines()
        .filter(|line| line.starts_with("* ") && (line.contains("EMAILID") || line.contains("SEARCH")))
        .collect::<Vec<_>>()
        .join("\n"))
}

#[tokio::test]
async fn what_others_delivered_has_the_ids_of_its_content() -> anyhow::Result<()> {
    const FETCH: &str = "c FETCH 1:* (EMAILID THREADID)";
    let fixture = Fixture::new()?;
    fixture.add_message("alice", "INBOX", b"Message-ID: <a@x>\r\n\r\n")?;
    let home = fixture.config.mail_dir().join("example.org/alice");
    std::fs::write(home.join("Maildir/new/1.M1P1.host"), "References: <a@x>\n\ny\n")?;
    let server = fixture.start(imap_server::run)?;
    let first = answer(&server, FETCH).await?;
    assert_eq!(first.lines().count(), 2, "{first}");
    let ids: Vec<&str> = first.split(['(', ')']).collect();
    let (emails, threads): (Vec<_>, Vec<_>) =
        ids.into_iter().filter(|it| it.len() > 30).partition(|it| it.starts_with('M'));
    assert!(emails[0] != emails[1] && threads[0] == threads[1], "{first}");
    assert_eq!(answer(&server, FETCH).await?, first);
    let search = format!("c SEARCH EMAILID {}", emails[1]);
    assert_eq!(answer(&server, &search).await?, "* SEARCH 2");
    std::fs::remove_file(home.join("index.sqlite"))?;
    assert_eq!(answer(&server, &search).await?, "* SEARCH 2", "without its hash being known");
    assert_eq!(answer(&server, FETCH).await?, first);
    let copied = answer(&server, "c COPY 2 INBOX\r\nd FETCH 3 (EMAILID THREADID)").await?;
    assert_eq!(
        copied.strip_prefix("* 3"),
        first.lines().nth(1).and_then(|it| it.strip_prefix("* 2")),
        "{copied}"
    );
    Ok(())
}
