//! The values of the Content-* fields (RFC 2045 §5, RFC 2183), read with tolerance for what mailers write.

use crate::scanner::Scanner;
use crate::{Disposition, Param};

/// Content-Type's `type "/" subtype` and parameters; `None` where the value is not of that form.
pub(crate) fn content_type(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>, Vec<Param>)> {
    let mut scanner = Scanner::new(value);
    let media_type = scanner.token()?;
    if !scanner.take_mark(b'/') {
        return None;
    }
    let subtype = scanner.token()?;
    Some((media_type, subtype, scanner.params()))
}

/// Content-Disposition's type and parameters.
pub(crate) fn disposition(value: &[u8]) -> Option<Disposition> {
    let mut scanner = Scanner::new(value);
    Some(Disposition { kind: scanner.token()?, params: scanner.params() })
}

/// The first token of a value, as of Content-Transfer-Encoding.
pub(crate) fn token(value: &[u8]) -> Option<Vec<u8>> {
    Scanner::new(value).token()
}

/// Content-Language's tags.
pub(crate) fn tags(value: &[u8]) -> Vec<Vec<u8>> {
    value.split(|byte| *byte == b',').filter_map(token).collect()
}

/// Content-* values.
impl Scanner<'_> {
    /// Takes `wanted` behind blanks and comments.
    fn take_mark(&mut self, wanted: u8) -> bool {
        self.skip_blanks();
        self.take(wanted)
    }

    /// Skips blanks and comments.
    fn skip_blanks(&mut self) {
        loop {
            self.take_while(|byte| byte == b' ' || byte == b'\t');
            if self.peek() != Some(b'(') {
                return;
            }
            self.comment();
        }
    }

    /// `token` of RFC 2045 §5.1, wider: 8-bit octets and most specials pass.
    fn token(&mut self) -> Option<Vec<u8>> {
        self.skip_blanks();
        let token = self.take_while(|byte| byte > b' ' && byte != 127 && !b"()<>;,/=\"".contains(&byte));
        (!token.is_empty()).then(|| token.to_vec())
    }

    /// `*(";" parameter)`; what is not a parameter is skipped.
    fn params(&mut self) -> Vec<Param> {
        let mut params = Vec::new();
        while self.peek().is_some() {
            match self.param() {
                Some(param) => params.push(param),
                None => self.skip_to_next(),
            }
        }
        params
    }

    fn param(&mut self) -> Option<Param> {
        while self.take_mark(b';') {}
        let name = self.token()?;
        self.take_mark(b'=').then(|| (name, self.value()))
    }

    fn skip_to_next(&mut self) {
        self.take_while(|byte| byte != b';');
        self.at += 1;
    }

    /// A quoted string without its quoting, or all up to the next semicolon or comment: names with blanks
    /// are often left unquoted.
    fn value(&mut self) -> Vec<u8> {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
        if self.peek() == Some(b'"') {
            return self.quoted();
        }
        let text = self.take_while(|byte| byte != b';');
        let end = text.windows(2).position(|pair| pair == b" (").unwrap_or(text.len());
        text.get(..end).unwrap_or_default().trim_ascii().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<&str>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let got = content_type(value.as_bytes()).map(|(media_type, subtype, params)| {
            let params: String = params.iter().map(|(n, v)| format!("|{}={}", text(n), text(v))).collect();
            format!("{}/{}{params}", text(&media_type), text(&subtype))
        });
        assert_eq!(got.as_deref(), expected, "{value}");
    }

    #[test]
    fn content_types() {
        check("text/plain; charset=us-ascii (Plain text)", Some("text/plain|charset=us-ascii"));
        check("Text/HTML;charset=\"utf-8\";x=y", Some("Text/HTML|charset=utf-8|x=y"));
        check("text / plain", Some("text/plain"));
        check("a/b; name=\"q\\\"uo;te\"; z = 1", Some("a/b|name=q\"uo;te|z=1"));
        check("a/b; name=my file.pdf; z=1", Some("a/b|name=my file.pdf|z=1"));
        check("a/b; url*0*=us-ascii'en'a%20; url*1=b", Some("a/b|url*0*=us-ascii'en'a%20|url*1=b"));
        check("a/b charset=x", Some("a/b|charset=x"));
        check("a/b;; junk; c=", Some("a/b|c="));
        check("a/b; boundary=\"unclosed", Some("a/b|boundary=unclosed"));
        check("text", None);
        check("text/", None);
        check("", None);
    }

    #[test]
    fn languages_are_a_list() {
        assert_eq!(tags(b"en, de (German), "), [b"en".to_vec(), b"de".to_vec()]);
    }
}
