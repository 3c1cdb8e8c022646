use super::Command;

impl Command {
    /// The line, given without its CRLF, with the angle brackets that it lacks around the path: as printers and other old devices write MAIL and RCPT, which
    /// can't be mended. `None` for any other line.
    ///
    /// Deviates: RFC 5321 §4.1.2 has them in every path.
    #[must_use]
    pub fn with_brackets(line: &[u8]) -> Option<Vec<u8>> {
        let line = std::str::from_utf8(line).ok()?;
        let (head, rest) = line.split_once(':')?;
        if !["MAIL FROM", "RCPT TO"].iter().any(|known| head.eq_ignore_ascii_case(known)) {
            return None;
        }
        let rest = rest.trim_matches(' ');
        let (path, parameters) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        let is_bare = path.contains('@') && !path.contains(['<', '>', '"']);
        is_bare.then(|| format!("{head}:<{path}>{parameters}").into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_brackets_gets_them_and_nothing_else_is_changed() {
        let mended =
            |line: &str| Command::with_brackets(line.as_bytes()).map(|it| String::from_utf8(it).unwrap());
        for (line, expected) in [
            ("MAIL FROM:a@x.org", "MAIL FROM:<a@x.org>"),
            ("mail from: a@x.org SIZE=10 BODY=8BITMIME", "mail from:<a@x.org> SIZE=10 BODY=8BITMIME"),
            ("RCPT TO:b@x.org ", "RCPT TO:<b@x.org>"),
        ] {
            assert_eq!(mended(line).as_deref(), Some(expected), "{line}");
            assert!(Command::parse(expected.as_bytes()).is_ok(), "{expected}");
        }
        for line in [
            "MAIL FROM:<a@x.org>",
            "MAIL FROM:",
            "RCPT TO:Bob <b@x.org>",
            "RCPT TO:b",
            "DATA",
            "VRFY a:b@x.org",
            "MAIL FROM:\"a b\"@x.org",
        ] {
            assert_eq!(mended(line), None, "{line}");
        }
        assert_eq!(Command::with_brackets(b"MAIL FROM:\xff@x.org"), None);
    }
}
