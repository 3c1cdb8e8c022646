use smtp_proto::{Body, Reply};

use super::limits::Limits;

/// What a server offered in its reply to EHLO. RFC 5321 §4.1.1.1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an extension of its own")]
pub(crate) struct Extensions {
    /// The server speaks LMTP. RFC 2033
    pub(crate) lmtp: bool,
    /// RFC 3207
    pub(crate) starttls: bool,
    /// RFC 2920
    pub(crate) pipelining: bool,
    /// RFC 3030
    pub(crate) chunking: bool,
    /// RFC 3030
    pub(crate) binary_mime: bool,
    /// RFC 6152
    pub(crate) eight_bit_mime: bool,
    /// RFC 6531
    pub(crate) smtputf8: bool,
    /// RFC 3461
    pub(crate) dsn: bool,
    /// RFC 8689
    pub(crate) require_tls: bool,
    /// RFC 2852; the least time that a message may have, in seconds.
    pub(crate) deliver_by: Option<i32>,
    /// RFC 6710
    pub(crate) priorities: bool,
    /// RFC 1870; the limit, 0 where none is told.
    pub(crate) size: Option<u64>,
    /// RFC 4954
    pub(crate) auth_plain: bool,
    /// draft-murchison-sasl-login
    pub(crate) auth_login: bool,
    /// We have logged in here. RFC 4954
    pub(crate) authenticated: bool,
    /// RFC 9422
    pub(crate) limits: Limits,
}

impl Extensions {
    pub(crate) fn parse(reply: &Reply) -> Self {
        let mut extensions = Self::default();
        for line in reply.text().iter().skip(1) {
            extensions.add(line);
        }
        extensions
    }

    fn add(&mut self, line: &str) {
        // `AUTH=LOGIN` is how old servers write it.
        let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_str() {
            "STARTTLS" => self.starttls = true,
            "PIPELINING" => self.pipelining = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "DSN" => self.dsn = true,
            "REQUIRETLS" => self.require_tls = true,
            "MT-PRIORITY" => self.priorities = true,
            "DELIVERBY" => {
                let least = words.next().and_then(|options| options.split(',').next()?.parse().ok());
                self.deliver_by = Some(least.unwrap_or_default());
            }
            "LIMITS" => self.limits = Limits::parse(line.split_once(' ').unwrap_or_default().1),
            "SIZE" => self.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0)),
            "AUTH" => words.for_each(|mechanism| {
                self.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                self.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
            }),
            _ => {}
        }
    }

    /// True if a message of such octets can be sent as it is. RFC 3030 §3: binary ones in chunks only.
    pub(crate) const fn take(&self, body: Body) -> bool {
        match body {
            Body::SevenBit => true,
            Body::EightBit => self.eight_bit_mime,
            Body::Binary => self.binary_mime && self.chunking,
        }
    }

    /// True if a message of this size is not worth sending.
    pub(crate) fn is_too_large(&self, octets: u64) -> bool {
        self.size.is_some_and(|limit| limit > 0 && octets > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_whatever_their_case() {
        let lines = [
            "mx PIPELINING",
            "pipelining",
            "Size 100",
            "AUTH=LOGIN",
            "AUTH  DIGEST-MD5 plain",
            "DSN",
            "DeliverBy 60",
            "Limits RcptMax=20",
            "X-NEW",
        ];
        let reply = Reply::lines(250, lines.map(str::to_owned).to_vec());
        let extensions = Extensions::parse(&reply);
        assert_eq!(
            extensions,
            Extensions {
                pipelining: true,
                dsn: true,
                deliver_by: Some(60),
                size: Some(100),
                auth_plain: true,
                auth_login: true,
                limits: Limits::parse("RCPTMAX=20"),
                ..Extensions::default()
            }
        );
        assert!(extensions.is_too_large(101) && !extensions.is_too_large(100));
        assert!(!Extensions { size: Some(0), ..extensions }.is_too_large(u64::MAX));
    }
}
