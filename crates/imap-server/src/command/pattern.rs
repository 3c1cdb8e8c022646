//! The patterns of LIST and LSUB. RFC 3501 §6.3.8.

use mail_types::MailboxName;
use unicode_normalization::UnicodeNormalization as _;

/// A pattern applied to its reference, in Unicode.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<char>);

impl Pattern {
    /// Both as the client sent them; `utf8` if it sends names so, and not in modified UTF-7.
    pub(crate) fn new(reference: &[u8], pattern: &[u8], utf8: bool) -> Self {
        let whole = [reference, pattern].concat();
        if utf8 {
            return Self(String::from_utf8_lossy(&whole).chars().collect());
        }
        // The wildcards are no part of modified UTF-7, so each stretch between them is decoded by itself.
        let mut decoded = String::new();
        for piece in whole.split_inclusive(|c| matches!(c, b'*' | b'%' | b'/')) {
            let (text, last) = match piece.split_last() {
                Some((last @ (b'*' | b'%' | b'/'), text)) => (text, Some(char::from(*last))),
                _ => (piece, None),
            };
            match MailboxName::decode_imap(text) {
                Ok(text) => decoded.push_str(&text),
                Err(_) => decoded.push_str(&String::from_utf8_lossy(text)),
            }
            decoded.extend(last);
        }
        Self(decoded.chars().collect())
    }

    /// It and, if it is not that, the same in Net-Unicode, which finds what a name that is not would be taken for. RFC 9051 §5.1.
    pub(crate) fn with_normalised(self, wanted: bool) -> impl Iterator<Item = Self> {
        let normalised = Self(self.0.iter().copied().nfc().collect());
        let normalised = (wanted && normalised != self).then_some(normalised);
        std::iter::once(self).chain(normalised)
    }

    pub(crate) fn ends_with_percent(&self) -> bool {
        self.0.last() == Some(&'%')
    }

    /// `*` matches anything, `%` anything but the delimiter. Linear in the lengths' product, without recursion.
    pub(crate) fn matches(&self, name: &MailboxName) -> bool {
        let first = name.levels().next().unwrap_or_default();
        // RFC 3501 §5.1: INBOX is INBOX in any case.
        let any_case = if first == "INBOX" { first.len() } else { 0 };
        let mut reachable = vec![false; self.0.len() + 1];
        set(&mut reachable, 0);
        self.skip_wildcards(&mut reachable);
        for (at, c) in name.as_str().chars().enumerate() {
            let mut next = vec![false; self.0.len() + 1];
            for (position, wanted) in self.0.iter().enumerate() {
                if !reachable.get(position).copied().unwrap_or_default() {
                    continue;
                }
                match wanted {
                    '*' => set(&mut next, position),
                    '%' if c != MailboxName::DELIMITER => set(&mut next, position),
                    wanted if *wanted == c || at < any_case && wanted.eq_ignore_ascii_case(&c) => {
                        set(&mut next, position + 1);
                    }
                    _ => {}
                }
            }
            self.skip_wildcards(&mut next);
            reachable = next;
        }
        reachable.last().copied().unwrap_or_default()
    }

    /// A wildcard may match nothing.
    fn skip_wildcards(&self, reachable: &mut [bool]) {
        for (position, wanted) in self.0.iter().enumerate() {
            if matches!(wanted, '*' | '%') && reachable.get(position).copied().unwrap_or_default() {
                set(reachable, position + 1);
            }
        }
    }
}

fn set(reachable: &mut [bool], position: usize) {
    if let Some(slot) = reachable.get_mut(position) {
        *slot = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        let matches = Pattern::new(b"", pattern.as_bytes(), false).matches(&name.parse().unwrap());
        assert_eq!(matches, expected, "{pattern} {name}");
    }

    #[test]
    fn percent_stays_in_its_level_and_star_does_not() {
        check("*", "INBOX", true);
        check("%", "INBOX", true);
        check("%", "a/b", false);
        check("*", "a/b/c", true);
        check("a/%", "a/b", true);
        check("a/%", "a/b/c", false);
        check("%/b", "a/b", true);
        check("a*c", "a/b/c", true);
        check("", "a", false);
        check(&"*a".repeat(100), &"b".repeat(200), false);
    }

    #[test]
    fn a_pattern_names_mailboxes_as_their_names_do() {
        check("&U,BTFw-/%", "台北/x", true);
        check("台北", "台北", true);
        check("a &- b", "a & b", true);
        check("a & b", "a & b", true);
    }

    #[test]
    fn a_pattern_in_utf8_is_not_decoded() {
        let pattern = Pattern::new(b"", "&U,BTFw-/台%".as_bytes(), true);
        assert!(pattern.matches(&"&U,BTFw-/台北".parse().unwrap()));
    }

    #[test]
    fn a_pattern_finds_what_it_is_in_net_unicode() {
        let name = "Caf\u{e9}".parse().unwrap();
        let finds = |wanted| {
            let pattern = Pattern::new(b"", "Cafe\u{301}%".as_bytes(), true);
            pattern.with_normalised(wanted).any(|pattern| pattern.matches(&name))
        };
        assert!(finds(true) && !finds(false));
    }

    #[test]
    fn only_inbox_is_found_in_any_case() {
        check("inbox", "INBOX", true);
        check("inb%", "INBOX", true);
        check("InBox/Sub", "INBOX/Sub", true);
        check("InBox/sub", "INBOX/Sub", false);
        check("a/inbox", "a/inbox", true);
        check("a/inbox", "a/INBOX", false);
    }
}
