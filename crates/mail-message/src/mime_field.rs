//! The values of the Content-* fields (RFC 2045 §5, RFC 2183), read with tolerance for what mailers write.

use crate::scanner::{Allowance, Scanner};
use crate::{Disposition, Param, rfc2231};

/// Content-Type's `type "/" subtype` and parameters; `None` where the value is not of that form.
pub(crate) fn content_type(
    value: &[u8],
    allowance: &mut Allowance,
) -> Option<(Vec<u8>, Vec<u8>, Vec<Param>)> {
    let mut scanner = Scanner::new(value, allowance);
    let media_type = scanner.token()?;
    if !scanner.take_mark(b'/') {
        return None;
    }
    let subtype = scanner.token()?;
    Some((media_type, subtype, rfc2231::joined(scanner.params())))
}

/// Content-Disposition's type and parameters. Where the type can't be read but parameters can, it is an attachment, as
/// RFC 2183 §2.8 says of unknown types.
pub(crate) fn disposition(value: &[u8], allowance: &mut Allowance) -> Option<Disposition> {
    let mut scanner = Scanner::new(value, allowance);
    let kind = scanner.token();
    let params = rfc2231::joined(scanner.params());
    let kind = kind.or_else(|| (!params.is_empty()).then(|| b"attachment".to_vec()))?;
    Some(Disposition { kind, params })
}

/// Content-Transfer-Encoding's token; `None` where more words stand there.
pub(crate) fn encoding(value: &[u8]) -> Option<Vec<u8>> {
    let mut allowance = Allowance::default();
    let mut scanner = Scanner::new(value, &mut allowance);
    let encoding = scanner.token()?;
    scanner.skip_blanks();
    matches!(scanner.peek(), None | Some(b';')).then_some(encoding)
}

/// Content-Language's tags.
pub(crate) fn tags(value: &[u8], allowance: &mut Allowance) -> Vec<Vec<u8>> {
    let mut scanner = Scanner::new(value, allowance);
    let mut tags = Vec::new();
    while scanner.peek().is_some() {
        tags.extend(scanner.token());
        scanner.take_while(|byte| byte != b',');
        scanner.take(b',');
        scanner.count();
    }
    tags
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
            self.count();
        }
        params
    }

    fn param(&mut self) -> Option<Param> {
        while self.take_mark(b';') {}
        let name = self.token()?;
        if !self.take_mark(b'=') {
            return None;
        }
        let is_file_name = [&b"name"[..], b"filename"].iter().any(|it| name.eq_ignore_ascii_case(it));
        let value = self.value(is_file_name);
        Some((name, value))
    }

    fn skip_to_next(&mut self) {
        self.take_while(|byte| byte != b';');
        self.at += 1;
    }

    /// A quoted string without its quoting, or a token, wider than that of RFC 2045 §5.1: specials pass.
    fn value(&mut self, is_file_name: bool) -> Vec<u8> {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
        match self.peek() {
            Some(b'"') => self.quoted(),
            _ if is_file_name => self.file_name(),
            _ => self.take_while(|byte| !b" \t;,(".contains(&byte)).to_vec(),
        }
    }

    /// The words up to a semicolon, comment or parameter: names with blanks are often left unquoted.
    fn file_name(&mut self) -> Vec<u8> {
        let start = self.at;
        loop {
            self.take_while(|byte| !b" \t;".contains(&byte));
            let end = self.at;
            self.take_while(|byte| byte == b' ' || byte == b'\t');
            if self.value_ends() {
                return self.since(start, end).to_vec();
            }
        }
    }

    /// Whether what stands here is no longer a word of the value.
    fn value_ends(&self) -> bool {
        let word = self.rest().split(|byte| b" \t;".contains(byte)).next().unwrap_or_default();
        word.is_empty() || word.starts_with(b"(") || word.contains(&b'=')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<&str>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let got =
            content_type(value.as_bytes(), &mut Allowance::default()).map(|(media_type, subtype, params)| {
                let params: String =
                    params.iter().map(|(n, v)| format!("|{}={}", text(n), text(v))).collect();
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
        check("a/b; charset=x format=y", Some("a/b|charset=x|format=y"));
        check("a/b; name=x y (1) d=y (e=f)", Some("a/b|name=x y|d=y"));
        check("a/b; name=x(1).pdf; c=x(1).pdf; d=x/y[@]", Some("a/b|name=x(1).pdf|c=x|d=x/y[@]"));
        check("a/b; url*0*=us-ascii'en'a%20; url*1=b", Some("a/b|url*=us-ascii'en'a%20b"));
        check("a/b charset=x", Some("a/b|charset=x"));
        check("a/b;; junk; c=", Some("a/b|c="));
        check("a/b; boundary=\"unclosed", Some("a/b|boundary=unclosed"));
        check("text", None);
        check("text/", None);
        check("", None);
    }

    #[test]
    fn an_encoding_is_one_word() {
        assert_eq!(encoding(b"(c) Base64 (d); x=y").as_deref(), Some(&b"Base64"[..]));
        assert_eq!(encoding(b"quoted printable"), None);
        assert_eq!(encoding(b""), None);
    }

    #[test]
    fn a_disposition_that_cannot_be_read_is_an_attachment() {
        let read = |value| disposition(value, &mut Allowance::default());
        let disposition = read(b"\"inline\"; filename=a".as_slice()).unwrap();
        assert_eq!(disposition.kind, b"attachment");
        assert_eq!(disposition.params, [(b"filename".to_vec(), b"a".to_vec())]);
        assert_eq!(read(b" ;"), None);
    }

    #[test]
    fn languages_are_a_list() {
        assert_eq!(tags(b"en, de (German), ", &mut Allowance::default()), [b"en".to_vec(), b"de".to_vec()]);
    }
}
