//! What was read of a message once is not read again.
#![allow(missing_docs)]

use std::fs::File;
use std::io::Write as _;

use anyhow::Context as _;
use testkit::{Fixture, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MESSAGE: &[u8] = b"From: Zo\xeb <zoe@example.org>\r\nSubject: a\0b\r\nX-Own: mine\r\n\
    Content-Type: multipart/mixed; boundary=x\r\n\r\n\
    --x\r\n\r\none\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ninner\r\n--x--\r\n";
const OF_HEADER: &str =
    "(ENVELOPE BODY.PEEK[HEADER.FIELDS (subject FROM In-Reply-To)] BODY.PEEK[HEADER.FIELDS (From)]<3.9>)";
const ALL: &str = "(BODYSTRUCTURE BODY ENVELOPE PREVIEW BODY.PEEK[HEADER.FIELDS (Content-Type)])";

/// The answer to a FETCH of all messages in alice's INBOX.
async fn fetched(server: &Server, items: &str) -> anyhow::Result<String> {
    answer(server, &format!("FETCH 1:* {items}")).await
}

/// The answer to a command in alice's INBOX.
async fn answer(server: &Server, command: &str) -> anyhow::Result<String> {
    let mut client = TcpStream::connect(server.plain).await?;
    let commands = format!("a LOGIN alice alice-secret\r\nb EXAMINE INBOX\r\nc {command}\r\nd LOGOUT\r\n");
    client.write_all(commands.as_bytes()).await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (_, answer) = answer.split_once("\r\nb OK").context("not selected")?;
    let (answer, _) = answer.split_once("\r\nc OK").context("not fetched")?;
    // A rebuilt index has all flags told again.
    Ok(answer.lines().filter(|line| !line.contains(" FLAGS ")).collect::<Vec<_>>().join("\n"))
}

/// Makes the messages' files unfit for any answer, so that it shows where they are read.
fn spoil(fixture: &Fixture) -> anyhow::Result<()> {
    let cur = fixture.config.mail_dir().join("example.org/alice/Maildir/cur");
    for entry in std::fs::read_dir(cur)? {
        let path = entry?.path();
        let size = usize::try_from(path.metadata()?.len())?;
        File::options().write(true).open(path)?.write_all(&vec![b'-'; size])?;
    }
    Ok(())
}

/// A mailbox of some messages, in which `items` were fetched once.
async fn known(items: &str) -> anyhow::Result<(Fixture, Server, String)> {
    let fixture = Fixture::new()?;
    for _ in 0..3 {
        fixture.add_message("alice", "INBOX", MESSAGE)?;
    }
    let server = fixture.start(imap_server::run)?;
    let answer = fetched(&server, items).await?;
    Ok((fixture, server, answer))
}

#[tokio::test]
async fn what_was_read_of_a_message_is_not_read_again() -> anyhow::Result<()> {
    for items in [OF_HEADER, ALL] {
        let (fixture, server, answer) = known(items).await?;
        assert!(answer.contains("* 3 FETCH"), "{answer}");
        spoil(&fixture)?;
        assert_eq!(fetched(&server, items).await?, answer);
        // What was read for one item serves the others too.
        let subject = fetched(&server, "BODY.PEEK[HEADER.FIELDS (Subject)]").await?;
        assert!(subject.contains("Subject: a\u{fffd}b"), "{subject}");
        let own = fetched(&server, "BODY.PEEK[HEADER.FIELDS (X-Own)]").await?;
        assert!(!own.contains("mine"), "a field that is not kept is read: {own}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_read_of_the_header_says_nothing_of_the_structure() -> anyhow::Result<()> {
    let (fixture, server, _) = known(OF_HEADER).await?;
    let answer = fetched(&server, ALL).await?;
    assert!(answer.contains(r#""mixed""#) && answer.contains(r#"PREVIEW "one""#), "{answer}");
    spoil(&fixture)?;
    assert_eq!(fetched(&server, ALL).await?, answer);
    Ok(())
}

#[tokio::test]
async fn without_the_index_the_answers_are_the_same() -> anyhow::Result<()> {
    let (fixture, server, answer) = known(ALL).await?;
    std::fs::remove_file(fixture.config.mail_dir().join("example.org/alice/index.sqlite"))?;
    assert_eq!(fetched(&server, ALL).await?, answer);
    spoil(&fixture)?;
    assert_eq!(fetched(&server, ALL).await?, answer);
    Ok(())
}

#[tokio::test]
async fn messages_are_summarized_before_anybody_asks() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    for _ in 0..3 {
        fixture.add_message("alice", "INBOX", MESSAGE)?;
    }
    let server = fixture.start(imap_server::run)?;
    let began = std::time::Instant::now();
    while fetched(&server, "PREVIEW (LAZY)").await?.contains("NIL") {
        anyhow::ensure!(began.elapsed() < std::time::Duration::from_secs(60), "nobody summarizes");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    spoil(&fixture)?;
    let answer = fetched(&server, ALL).await?;
    assert_eq!(answer.matches(r#""mixed""#).count(), 6, "{answer}");
    assert_eq!(answer.matches(r#"PREVIEW "one""#).count(), 3, "{answer}");
    Ok(())
}

#[tokio::test]
async fn sorting_and_threads_read_no_header_twice() -> anyhow::Result<()> {
    let orders = ["SORT (DISPLAYFROM REVERSE SUBJECT TO CC) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL"];
    for first in ["FETCH 1:* BODYSTRUCTURE", "SEARCH SUBJECT x", orders[0], orders[1]] {
        let fixture = Fixture::new()?;
        for (subject, references) in [("b", "<x@y>"), ("a", ""), ("Re: B", "<x@y>")] {
            let message = format!("Subject: {subject}\r\nReferences: {references}\r\n\r\n");
            fixture.add_message("alice", "INBOX", message.as_bytes())?;
        }
        let server = fixture.start(imap_server::run)?;
        answer(&server, first).await?;
        spoil(&fixture)?;
        assert!(answer(&server, orders[0]).await?.ends_with("* SORT 1 3 2"), "{first}");
        assert!(answer(&server, orders[1]).await?.ends_with("* THREAD ((1)(3))(2)"), "{first}");
    }
    Ok(())
}

#[tokio::test]
async fn a_search_by_header_reads_no_header_twice() -> anyhow::Result<()> {
    const SUBJECT: &str = "SEARCH SUBJECT a FROM zoe";
    for first in ["FETCH 1:* ENVELOPE", SUBJECT] {
        let fixture = Fixture::new()?;
        for _ in 0..3 {
            fixture.add_message("alice", "INBOX", MESSAGE)?;
        }
        let server = fixture.start(imap_server::run)?;
        answer(&server, first).await?;
        spoil(&fixture)?;
        assert!(answer(&server, SUBJECT).await?.ends_with("* SEARCH 1 2 3"));
        assert!(answer(&server, "SEARCH HEADER X-Own mine").await?.ends_with("* SEARCH"), "it is not kept");
        assert!(answer(&server, "SEARCH SUBJECT z").await?.ends_with("* SEARCH"));
    }
    Ok(())
}
