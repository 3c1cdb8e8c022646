//! The golden dialogues of `tests/transcripts`, over plain TCP and over TLS.
#![allow(missing_docs)]

use std::path::Path;

/// RFC 5321 §4.2: three digits, then a blank or a hyphen, and for people a text; the challenges of AUTH may be empty.
fn fault(line: &str) -> Option<&'static str> {
    if line == "<close>" {
        return None;
    }
    let (code, rest) = line.split_at_checked(3)?;
    let is_reply = code.bytes().all(|octet| octet.is_ascii_digit()) && rest.starts_with([' ', '-']);
    let has_text = code == "334" || rest.get(1..).is_some_and(|text| !text.trim().is_empty());
    (!is_reply || !has_text).then_some("no reply")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcripts() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    testkit::run_folder(&folder, fault, smtp_server::run).await
}
