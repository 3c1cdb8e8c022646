//! Python's own smtplib, imaplib and poplib: each program of `tests/python` is a session of its own.

use anyhow::Result;
use e2e::{Demo, python};

/// Runs a program against a demo of its own.
fn against_a_demo(script: &str) -> Result<()> {
    let demo = Demo::start()?;
    python(script, demo.site(), serde_json::Value::Null)?;
    demo.stop()?;
    Ok(())
}

#[test]
fn a_message_comes_back_byte_for_byte() -> Result<()> {
    against_a_demo("way_of_a_message.py")
}
