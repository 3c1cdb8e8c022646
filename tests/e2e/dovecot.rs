//! Dovecot, which most clients were tried with, beside our IMAP server.

use e2e::{Installation, python};
use nix::sys::signal::Signal;
use serde_json::json;

/// Over messages as odd mailers write them: whatever FETCH tells of them equals what Dovecot tells, but where
/// `python/dovecot_comparison/deliberate.py` says why not.
#[test]
fn structures_and_sections_are_those_that_dovecot_tells() {
    compare("compare.py");
}

/// In texts of every charset and encoding: whatever Dovecot finds is found.
#[test]
fn searches_find_what_dovecot_finds() {
    compare("searches.py");
}

/// Without their transfer encoding: bodies and their sizes, whole and partly.
#[test]
fn binary_bodies_are_those_that_dovecot_tells() {
    compare("binary.py");
}

fn compare(script: &str) {
    let installation = Installation::new("dovecot.test", &["alice"], "").unwrap();
    let server = installation.alone(&["imap-server"], "imap").unwrap();
    python(&format!("dovecot_comparison/{script}"), installation.site(), json!(null)).unwrap();
    server.stop(Signal::SIGTERM).unwrap();
}
