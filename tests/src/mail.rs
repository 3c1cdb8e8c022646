use std::path::Path;

use anyhow::Result;

/// A message with CRLF line ends, for sending and for comparing with what comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    text: String,
}

impl Mail {
    /// A short message with a Message-ID that no other message has.
    #[must_use]
    pub fn new(from: &str, to: &str, subject: &str, body: &str) -> Self {
        let body = body.replace("\r\n", "\n").replace('\n', "\r\n");
        let text = format!(
            "From: <{from}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{}@e2e.test>\r\n\r\n{body}\r\n",
            token()
        );
        Self { text }
    }

    /// This message, whose lines end in CRLF.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// The whole message.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A random word.
fn token() -> String {
    format!("{:016x}", getrandom::u64().unwrap_or_default())
}

/// Every message of a Maildir as it lies there, `new` and `cur` together; none if the Maildir is not there yet.
///
/// # Errors
/// If one can't be read.
pub fn messages_in(maildir: &Path) -> Result<Vec<String>> {
    let mut messages = Vec::new();
    for folder in ["new", "cur"] {
        let Ok(entries) = std::fs::read_dir(maildir.join(folder)) else { continue };
        for entry in entries {
            messages.push(String::from_utf8_lossy(&std::fs::read(entry?.path())?).into_owned());
        }
    }
    Ok(messages)
}
