//! Names that a record makes of what is known about the message. RFC 7208 §7.

use std::net::IpAddr;

use mail_dns::reversed;

/// Longest name that is asked for. §7.3.
const MAX_NAME: usize = 253;

/// What macros stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'c> {
    pub(super) ip: IpAddr,
    pub(super) local_part: &'c str,
    pub(super) sender_domain: &'c str,
    pub(super) helo: &'c str,
}

/// `domain-spec = macro-string domain-end`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DomainSpec {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Macro(Macro),
}

/// `"%{" macro-letter transformers *delimiter "}"`
#[derive(Debug, Clone, PartialEq, Eq)]
struct Macro {
    letter: char,
    /// Written in upper case: octets that stand for something in a URI are escaped.
    is_escaped: bool,
    /// So many parts from the right, if not all.
    parts: Option<usize>,
    is_reversed: bool,
    /// What parts are separated by.
    delimiters: String,
}

impl DomainSpec {
    /// `None` for what is none. It ends in a macro, or in a label that is no number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let pieces = pieces(text)?;
        let ends_well = match pieces.last()? {
            Piece::Macro(_) => true,
            Piece::Text(end) => ends_in_top_label(end) || text.ends_with("%%") || ends_in_blank(text),
        };
        ends_well.then_some(Self { pieces })
    }

    /// True if it names the client, which it takes a look-up to do.
    pub(super) fn needs_name(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Macro(it) if it.letter == 'p'))
    }

    /// The name to be asked for, within the record of `domain`; the client's own name is `name`.
    pub(super) fn expand(&self, facts: &Facts<'_>, domain: &str, name: Option<&str>) -> String {
        let mut expanded = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => expanded.push_str(text),
                Piece::Macro(it) => it.expand(&value(it.letter, facts, domain, name), &mut expanded),
            }
        }
        shortened(expanded.strip_suffix('.').unwrap_or(&expanded)).to_owned()
    }
}

/// True for a `macro-string`. §6: of a modifier that is not known too.
pub(super) fn is_macro_string(text: &str) -> bool {
    text.is_empty() || pieces(text).is_some()
}

/// `macro-string = *( macro-expand / macro-literal )`
fn pieces(text: &str) -> Option<Vec<Piece>> {
    if !text.bytes().all(|octet| octet.is_ascii_graphic()) {
        return None;
    }
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, behind)) = rest.split_once('%') {
        literal.push_str(before);
        let (sign, behind) = behind.split_at_checked(1)?;
        rest = behind;
        match sign {
            "%" => literal.push('%'),
            "_" => literal.push(' '),
            "-" => literal.push_str("%20"),
            "{" => {
                let (inner, behind) = behind.split_once('}')?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Macro(Macro::parse(inner)?));
                rest = behind;
            }
            _ => return None,
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Some(pieces)
}

/// `domain-end = ( "." toplabel [ "." ] )`: the label has letters, digits and hyphens within, and is no number.
fn ends_in_top_label(text: &str) -> bool {
    let Some((_, label)) = text.strip_suffix('.').unwrap_or(text).rsplit_once('.') else { return false };
    let is_edge = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    let octets = label.as_bytes();
    is_edge(octets.first())
        && is_edge(octets.last())
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
        && !octets.iter().all(u8::is_ascii_digit)
}

/// True for what ends in `%_` or `%-`.
fn ends_in_blank(text: &str) -> bool {
    let is_escaped = |text: &str| text.len() - text.trim_end_matches('%').len();
    text.strip_suffix(['_', '-']).is_some_and(|before| is_escaped(before) % 2 == 1)
}

impl Macro {
    /// `macro-letter transformers *delimiter`, of the letters that stand in names.
    fn parse(inner: &str) -> Option<Self> {
        let letter =
            inner.chars().next().filter(|letter| "slodiphv".contains(letter.to_ascii_lowercase()))?;
        let rest = inner.get(1..)?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, rest) = rest.split_at_checked(digits)?;
        let parts = if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(usize::MAX)) };
        let reversed = rest.strip_prefix(['r', 'R']);
        let delimiters = reversed.unwrap_or(rest);
        let is_valid = parts != Some(0) && delimiters.chars().all(|c| ".-+,/_=".contains(c));
        is_valid.then(|| Self {
            letter: letter.to_ascii_lowercase(),
            is_escaped: letter.is_ascii_uppercase(),
            parts,
            is_reversed: reversed.is_some(),
            delimiters: if delimiters.is_empty() { ".".to_owned() } else { delimiters.to_owned() },
        })
    }

    fn expand(&self, value: &str, into: &mut String) {
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.is_reversed {
            parts.reverse();
        }
        let skipped = parts.len().saturating_sub(self.parts.unwrap_or(usize::MAX));
        let joined = parts.split_off(skipped).join(".");
        if !self.is_escaped {
            into.push_str(&joined);
            return;
        }
        for octet in joined.bytes() {
            if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                into.push(char::from(octet));
            } else {
                into.push_str(&format!("%{octet:02X}"));
            }
        }
    }
}

/// §7.2.
fn value(letter: char, facts: &Facts<'_>, domain: &str, name: Option<&str>) -> String {
    match letter {
        's' => format!("{}@{}", facts.local_part, facts.sender_domain),
        'l' => facts.local_part.to_owned(),
        'o' => facts.sender_domain.to_owned(),
        'd' => domain.to_owned(),
        'i' if facts.ip.is_ipv4() => facts.ip.to_string(),
        'i' => reversed(facts.ip).rsplit('.').collect::<Vec<_>>().join("."),
        'v' => if facts.ip.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
        'h' => facts.helo.to_owned(),
        _ => name.unwrap_or("unknown").to_owned(),
    }
}

/// Without the labels on the left that are too much.
fn shortened(mut name: &str) -> &str {
    while name.len() > MAX_NAME {
        match name.split_once('.') {
            Some((_, rest)) => name = rest,
            None => return name,
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(spec: &str, ip: &str) -> String {
        let facts = Facts {
            ip: ip.parse().unwrap(),
            local_part: "strong-bad",
            sender_domain: "email.example.com",
            helo: "mx.example.net",
        };
        DomainSpec::parse(spec).unwrap().expand(&facts, "email.example.com", None)
    }

    #[test]
    fn macros_expand_as_rfc_7208_has_it() {
        for (spec, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("%{p}.x.test.", "unknown.x.test"),
            ("%{h}%%a%_b%-.test", "mx.example.net%a b%20.test"),
            ("%{S}.test", "strong-bad%40email.example.com.test"),
        ] {
            assert_eq!(expanded(spec, "192.0.2.3"), expected, "{spec}");
        }
        let nibbles = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com";
        assert_eq!(expanded("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01"), nibbles);
    }

    #[test]
    fn a_name_that_is_too_long_loses_labels_on_the_left() {
        let long = expanded(&format!("{}x.test", "%{d}.".repeat(20)), "192.0.2.3");
        assert!(long.len() <= MAX_NAME && long.len() > MAX_NAME - 18, "{long}");
        assert!(long.ends_with(".x.test"));
    }
}
