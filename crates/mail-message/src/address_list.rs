use crate::EnvelopeAddress;
use crate::scanner::Scanner;

/// What Dovecot and others put where IMAP must not say NIL, which would mean a group.
const MISSING_HOST: &[u8] = b"MISSING_DOMAIN";
const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";

/// Reads an unfolded `address-list` (RFC 5322 §3.4) with its obsolete forms, making something of whatever is there.
pub(crate) fn parse(text: &[u8]) -> Vec<EnvelopeAddress> {
    let mut list = List { scanner: Scanner::new(text), addresses: Vec::new(), in_group: false };
    list.read();
    list.addresses
}

struct List<'a> {
    scanner: Scanner<'a>,
    addresses: Vec<EnvelopeAddress>,
    in_group: bool,
}

/// What was read of one address up to a character that decides what it is.
#[derive(Default)]
struct Phrase {
    words: Vec<Vec<u8>>,
    comment: Option<Vec<u8>>,
}

impl Phrase {
    /// A display name or group name: the words with single blanks between them.
    fn name(&self) -> Option<Vec<u8>> {
        (!self.words.is_empty()).then(|| self.words.join(&b' '))
    }
}

impl List<'_> {
    fn read(&mut self) {
        loop {
            let phrase = self.scanner.phrase();
            match self.scanner.next() {
                Some(b'<') => self.angle_address(&phrase),
                Some(b'@') => self.bare_address(phrase),
                Some(b':') if !self.in_group => self.start_group(&phrase),
                Some(b';') => {
                    self.lone_words(phrase);
                    self.end_group();
                }
                Some(_) => self.lone_words(phrase),
                None => {
                    self.lone_words(phrase);
                    return self.end_group();
                }
            }
        }
    }

    fn start_group(&mut self, phrase: &Phrase) {
        self.in_group = true;
        let mailbox = Some(phrase.name().unwrap_or_default());
        self.addresses.push(EnvelopeAddress { mailbox, ..EnvelopeAddress::default() });
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.addresses.push(EnvelopeAddress::default());
        }
    }

    /// `[display-name] "<" [route ":"] addr-spec ">"`
    fn angle_address(&mut self, phrase: &Phrase) {
        let adl = self.scanner.route();
        let mailbox = self.scanner.phrase().words.concat();
        let host = if self.scanner.take(b'@') { self.scanner.domain() } else { Vec::new() };
        self.scanner.skip_behind_angle();
        let comment = self.scanner.trailing_comment();
        let name = phrase.name().or(comment);
        self.push(name, adl, mailbox, host);
    }

    /// `local-part "@" domain`, with the old habit of the name in a comment behind it.
    fn bare_address(&mut self, phrase: Phrase) {
        let host = self.scanner.domain();
        let name = self.scanner.trailing_comment().or(phrase.comment);
        self.push(name, None, phrase.words.concat(), host);
    }

    /// Words that no `@` or `<` followed: a local part without its domain.
    fn lone_words(&mut self, phrase: Phrase) {
        if let Some(words) = phrase.name() {
            self.push(phrase.comment, None, words, Vec::new());
        }
    }

    fn push(&mut self, name: Option<Vec<u8>>, adl: Option<Vec<u8>>, mailbox: Vec<u8>, host: Vec<u8>) {
        let or = |text: Vec<u8>, missing: &[u8]| if text.is_empty() { missing.to_vec() } else { text };
        self.addresses.push(EnvelopeAddress {
            name,
            adl,
            mailbox: Some(or(mailbox, MISSING_MAILBOX)),
            host: Some(or(host, MISSING_HOST)),
        });
    }
}

