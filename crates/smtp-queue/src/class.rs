//! Why mail did not go, in one word: from the enhanced status code, the reply's code and well-known texts. Pure.

use crate::Diagnosis;

/// Why mail did not go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BounceClass {
    /// There is nobody of that name.
    UnknownUser,
    /// The mailbox takes no mail.
    Disabled,
    /// The mailbox, or the disk behind it, is full.
    Full,
    /// The message is too large.
    TooLarge,
    /// The domain takes no mail, or there is none.
    Domain,
    /// What the message holds: spam, a virus, a forbidden attachment.
    Content,
    /// Who we are: our address is on a list, or has a bad name.
    Reputation,
    /// SPF, DKIM, DMARC, or the name of our address.
    Authentication,
    /// Another rule of the other side.
    Policy,
    /// Too much at one time, or come again later.
    Busy,
    /// The connection, or the time that it took.
    Network,
    /// The DNS did not answer.
    Dns,
    /// TLS, or what it had to prove.
    Tls,
    /// The message went round in a loop.
    Loop,
    /// One did not understand the other.
    Protocol,
    /// This machine.
    Local,
    /// Nothing says why.
    Other,
}

use BounceClass::{
    Authentication, Busy, Content, Disabled, Dns, Domain, Full, Local, Loop, Network, Other, Policy,
    Protocol, Reputation, Tls, TooLarge, UnknownUser,
};

/// Texts by which servers say it, in lower case; the first that is found counts. They go before the codes, which many servers choose without
/// care: a list that we are on is told as 5.7.1, an unknown user too.
const SAID: [(&str, BounceClass); 46] = [
    ("blacklist", Reputation),
    ("blocklist", Reputation),
    ("block list", Reputation),
    ("spamhaus", Reputation),
    ("spamcop", Reputation),
    ("barracuda", Reputation),
    ("dnsbl", Reputation),
    ("reputation", Reputation),
    ("blocked using", Reputation),
    ("listed by", Reputation),
    ("dmarc", Authentication),
    ("dkim", Authentication),
    ("spf ", Authentication),
    ("reverse dns", Authentication),
    ("ptr record", Authentication),
    ("unauthenticated", Authentication),
    ("greylist", Busy),
    ("graylist", Busy),
    ("rate limit", Busy),
    ("too many", Busy),
    ("throttl", Busy),
    ("user unknown", UnknownUser),
    ("unknown user", UnknownUser),
    ("unknown recipient", UnknownUser),
    ("recipient unknown", UnknownUser),
    ("no such user", UnknownUser),
    ("no such recipient", UnknownUser),
    ("no such mailbox", UnknownUser),
    ("no mailbox here", UnknownUser),
    ("user not found", UnknownUser),
    ("mailbox not found", UnknownUser),
    ("recipient not found", UnknownUser),
    ("does not exist", UnknownUser),
    ("doesn't exist", UnknownUser),
    ("invalid recipient", UnknownUser),
    // Exim, of an address that leads nowhere.
    ("unrouteable address", UnknownUser),
    // Exchange Online, with 5.4.1.
    ("recipient address rejected: access denied", UnknownUser),
    ("over quota", Full),
    ("quota exceeded", Full),
    ("mailbox full", Full),
    ("mailbox is full", Full),
    ("account disabled", Disabled),
    ("account is disabled", Disabled),
    ("inactive", Disabled),
    ("virus", Content),
    ("spam", Content),
];

impl BounceClass {
    /// What a diagnosis of a failure or a delay says.
    #[must_use]
    pub fn of(diagnosis: &Diagnosis) -> Self {
        if diagnosis.host.is_none() {
            return Self::of_ours(diagnosis);
        }
        let text = diagnosis.text.to_lowercase();
        let said = SAID.iter().find(|(words, _)| text.contains(words)).map(|(_, class)| *class);
        said.or_else(|| Self::of_status(diagnosis)).unwrap_or_else(|| Self::of_code(&text))
    }

    /// True for what does not change by trying again: nobody will be there the next time either. Rules, contents and lists are none of it.
    #[must_use]
    pub fn is_hard(self, diagnosis: &Diagnosis) -> bool {
        self == UnknownUser && diagnosis.host.is_some() && diagnosis.status.class == 5
    }

