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
