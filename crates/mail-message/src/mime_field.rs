//! The values of the Content-* fields (RFC 2045 §5, RFC 2183), read with tolerance for what mailers write.

use crate::{Disposition, Param};

/// Content-Type's `type "/" subtype` and parameters; `None` where the value is not of that form.
pub(crate) fn content_type(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>, Vec<Param>)> {
    let mut scanner = Scanner { text: value, at: 0 };
    let media_type = scanner.token()?;
    if !scanner.take(b'/') {
        return None;
    }
    let subtype = scanner.token()?;
    Some((media_type, subtype, scanner.params()))
}

/// Content-Disposition's type and parameters.
pub(crate) fn disposition(value: &[u8]) -> Option<Disposition> {
    let mut scanner = Scanner { text: value, at: 0 };
    Some(Disposition { kind: scanner.token()?, params: scanner.params() })
}

/// The first token of a value, as of Content-Transfer-Encoding.
pub(crate) fn token(value: &[u8]) -> Option<Vec<u8>> {
    Scanner { text: value, at: 0 }.token()
}

/// Content-Language's tags.
pub(crate) fn tags(value: &[u8]) -> Vec<Vec<u8>> {
    value.split(|byte| *byte == b',').filter_map(token).collect()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.skip_blanks();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Skips blanks and comments.
    fn skip_blanks(&mut self) {
        loop {
            self.take_while(|byte| byte == b' ' || byte == b'\t');
            if self.peek() != Some(b'(') {
                return;
            }
            self.skip_comment();
        }
    }

    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => self.at += 1,
                b'(' => depth += 1,
                b')' if depth <= 1 => return,
                b')' => depth -= 1,
                _ => {}
            }
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
        while self.take(b';') {}
        let name = self.token()?;
        self.take(b'=').then(|| (name, self.value()))
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

    fn quoted(&mut self) -> Vec<u8> {
        self.at += 1;
        let mut text = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                b'"' => break,
                b'\\' => text.extend(self.next()),
                _ => text.push(byte),
            }
        }
        text
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
