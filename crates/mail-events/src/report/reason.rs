use std::fmt;

use smtp_proto::Status;

/// Why something was put off, given up or refused: shown as `5.1.1 no such mailbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// As the enhanced status code has it. RFC 3463.
    Status(Status),
    /// A reply code, where the status says nothing. RFC 5321 §4.2.
    Reply(u16),
    /// Nothing was said, or it was not noted.
    Unknown,
}

impl Reason {
    /// Of a reply in one line: `550 5.1.1 …`.
    pub(super) fn of_reply(reply: &str) -> Self {
        let mut words = reply.split([' ', '-']);
        let code = words.next().filter(|word| word.len() == 3).and_then(|word| word.parse().ok());
        let status = words.next().and_then(|word| word.parse::<Status>().ok());
        match (status, code) {
            (Some(status), _) if status.detail != 0 => Self::Status(status),
            (_, Some(code)) => Self::Reply(code),
            (Some(status), None) => Self::Status(status),
            (None, None) => Self::Unknown,
        }
    }

    /// Of an attempt: what the other host said, or else our own status.
    pub(super) fn of_attempt(status: &str, said: Option<&str>) -> Self {
        match (status.parse::<Status>(), said.map(Self::of_reply)) {
            (Ok(status), _) if status.detail != 0 => Self::Status(status),
            (_, Some(reply @ (Self::Reply(_) | Self::Status(_)))) => reply,
            (Ok(status), _) => Self::Status(status),
            (Err(_), _) => Self::Unknown,
        }
    }

    /// What stands at its beginning: `5.1.1`, `550`, or `-`.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Reply(code) => code.to_string(),
            Self::Unknown => "-".to_owned(),
        }
    }

    /// In words.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        match self {
            Self::Status(status) => of_status(*status),
            Self::Reply(code) => of_code(*code),
            Self::Unknown => "not noted",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.meaning())
    }
}

/// RFC 3463 §3, and what the IANA registry of enhanced status codes has beside it.
const fn of_status(status: Status) -> &'static str {
    match (status.subject, status.detail) {
        (1, 1) => "no such mailbox",
        (1, 2) => "no such domain",
        (1, 3) => "malformed recipient",
        (1, 4) => "ambiguous recipient",
        (1, 6) => "mailbox has moved",
        (1, 7 | 8) => "sender's address is not valid",
        (1, 10) => "domain takes no mail (null MX)",
        (1, _) => "address",
        (2, 1) => "mailbox is disabled",
        (2, 2) => "mailbox is full",
        (2, 3) => "message too large for the mailbox",
        (2, 4) => "list can't be expanded",
        (2, _) => "mailbox",
        (3, 1) => "mail system is full",
        (3, 2) => "host takes no mail now",
        (3, 4) => "message too large",
        (3, _) => "mail system",
        (4, 1) => "no answer from the host",
        (4, 2) => "connection broken",
        (4, 3) => "name can't be looked up",
        (4, 4) => "no route",
        (4, 5) => "congestion",
        (4, 6) => "mail loop",
        (4, 7) => "delivery time expired",
        (4, _) => "network or routing",
        (5, 2) => "syntax not understood",
        (5, 3) => "too many recipients",
        (5, _) => "protocol",
        (6, 7) => "address needs SMTPUTF8",
        (6, 9) => "message needs SMTPUTF8",
        (6, _) => "content can't be taken",
        (7, 1) => "not allowed, or against a policy",
        (7, 8 | 9) => "login failed",
        (7, 10 | 11) => "encryption needed",
        (7, 20..=22) => "DKIM",
        (7, 23 | 24) => "SPF",
        (7, 25) => "no reverse name",
        (7, 26) => "several checks of the sender failed",
        (7, 27) => "sender takes no mail (null MX)",
        (7, 28) => "too much mail",
        (7, 30) => "REQUIRETLS can't be kept",
        (7, _) => "security or policy",
        (_, _) if status.class == 4 => "for now",
        (_, _) => "for good",
    }
}

const fn of_code(code: u16) -> &'static str {
    match code {
        421 => "host closes the connection",
        450 => "mailbox unavailable for now",
        451 => "error at the host",
        452 => "no room at the host",
        454 => "TLS or login not possible for now",
        500..=504 => "command not understood",
        530 => "login or TLS needed",
        535 => "login failed",
        550 => "mailbox unavailable",
        551 => "not here",
        552 => "too large, or no room",
        553 => "address not allowed",
        554 => "transaction failed",
        555 => "parameters not understood",
        556 => "domain takes no mail",
        400..=499 => "for now",
        _ => "for good",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_most_telling_code_of_what_was_said() {
        let reply = |text: &str| Reason::of_reply(text).to_string();
        assert_eq!(reply("550 5.1.1 No such user"), "5.1.1 no such mailbox");
        assert_eq!(reply("451 4.0.0 Trouble"), "451 error at the host");
        assert_eq!(reply("550-first\n550 second"), "550 mailbox unavailable");
        for nothing in ["", "what", "5"] {
            assert_eq!(reply(nothing), "- not noted", "{nothing}");
        }
        let attempt = |status, said| Reason::of_attempt(status, said).to_string();
        assert_eq!(attempt("4.4.1", None), "4.4.1 no answer from the host");
        assert_eq!(attempt("5.0.0", Some("550 go away")), "550 mailbox unavailable");
        assert_eq!(attempt("5.4.7", Some("450 4.2.0 Greylisted")), "5.4.7 delivery time expired");
        assert_eq!(attempt("5.0.0", None), "5.0.0 for good");
    }
}
