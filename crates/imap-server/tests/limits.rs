//! What a client may not do for ever.
#![allow(missing_docs)]

use std::fmt::Write as _;
use std::time::Duration;

use testkit::{Fixture, Security, Transcript};

async fn hold(fixture: &mut Fixture, dialogue: &str) -> anyhow::Result<()> {
    let transcript = Transcript::parse(dialogue)?;
    transcript.prepare(fixture)?;
    let server = fixture.start(imap_server::run)?;
    transcript.run(fixture, &server, Security::Plain).await
}

/// RFC 3501 §5.4.
#[tokio::test]
async fn a_client_that_is_silent_too_long_is_told_bye() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.login_timeout = Duration::from_millis(100);
    hold(&mut fixture, "S: * OK...\nS: * BYE Too long silent\nS: <close>\n").await?;
    fixture.config.imap.login_timeout = Duration::from_secs(60);
    fixture.config.imap.idle_timeout = Duration::from_millis(100);
    hold(
        &mut fixture,
        "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nS: * BYE Too long silent\nS: <close>\n",
    )
    .await?;
    let idle = "S: * OK...\nC-raw: a LOGIN alice alice-secret\\r\\nb IDLE\\r\\n\nS: a OK...\nS: + idling\n";
    hold(&mut fixture, &format!("{idle}S: * BYE Too long silent\nS: <close>\n")).await
}

#[tokio::test]
async fn an_idle_client_hears_that_the_server_is_there() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.keep_alive = Duration::from_millis(50);
    let dialogue = "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nC: b IDLE\nS: + idling\n\
        S: * OK Still here\nS: * OK Still here\n";
    hold(&mut fixture, dialogue).await
}

#[tokio::test]
async fn a_flood_of_bad_commands_ends_the_connection() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    let mut dialogue = "S: * OK...\n".to_owned();
    for number in 0..50 {
        writeln!(dialogue, "C: a{number} NONSENSE\nS: a{number} BAD...")?;
    }
    dialogue.push_str("S: * BYE Too many errors\nS: <close>\n");
    hold(&mut fixture, &dialogue).await
}

#[tokio::test]
async fn wrong_passwords_end_the_connection() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.limits.max_login_failures = 2;
    let dialogue = "S: * OK...\nC: a LOGIN alice x\nS: a NO [AUTHENTICATIONFAILED]...\nC: b LOGIN alice y\n\
        S: b NO [AUTHENTICATIONFAILED]...\nS: * BYE Too many failed logins\nS: <close>\n";
    hold(&mut fixture, dialogue).await
}

/// A command line is as long as 64 kB; what is longer is refused, and the next command found.
#[tokio::test]
async fn a_line_too_long_is_refused_under_its_tag() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    let set = |numbers: usize| vec!["1"; numbers].join(",");
    let dialogue = format!(
        "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nC: b EXAMINE INBOX\nS: * FLAGS...\n\
         S: * OK [PERMANENTFLAGS...\nS: * 0 EXISTS\nS: * 0 RECENT\nS: * OK [UIDVALIDITY...\nS: * OK [UIDNEXT 1]...\nS: * OK [MAILBOXID...\n\
         S: b OK...\nC: c UID FETCH {} FLAGS\nS: c OK...\nC: d UID FETCH {} FLAGS\nS: d BAD...\nC: e NOOP\nS: e OK...\n",
        set(32_000),
        set(40_000),
    );
    hold(&mut fixture, &dialogue).await
}

#[tokio::test]
async fn a_changed_quota_holds_at_once() -> anyhow::Result<()> {
    use mail_directory::{Limit, QuotaSetting};
    let mut fixture = Fixture::new()?;
    fixture.config.quota.default.messages = Some(0);
    let append = "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nC: b APPEND INBOX {3}\n";
    hold(&mut fixture, &format!("{append}S: b NO [OVERQUOTA]...\n")).await?;
    let server = fixture.start(imap_server::run)?;
    let address = server.address(Security::Plain);
    let stream = tokio::net::TcpStream::connect(address).await?;
    let mut lines = tokio::io::BufReader::new(stream);
    let mut say = async |text: &str, until: &str| -> anyhow::Result<()> {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
        lines.write_all(text.as_bytes()).await?;
        let mut line = String::new();
        while !line.starts_with(until) {
            line.clear();
            anyhow::ensure!(lines.read_line(&mut line).await? > 0, "closed before {until}");
        }
        Ok(())
    };
    say("a LOGIN alice alice-secret\r\n", "a OK").await?;
    say("b APPEND INBOX {3+}\r\none\r\n", "b NO [OVERQUOTA]").await?;
    let one = QuotaSetting { messages: Limit::AtMost(1), ..QuotaSetting::default() };
    fixture.set_quota("alice", one)?;
    say("c APPEND INBOX {3+}\r\none\r\n", "c OK").await?;
    say("d APPEND INBOX {3+}\r\none\r\n", "d NO [OVERQUOTA]").await
}

