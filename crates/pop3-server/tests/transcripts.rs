//! The golden dialogues of `tests/transcripts`, over plain TCP and over TLS.
#![allow(missing_docs)]

use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcripts() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    testkit::run_folder(&folder, |_| None, pop3_server::run).await
}
