//! Mailboxes filled before the measuring begins, and counts of what arrived.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

/// A message of about `size` octets, lines ended by CRLF.
pub(crate) fn message(number: usize, size: usize) -> String {
    let mut text = format!(
        "From: Sender {number} <sender{number}@elsewhere.test>\r\nTo: <user@bench.test>\r\nSubject: Message number {number}\r\n\
         Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{number}@bench.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n"
    );
    let mut line = 0;
    while text.len() < size {
        let _ =
            write!(text, "Line {line} of message {number}: the quick brown fox jumps over the lazy dog.\r\n");
        line += 1;
    }
    text
}

/// Puts `count` messages that were read before into `cur/`, under names as Dovecot gives them. Their sizes differ, as sizes
/// do, and are `size` octets in the mean: Dovecot finds a name by a hash that the sizes in it take part in.
pub(crate) fn fill(maildir: &Path, count: usize, size: usize) -> Result<()> {
    for part in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(maildir.join(part))
            .with_context(|| format!("making {}", maildir.display()))?;
    }
    for number in 0..count {
        let text = message(number, size / 2 + number * 7919 % size);
        let (time, octets) = (1_700_000_000 + number, text.len());
        let name = format!("{time}.M{number}P1.bench,S={octets},W={octets}:2,S");
        std::fs::write(maildir.join("cur").join(name), text)?;
    }
    Ok(())
}

/// Messages in `new/` and `cur/`.
pub(crate) fn count(maildir: &Path) -> usize {
    let files = |part: &str| std::fs::read_dir(maildir.join(part)).map_or(0, Iterator::count);
    files("new") + files("cur")
}
