//! Octets that stand in no line: RFC 2045 §2.7, RFC 3030 §3.

use std::io::Write as _;

use smtp_queue::{Body, Envelope, Handling, Requests};

use super::host::{Host, address};
use super::peer::Peer;

fn add(host: &Host, text: &[u8]) {
    let mut writer = host.queue.add().unwrap();
    writer.write_all(text).unwrap();
    let envelope = Envelope {
        sender: Some(address("carol@example.com")),
        origin: String::new(),
        recipients: vec![address("bob@example.net")],
        smtputf8: false,
        body: Body::of(text),
        requests: Requests::default(),
        handling: Handling::default(),
    };
    writer.commit(&envelope).unwrap();
}

/// A host that does not take BINARYMIME gets them in an encoding, or its sender gets the message back.
#[tokio::test]
async fn a_nul_is_sent_encoded_or_not_at_all_to_who_takes_only_lines() {
    let mut peer = Peer::start().await;
    let host = Host::new(Some(peer.smarthost()));
    let running = host.run();
    add(&host, b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\na\0b\r\n");
    let sent = peer.next().await.text;
    assert!(
        sent.contains("Content-Transfer-Encoding: base64\r\n") && sent.contains("\r\nYQBiDQo=\r\n"),
        "{sent:?}"
    );
    add(&host, b"Subject: x\0y\r\n\r\nz\r\n");
    let bounce = peer.next().await.text;
    assert!(
        bounce.contains("Final-Recipient: rfc822; bob@example.net\r\nAction: failed\r\nStatus: 5.6.3\r\n"),
        "{bounce}"
    );
    assert!(!sent.contains('\0') && !bounce.contains('\0'));
    running.stop().await;
}
