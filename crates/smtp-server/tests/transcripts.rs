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

/// RFC 5321 §4.2: three digits, then a blank or a hyphen, and for people a text; the challenges of AUTH may be empty. RFC 2034 §4:
/// all but greetings and what goes on (3yz) begin with an enhanced status code, of the same class, in every line.
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
    let text = rest.get(1..)?;
    let first = text.split(' ').next().unwrap_or_default();
    let greets = first == "mail.example.org" || code == "250" && EXTENSIONS.contains(&first);
    let agrees = first.parse().is_ok_and(|status: Status| code.starts_with(&status.class.to_string()));
    (!agrees && !greets && !code.starts_with('3')).then_some("no enhanced status code")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcripts() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    testkit::run_folder(&folder, fault, smtp_server::run).await
}
