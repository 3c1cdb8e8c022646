//! Routes by sender, LMTP, and the addresses from which mail goes out.

use mail_config::{RelaySource, Route};
use smtp_proto::RcptParameters;
use smtp_queue::Requests;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::UnixListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::direct::direct;
use crate::host::{Host, PATIENCE, address};
use crate::peer::{Manner, Peer};

#[tokio::test]
async fn a_sender_has_a_smarthost_of_its_own() {
    let (mut usual, mut own, mut both) = (Peer::start().await, Peer::start().await, Peer::start().await);
    let mut host = Host::new(Some(usual.smarthost()));
    let senders = vec!["@example.org".parse().unwrap()];
    let to_both = Route {
        senders: senders.clone(),
        domains: vec!["b.test".parse().unwrap()],
        smarthost: Some(both.smarthost()),
    };
    host.config.relay.routes =
        vec![to_both, Route { senders, smarthost: Some(own.smarthost()), ..Route::default() }];
    let running = host.run();
    host.add(Some("alice@example.org"), &["x@a.test", "x@b.test"]);
    assert_eq!(own.next().await.to, ["x@a.test"]);
    assert_eq!(both.next().await.to, ["x@b.test"]);
    host.add(Some("carol@example.com"), &["x@a.test", "x@b.test"]);
    assert_eq!(usual.next().await.to, ["x@a.test", "x@b.test"]);
    host.wait_until_empty().await;
    running.stop().await;
}

/// RFC 2033 §4.2, over a socket of this machine; by a server that delivers, and says so of none of its replies.
#[tokio::test]
async fn lmtp_has_a_reply_for_each_recipient() {
    let mut peer = Peer::start().await;
    let mut host = Host::new(Some(peer.smarthost()));
    let path = host.config.data_dir.join("lmtp");
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, mut dialogues) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_lmtp(stream, sender.clone()));
        }
    });
    let mut lmtp = Peer::smarthost_at(0);
    (lmtp.host, lmtp.socket, lmtp.lmtp) = (path.display().to_string(), Some(path), true);
    let domains = vec!["here.test".parse().unwrap()];
    host.config.relay.routes = vec![Route { domains, smarthost: Some(lmtp), ..Route::default() }];
    let wants = |notify: &str| RcptParameters { notify: Some(notify.parse().unwrap()), original: None };
    let requests =
        Requests { recipients: [(address("yes@here.test"), wants("SUCCESS"))].into(), ..Requests::default() };
    let running = host.run();
    let to = ["yes@here.test", "no@here.test", "full@here.test", "gone@here.test", "too@here.test"];
    let id = host.add_with(Some("carol@example.com"), &to, requests);
    let mut reports = [peer.next().await.text, peer.next().await.text];
    reports.sort_by_key(|text| text.contains("Action: failed"));
    let delivered = "Final-Recipient: rfc822; yes@here.test\r\nAction: delivered\r\nStatus: 2.1.5\r\n";
    assert!(reports[0].contains(delivered), "{}", reports[0]);
    for (recipient, status) in [("no", "5.1.1"), ("gone", "5.2.1")] {
        let failed = format!("rfc822; {recipient}@here.test\r\nAction: failed\r\nStatus: {status}\r\n");
        assert!(reports[1].contains(&failed), "{}", reports[1]);
    }
    let message = host.queue.show(&id).unwrap().unwrap();
    let states: Vec<_> = message.recipients.iter().map(|it| it.state.as_str()).collect();
    assert_eq!(states, ["delivered", "failed", "pending", "failed", "delivered"]);
    let why = message.recipients[2].diagnosis.as_ref().unwrap().to_string();
    assert!(why.ends_with("lmtp said: 452 4.2.2 full"), "{why}");
    running.stop().await;
    let said = timeout(PATIENCE, dialogues.recv()).await.unwrap().unwrap();
    assert!(said.starts_with("LHLO mail.example.org\nMAIL "), "{said}");
}

/// Refuses `no@` at RCPT; of the others takes only `yes@` and `too@`.
async fn serve_lmtp(stream: impl AsyncRead + AsyncWrite + Unpin, dialogues: UnboundedSender<String>) {
    let mut stream = BufStream::new(stream);
    let (mut said, mut to) = (String::new(), Vec::new());
    let mut reply = "220 lmtp".to_owned();
    loop {
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut line = String::new();
        if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
            break;
        }
        said.push_str(&line.replace('\r', ""));
        reply = match line.get(..4).unwrap_or_default() {
            "LHLO" => "250-lmtp\r\n250 PIPELINING".to_owned(),
            "RCPT" if line.contains("<no@") => "550 5.1.1 no such user".to_owned(),
            "RCPT" => {
                to.push(line);
                "250 2.1.5 ok".to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 go\r\n").await.unwrap();
                stream.flush().await.unwrap();
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut text).await.unwrap();
                }
                let replies = to.drain(..).map(|it| match it.get(..12).unwrap_or_default() {
                    "RCPT TO:<ful" => "452 4.2.2 full",
                    "RCPT TO:<gon" => "550 5.2.1 disabled",
                    _ => "250 2.1.5 delivered",
                });
                replies.collect::<Vec<_>>().join("\r\n")
            }
            _ => "250 ok".to_owned(),
        };
    }
    let _ = dialogues.send(said);
}

#[tokio::test]
async fn a_sender_goes_out_from_an_address_and_under_a_name_of_its_own() {
    let (_dns, mut host, [one, two, _]) = direct().await;
    let source = |senders: &[&str], address: &str, hostname: Option<&str>| RelaySource {
        senders: senders.iter().map(|it| it.parse().unwrap()).collect(),
        v4: Some(address.parse().unwrap()),
        hostname: hostname.map(|it| it.parse().unwrap()),
        ..RelaySource::default()
    };
    host.config.relay.sources = vec![
        source(&["@news.example.org"], "127.0.0.99", Some("news.example.org")),
        source(&["boss@example.org"], "192.0.2.1", None),
    ];
    let running = host.run();
    let mut two = Peer::at(two, Manner::Willing);
    // The first message's connection is kept for those of the same source only.
    for (sender, from, name) in [
        ("x@news.example.org", "127.0.0.99", "EHLO news.example.org\r\n"),
        ("alice@example.org", "127.0.0.1", "EHLO mail.example.org\r\n"),
    ] {
        host.add(Some(sender), &["x@a.test"]);
        let (stream, peer) = timeout(PATIENCE, one.accept()).await.unwrap().unwrap();
        assert_eq!(peer.ip().to_string(), from);
        let mut stream = BufStream::new(stream);
        stream.write_all(b"220 one\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, name);
    }
    let id = host.add(Some("Boss@example.org"), &["x@b.test"]);
    host.wait(&id, |message| message.unwrap().recipients[0].attempts == 1).await;
    let message = host.queue.show(&id).unwrap().unwrap();
    let why = message.recipients[0].diagnosis.as_ref().unwrap().to_string();
    assert!(why.contains("from 192.0.2.1: Cannot assign requested address"), "{why}");
    running.stop().await;
    assert!(two.received_already().is_none());
}
