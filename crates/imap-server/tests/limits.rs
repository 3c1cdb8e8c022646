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

/// A command that can't be performed is a mistake as one that can't be read; one that can be takes the mistakes back.
#[tokio::test]
async fn only_mistakes_in_a_row_end_the_connection() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.max_errors = 3;
    let early = "C: a SELECT INBOX\nS: a BAD Not in this state\n";
    let ended = "S: * BYE Too many errors\nS: <close>\n";
    let noop = "C: n NOOP\nS: n OK...\n";
    hold(&mut fixture, &format!("S: * OK...\n{}{noop}{}{ended}", early.repeat(2), early.repeat(3))).await?;
    let login = "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\n";
    let unknown = "C: c GETQUOTA x\nS: c NO...\n";
    let useless = "C: b ESEARCH IN (personal) RETURN (SAVE) ALL\nS: b BAD...\n";
    let dialogue = format!("{login}{}{unknown}{}{ended}", useless.repeat(2), useless.repeat(3));
    hold(&mut fixture, &dialogue).await
}

/// Who has not proven to be anybody gets no more memory than a name and a password need.
#[tokio::test]
async fn a_client_that_has_not_logged_in_has_short_lines_and_small_literals() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    let (most, over) = ("x".repeat(8000), "x".repeat(8200));
    let dialogue = format!(
        "S: * OK...\nC: a ID (\"name\" \"{most}\")\nS: * ID...\nS: a OK...\nC: b ID (\"name\" \"{over}\")\nS: b BAD The command line is too long\n\
         C: c LOGIN {{8193}}\nS: c BAD [TOOBIG]...\nC-raw: d LOGIN {{8200+}}\\r\\n{over} x\\r\\n\nS: d BAD [TOOBIG]...\n\
         C: e APPEND INBOX {{8193}}\nS: e NO [TOOBIG]...\n\
         C: f LOGIN alice alice-secret\nS: f OK...\nC: g ID (\"name\" \"{over}\")\nS: * ID...\nS: g OK...\n\
         C: h STATUS {{8200}}\nS: +...\nC: {over} (MESSAGES)\nS: h NO [LIMIT]...\nC: i STATUS {{1048577}}\nS: i BAD [TOOBIG]...\n\
         C: j UNAUTHENTICATE\nS: j OK...\nC: k LOGIN {{8193}}\nS: k BAD [TOOBIG]...\n\
         C-raw: l LOGIN {{99999+}}\\r\\n\nS: * BYE [TOOBIG]...\nS: <close>\n",
    );
    hold(&mut fixture, &dialogue).await
}

