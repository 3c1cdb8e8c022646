use crate::EnvelopeAddress;
use crate::scanner::{Allowance, Scanner};

/// What Dovecot and others put where IMAP must not say NIL, which would mean a group.
pub(crate) const MISSING_HOST: &[u8] = b"MISSING_DOMAIN";
const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";

/// Reads an unfolded `address-list` (RFC 5322 §3.4) with its obsolete forms, making something of whatever is there.
pub(crate) fn parse(text: &[u8], allowance: &mut Allowance) -> Vec<EnvelopeAddress> {
    let mut list = List { scanner: Scanner::new(text, allowance), addresses: Vec::new(), in_group: false };
    list.read();
    list.addresses
}

struct List<'a> {
    scanner: Scanner<'a>,
    addresses: Vec<EnvelopeAddress>,
    in_group: bool,
}

/// The words up to a character that decides what they are.
#[derive(Default)]
struct Phrase {
    words: Vec<Vec<u8>>,
    has_quoted: bool,
    comment: Option<Vec<u8>>,
}

impl Phrase {
    /// A display name or group name: the words with single blanks between them.
    fn name(&self) -> Option<Vec<u8>> {
        name(&self.words)
    }

    /// The words of `obs-local-part = word *("." word)` at the end, put together, and those before them.
    fn local_part(&self) -> (&[Vec<u8>], Vec<u8>) {
        let is_joined = |pair: &[Vec<u8>]| matches!(pair, [left, right] if left.ends_with(b".") || right.starts_with(b"."));
        let joined = self.words.windows(2).rev().take_while(|pair| is_joined(pair)).count();
        let (before, words) = self.words.split_at(self.words.len().saturating_sub(joined + 1));
        (before, words.concat())
    }
}

fn name(words: &[Vec<u8>]) -> Option<Vec<u8>> {
    let name = words.join(&b' ');
    (!name.trim_ascii().is_empty()).then_some(name)
}