/// RFC 3502 sets no limit, but each message holds a file open.
#[tokio::test]
async fn one_append_has_a_bounded_number_of_messages() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    let append = |messages: usize| format!("APPEND Drafts{}", " {1+}\\r\\nx".repeat(messages));
    let dialogue = format!(
        "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nC-raw: b {}\\r\\n\nS: b OK [APPENDUID...\n\
         C-raw: c {}\\r\\n\nS: c NO [LIMIT]...\nC: d STATUS Drafts (MESSAGES)\n\
         S: * STATUS \"Drafts\" (MESSAGES 500)\nS: d OK...\n",
        append(500),
        append(501),
    );
    hold(&mut fixture, &dialogue).await
}

/// What the operator hides from an account or a client is neither announced nor enabled.
#[tokio::test]
async fn a_masked_capability_is_not_there_for_whom_it_is_masked() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    let mask = |account: Option<&str>, client: Option<&str>, hide: &str| mail_config::CapabilityMask {
        account: account.and_then(|it| it.parse().ok()),
        client: client.map(str::to_owned),
        hide: vec![hide.to_owned()],
    };
    fixture.config.imap.masks = vec![
        mask(Some("alice@example.org"), None, "CHILDREN"),
        mask(None, Some("Some Mail"), "IMAP4REV2"),
        mask(Some("bob@example.org"), Some("Some Mail"), "CONDSTORE"),
    ];
    let dialogue = "S: * OK [CAPABILITY IMAP4rev1 IMAP4rev2 ...\n\
        C: a ID (\"name\" \"some mail\")\nS: * ID...\nS: a OK [CAPABILITY IMAP4rev1 LITERAL+ ...\n\
        C: b LOGIN alice alice-secret\n\
        S: b OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE LIST-EXTENDED ...\n\
        C: c ENABLE IMAP4rev2 CONDSTORE\nS: * ENABLED CONDSTORE\nS: c OK...\nC: d UNAUTHENTICATE\nS: d OK...\n\
        C: e LOGIN bob bob-secret\n\
        S: e OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE CHILDREN LIST-EXTENDED ...\n\
        C: f ENABLE CONDSTORE\nS: * ENABLED\nS: f OK...\n\
        C: g ID (\"name\" \"Other\")\nS: * ID...\nS: g OK [CAPABILITY IMAP4rev1 IMAP4rev2 ...\n\
        C: h ID NIL\nS: * ID...\nS: h OK Done\n";
    hold(&mut fixture, dialogue).await
}

/// K-9 waits on a connection for each mailbox, up to fifty; Apple Mail opens dozens. Whoever is over the limit must not be told that
/// its password is wrong: K-9 then stays away for an hour.
#[tokio::test]
async fn fifty_sessions_of_an_account_may_wait_and_the_next_is_told_of_the_limit() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    let mut dialogue = String::new();
    for client in 1..=50 {
        writeln!(
            dialogue,
            "{client}S: * OK...\n{client}C: a LOGIN alice alice-secret\n{client}S: a OK...\n\
             {client}C: b IDLE\n{client}S: + idling"
        )?;
    }
    dialogue.push_str(
        "51S: * OK...\n51C: a LOGIN alice alice-secret\n51S: a NO [LIMIT]...\n51C: b LOGIN bob bob-secret\n51S: b OK...\n\
         1C: DONE\n1S: b OK...\n1C: c LOGOUT\n1S: * BYE...\n1S: c OK...\n1S: <close>\n",
    );
    hold(&mut fixture, &dialogue).await
}
