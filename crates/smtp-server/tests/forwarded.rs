//! What goes on to others in the name of an address of ours: from whom, to whom, and what comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::Read as _;

use mail_directory::{Forwarding, Posting};
use mail_types::Address;
use smtp_queue::{Queue, QueuedMessage};
use testkit::{Fixture, Security};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// alice keeps a copy of what goes on, bob does not; sales leads to carol, who is elsewhere, and to bob.
fn fixture() -> Fixture {
    let fixture = Fixture::new().unwrap();
    let forwarding = |to: &str, keeps_copy| Forwarding { targets: vec![address(to)], keeps_copy };
    let directory = &fixture.directory;
    directory.set_forwarding(&address("alice@example.org"), &forwarding("alice@example.net", true)).unwrap();
    directory.set_forwarding(&address("bob@example.org"), &forwarding("bob@example.net", false)).unwrap();
    let targets = ["carol@example.net", "alice@example.net"].map(address);
    directory.add_alias(&"sales@example.org".parse().unwrap(), &targets).unwrap();
    let (list, owner) = (address("staff@example.org"), address("alice@example.org"));
    directory.add_list(&list, &owner, Posting::Anyone).unwrap();
    directory.add_members(&list, &["bob@example.org", "eve@example.com"].map(address)).unwrap();
    fixture
}

/// Sends a message: the reply that refused a recipient, or the code of the last one before QUIT.
async fn send(fixture: &Fixture, from: &str, to: &[&str], parameters: &str) -> String {
    let server = fixture.start(smtp_server::run).unwrap();
    let mut stream = tokio::net::TcpStream::connect(server.address(Security::Plain)).await.unwrap();
    let mut input = format!("HELO client.example.net\r\nMAIL FROM:<{from}>\r\n");
    to.iter().for_each(|to| input.push_str(&format!("RCPT TO:<{to}>{parameters}\r\n")));
    input.push_str("DATA\r\nSubject: a\r\n\r\nbody\r\n.\r\nQUIT\r\n");
    stream.write_all(input.as_bytes()).await.unwrap();
    let mut output = String::new();
    stream.read_to_string(&mut output).await.unwrap();
    let refused = output.lines().find(|line| line.starts_with("550 ")).map(str::to_owned);
    refused.or(output.lines().rev().nth(1).map(|line| line.get(..3).unwrap().to_owned())).unwrap()
}

fn queue(fixture: &Fixture) -> std::sync::Arc<Queue> {
    Queue::open(&fixture.config.queue_dir()).unwrap()
}

fn text(queue: &Queue, message: &QueuedMessage) -> String {
    let mut text = String::new();
    queue.content(&message.id).unwrap().read_to_string(&mut text).unwrap();
    text
}

fn recipients(message: &QueuedMessage) -> Vec<String> {
    message.recipients.iter().map(|it| format!("{}{}", it.address, it.parameters)).collect()
}

fn taken(queue: &Queue) -> Vec<QueuedMessage> {
    let messages = queue.list(None, 100).unwrap();
    messages.iter().for_each(|message| assert_eq!(queue.remove(Some(&message.id)).unwrap(), 1));
    messages
}

#[tokio::test]
async fn mail_goes_on_from_a_return_address_of_ours_and_its_bounce_finds_back() {
    let fixture = fixture();
    let queue = queue(&fixture);
    assert_eq!(send(&fixture, "Eve@example.com", &["alice@example.org"], "").await, "250");
    let listed = queue.list(None, 10).unwrap();
    let [message] = listed.as_slice() else { panic!("{listed:?}") };
    let text = text(&queue, message);
    assert!(text.starts_with("Delivered-To: alice@example.org\r\nReceived: from "), "{text}");
    assert!(text.ends_with("Subject: a\r\n\r\nbody\r\n") && !text.contains("Return-Path"), "{text}");
    assert_eq!(recipients(message), ["alice@example.net ORCPT=rfc822;alice@example.org"]);
    let copy = fixture.delivered("alice").unwrap();
    assert!(copy.first().unwrap().starts_with(b"Return-Path: <Eve@example.com>\r\nReceived:"));

    let back = message.sender.clone().unwrap().to_string();
    assert!(back.starts_with("SRS0=") && back.ends_with("=example.com=Eve@example.org"), "{back}");
    taken(&queue);
    assert_eq!(send(&fixture, "", &[&back], "").await, "250");
    let bounce = taken(&queue).remove(0);
    let to: Vec<String> = bounce.recipients.iter().map(|it| it.address.to_string()).collect();
    assert_eq!((bounce.sender, to), (None, vec!["Eve@example.com".to_owned()]));
    for (from, to) in [("", back.replace("Eve", "Adam")), ("x@example.com", back.clone())] {
        assert!(send(&fixture, from, &[&to], "").await.starts_with("550 5.7.1 "), "{to}");
    }
    assert_eq!(queue.summary().unwrap().messages, 0);
}

