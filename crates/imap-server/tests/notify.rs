//! A client that listens hears of what other processes and programs do.
#![allow(missing_docs)]

use std::time::Duration;

use testkit::Fixture;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

#[tokio::test]
async fn deliveries_and_foreign_changes_are_told_at_any_time() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.start(imap_server::run)?;
    let mut client = BufReader::new(TcpStream::connect(server.plain).await?);
    client.write_all(b"a LOGIN alice alice-secret\r\n").await?;
    client.write_all(b"b NOTIFY SET (inboxes (MessageNew MessageExpunge FlagChange))\r\n").await?;
    expect(&mut client, "b OK").await?;
    fixture.add_message("alice", "INBOX", b"x\r\n")?;
    expect(&mut client, "* STATUS \"INBOX\" (MESSAGES 1 UIDNEXT 2").await?;
    let cur = fixture.config.mail_dir().join("example.org/alice/Maildir/cur");
    let Some(file) = std::fs::read_dir(&cur)?.next() else { anyhow::bail!("no message") };
    let file = file?.path();
    std::fs::rename(&file, format!("{}S", file.display()))?;
    expect(&mut client, "* STATUS \"INBOX\" (UNSEEN 0)").await?;
    client.write_all(b"c NOTIFY SET (personal (MailboxName))\r\n").await?;
    expect(&mut client, "c OK").await?;
    std::fs::create_dir_all(cur.join("../.Foreign/cur"))?;
    expect(&mut client, "* LIST (\\HasNoChildren) \"/\" \"Foreign\"").await?;
    std::fs::remove_dir_all(cur.join("../.Foreign"))?;
    expect(&mut client, "* LIST (\\NonExistent) \"/\" \"Foreign\"").await
}

/// RFC 5465 §5.9: rights that go without a sign, as with a group's member, are found to be gone when there would be something to tell.
#[tokio::test]
async fn who_leaves_a_group_is_told_that_its_mailboxes_are_not_accessible_any_more() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    let team = "team@example.org".parse()?;
    fixture.directory.add_alias(&team, &["alice@example.org".parse()?, "bob@example.org".parse()?])?;
    let server = fixture.start(imap_server::run)?;
    let mut alice = BufReader::new(TcpStream::connect(server.plain).await?);
    alice.write_all(b"a LOGIN alice alice-secret\r\nb SETACL INBOX team@example.org lr\r\n").await?;
    expect(&mut alice, "b OK").await?;
    let mut client = BufReader::new(TcpStream::connect(server.plain).await?);
    client.write_all(b"a LOGIN bob bob-secret\r\n").await?;
    client
        .write_all(b"b NOTIFY SET STATUS (subtree \"Other Users\" (MessageNew MessageExpunge))\r\n")
        .await?;
    expect(&mut client, "* STATUS \"Other Users/alice@example.org/INBOX\" (MESSAGES 0 ").await?;
    expect(&mut client, "b OK").await?;
    fixture.directory.remove_targets(&team, &["bob@example.org".parse()?])?;
    fixture.add_message("alice", "INBOX", b"x\r\n")?;
    expect(&mut client, "* LIST (\\NonExistent \\NoAccess) \"/\" \"Other Users/alice@example.org/INBOX\"")
        .await
}

/// Reads up to a line that begins so.
async fn expect(client: &mut BufReader<TcpStream>, wanted: &str) -> anyhow::Result<()> {
    let mut line = String::new();
    while !line.starts_with(wanted) {
        line.clear();
        let read = tokio::time::timeout(Duration::from_secs(20), client.read_line(&mut line)).await;
        anyhow::ensure!(
            read.is_ok_and(|it| it.is_ok_and(|read| read > 0)),
            "no {wanted}; the last was {line}"
        );
    }
    Ok(())
}
