//! The published examples, through a real DNS server.

mod arc;
mod dkim;
mod dmarc;
mod milter;
mod spf;

use std::net::IpAddr;

use mail_config::Config;
use testkit::TestDns;

use super::client::{Client, ClientFindings};
use super::message::MessageFindings;
use super::original::Original;
use super::{Verdict, Verdicts};

/// What finds out, and the DNS server that it asks.
struct Lab {
    verdicts: Verdicts,
    _dns: TestDns,
}

impl Lab {
    fn new(records: &str) -> Self {
        let dns = TestDns::start(records).unwrap();
        let mut config = Config::new("mail.example.org".parse().unwrap(), "/nowhere".into());
        config.dns = dns.config();
        Self { verdicts: Verdicts::new(&config).unwrap(), _dns: dns }
    }

    /// A message, its lines ended by CRLF, from a client that says nothing of interest.
    async fn message(&self, message: &str) -> MessageFindings {
        let client = client("192.0.2.1", "client.test", None);
        let found = self.verdicts.look_at_client(&client).await;
        self.of(&client, &found, message).await
    }

    async fn of(&self, client: &Client, found: &ClientFindings, message: &str) -> MessageFindings {
        let mut original = Original::new();
        assert!(message.as_bytes().chunks(100).all(|piece| original.add(piece)));
        self.verdicts.look_at_message(&original.finish(), client, found).await
    }

    async fn verdict(&self, client: &Client, message: &str) -> Verdict {
        let found = self.verdicts.look_at_client(client).await;
        let message = self.of(client, &found, message).await;
        self.verdicts.judge(client, &found, &message)
    }
}

fn client(ip: &str, helo: &str, from: Option<&str>) -> Client {
    let ip: IpAddr = ip.parse().unwrap();
    Client { ip, helo: helo.to_owned(), from: from.map(|from| from.parse().unwrap()) }
}

/// The lines ended by CRLF, as they travel.
fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}