/// Addresses.
impl Scanner<'_> {
    /// Words and comments up to a character that is neither.
    fn phrase(&mut self) -> Phrase {
        let mut phrase = Phrase::default();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'(' => phrase.comment = self.comment(),
                b'"' => phrase.words.push(self.quoted()),
                b',' | b';' | b':' | b'<' | b'>' | b'@' => break,
                _ => phrase.words.push(self.atom()),
            }
        }
        phrase
    }

    fn atom(&mut self) -> Vec<u8> {
        self.take_while(|byte| !b" \t(\",;:<>@".contains(&byte)).to_vec()
    }

    /// `obs-route = "@" domain *("," "@" domain) ":"`, without its colon.
    fn route(&mut self) -> Option<Vec<u8>> {
        self.trailing_comment();
        if self.peek() != Some(b'@') {
            return None;
        }
        let route = self.take_while(|byte| byte != b':' && byte != b'>').trim_ascii().to_vec();
        self.take(b':');
        Some(route)
    }

    /// A dot-atom or a domain literal, without blanks and comments.
    fn domain(&mut self) -> Vec<u8> {
        let mut domain = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'[' => domain.extend(self.literal()),
                b'(' | b',' | b';' | b':' | b'<' | b'>' | b'@' | b'"' => break,
                _ => domain.extend(self.atom()),
            }
        }
        domain
    }

    fn literal(&mut self) -> Vec<u8> {
        let mut literal = self.take_while(|byte| byte != b']').to_vec();
        if self.take(b']') {
            literal.push(b']');
        }
        literal
    }

    fn skip_behind_angle(&mut self) {
        while self.peek().is_some_and(|byte| byte != b',' && byte != b';') {
            if self.next() == Some(b'>') {
                break;
            }
        }
    }

    /// Blanks and comments behind an address; the last comment that says something.
    fn trailing_comment(&mut self) -> Option<Vec<u8>> {
        let mut last = None;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'(' => last = self.comment().or(last),
                _ => break,
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name|adl|mailbox|host` for each address, `-` for NIL.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let show = |part: &Option<Vec<u8>>| {
            part.as_ref().map_or("-".to_owned(), |part| String::from_utf8_lossy(part).into_owned())
        };
        let got: Vec<_> = parse(text.as_bytes())
            .iter()
            .map(|a| [&a.name, &a.adl, &a.mailbox, &a.host].map(show).join("|"))
            .collect();
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn addresses_of_rfc_5322() {
        check("John Doe <jdoe@machine.example>", &["John Doe|-|jdoe|machine.example"]);
        check(
            "\"Joe Q. Public\" <john.q.public@example.com>",
            &["Joe Q. Public|-|john.q.public|example.com"],
        );
        check(
            "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
            &["Mary Smith|-|mary|x.test", "-|-|jdoe|example.org", "Who?|-|one|y.test"],
        );
        check("\"Giant; \\\"Big\\\" Box\" <s@e.net>", &["Giant; \"Big\" Box|-|s|e.net"]);
        check("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", &["Pete|-|pete|silly.test"]);
        check("a@b (Full (inner) Name)", &["Full (inner) Name|-|a|b"]);
        check("\"a b\"@[192.0.2.1]", &["-|-|a b|[192.0.2.1]"]);
    }

    #[test]
    fn groups_have_start_and_end_markers() {
        check(
            "A Group:Ed Jones <joe@where.test>,john@one.test;",
            &["-|-|A Group|-", "Ed Jones|-|joe|where.test", "-|-|john|one.test", "-|-|-|-"],
        );
        check("Undisclosed recipients:;, x@y", &["-|-|Undisclosed recipients|-", "-|-|-|-", "-|-|x|y"]);
        check("g: a@b", &["-|-|g|-", "-|-|a|b", "-|-|-|-"]);
    }

    #[test]
    fn obsolete_and_broken_forms_lose_no_address() {
        check("Mary <@node.test,@second.test:mary@x.test>", &["Mary|@node.test,@second.test|mary|x.test"]);
        check("john . doe @ example . org", &["-|-|john.doe|example.org"]);
        check("a@b,, ,c@d", &["-|-|a|b", "-|-|c|d"]);
        check("root", &["-|-|root|MISSING_DOMAIN"]);
        check("<>", &["-|-|MISSING_MAILBOX|MISSING_DOMAIN"]);
        check("=?utf-8?q?J=C3=BC?= <j@x>", &["=?utf-8?q?J=C3=BC?=|-|j|x"]);
        check("", &[]);
    }
}