/// RFC 5530 §3, `LIMIT`.
#[tokio::test]
async fn a_command_that_asks_for_too_much_is_told_which_limit_it_is() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.commands = mail_config::CommandLimits {
        max_set: 3,
        max_fetch_items: 2,
        max_search_keys: 5,
        max_search_depth: 3,
        max_mailbox_name: 20,
        max_mailbox_depth: 3,
    };
    let mut dialogue = "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nC: s SELECT Drafts\n\
         S: * FLAGS...\nS: * OK [PERMANENTFLAGS...\nS: * 0 EXISTS\nS: * 0 RECENT\nS: * OK [UIDVALIDITY $v]...\nS: * OK [UIDNEXT 1]...\n\
         S: * OK [MAILBOXID...\nS: s OK...\n"
        .to_owned();
    let deep = format!("UID SEARCH {}ALL", "NOT ".repeat(120));
    for (within, over, limit) in [
        ("UID FETCH 1:2,4,7 FLAGS", "UID FETCH 1,3,5,7 FLAGS", "Too many numbers in a set"),
        ("UID STORE 1,3,5 +FLAGS (\\Seen)", "UID STORE 1,3,5,7 +FLAGS (\\Seen)", "Too many numbers in a set"),
        ("UID COPY 1,3,5 Trash", "UID COPY 1,3,5,7 Trash", "Too many numbers in a set"),
        ("UID MOVE 1,3,5 Trash", "UID MOVE 1,3,5,7 Trash", "Too many numbers in a set"),
        ("UID EXPUNGE 1,3,5", "UID EXPUNGE 1,3,5,7", "Too many numbers in a set"),
        ("UID SEARCH UID 1,3 UID 5", "UID SEARCH UID 1,3 UID 5,7", "Too many numbers in a set"),
        ("UID FETCH 1 (UID FLAGS)", "UID FETCH 1 (UID FLAGS ENVELOPE)", "Too many data items"),
        (
            "UID SEARCH NOT (SEEN DRAFT) DRAFT ALL",
            "UID SORT (DATE) UTF-8 SEEN SEEN DRAFT DRAFT DRAFT ALL",
            "Too many search keys",
        ),
        (
            "UID SEARCH NOT NOT ALL",
            "UID THREAD REFS UTF-8 NOT NOT NOT ALL",
            "Search keys too deep in each other",
        ),
        (
            "UID SEARCH (SEEN (SEEN DRAFT))",
            "UID SEARCH (SEEN (SEEN (SEEN (SEEN DRAFT))))",
            "Search keys too deep in each other",
        ),
        ("NOOP", &deep, "Too much nesting"),
        ("CREATE 12345678901234567890", "CREATE 123456789012345678901", "The mailbox name is too long"),
        ("CREATE a/b/c", "RENAME a x/y/z/1", "The mailbox name has too many levels"),
    ] {
        let answers = match within.split(' ').nth(1) {
            Some("SEARCH") => "S: * SEARCH\n",
            _ => "",
        };
        write!(dialogue, "C: b {within}\n{answers}S: b OK...\nC: c {over}\nS: c NO [LIMIT] {limit}\n")?;
    }
    hold(&mut fixture, &dialogue).await
}

/// What lies below a mailbox goes with it, so its names count too.
#[tokio::test]
async fn a_rename_that_makes_a_name_too_long_or_too_deep_does_nothing() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    let (deep, long) = (vec!["x"; 31].join("/"), "y".repeat(200));
    let dialogue = format!(
        "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nC: b CREATE a/{deep}\nS: b OK...\nC: c CREATE b/{long}\nS: c OK...\n\
         C: d RENAME a q/a\nS: d NO [LIMIT]...\nC: e RENAME b {}\nS: e NO [LIMIT]...\n\
         C: f CREATE {}\nS: f NO [LIMIT]...\nC: g STATUS a/{deep} (MESSAGES)\nS: * STATUS...\nS: g OK...\n\
         C: h STATUS b/{long} (MESSAGES)\nS: * STATUS...\nS: h OK...\n",
        "z".repeat(100),
        "w".repeat(300),
    );
    hold(&mut fixture, &dialogue).await
}