impl List<'_> {
    fn read(&mut self) {
        loop {
            let phrase = self.scanner.phrase();
            match self.scanner.next() {
                Some(b'<') => self.angle_address(&phrase),
                Some(b'@') => self.bare_address(&phrase),
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
        self.scanner.count();
        self.in_group = true;
        let mailbox = Some(phrase.name().unwrap_or_default());
        self.addresses.push(EnvelopeAddress { mailbox, ..EnvelopeAddress::default() });
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.addresses.push(EnvelopeAddress::default());
        }
    }

    /// `[display-name] "<" [route ":"] addr-spec ">"`, and `mailto:` is passed over.
    fn angle_address(&mut self, phrase: &Phrase) {
        while self.scanner.take(b'<') {}
        let adl = self.scanner.route();
        let mut words = self.scanner.phrase();
        while self.scanner.take(b':') {
            words = self.scanner.phrase();
        }
        let host = if self.scanner.take(b'@') { self.host() } else { Vec::new() };
        self.scanner.skip_angle_end();
        let (before, last) = words.local_part();
        let mailbox = [before, &[last]].concat().join(&b' ');
        self.push(phrase.name(), adl, mailbox, host);
        self.skip_junk();
    }

    /// The domain behind an `@`, which some write twice.
    fn host(&mut self) -> Vec<u8> {
        loop {
            let host = self.scanner.domain();
            if !host.is_empty() || !self.scanner.take(b'@') {
                return host;
            }
        }
    }

    /// `local-part "@" domain`, with the old habit of the name in a comment behind it.
    fn bare_address(&mut self, phrase: &Phrase) {
        let host = self.host();
        let comment = self.scanner.trailing_comment();
        let (before, mailbox) = phrase.local_part();
        self.push(comment.or_else(|| name(before)), None, mailbox, host);
        self.skip_junk();
    }

    /// Skips what stands between an address and the comma behind it, up to another address whose comma was forgotten.
    fn skip_junk(&mut self) {
        loop {
            let start = self.scanner.at;
            let words = self.scanner.phrase().words;
            match self.scanner.peek() {
                None | Some(b',' | b';') => return,
                Some(byte) if byte == b'<' || (byte == b'@' && !words.is_empty()) => {
                    self.scanner.at = start;
                    return;
                }
                Some(_) => self.scanner.at += 1,
            }
        }
    }

    /// Words that no `@` or `<` followed: one is a local part without its domain, several are a name.
    fn lone_words(&mut self, phrase: Phrase) {
        let (before, last) = phrase.local_part();
        match phrase.name() {
            None => {}
            Some(_) if before.is_empty() && !phrase.has_quoted => {
                self.push(phrase.comment, None, last, Vec::new())
            }
            words => self.push(words, None, Vec::new(), Vec::new()),
        }
    }

    fn push(&mut self, name: Option<Vec<u8>>, adl: Option<Vec<u8>>, mailbox: Vec<u8>, host: Vec<u8>) {
        self.scanner.count();
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
                b'"' => {
                    phrase.words.push(self.quoted());
                    phrase.has_quoted = true;
                    self.count();
                }
                b',' | b';' | b':' | b'<' | b'>' | b'@' => break,
                _ => {
                    phrase.words.push(self.atom());
                    self.count();
                }
            }
        }
        phrase
    }

    fn atom(&mut self) -> Vec<u8> {
        self.take_while(|byte| !b" \t(\",;:<>@".contains(&byte)).to_vec()
    }

    /// `obs-route = obs-domain-list ":"`, without its colon, blanks and comments.
    fn route(&mut self) -> Option<Vec<u8>> {
        self.trailing_comment();
        let start = self.at;
        let mut route = Vec::new();
        while let Some(byte) = self.peek().filter(|byte| *byte == b'@' || !route.is_empty()) {
            match byte {
                b'(' => drop(self.comment()),
                b'<' | b'>' | b'"' | b';' => break,
                _ => {
                    self.at += 1;
                    match byte {
                        b':' => return Some(route),
                        b' ' | b'\t' => {}
                        _ => route.push(byte),
                    }
                }
            }
        }
        self.at = start;
        None
    }

    /// `obs-domain = atom *("." atom)` or a domain literal, without blanks and comments.
    fn domain(&mut self) -> Vec<u8> {
        let mut domain = Vec::new();
        loop {
            let before = self.at;
            self.trailing_comment();
            match self.peek() {
                Some(b'[') if domain.is_empty() => break domain.extend(self.literal()),
                Some(b'[' | b'\\' | b',' | b';' | b':' | b'<' | b'>' | b'@' | b'"') | None => {
                    break self.at = before;
                }
                Some(byte) if byte == b'.' || domain.ends_with(b".") || domain.is_empty() => {
                    domain.extend(self.take_while(|byte| !b" \t[\\(\",;:<>@".contains(&byte)));
                }
                Some(_) => break self.at = before,
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

    /// Moves behind the `>`, or to the comma or semicolon where it was forgotten.
    fn skip_angle_end(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b',' | b';' => return,
                b'(' => drop(self.comment()),
                _ => self.at += 1,
            }
            if byte == b'>' {
                return;
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
        let got: Vec<_> = parse(text.as_bytes(), &mut Allowance::default())
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
        check("\"two  blanks\" <s@e.net>", &["two  blanks|-|s|e.net"]);
        check("\" \" <s@e.net>", &["-|-|s|e.net"]);
        check("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", &["Pete|-|pete|silly.test"]);
        check("Pete <pete@(his host)silly.test> (behind)", &["Pete|-|pete|silly.test"]);
        check("\"a b\"@[192.0.2.1]", &["-|-|a b|[192.0.2.1]"]);
    }

    #[test]
    fn a_comment_behind_a_bare_address_is_its_name() {
        check("a@b (Full (inner) Name)", &["Full (inner) Name|-|a|b"]);
        check("root (Charlie)", &["Charlie|-|root|MISSING_DOMAIN"]);
        check("(before) a@b", &["-|-|a|b"]);
    }

    #[test]
    fn utf_8_stands_anywhere_in_an_address() {
        check("J\u{fc}rgen <j\u{fc}@b\u{fc}cher.example>", &["J\u{fc}rgen|-|j\u{fc}|b\u{fc}cher.example"]);
        check("\"\u{65e5}\u{672c}\"@x (\u{fc})", &["\u{fc}|-|\u{65e5}\u{672c}|x"]);
    }

    #[test]
    fn groups_have_start_and_end_markers() {
        check(
            "A Group:Ed Jones <joe@where.test>,john@one.test;",
            &["-|-|A Group|-", "Ed Jones|-|joe|where.test", "-|-|john|one.test", "-|-|-|-"],
        );
        check("Undisclosed recipients:;, x@y", &["-|-|Undisclosed recipients|-", "-|-|-|-", "-|-|x|y"]);
        check("g: a@b", &["-|-|g|-", "-|-|a|b", "-|-|-|-"]);
        check("One: a@x; Two: b@x;", &["-|-|One|-", "-|-|a|x", "-|-|-|-", "-|-|Two|-", "-|-|b|x", "-|-|-|-"]);
    }

    #[test]
    fn obsolete_forms_of_rfc_5322() {
        check("Mary <@node.test,@second.test:mary@x.test>", &["Mary|@node.test,@second.test|mary|x.test"]);
        check("<@a (one) , @b : c@d>", &["-|@a,@b|c|d"]);
        check("john . doe @ example . org", &["-|-|john.doe|example.org"]);
        check("\"john\".\"q r\".doe@example.org", &["-|-|john.q r.doe|example.org"]);
        check("a@b,, ,c@d,", &["-|-|a|b", "-|-|c|d"]);
        check("A. Nother <a@b>", &["A. Nother|-|a|b"]);
    }

    #[test]
    fn broken_forms_lose_no_address() {
        check("root", &["-|-|root|MISSING_DOMAIN"]);
        check("Ann Other", &["Ann Other|-|MISSING_MAILBOX|MISSING_DOMAIN"]);
        check("<>", &["-|-|MISSING_MAILBOX|MISSING_DOMAIN"]);
        check("<@x.org>", &["-|-|MISSING_MAILBOX|x.org"]);
        check("Ann a@b", &["Ann|-|a|b"]);
        check("Ann <<a@b>>", &["Ann|-|a|b"]);
        check("Ann <a@b", &["Ann|-|a|b"]);
        check("Ann <a@b, Bob <c@d>", &["Ann|-|a|b", "Bob|-|c|d"]);
        check("<mailto:a@b>", &["-|-|a|b"]);
        check("a@@b", &["-|-|a|b"]);
        check("a@b@c", &["-|-|a|b"]);
        check("a@b; c@d", &["-|-|a|b", "-|-|c|d"]);
        check("a@b c@d <e@f> <g@h> junk, i@j : k", &["-|-|a|b", "-|-|c|d", "-|-|e|f", "-|-|g|h", "-|-|i|j"]);
        check("Ann [x] <a@b> junk", &["Ann [x]|-|a|b"]);
        check("a@b..c.", &["-|-|a|b..c."]);
        check("=?utf-8?q?J=C3=BC?= <j@x>", &["=?utf-8?q?J=C3=BC?=|-|j|x"]);
        check("(unclosed a@b", &[]);
        check("", &[]);
    }
}
