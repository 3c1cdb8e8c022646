//! Whole sessions: what other programs do to the maildrop, odd messages, silence, and the end of the server.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::time::Duration;

use mail_types::Secret;
use support::{Client, maildir};
use testkit::Fixture;

/// The lines of a multi-line response, their dots taken out.
async fn lines(client: &mut Client, command: &str) -> Vec<u8> {
    client.ok(command).await;
    let mut content = Vec::new();
    loop {
        let line = client.line().await;
        assert!(line.ends_with(b"\r\n"), "{}", line.escape_ascii());
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return content,
            Some(stuffed) => content.extend_from_slice(stuffed),
            None => content.extend_from_slice(&line),
        }
    }
}

/// Delivers a message as another program does.
fn drop_in(fixture: &Fixture, name: &str, message: &[u8]) {
    fs::write(maildir(fixture).join("new").join(name), message).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_may_hold_blanks_and_be_long() {
    let fixture = Fixture::new().unwrap();
    let server = fixture.start(pop3_server::run).unwrap();
    let bob = "bob@example.org".parse().unwrap();
    for password in ["  two  words ".to_owned(), "päß wörd".to_owned(), "x".repeat(4000)] {
        fixture.directory.set_password(&bob, &Secret::new(password.clone())).unwrap();
        let mut client = Client::connect(&server).await;
        client.ok("USER bob").await;
        assert!(client.send(&format!("PASS {} ", password.trim())).await.starts_with("-ERR [AUTH]"));
        client.ok("USER bob").await;
        client.ok(&format!("PASS {password}")).await;
        client.ok("QUIT").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_another_program_removes_is_gone_and_stops_nothing() {
    let fixture = Fixture::new().unwrap();
    fixture.add_message("bob", "INBOX", b"Subject: one\r\n\r\n1\r\n").unwrap();
    fixture.add_message("bob", "INBOX", b"Subject: two\r\n\r\n2\r\n").unwrap();
    let server = fixture.start(pop3_server::run).unwrap();
    let mut client = Client::bob(&server).await;
    let files = ["new", "cur"].into_iter().flat_map(|it| fs::read_dir(maildir(&fixture).join(it)).unwrap());
    for file in files.map(|file| file.unwrap().path()) {
        if fs::read_to_string(&file).unwrap().contains("one") {
            fs::remove_file(file).unwrap();
        }
    }
    assert!(client.send("RETR 1").await.starts_with("-ERR"));
    assert!(client.send("TOP 1 0").await.starts_with("-ERR"));
    assert_eq!(lines(&mut client, "RETR 2").await, b"Subject: two\r\n\r\n2\r\n");
    client.ok("DELE 1").await;
    client.ok("QUIT").await;
    let mut client = Client::bob(&server).await;
    assert_eq!(client.ok("STAT").await, "+OK 1 19");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_other_programs_have_their_size_on_the_wire() {
    let fixture = Fixture::new().unwrap();
    drop_in(&fixture, "1.a.host", b"Subject: unix\n\n.dot\n\nend\n");
    drop_in(&fixture, "2.b.host", b"Subject: no end\n\nend");
    drop_in(&fixture, "3.c.host", b"");
    let server = fixture.start(pop3_server::run).unwrap();
    let mut client = Client::bob(&server).await;
    let list = String::from_utf8(lines(&mut client, "LIST").await).unwrap();
    let sizes: Vec<usize> =
        list.lines().map(|line| line.split_once(' ').unwrap().1.parse().unwrap()).collect();
    assert_eq!(lines(&mut client, "RETR 1").await, b"Subject: unix\r\n\r\n.dot\r\n\r\nend\r\n");
    assert_eq!(lines(&mut client, "TOP 1 1").await, b"Subject: unix\r\n\r\n.dot\r\n");
    assert_eq!(lines(&mut client, "RETR 2").await, b"Subject: no end\r\n\r\nend\r\n");
    // The line end that the message lacks belongs to the response, not to the message.
    assert_eq!(sizes, [30, 22, 0]);
    assert_eq!(lines(&mut client, "RETR 3").await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_where_the_file_is_cut_comes_back_whole() {
    const CUT: usize = 64 << 10;
    const BORDER: &[u8] = b"\r\n.\r\n..\r\n.x\r\n";
    let fixture = Fixture::new().unwrap();
    let head = b"Subject: border\r\n\r\n";
    let messages: Vec<Vec<u8>> = (0..BORDER.len())
        .map(|shift| {
            let fill = vec![b'x'; CUT - head.len() - shift];
            [head, fill.as_slice(), BORDER, fill.as_slice(), b"\r\n"].concat()
        })
        .collect();
    messages.iter().for_each(|message| fixture.add_message("bob", "INBOX", message).unwrap());
    let server = fixture.start(pop3_server::run).unwrap();
    let mut client = Client::bob(&server).await;
    for (message, number) in messages.iter().zip(1..) {
        assert!(lines(&mut client, &format!("RETR {number}")).await == *message, "message {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_left_without_a_word_and_nothing_is_removed() {
    let mut fixture = Fixture::new().unwrap();
    fixture.config.pop3.idle_timeout = Duration::from_secs(3);
    fixture.add_message("bob", "INBOX", b"Subject: one\r\n\r\n1\r\n").unwrap();
    let server = fixture.start(pop3_server::run).unwrap();
    let mut client = Client::bob(&server).await;
    client.ok("DELE 1").await;
    assert_eq!(client.line().await, b"");
    assert_eq!(Client::bob(&server).await.ok("STAT").await, "+OK 1 19");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_the_middle_when_the_server_stops_may_finish() {
    let fixture = Fixture::new().unwrap();
    fixture.add_message("bob", "INBOX", b"Subject: one\r\n\r\n1\r\n").unwrap();
    let server = fixture.start(pop3_server::run).unwrap();
    let mut silent = Client::connect(&server).await;
    let mut busy = Client::bob(&server).await;
    busy.ok("DELE 1").await;
    drop(server);
    busy.ok("STAT").await;
    busy.ok("QUIT").await;
    assert_eq!(busy.line().await, b"");
    assert_eq!(silent.line().await, b"");
    let server = fixture.start(pop3_server::run).unwrap();
    assert_eq!(Client::bob(&server).await.ok("STAT").await, "+OK 0 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_read_is_a_failure_of_ours_and_not_an_empty_maildrop() {
    let fixture = Fixture::new().unwrap();
    fixture.add_message("bob", "INBOX", b"Subject: one\r\n\r\n1\r\n").unwrap();
    fixture.add_message("bob", "INBOX", b"Subject: two\r\n\r\n2\r\n").unwrap();
    let server = fixture.start(pop3_server::run).unwrap();
    let mut client = Client::bob(&server).await;
    client.ok("DELE 2").await;
    let cur = maildir(&fixture).join("cur");
    let files = ["new", "cur"].into_iter().flat_map(|it| fs::read_dir(maildir(&fixture).join(it)).unwrap());
    for file in files.map(|file| file.unwrap().path()) {
        if fs::read_to_string(&file).unwrap().contains("one") {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }
    }
    assert!(client.send("RETR 1").await.starts_with("-ERR [SYS/TEMP]"));
    client.ok("RSET").await;
    client.ok("QUIT").await;

    fs::rename(&cur, cur.with_file_name("elsewhere")).unwrap();
    fs::write(&cur, b"").unwrap();
    let mut client = Client::connect(&server).await;
    client.ok("USER bob").await;
    assert!(client.send("PASS bob-secret").await.starts_with("-ERR [SYS/TEMP]"));
    fs::remove_file(&cur).unwrap();
    fs::rename(cur.with_file_name("elsewhere"), &cur).unwrap();
    client.ok("USER bob").await;
    client.ok("PASS bob-secret").await;
    assert_eq!(lines(&mut client, "RETR 1").await, b"Subject: two\r\n\r\n2\r\n");
}
