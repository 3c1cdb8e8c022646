//! Results that others give in our name. RFC 8601 §5.

use mail_types::Domain;

/// Octets of a value in which it must be clear whose results it gives.
const MAX_OPEN: usize = 4096;

/// Whose results an Authentication-Results field gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It says that they are ours, or hides whose they are.
    Ours,
    Others,
    /// More of it must be seen.
    Open,
}

/// Reads the authserv-id (RFC 8601 §2.2) at the start of a field's value, of which more may come unless it `is_whole`.
pub(crate) fn claims(value: &[u8], is_whole: bool, hostname: &str) -> Claim {
    match authserv_id(value) {
        Some((id, is_ended)) if is_ended || is_whole => {
            if is_host(&id, hostname) {
                Claim::Ours
            } else {
                Claim::Others
            }
        }
        _ if is_whole || value.len() > MAX_OPEN => Claim::Ours,
        _ => Claim::Open,
    }
}

fn is_host(id: &[u8], hostname: &str) -> bool {
    let Ok(text) = std::str::from_utf8(id) else { return false };
    let domain = text.parse::<Domain>().map(|domain| domain.to_ascii());
    domain.unwrap_or_else(|_| text.to_owned()).eq_ignore_ascii_case(hostname)
}

/// `value`: a token or a quoted string, and whether its end has been seen. `None` if it hasn't begun.
fn authserv_id(value: &[u8]) -> Option<(Vec<u8>, bool)> {
    let rest = skip_comments(value)?;
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let end = rest.iter().position(|octet| octet.is_ascii_whitespace() || b";(".contains(octet));
        return Some((rest.get(..end.unwrap_or(rest.len()))?.to_vec(), end.is_some()));
    };
    let (mut id, mut octets) = (Vec::new(), quoted.iter());
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => return Some((id, true)),
            b'\\' => id.extend(octets.next()),
            octet => id.push(*octet),
        }
    }
    None
}

/// What stands behind blanks and comments (CFWS, RFC 5322 §3.2.2); `None` if nothing does.
fn skip_comments(value: &[u8]) -> Option<&[u8]> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match (value.get(at)?, depth) {
            (b'(', _) => depth += 1,
            (b')', 1..) => depth -= 1,
            (b'\\', 1..) => at += 1,
            (octet, 0) if !octet.is_ascii_whitespace() => return value.get(at..),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Claim) {
        assert_eq!(claims(value.as_bytes(), true, "mail.example.org"), expected, "{value}");
        // No part of it may be judged otherwise than the whole.
        for end in 0..value.len() {
            let part = claims(&value.as_bytes()[..end], false, "mail.example.org");
            assert!(part == Claim::Open || part == expected, "{value} up to {end}: {part:?}");
        }
    }

    #[test]
    fn results_in_our_name_are_known_however_it_is_written() {
        for ours in [
            " mail.example.org; spf=pass",
            " mail.example.org 1; spf=pass",
            "mail.example.org",
            " MAIL.Example.ORG;none",
            "\r\n\tmail.example.org;\r\n\tspf=pass",
            " (a (nested\\) one) comment)\r\n mail.example.org(x); spf=pass",
            " \"mail.exam\\ple.org\"; spf=pass",
            " mail.example.org.; spf=pass",
            " (never ended mail.example.net; spf=pass",
            " \"never ended",
            "",
        ] {
            check(ours, Claim::Ours);
        }
        for others in [
            " mail.example.net; spf=pass",
            " example.org; spf=pass",
            " (mail.example.org) mx.example.net; spf=pass",
            " xmail.example.org; x",
            " \u{fffd}; x",
        ] {
            check(others, Claim::Others);
        }
    }

    #[test]
    fn an_endless_comment_is_no_place_to_hide() {
        let value = format!("({}", "x".repeat(MAX_OPEN));
        assert_eq!(claims(value.as_bytes(), false, "mail.example.org"), Claim::Ours);
    }
}