#[tokio::test]
async fn each_address_of_ours_sends_on_for_itself_and_nobody_gets_a_message_twice() {
    let fixture = fixture();
    let queue = queue(&fixture);
    let to = ["alice@example.org", "sales@example.org", "bob@example.org", "staff@example.org"];
    assert_eq!(send(&fixture, "eve@example.com", &to, " NOTIFY=NEVER").await, "250");
    let messages = taken(&queue);
    let sent: Vec<Vec<String>> = messages.iter().map(recipients).collect();
    assert_eq!(
        sent,
        [
            ["alice@example.net NOTIFY=NEVER ORCPT=rfc822;alice@example.org"].map(str::to_owned).to_vec(),
            ["carol@example.net NOTIFY=NEVER ORCPT=rfc822;sales@example.org"].map(str::to_owned).to_vec(),
            ["bob@example.net NOTIFY=NEVER ORCPT=rfc822;bob@example.org"].map(str::to_owned).to_vec(),
            ["bob@example.org", "eve@example.com"].map(str::to_owned).to_vec(),
        ]
    );
    assert_eq!(messages.last().unwrap().sender, Some(address("staff-bounces@example.org")));
    assert_eq!(fixture.delivered("bob").unwrap().len(), 0, "he keeps no copy");
}

#[tokio::test]
async fn a_list_names_itself_and_a_sender_of_ours_keeps_its_name() {
    let fixture = fixture();
    let queue = queue(&fixture);
    assert_eq!(
        send(&fixture, "bob@example.org", &["staff@example.org", "sales@example.org"], "").await,
        "250"
    );
    let texts: Vec<String> = queue.list(None, 10).unwrap().iter().map(|it| text(&queue, it)).collect();
    let fields = "Delivered-To: staff@example.org\r\nList-Id: <staff.example.org>\r\n";
    assert!(texts.iter().any(|it| it.starts_with(fields)), "{texts:?}");
    let senders: Vec<_> = taken(&queue).into_iter().map(|it| it.sender.unwrap().to_string()).collect();
    assert_eq!(senders, ["staff-bounces@example.org", "bob@example.org"]);
}

/// RFC 3461 §5.2.3, RFC 5321 §6.2: who is told of a delivery, or of what fails later, must be who has sent the message.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_proven_to_have_sent_a_message_hears_nothing_of_it() {
    let mut fixture = tokio::task::spawn_blocking(fixture).await.unwrap();
    fixture.add_user("carol").unwrap();
    let records = "proven.test. TXT \"v=spf1 ip4:127.0.0.1 -all\"\nproven.test. MX 10 mx.test.\n\
        claimed.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\n";
    fixture.serve_dns(records).unwrap();
    let server = fixture.start(smtp_server::run).unwrap();
    let queue = queue(&fixture);
    for (domain, reports) in [("claimed.test", 0), ("proven.test", 1)] {
        let dialogue = format!(
            "S: 220...\nC: HELO mx.test\nS: 250...\nC: MAIL FROM:<a@{domain}>\nS: 250...\n\
             C: RCPT TO:<carol@example.org> NOTIFY=SUCCESS\nS: 250...\nC: DATA\nS: 354...\n\
             C: From: a@{domain}\nC: Subject: a\nC: \nC: .\nS: 250...\n"
        );
        let transcript = testkit::Transcript::parse(&dialogue).unwrap();
        transcript.run(&fixture, &server, Security::Plain).await.unwrap();
        let told: Vec<Vec<String>> = taken(&queue).iter().map(recipients).collect();
        assert_eq!(told.len(), reports, "{domain}: {told:?}");
    }
    assert_eq!(fixture.delivered("carol").unwrap().len(), 2);
}
