//! UIDONLY, RFC 9586.
#![allow(missing_docs)]

use testkit::{Fixture, Security, Transcript};

async fn hold(is_offered: bool, dialogue: &str) -> anyhow::Result<()> {
    let mut fixture = Fixture::new()?;
    fixture.config.imap.uid_only = is_offered;
    let transcript = Transcript::parse(dialogue)?;
    transcript.prepare(&mut fixture)?;
    let server = fixture.start(imap_server::run)?;
    transcript.run(&fixture, &server, Security::Plain).await
}

const GIVEN: &str = "\
given: message in INBOX of alice
|Subject: one
|
|1
given: message in INBOX of alice
|Subject: two
|
|2
given: message in INBOX of alice
|Subject: three
|
|3
S: * OK...
C: a LOGIN alice alice-secret
S: a OK...
";

const SELECTED: &str = "\
S: * FLAGS...
S: * OK [PERMANENTFLAGS...
S: * 3 EXISTS
S: * $recent RECENT
S: * OK [UIDVALIDITY $validity] UIDs are valid
S: * OK [UIDNEXT 4]...
S: * OK [MAILBOXID...
";

#[tokio::test]
async fn it_is_there_only_where_the_config_says_so() -> anyhow::Result<()> {
    let enable = "C: b ENABLE UIDONLY\nS: * ENABLED\nS: b OK...\nC: c SELECT INBOX\n";
    let selected = format!("{SELECTED}S: * OK [UNSEEN 1]...\nS: c OK...\n");
    let fetch = "C: d FETCH 1 UID\nS: * 1 FETCH (UID 1)\nS: d OK...\n";
    hold(false, &format!("{GIVEN}{enable}{selected}{fetch}")).await
}

/// RFC 9586 §3.
#[tokio::test]
async fn commands_with_sequence_numbers_are_refused() -> anyhow::Result<()> {
    let mut dialogue = format!(
        "{GIVEN}C: b ENABLE UIDONLY QRESYNC\nS: * ENABLED CONDSTORE QRESYNC UIDONLY\nS: b OK...\n\
         C: c SELECT INBOX\n{SELECTED}S: * OK [HIGHESTMODSEQ $modseq]...\nS: c OK...\n"
    );
    for command in [
        "FETCH 1 FLAGS",
        "FETCH $ FLAGS",
        "STORE 1 FLAGS ()",
        "COPY 1 Trash",
        "MOVE 1:* Trash",
        "SEARCH ALL",
        "SEARCH RETURN (COUNT) 1",
        "UID SEARCH 1",
        "UID SEARCH UNSEEN NOT (FROM x 1:*)",
        "SORT (DATE) UTF-8 ALL",
        "UID SORT (DATE) UTF-8 1:2",
        "THREAD REFS UTF-8 ALL",
        "UID THREAD REFS UTF-8 *",
        "ESEARCH IN (selected) 2",
        "SELECT INBOX (QRESYNC (1 5 1:3 (1,3 1,3)))",
        "REPLACE 1 INBOX {1+}\\r\\nx",
    ] {
        dialogue.push_str(&format!("C-raw: d {command}\\r\\n\nS: d BAD [UIDREQUIRED]...\n"));
    }
    dialogue.push_str("C: e UID FETCH 1:* UID\nS: * 1 UIDFETCH (UID 1)\nS: * 2 UIDFETCH (UID 2)\nS: * 3 UIDFETCH (UID 3)\nS: e OK...\n");
    hold(true, &dialogue).await
}

/// RFC 9586 §3: UIDFETCH takes the place of FETCH, VANISHED that of EXPUNGE, whether asked for or not.
#[tokio::test]
async fn responses_name_messages_by_uid() -> anyhow::Result<()> {
    let other = "2S: * OK...\n2C: a LOGIN alice alice-secret\n2S: a OK...\n";
    let selected = SELECTED
        .replace("S: *", "2S: *")
        .replace("$recent", "$recent2")
        .replace("[UIDVALIDITY $validity] UIDs are valid", "[UIDVALIDITY $v2] UIDs are valid");
    let dialogue = format!(
        "{GIVEN}C: b ENABLE UIDONLY\nS: * ENABLED UIDONLY\nS: b OK...\nC: c SELECT INBOX\n{SELECTED}S: c OK...\n\
         C: d UID SEARCH SUBJECT t\nS: * SEARCH 2 3\nS: d OK...\n\
         C: e UID FETCH 2 (RFC822.SIZE BODY[TEXT])\n\
         S: * 2 UIDFETCH (RFC822.SIZE 19 BODY[TEXT] {{3}}\nS: 2\nS:  FLAGS (\\Seen...\nS: e OK...\n\
         C: f UID STORE 3 +FLAGS ($MDNSent)\nS: * 3 UIDFETCH (FLAGS ($MDNSent...\nS: f OK...\n\
         {other}2C: b SELECT INBOX\n{selected}2S: * OK [UNSEEN 1]...\n2S: b OK...\n\
         2C: c STORE 1 +FLAGS.SILENT (\\Deleted)\n2S: c OK...\nC: g NOOP\nS: * 1 UIDFETCH (FLAGS (\\Deleted...\nS: g OK...\n\
         2C: d EXPUNGE\n2S: * 1 EXPUNGE\n2S: d OK...\nC: h UID FETCH 3 MODSEQ\nS: * OK [HIGHESTMODSEQ $m]...\nS: * 3 UIDFETCH (MODSEQ...\nS: * VANISHED 1\nS: h OK...\n\
         C: i UID STORE 2 +FLAGS.SILENT (\\Deleted)\nS: * 2 UIDFETCH (MODSEQ...\nS: i OK...\nC: j EXPUNGE\nS: * VANISHED 2\nS: j OK...\n\
         C: k UID MOVE 3 Trash\nS: * OK [COPYUID...\nS: * VANISHED 3\nS: k OK...\n",
    );
    hold(true, &dialogue).await
}

/// RFC 7162 §3.2.5, RFC 9586 §3.
#[tokio::test]
async fn a_client_that_comes_back_is_told_by_uid() -> anyhow::Result<()> {
    let dialogue = format!(
        "{GIVEN}C: b ENABLE UIDONLY QRESYNC\nS: * ENABLED...\nS: b OK...\nC: c SELECT INBOX\n{SELECTED}S: * OK [HIGHESTMODSEQ $modseq] Up to here all is told\nS: c OK...\n\
         C: d UID STORE 2 +FLAGS.SILENT (\\Deleted)\nS: * 2 UIDFETCH (MODSEQ...\nS: d OK...\nC: e UID EXPUNGE 2\nS: * VANISHED 2\nS: e OK...\n\
         C: f UID STORE 3 +FLAGS (\\Seen)\nS: * 3 UIDFETCH (FLAGS (\\Seen...\nS: f OK...\n\
         C: g UNSELECT\nS: g OK...\nC: h SELECT INBOX (QRESYNC ($validity $modseq))\nS: * FLAGS...\nS: * OK [PERMANENTFLAGS...\nS: * 2 EXISTS\nS: * 0 RECENT\n\
         S: * OK [UIDVALIDITY...\nS: * OK [UIDNEXT...\nS: * OK [HIGHESTMODSEQ...\nS: * OK [MAILBOXID...\nS: * VANISHED (EARLIER) 2\nS: * 3 UIDFETCH (FLAGS (\\Seen) MODSEQ...\nS: h OK...\n"
    );
    hold(true, &dialogue).await
}

/// RFC 5267 §4.3: what was promised by number can't be kept.
#[tokio::test]
async fn searches_that_are_updated_by_number_end() -> anyhow::Result<()> {
    let dialogue = format!(
        "{GIVEN}C: b SELECT INBOX\n{SELECTED}S: * OK [UNSEEN 1]...\nS: b OK...\n\
         C: c SEARCH RETURN (UPDATE COUNT) UNSEEN\nS: * ESEARCH (TAG \"c\") COUNT 3\nS: c OK...\n\
         C: d UID SEARCH RETURN (UPDATE COUNT) UNSEEN\nS: * ESEARCH (TAG \"d\") UID COUNT 3\nS: d OK...\n\
         C: e ENABLE UIDONLY\nS: * ENABLED UIDONLY\nS: * NO [NOUPDATE \"c\"]...\nS: e OK...\n\
         C: f UID STORE 2 +FLAGS.SILENT (\\Seen)\nS: * ESEARCH (TAG \"d\") UID REMOVEFROM (0 2)\nS: f OK...\n"
    );
    hold(true, &dialogue).await
}

/// RFC 5465 §5, RFC 9586 §3: what is told at any time names messages by UID as well.
#[tokio::test]
async fn notify_tells_by_uid() -> anyhow::Result<()> {
    let selected = SELECTED.replace("S: *", "2S: *").replace("$recent", "$recent2");
    let dialogue = format!(
        "{GIVEN}C: b ENABLE UIDONLY\nS: * ENABLED UIDONLY\nS: b OK...\nC: c SELECT INBOX\n{SELECTED}S: c OK...\n\
         C: d NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))\nS: d OK...\n\
         2S: * OK...\n2C: a LOGIN alice alice-secret\n2S: a OK...\n2C: b SELECT INBOX\n{selected}2S: * OK [UNSEEN 1]...\n2S: b OK...\n\
         2C: c STORE 2 +FLAGS.SILENT (\\Deleted)\n2S: c OK...\nS: * 2 UIDFETCH (FLAGS (\\Deleted...\n\
         2C: d EXPUNGE\n2S: * 2 EXPUNGE\n2S: d OK...\nS: * VANISHED 2\n\
         2C: e STORE 2 +FLAGS.SILENT (\\Flagged)\n2S: e OK...\nS: * 3 UIDFETCH (FLAGS (\\Flagged...\n\
         2C: f APPEND INBOX (\\Seen) {{1+}}\n2C: y\n2S: * 3 EXISTS\n2S: * $r1 RECENT\n2S: f OK...\n\
         S: * 3 EXISTS\nS: * $r2 RECENT\nS: * 4 UIDFETCH (UID 4 FLAGS (\\Seen...\n\
         C: e NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))\nS: e OK...\n\
         2C: g STORE 1 +FLAGS.SILENT (\\Deleted)\n2S: g OK...\nS: * 1 UIDFETCH (FLAGS (\\Deleted...\n\
         2C: h EXPUNGE\n2S: * 1 EXPUNGE\n2S: h OK...\nC: f NOOP\nS: * VANISHED 1\nS: f OK...\n",
    );
    hold(true, &dialogue).await
}