    /// One word, for logs and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            UnknownUser => "unknown-user",
            Disabled => "disabled",
            Full => "full",
            TooLarge => "too-large",
            Domain => "domain",
            Content => "content",
            Reputation => "reputation",
            Authentication => "authentication",
            Policy => "policy",
            Busy => "busy",
            Network => "network",
            Dns => "dns",
            Tls => "tls",
            Loop => "loop",
            Protocol => "protocol",
            Local => "local",
            Other => "other",
        }
    }

    /// What we found out ourselves.
    fn of_ours(diagnosis: &Diagnosis) -> Self {
        match (diagnosis.status.subject, diagnosis.status.detail) {
            (1, 1) => UnknownUser,
            (1, 2 | 10) | (4, 4) => Domain,
            (2, 1) => Disabled,
            (2, 2) => Full,
            (4, 3) => Dns,
            (4, 6) => Loop,
            (4, _) => Network,
            (5, _) => Protocol,
            (6, _) => Content,
            (7, 5 | 10 | 11 | 30) => Tls,
            (7, _) => Policy,
            (3, 4) => TooLarge,
            (_, _) => Local,
        }
    }

    /// RFC 3463 §3, RFC 7372, RFC 7505.
    fn of_status(diagnosis: &Diagnosis) -> Option<Self> {
        Some(match (diagnosis.status.subject, diagnosis.status.detail) {
            (1, 1 | 6) => UnknownUser,
            (1, 2 | 10) | (7, 27) => Domain,
            (1, 3) | (5, _) => Protocol,
            (1, 7 | 8) => Policy,
            (2, 1) => Disabled,
            (2, 2) => Full,
            (2 | 3, 3 | 4) => TooLarge,
            (3, 1) => Full,
            (3, _) | (4, 5) => Busy,
            (4, 6) => Loop,
            (4, 3) => Dns,
            (4, _) => Network,
            (6, _) => Content,
            (7, 20..=26) => Authentication,
            (7, 4 | 5 | 10 | 11 | 30) => Tls,
            (7, _) => Policy,
            _ => return None,
        })
    }

    /// Of a reply without an enhanced status code: RFC 5321 §4.2.3.
    fn of_code(text: &str) -> Self {
        match text.get(..3) {
            Some("421" | "450" | "451") => Busy,
            Some("452" | "552") => Full,
            Some("500" | "501" | "502" | "503" | "504" | "555") => Protocol,
            Some("551") => UnknownUser,
            Some("550" | "553" | "554") if text.contains("policy") || text.contains("relay") => Policy,
            _ => Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: Option<&str>, text: &str, expected: &str, is_hard: bool) {
        let code = text.split(' ').find_map(|word| word.parse().ok());
        let class = text.get(..1).and_then(|it| it.parse().ok()).unwrap_or(4);
        let status = code.unwrap_or(crate::Status::new(class, 0, 0));
        let diagnosis =
            Diagnosis { status, host: host.map(str::to_owned), tried: None, text: text.to_owned() };
        let found = BounceClass::of(&diagnosis);
        assert_eq!((found.as_str(), found.is_hard(&diagnosis)), (expected, is_hard), "{text}");
    }

    #[test]
    fn what_servers_say_has_one_word() {
        for (text, expected, is_hard) in [
            ("550 5.1.1 <x@y>: Recipient address rejected: User unknown", "unknown-user", true),
            ("550-5.1.1 The email account that you tried to reach does not exist", "unknown-user", true),
            ("550 5.4.1 Recipient address rejected: Access denied", "unknown-user", true),
            ("550 Requested action not taken: mailbox unavailable", "other", false),
            ("550 No such user here", "unknown-user", true),
            ("550 Unrouteable address", "unknown-user", true),
            ("450 4.1.1 User unknown", "unknown-user", false),
            (
                "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus",
                "reputation",
                false,
            ),
            ("550 5.1.1 rejected, see our blocklist", "reputation", false),
            ("550 5.7.26 This mail is unauthenticated", "authentication", false),
            ("550 5.7.1 Message rejected due to SPF fail", "authentication", false),
            ("550 5.7.1 relaying denied", "policy", false),
            ("552 5.2.2 over quota", "full", false),
            ("452 4.2.2 The mailbox is full", "full", false),
            ("552 5.3.4 message size exceeds limit", "too-large", false),
            ("554 5.7.1 Spam message rejected", "content", false),
            ("451 4.7.1 Greylisting in action", "busy", false),
            ("421 Service not available", "busy", false),
            ("550 5.2.1 The account is disabled", "disabled", false),
            ("501 5.5.4 syntax", "protocol", false),
            ("556 5.1.10 null MX", "domain", false),
            ("554 5.4.6 hops", "loop", false),
        ] {
            check(Some("mx.test"), text, expected, is_hard);
        }
    }

    #[test]
    fn what_we_found_ourselves_is_never_a_hard_bounce() {
        for (text, expected) in [
            ("5.1.1 example.org has no user x", "unknown-user"),
            ("5.1.10 takes no mail", "domain"),
            ("4.4.1 can't connect", "network"),
            ("4.4.3 the mail hosts", "dns"),
            ("4.7.5 TLS", "tls"),
            ("4.3.0 the message file can't be read", "local"),
        ] {
            check(None, text, expected, false);
        }
    }
}
