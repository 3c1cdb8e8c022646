//! The Authentication-Results field. RFC 8601 §2.2.

use std::fmt::Write as _;

/// The field, built one result after the other.
#[derive(Debug, Clone)]
pub(crate) struct AuthenticationResults {
    text: String,
    has_results: bool,
}

impl AuthenticationResults {
    /// `hostname` is who found it out, the authserv-id.
    pub(crate) fn new(hostname: &str) -> Self {
        Self { text: format!("Authentication-Results: {hostname}"), has_results: false }
    }

    /// `resinfo`: a method and its result, a comment, and the properties that it is about.
    pub(crate) fn add(
        &mut self,
        method: &str,
        result: &str,
        comment: Option<&str>,
        properties: &[(&str, &str)],
    ) {
        self.has_results = true;
        // Writing to a String can't fail.
        let _ = write!(self.text, ";\r\n\t{method}={result}");
        if let Some(comment) = comment {
            let _ = write!(self.text, " ({})", comment_text(comment));
        }
        for (name, value) in properties {
            let _ = write!(self.text, " {name}={}", value_text(value));
        }
    }

    /// The whole field with its CRLF.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str(if self.has_results { "\r\n" } else { "; none\r\n" });
        self.text
    }
}

/// What stands in a comment: nothing that could end it. RFC 5322 §3.2.2.
fn comment_text(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() && !"()\\".contains(c) || c == ' ' { c } else { '?' })
        .collect()
}

/// `pvalue`: as it is where it is a token or an address, else in quotes; never anything that could end the line.
fn value_text(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-^_`{|}~.@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_form_of_rfc_8601() {
        let mut results = AuthenticationResults::new("mail.example.org");
        results.add("spf", "pass", None, &[("smtp.mailfrom", "bob@example.net")]);
        results.add("dmarc", "fail", Some("p=reject"), &[("header.from", "example.com")]);
        assert_eq!(
            results.finish(),
            "Authentication-Results: mail.example.org;\r\n\tspf=pass smtp.mailfrom=bob@example.net;\r\n\tdmarc=fail (p=reject) header.from=example.com\r\n"
        );
        assert_eq!(AuthenticationResults::new("a.test").finish(), "Authentication-Results: a.test; none\r\n");
    }

    #[test]
    fn nothing_that_a_sender_says_ends_the_line_or_the_value() {
        let mut results = AuthenticationResults::new("a.test");
        results.add("x", "y", Some("a)\r\nb"), &[("z", "a\";\r\n\td=e"), ("n", "é"), ("e", "")]);
        let field = results.finish();
        assert_eq!(
            field,
            "Authentication-Results: a.test;\r\n\tx=y (a???b) z=\"a\\\";???d=e\" n=\"?\" e=\"\"\r\n"
        );
    }
}
