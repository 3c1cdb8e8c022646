//! The golden dialogues of `tests/transcripts`, over plain TCP and over TLS.
#![allow(missing_docs)]

use std::path::Path;

/// RFC 3501 §9, `resp-text`: behind a response code stands a text, of at least one character. Gmail's lack of one broke clients,
/// and so did the blank with which Exchange ended STATUS.
fn fault(line: &str) -> Option<&'static str> {
    let (tag, rest) = line.split_once(' ').filter(|(tag, _)| *tag != "+")?;
    let is_status = ["OK", "NO", "BAD", "BYE"].iter().find_map(|it| rest.strip_prefix(it));
    if let Some(text) = is_status.filter(|it| it.is_empty() || it.starts_with(' ')) {
        let text = match text.strip_prefix(" [") {
            Some(coded) => coded.split_once(']').map_or("", |(_, text)| text),
            None => text,
        };
        return text.trim().is_empty().then_some("a response without a text");
    }
    (tag == "*" && rest.ends_with(' ')).then_some("a blank at the end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcripts() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    testkit::run_folder(&folder, fault, imap_server::run).await
}

#[test]
fn a_response_has_a_text() {
    for sound in [
        "* OK Ready",
        "a OK [CLOSED] Next",
        "* BYE x",
        "+ ",
        "+ OK",
        "* SEARCH",
        "* STATUS a (UNSEEN 1)",
        "OK",
    ] {
        assert_eq!(fault(sound), None, "{sound}");
    }
    for faulty in ["* OK", "a OK ", "a NO [X]", "* OK [HIGHESTMODSEQ 1] ", "* STATUS a (UNSEEN 1) "] {
        assert!(fault(faulty).is_some(), "{faulty}");
    }
}
