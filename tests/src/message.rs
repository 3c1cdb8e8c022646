/// A message with CRLF line ends, for sending and for comparing with what comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    text: String,
}

impl Mail {
    /// A short message with a subject that no other message has.
    #[must_use]
    pub fn new(from: &str, to: &str, subject: &str, body: &str) -> Self {
        let body = body.replace("\r\n", "\n").replace('\n', "\r\n");
        let text = format!(
            "From: <{from}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{}@e2e.test>\r\n\r\n{body}\r\n",
            token()
        );
        Self { text }
    }

    /// The whole message.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A random word.
#[must_use]
fn token() -> String {
    format!("{:016x}", getrandom::u64().unwrap_or_default())
}
