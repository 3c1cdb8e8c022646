//! The golden dialogues of `tests/transcripts`, over plain TCP and over TLS.
#![allow(missing_docs)]

use std::path::Path;

use smtp_proto::Status;

/// What EHLO is answered with.
const EXTENSIONS: [&str; 16] = [
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "DELIVERBY",
    "MT-PRIORITY",
    "FUTURERELEASE",
    "REQUIRETLS",
    "LIMITS",
    "XCLIENT",
    "STARTTLS",
    "AUTH",
];

/// Our name.
const HOST: &str = "mail.example.org";

/// RFC 5321 §4.2: three digits, then a blank or a hyphen, and for people a text; the challenges of AUTH may be empty. RFC 2034 §4:
/// all but greetings and what goes on (3yz) begin with an enhanced status code, of the same class, in every line. RFC 5321 §4.2.2: 220 begins
/// with our name, and so does, behind that code, the text of 221 and 421.
fn fault(line: &str) -> Option<&'static str> {
    if line == "<close>" {
        return None;
    }
    let (code, rest) = line.split_at_checked(3)?;
    let is_reply = code.bytes().all(|octet| octet.is_ascii_digit()) && rest.starts_with([' ', '-']);
    let has_text = code == "334" || rest.get(1..).is_some_and(|text| !text.trim().is_empty());
    if !is_reply || !has_text {
        return Some("no reply");
    }
    if line.len() > 510 && code != "334" {
        return Some("too long");
    }
    let mut words = rest.get(1..)?.split(' ');
    let first = words.next().unwrap_or_default();
    if matches!(code, "221" | "421") && words.next() != Some(HOST) {
        return Some("nobody's last word");
    }
    let greets = first == HOST || code == "250" && EXTENSIONS.contains(&first);
    let agrees = first.parse().is_ok_and(|status: Status| code.starts_with(&status.class.to_string()));
    (!agrees && !greets && !code.starts_with('3')).then_some("no enhanced status code")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcripts() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    testkit::run_folder(&folder, fault, smtp_server::run).await
}
