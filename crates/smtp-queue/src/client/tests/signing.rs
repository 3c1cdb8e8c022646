use jiff::civil::date;
use mail_dkim::{Keys, Signers};

use super::*;
use crate::message_file::Origin;

const WRITTEN_HERE: &[u8] = b"From: alice@example.org\r\nSubject: x\r\n\r\nhello\r\n";

#[tokio::test]
async fn a_message_is_signed_once_and_only_when_a_host_is_about_to_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::new(folder.path().to_owned());
    keys.generate(&"example.org".parse().unwrap(), date(2026, 11, 28)).unwrap();
    let message = message(WRITTEN_HERE).with_origin(Origin::Here(Arc::new(Signers::new(keys))));
    let bare = message.size();

    let nobody = relay(smarthost(1, RelayTls::None));
    assert!(send_message(&nobody, &message, &["b@x.org"]).await.concat().starts_with("~ 4.4.1"));
    assert!(message.lacks_signatures(), "a deferral costs none");

    let one = |end: &str| {
        let transaction = ["< MAIL FROM:<alice@example.org>", "> 250 ok", "< RCPT TO:<b@x.org>", "> 250 ok"];
        let chunk = format!("# {}", String::from_utf8_lossy(WRITTEN_HERE));
        [script(&transaction), vec![chunk, format!("> {end}")]].concat()
    };
    let greeting = script(&["> 220 mx", "< EHLO us.example.org", "> 250-mx", "> 250 CHUNKING"]);
    let reset = script(&["< RSET", "> 250 ok"]);
    let server = Server::start(None, vec![[greeting, one("450 later"), reset, one("250 ok")].concat()]).await;
    let relay = relay(smarthost(server.port, RelayTls::None));
    assert!(send_message(&relay, &message, &["b@x.org"]).await.concat().starts_with("~ 4.0.0"));
    let signed = message.size();
    assert!(signed > bare + 300, "{signed} octets");
    assert_eq!(send_message(&relay, &message, &["b@x.org"]).await, ["+ 250 ok"]);
    assert_eq!(message.size(), signed);
    server.end().await;
}