/// Clients take AUTHENTICATIONFAILED for a wrong password, so it must not be that (K-9 then waits for an hour).
#[tokio::test]
async fn an_account_has_so_many_sessions_over_all_listeners() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.limits.max_connections_per_account = 2;
    let server = fixture.start(imap_server::run)?;
    let mut plain = tokio::net::TcpStream::connect(server.plain).await?;
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"a LOGIN alice alice-secret\r\n").await?;
    let mut lines = tokio::io::BufReader::new(&mut plain);
    let mut line = String::new();
    while !line.starts_with("a OK") {
        line.clear();
        anyhow::ensure!(tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await? > 0);
    }
    let dialogue = "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\n2S: * OK...\n2C: b LOGIN alice alice-secret\n\
        2S: b NO [LIMIT]...\n2C: c LOGIN bob bob-secret\n2S: c OK...\nC: d UNAUTHENTICATE\nS: d OK...\n\
        3S: * OK...\n3C: e LOGIN alice alice-secret\n3S: e OK...\n";
    Transcript::parse(dialogue)?.run(&fixture, &server, Security::Tls).await
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
        mask(None, Some("Mono Mail"), "LANGUAGE"),
    ];
    let dialogue = "S: * OK [CAPABILITY IMAP4rev1 IMAP4rev2 ...\n\
        C: a ID (\"name\" \"some mail\")\nS: * ID...\nS: a OK [CAPABILITY IMAP4rev1 LITERAL+ ...\n\
        C: b LOGIN alice alice-secret\n\
        S: b OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE LANGUAGE LIST-EXTENDED ...\n\
        C: c ENABLE IMAP4rev2 CONDSTORE\nS: * ENABLED CONDSTORE\nS: c OK...\nC: d UNAUTHENTICATE\nS: d OK...\n\
        C: e LOGIN bob bob-secret\n\
        S: e OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE LANGUAGE CHILDREN LIST-EXTENDED ...\n\
        C: f ENABLE CONDSTORE\nS: * ENABLED\nS: f OK...\n\
        C: g ID (\"name\" \"Other\")\nS: * ID...\nS: g OK [CAPABILITY IMAP4rev1 IMAP4rev2 ...\n\
        C: h ID NIL\nS: * ID...\nS: h OK Done\n\
        C: i ID (\"name\" \"Mono Mail\")\nS: * ID...\n\
        S: i OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE CHILDREN LIST-EXTENDED ...\n\
        C: j UNAUTHENTICATE\nS: j OK...\nC: k CAPABILITY\n\
        S: * CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE STARTTLS AUTH=...\nS: k OK...\n";
    hold(&mut fixture, dialogue).await
}

/// RFC 5255 §3.2, §3.1: what the operator prefers is for who asks for it.
#[tokio::test]
async fn the_language_of_the_config_is_the_default_to_ask_for() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.language = mail_types::Language::Portuguese;
    let dialogue = "S: * OK...\nC: a NOOP\nS: a OK Done\nC: b LANGUAGE fr default\nS: * LANGUAGE (pt)\n\
        S: b OK Agora em português\nC: c LANGUAGE fr *\nS: * LANGUAGE (pt)\nS: c OK...\n\
        C: d LANGUAGE i-default\nS: * LANGUAGE (i-default)\nS: d OK Now speaking English\n";
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

/// RFC 5530 §3, `UNAVAILABLE`: who is over the limit of its address is told so instead of a greeting, and may come again.
#[tokio::test]
async fn an_address_has_so_many_connections_and_the_next_is_told_to_come_later() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.limits.max_connections_per_address = 2;
    let dialogue = "given: through a proxy from 192.0.2.9\n\
        S: * OK...\n2S: * OK...\n3S: * BYE [UNAVAILABLE] Too many connections from your address or network, try again later\n3S: <close>\n\
        C: a LOGOUT\nS: * BYE...\nS: a OK...\nS: <close>\n2C: a NOOP\n2S: a OK...\n";
    hold(&mut fixture, dialogue).await
}

/// RFC 8437 §3: who has logged out of its account is a stranger again, and takes a stranger's place or, where there is none, goes.
#[tokio::test]
async fn who_unauthenticates_counts_for_its_network_again() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    let limits = &mut fixture.config.limits;
    (limits.max_connections_per_address, limits.max_connections_per_network) = (1, 2);
    limits.allow_plaintext_login = true;
    let from = |client: u8| {
        format!("{client}C-raw: PROXY TCP4 192.0.2.{client} 198.51.100.1 54321 143\\r\\n\n{client}S: ")
    };
    let log_in = "a LOGIN alice alice-secret";
    let dialogue = format!(
        "given: smtp proxies 127.0.0.1\n{}* OK...\n1C: {log_in}\n1S: a OK...\n{}* OK...\n{}* OK...\n\
         2C: {log_in}\n2S: a OK...\n2C: b UNAUTHENTICATE\n2S: b OK...\n{}* BYE [UNAVAILABLE]...\n4S: <close>\n\
         1C: b UNAUTHENTICATE\n1S: b OK...\n1S: * BYE [UNAVAILABLE] Too many connections from your network, try again later\n\
         1S: <close>\n2C: c NOOP\n2S: c OK...\n",
        from(1),
        from(2),
        from(3),
        from(4),
    );
    hold(&mut fixture, &dialogue).await
}

