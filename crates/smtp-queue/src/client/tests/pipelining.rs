//! Groups of commands that fit into no window: RFC 2920 §3.1.

use mail_trust::Demand;
use tokio::io::DuplexStream;

use super::*;
use crate::client::connection::{Connection, Timeouts};
use crate::client::haste::Haste;
use crate::client::session::Policy;

/// Reads no command while the reply to the one before waits to be taken.
async fn serve(stream: DuplexStream) {
    let mut stream = BufStream::with_capacity(64, 64, stream);
    let (mut line, long) = (String::new(), "x".repeat(400));
    let mut reply = "220 mx\r\n".to_owned();
    loop {
        stream.write_all(reply.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        reply = match line.get(..4).unwrap_or_default() {
            "EHLO" => "250-mx\r\n250 PIPELINING\r\n".to_owned(),
            "DATA" => {
                stream.write_all(b"354 go\r\n").await.unwrap();
                stream.flush().await.unwrap();
                while line != ".\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                }
                "250 taken\r\n".to_owned()
            }
            "" => return,
            _ => format!("250 {long}\r\n"),
        };
    }
}

#[tokio::test]
async fn replies_are_taken_while_commands_go_out() {
    let (client, server) = tokio::io::duplex(1024);
    let server = tokio::spawn(serve(server));
    let policy = Policy {
        hostname: "us.example.org".to_owned(),
        host: "mx".to_owned(),
        server_name: "mx".to_owned(),
        tls: RelayTls::None,
        demand: Demand::Nothing,
        lmtp: false,
        credentials: None,
        loopback: false,
        is_mail_host: false,
    };
    let times = (Timeouts { block: Duration::from_secs(5), ..Timeouts::RFC }, Haste::none().begin());
    let connection = Connection::start(client, policy, false, None, times).await.unwrap();
    let recipients: Vec<String> =
        (0..100).map(|number| format!("{}{number}@x.org", "a".repeat(50))).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let message = message(MESSAGE);
    let outgoing = Outgoing::plain("alice@example.org", &recipients, message.size());
    let delivered = connection.deliver(&outgoing, message.reopen().await.unwrap()).await;
    assert!(
        delivered.outcomes.iter().all(|it| matches!(it, Outcome::Delivered(..))),
        "{:?}",
        delivered.outcomes.first()
    );
    drop(delivered);
    server.await.unwrap();
}
