//! Mail that needs SMTPUTF8 on its way, and mail that does not: RFC 6531.

use std::io::Write as _;

use mail_directory::Directory;
use smtp_queue::{Body, Envelope, Handling, Requests};

use super::host::{Host, address};
use super::peer::{Manner, Peer, listeners};

async fn international() -> Peer {
    Peer::at(listeners(&["127.0.0.1"]).await.remove(0), Manner::International)
}

/// A message from Carol to Bob elsewhere.
fn add(host: &Host, text: &str, smtputf8: bool) {
    let mut writer = host.queue.add().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    let envelope = Envelope {
        sender: Some(address("carol@example.com")),
        origin: String::new(),
        recipients: vec![address("bob@example.net")],
        smtputf8,
        body: Body::of(text.as_bytes()),
        requests: Requests::default(),
        handling: Handling::default(),
    };
    writer.commit(&envelope).unwrap();
}

/// RFC 6531 §3.2, §3.4, §3.6. A host that is asked for it may return the message where the host behind it does not offer it: what was sent without goes on
/// without, as it came.
#[tokio::test]
async fn smtputf8_is_asked_for_where_the_sender_said_so_and_any_header_of_a_message_holds_utf8() {
    let mut peer = international().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    let head = "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";
    let in_part = format!("{head}Content-Disposition: attachment; filename=\"Grüße\"\r\n\r\nx\r\n--b--\r\n");
    let in_message =
        format!("{head}Content-Type: message/rfc822\r\n\r\nSubject: Grüße\r\n\r\nx\r\n--b--\r\n");
    for (text, needs_it) in [
        ("Subject: Grüße\r\n\r\nx\r\n", true),
        (&in_part, true),
        (&in_message, true),
        ("Subject: x\r\n\r\nGrüße\r\n", false),
        ("Subject: x\r\n\r\nx\r\n", false),
    ] {
        for declared in [true, false] {
            add(&host, text, declared);
            let received = peer.next().await.text;
            let mail = received.lines().next().unwrap();
            assert_eq!(mail.contains(" SMTPUTF8"), needs_it && declared, "{declared} {received}");
            assert_eq!(mail.contains(" BODY=8BITMIME"), !text.is_ascii(), "{declared} {received}");
            let subject = text.lines().next().unwrap();
            assert!(received.contains(subject), "{declared} {received}");
        }
    }
    running.stop().await;
}

/// RFC 6531 §3.7.3: a domain has a form in ASCII, a local part has none.
#[tokio::test]
async fn smtputf8_is_asked_for_where_a_field_of_ours_holds_utf8_and_none_does_that_need_not() {
    let mut peer = international().await;
    let mut host = Host::new(Some(peer.smarthost()));
    let directory = Directory::open(&host.config.directory_file()).unwrap();
    directory.add_domain(&"bücher.example".parse().unwrap()).unwrap();
    for alias in ["sales@bücher.example", "josé@example.org"] {
        directory.add_alias(&alias.parse().unwrap(), &[address("bob@example.net")]).unwrap();
    }
    let running = host.run();
    for (alias, field) in [
        ("sales@bücher.example", "Delivered-To: sales@xn--bcher-kva.example\r\n"),
        ("josé@example.org", "Delivered-To: josé@example.org\r\n"),
    ] {
        host.add(Some("carol@example.com"), &[alias]);
        let received = peer.next().await.text;
        let (line, message) = received.split_once('\n').unwrap();
        assert_eq!(line.contains(" BODY=8BITMIME SMTPUTF8"), !field.is_ascii(), "{line}");
        assert!(message.starts_with(field), "{message}");
    }
    running.stop().await;

    // Who does not take it does not get it: RFC 6531 §3.2.
    let mut peer = Peer::start().await;
    host.config.relay.smarthost = Some(peer.smarthost());
    let running = host.run();
    host.add(Some("carol@example.com"), &["josé@example.org"]);
    let bounce = peer.next().await;
    assert!(bounce.text.contains("Status: 5.6.9\r\nRemote-MTA: dns; [127.0.0.1]\r\nLast-"), "{bounce:?}");
    running.stop().await;
}
