//! Whether a record keeps to the grammar of RFC 7208 §12: of one that doesn't, nothing counts (§4.6). The library passes over terms
//! that it doesn't know, which would make a mistyped permission a refusal.

use std::net::{Ipv4Addr, Ipv6Addr};

/// `record = version terms *SP`
pub(super) fn is_valid(record: &[u8]) -> bool {
    let Some(terms) = std::str::from_utf8(record).ok().and_then(|record| record.get(6..)) else {
        return false;
    };
    let mut once = Vec::new();
    terms.split(' ').filter(|term| !term.is_empty()).all(|term| is_term(term, &mut once))
}

/// `directive / modifier`, of which redirect= and exp= may stand there once (§6).
fn is_term(term: &str, once: &mut Vec<String>) -> bool {
    let end = term.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(term.len());
    let (name, rest) = term.split_at(end);
    if let Some(value) =
        rest.strip_prefix('=').filter(|_| name.starts_with(|c: char| c.is_ascii_alphabetic()))
    {
        let name = name.to_ascii_lowercase();
        let is_known = name == "redirect" || name == "exp";
        let is_new = !is_known || !once.contains(&name);
        once.push(name);
        return is_new && (!is_known || is_domain_spec(value));
    }
    is_mechanism(term.strip_prefix(['+', '-', '?', '~']).unwrap_or(term))
}

fn is_mechanism(text: &str) -> bool {
    let end = text.find([':', '/']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let value = rest.strip_prefix(':');
    match name.to_ascii_lowercase().as_str() {
        "all" => rest.is_empty(),
        "include" | "exists" => value.is_some_and(is_domain_spec),
        "ptr" => rest.is_empty() || value.is_some_and(is_domain_spec),
        "a" | "mx" => is_host(value, rest),
        "ip4" => value.is_some_and(|value| is_network(value, 32, |text| text.parse::<Ipv4Addr>().is_ok())),
        "ip6" => value.is_some_and(|value| is_network(value, 128, |text| text.parse::<Ipv6Addr>().is_ok())),
        _ => false,
    }
}

/// `[ ":" domain-spec ] [ dual-cidr-length ]`
fn is_host(value: Option<&str>, rest: &str) -> bool {
    // A slash within braces is a delimiter of a macro.
    let slash = rest.char_indices().rev().take_while(|(_, c)| *c != '}').filter(|(_, c)| *c == '/').last();
    let (spec, lengths) = rest.split_at(slash.map_or(rest.len(), |(at, _)| at));
    let (v4, v6) = match lengths.split_once("//") {
        Some((v4, v6)) => (v4, Some(v6)),
        None => (lengths, None),
    };
    let v4 = v4.strip_prefix('/').or((!v4.is_empty()).then_some(v4));
    (value.is_none() && spec.is_empty() || spec.strip_prefix(':').is_some_and(is_domain_spec))
        && v4.is_none_or(|length| is_length(length, 32))
        && v6.is_none_or(|length| is_length(length, 128))
}

fn is_network(text: &str, most: u32, is_address: impl Fn(&str) -> bool) -> bool {
    match text.split_once('/') {
        Some((address, length)) => is_address(address) && is_length(length, most),
        None => is_address(text),
    }
}

/// Without a leading zero.
fn is_length(text: &str, most: u32) -> bool {
    let is_number = text == "0" || text.starts_with(|c: char| ('1'..='9').contains(&c));
    is_number
        && text.bytes().all(|c| c.is_ascii_digit())
        && text.parse::<u32>().is_ok_and(|length| length <= most)
}

/// `domain-spec = macro-string domain-end`: it ends in a macro, or in a label that is no number.
fn is_domain_spec(text: &str) -> bool {
    let is_visible = !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic());
    let last = text.strip_suffix('.').unwrap_or(text).rsplit('.').next().unwrap_or_default();
    let is_top = last.bytes().any(|c| c.is_ascii_alphabetic())
        && last.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && text.contains('.');
    is_visible && are_macros(text) && (is_top || text.ends_with('}'))
}

/// `macro-expand`: every percent sign begins one. §7.1.
fn are_macros(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('%') {
        rest = match behind.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some((inner, behind)) if is_macro(inner) => behind,
                _ => return false,
            },
            None => match behind.strip_prefix(['%', '_', '-']) {
                Some(behind) => behind,
                None => return false,
            },
        };
    }
    true
}

/// `macro-letter transformers *delimiter`
fn is_macro(inner: &str) -> bool {
    let Some(rest) = inner.strip_prefix(|c: char| "slodiphcrtv".contains(c.to_ascii_lowercase())) else {
        return false;
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.strip_prefix(['r', 'R']).unwrap_or(rest).chars().all(|c| ".-+,/_=".contains(c))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn a_record_with_any_mistake_is_none() {
        for valid in [
            "v=spf1",
            "v=spf1  -all ",
            "v=spf1 +a ?mx/24 ~MX:mx.a.test/24//64 a//64 A:a.test -ALL",
            "v=spf1 ip4:192.0.2.0/24 ip4:192.0.2.1 ip6:2001:db8::/32 ip6:::1 ~all",
            "v=spf1 include:_spf.a.test redirect=%{d}._spf.a.test exp=exp.a.test unknown=any:thing%",
            "v=spf1 exists:%{l1r-}.%{i}%%._h.%{d2} exists:%{ir/}.a.test a:%{d}/24 ptr ptr:a.test. -all",
        ] {
            assert!(is_valid(valid.as_bytes()), "{valid}");
        }
        for wrong in [
            "bogus:x",
            "al",
            "all:x",
            "include",
            "include:",
            "exists",
            "a:",
            "a/33",
            "a//129",
            "a/",
            "a/024",
            "mx:a.test/24/24",
            "ip4",
            "ip4:",
            "ip4:192.0.2",
            "ip4:192.0.2.1/33",
            "ip4:2001:db8::1",
            "ip6:192.0.2.1",
            "ip6:2001:db8::/129",
            "redirect=a.test redirect=b.test",
            "exp=a.test exp=a.test",
            "redirect=",
            "include:%{x}.a.test",
            "include:a%.test",
            "include:%{d.a.test",
            "a:192.0.2.1",
            "include:a.test,",
            "=x",
            "-",
            "exists:%{l0x}.a.test",
            "a:nodots",
            "\u{e9}",
        ] {
            let record = format!("v=spf1 {wrong} -all");
            assert!(!is_valid(record.as_bytes()), "{record}");
        }
    }
}
