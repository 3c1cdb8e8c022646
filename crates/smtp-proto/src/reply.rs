use std::fmt::Write as _;

/// What the server says: a code, the enhanced status code, and one or more lines of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// RFC 2034; greeting, EHLO and 3yz have none.
    status: &'static str,
    lines: Vec<String>,
}

impl Reply {
    /// One line with an enhanced status code such as `5.1.1`, or an empty one for none.
    #[must_use]
    pub fn new(code: u16, status: &'static str, text: impl Into<String>) -> Self {
        Self { code, status, lines: vec![text.into()] }
    }

    /// Several lines, without enhanced status codes.
    #[must_use]
    pub const fn lines(code: u16, lines: Vec<String>) -> Self {
        Self { code, status: "", lines }
    }

    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// True for 4yz and 5yz.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.code >= 400
    }

    /// `Reply-line`. RFC 5321 §4.2.
    pub fn encode(&self, output: &mut String) {
        for (position, line) in self.lines.iter().enumerate() {
            let mark = if position + 1 == self.lines.len() { ' ' } else { '-' };
            let space = if self.status.is_empty() { "" } else { " " };
            // Writing to a String can't fail.
            let _ = write!(output, "{}{mark}{}{space}{line}\r\n", self.code, self.status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reply: &Reply, expected: &str) {
        let mut output = String::new();
        reply.encode(&mut output);
        assert_eq!(output, expected);
    }

    #[test]
    fn all_lines_but_the_last_are_marked_with_a_hyphen() {
        check(&Reply::new(250, "2.1.0", "OK"), "250 2.1.0 OK\r\n");
        check(&Reply::new(354, "", "go on"), "354 go on\r\n");
        check(&Reply::lines(250, vec!["a".to_owned(), "SIZE".to_owned()]), "250-a\r\n250 SIZE\r\n");
    }
}
