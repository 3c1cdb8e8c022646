//! SEARCH of texts, by the full-text index.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use mail_message::search::{Needle, Within};
use mail_types::MailboxName;
use testkit::{Fixture, Security, Transcript};

const DIALOGUE: &str = "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nC: b EXAMINE INBOX\nS: * 40 EXISTS\nS: * 40 RECENT\n\
    S: * FLAGS...\nS: * OK...\nS: * OK...\nS: * OK...\nS: * OK...\nS: * OK...\nS: b OK...\n\
    C: c SEARCH BODY \"OF 27.\"\nS: * SEARCH 28\nS: c OK...\n\
    C: d UID SEARCH OR BODY \"of 27.\" TEXT \"subject: 31\"\nS: * SEARCH 28 32\nS: d OK...\n\
    C: e SEARCH BODY words TEXT \"subject: 3\" NOT OR BODY \"of 3.\" NOT TEXT \"of 38\"\nS: * SEARCH 39\nS: e OK...\n\
    C: f SEARCH RETURN (ALL RELEVANCY) FUZZY BODY \"27 wrods\"\nS: * ESEARCH (TAG \"f\") ALL 28 RELEVANCY (79)\nS: f OK...\n";

async fn hold(fixture: &mut Fixture) -> anyhow::Result<()> {
    let server = fixture.start(imap_server::run)?;
    Transcript::parse(DIALOGUE)?.run(fixture, &server, Security::Plain).await
}

fn is_indexed(fixture: &Fixture) -> anyhow::Result<bool> {
    let inbox = fixture.store.account(&"alice@example.org".parse()?)?.open(&MailboxName::inbox())?;
    let answer = inbox.find_text(&Needle::new("words"), Within::Body);
    Ok(inbox.snapshot().uids().to_vec().iter().all(|uid| answer.holds(*uid) == Some(true)))
}

#[tokio::test]
async fn what_was_indexed_is_found_without_reading_it_again() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    for number in 0..40 {
        let message = format!("Subject: {number}\r\n\r\nwords of {number}.\r\n");
        fixture.add_message("alice", "INBOX", message.as_bytes())?;
    }
    hold(&mut fixture).await?;
    let began = Instant::now();
    while !is_indexed(&fixture)? {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "nobody indexes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for file in std::fs::read_dir(fixture.config.mail_dir().join("example.org/alice/Maildir/cur"))? {
        let path = file?.path();
        let size = usize::try_from(std::fs::metadata(&path)?.len())?;
        std::fs::write(path, "x".repeat(size))?;
    }
    hold(&mut fixture).await
}