/// RFC 5465 §3.1, §5.8.
#[tokio::test]
async fn notify_watches_a_bounded_number_of_mailboxes() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    // As many as an account has from the start.
    fixture.config.imap.max_notify_mailboxes = 6;
    let set = "NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))";
    let dialogue = format!(
        "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\nC: b {set}\nS: b OK...\n\
         2S: * OK...\n2C: a LOGIN alice alice-secret\n2S: a OK...\n2C: b CREATE x\n2S: b OK...\n\
         S: * OK [NOTIFICATIONOVERFLOW]...\nC: c {set}\nS: c NO [NOTIFICATIONOVERFLOW]...\n\
         2C: c APPEND Sent {{1+}}\n2C: x\n2S: c OK...\n2C: d DELETE x\n2S: d OK...\nC: d {set}\nS: d OK...\n"
    );
    hold(&mut fixture, &dialogue).await
}

/// RFC 5464 §4.3: what is too large or too many is refused as a whole; what is there may be changed and taken away.
#[tokio::test]
async fn annotations_are_limited_in_size_and_number() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.max_annotation = 10;
    fixture.config.imap.max_annotations = 2;
    fixture.config.imap.comment = Some("On Sundays".to_owned());
    fixture.config.imap.admin = Some("mailto:root@example.org".to_owned());
    let dialogue = "S: * OK...\nC: a LOGIN alice alice-secret\nS: a OK...\n\
        C: b SETMETADATA INBOX (/private/comment \"0123456789\" /shared/comment \"1\")\nS: b OK...\n\
        C: c SETMETADATA INBOX (/shared/comment \"2\" /private/comment \"0123456789a\")\n\
        S: c NO [METADATA MAXSIZE 10]...\n\
        C: d SETMETADATA INBOX (/shared/comment \"2\" /private/vendor/x/y \"\")\nS: d NO [METADATA TOOMANY]...\n\
        C: e GETMETADATA (DEPTH infinity) INBOX (/private /shared)\n\
        S: * METADATA \"INBOX\" (/private/comment \"0123456789\" /shared/comment \"1\")\nS: e OK...\n\
        C: f SETMETADATA INBOX (/shared/comment NIL /private/vendor/x/y \"\")\nS: f OK...\n\
        C: g GETMETADATA (DEPTH infinity) \"\" (/private /shared)\n\
        S: * METADATA \"\" (/shared/admin \"mailto:root@example.org\" /shared/comment \"On Sundays\")\nS: g OK...\n";
    hold(&mut fixture, dialogue).await
}

/// RFC 9585.
#[tokio::test]
async fn a_command_that_takes_long_tells_how_far_it_is() -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.progress_interval = Duration::ZERO;
    let server = fixture.start(imap_server::run)?;
    let append = format!("b APPEND INBOX{}\r\n", " {1+}\r\nx".repeat(300));
    let commands =
        format!("a LOGIN alice alice-secret\r\n{append}c EXAMINE INBOX\r\nd COPY 1:* Sent\r\ne LOGOUT\r\n");
    let mut client = tokio::net::TcpStream::connect(server.plain).await?;
    tokio::io::AsyncWriteExt::write_all(&mut client, commands.as_bytes()).await?;
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client, &mut answer).await?;
    for tag in ["b", "d"] {
        let before = format!("* OK [INPROGRESS (\"{tag}\" ");
        let told = answer.lines().filter_map(|line| line.strip_prefix(&before)?.split_once(" 300)]"));
        let counts = told.map(|(count, _)| count.parse()).collect::<Result<Vec<u32>, _>>()?;
        assert!(!counts.is_empty() && counts.is_sorted() && counts.last() < Some(&300), "{tag}: {counts:?}");
        let last = answer.rfind(&before).unwrap_or(usize::MAX);
        assert!(Some(last) < answer.find(&format!("\r\n{tag} OK")), "{answer}");
    }
    Ok(())
}
