//! Python's own smtplib, imaplib and poplib, and IMAPClient: each program of `tests/python` is a session of its own.

use anyhow::Result;
use e2e::{Demo, Installation, python};
use serde_json::Value;

/// Runs a program against a demo of its own.
fn against_a_demo(script: &str) -> Result<()> {
    let demo = Demo::start()?;
    python(script, demo.site(), Value::Null)?;
    demo.stop()?;
    Ok(())
}

#[test]
fn a_message_comes_back_byte_for_byte() -> Result<()> {
    against_a_demo("way_of_a_message.py")
}

#[test]
fn binary_mail_comes_back_octet_by_octet() -> Result<()> {
    against_a_demo("binary_mail.py")
}

#[test]
fn imap_serves_a_whole_session_of_a_client() -> Result<()> {
    against_a_demo("imap_session.py")
}

#[test]
fn imapclient_does_what_scripts_do_with_a_mailbox() -> Result<()> {
    against_a_demo("imapclient_session.py")
}

#[test]
fn idle_is_woken_by_smtp_by_another_session_and_by_another_program() -> Result<()> {
    against_a_demo("idle.py")
}

#[test]
fn a_session_is_told_of_what_another_changes_where_the_standard_allows() -> Result<()> {
    against_a_demo("other_sessions.py")
}

#[test]
fn pop3_serves_a_whole_session_and_removes_only_at_quit() -> Result<()> {
    against_a_demo("pop3_session.py")
}

#[test]
fn smtp_keeps_to_the_order_of_commands_and_lets_nothing_be_smuggled() -> Result<()> {
    against_a_demo("smtp_session.py")
}

#[test]
fn limits_of_an_account_and_of_failed_logins_hold() -> Result<()> {
    let more = "[limits]\nmax_connections_per_account = 3\nmax_login_failures = 3\n";
    let installation = Installation::new("limits.test", &["alice", "bob"], more)?;
    let servers = installation.serve()?;
    python("limits.py", installation.site(), 3.into())?;
    drop(servers);
    Ok(())
}
