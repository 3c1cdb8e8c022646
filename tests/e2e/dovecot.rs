//! Dovecot, which most clients were tried with, beside our IMAP server.

use e2e::{Installation, python};
use nix::sys::signal::Signal;
use serde_json::json;

/// Over messages as odd mailers write them: whatever FETCH tells of them equals what Dovecot tells, but where
/// `python/dovecot_comparison/deliberate.py` says why not.
#[test]
fn structures_and_sections_are_those_that_dovecot_tells() {
    let installation = Installation::new("dovecot.test", &["alice"], "").unwrap();
    let server = installation.alone(&["imap-server"], "imap").unwrap();
    let compared = python("dovecot_comparison/compare.py", installation.site(), json!(null));
    println!("{}", compared.unwrap().output);
    server.stop(Signal::SIGTERM).unwrap();
}
