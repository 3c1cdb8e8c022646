//! The grammar of records, RFC 7208 §12. Of one with any mistake nothing counts: §4.6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mail_auth::SpfResult;

use super::macros::{DomainSpec, is_macro_string};

/// What a domain says of who sends its mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<DomainSpec>,
    has_explanation: bool,
}

/// `directive = [ qualifier ] mechanism`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// What comes of it where the mechanism matches.
    pub(super) result: SpfResult,
    pub(super) mechanism: Mechanism,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(DomainSpec),
    A(Hosts),
    Mx(Hosts),
    Ptr(Option<DomainSpec>),
    Addresses(Range),
    Exists(DomainSpec),
}

/// `[ ":" domain-spec ] [ dual-cidr-length ]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hosts {
    pub(super) of: Option<DomainSpec>,
    v4_length: u32,
    v6_length: u32,
}

impl Hosts {
    /// True if the client has this address, or one of the same network.
    pub(super) fn include(&self, address: IpAddr, client: IpAddr) -> bool {
        let length = if address.is_ipv4() { self.v4_length } else { self.v6_length };
        Range { address, length }.includes(client)
    }
}

/// Addresses of one kind that begin with the same bits. §5: one of IPv6 that stands for an IPv4 address is none of IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    address: IpAddr,
    length: u32,
}

impl Range {
    pub(super) fn includes(self, client: IpAddr) -> bool {
        let difference = match (self.address, client) {
            (IpAddr::V4(own), IpAddr::V4(client)) => u128::from(own.to_bits() ^ client.to_bits()) << 96,
            (IpAddr::V6(own), IpAddr::V6(client)) => own.to_bits() ^ client.to_bits(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        difference.leading_zeros() >= self.length
    }
}

impl Record {
    /// True for what begins like a record: `version = "v=spf1"`, behind which stands a blank or nothing. §4.5.
    pub(super) fn is_one(text: &[u8]) -> bool {
        let version = text.get(..6).is_some_and(|version| version.eq_ignore_ascii_case(b"v=spf1"));
        version && text.get(6).is_none_or(|next| *next == b' ')
    }

    /// `record = version terms *SP`; `None` with any mistake.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let terms = std::str::from_utf8(text).ok()?.get(6..)?;
        let mut record = Self::default();
        terms.split(' ').filter(|term| !term.is_empty()).all(|term| record.add(term)).then_some(record)
    }

    /// `directive / modifier`; false for what is neither.
    fn add(&mut self, term: &str) -> bool {
        let end = term.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(term.len());
        let (name, rest) = term.split_at(end);
        match rest.strip_prefix('=') {
            Some(value) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => self.modify(name, value),
            Some(_) => false,
            None => directive(term).map(|directive| self.directives.push(directive)).is_some(),
        }
    }

    /// §6: redirect= and exp= stand there once at most.
    fn modify(&mut self, name: &str, value: &str) -> bool {
        match name.to_ascii_lowercase().as_str() {
            "redirect" if self.redirect.is_none() => {
                self.redirect = DomainSpec::parse(value);
                self.redirect.is_some()
            }
            "exp" => {
                !std::mem::replace(&mut self.has_explanation, true) && DomainSpec::parse(value).is_some()
            }
            "redirect" => false,
            _ => is_macro_string(value),
        }
    }
}

fn directive(term: &str) -> Option<Directive> {
    let result = match term.as_bytes().first() {
        Some(b'-') => SpfResult::Fail,
        Some(b'~') => SpfResult::SoftFail,
        Some(b'?') => SpfResult::Neutral,
        _ => SpfResult::Pass,
    };
    let mechanism = mechanism(term.strip_prefix(['+', '-', '?', '~']).unwrap_or(term))?;
    Some(Directive { result, mechanism })
}

fn mechanism(text: &str) -> Option<Mechanism> {
    let end = text.find([':', '/']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let value = rest.strip_prefix(':');
    match name.to_ascii_lowercase().as_str() {
        "all" => rest.is_empty().then_some(Mechanism::All),
        "include" => DomainSpec::parse(value?).map(Mechanism::Include),
        "exists" => DomainSpec::parse(value?).map(Mechanism::Exists),
        "ptr" if rest.is_empty() => Some(Mechanism::Ptr(None)),
        "ptr" => DomainSpec::parse(value?).map(Some).map(Mechanism::Ptr),
        "a" => hosts(rest).map(Mechanism::A),
        "mx" => hosts(rest).map(Mechanism::Mx),
        "ip4" => range(value?, 32, |text| text.parse().map(|it: Ipv4Addr| it.into()).ok()),
        "ip6" => range(value?, 128, |text| text.parse().map(|it: Ipv6Addr| it.into()).ok()),
        _ => None,
    }
}

/// A slash may stand in the name too: the lengths are what ends it.
fn hosts(rest: &str) -> Option<Hosts> {
    let (rest, v6_length) = match rest.rsplit_once("//") {
        Some((before, digits)) if is_digits(digits) => (before, length(digits, 128)?),
        _ => (rest, 128),
    };
    let (spec, v4_length) = match rest.rsplit_once('/') {
        Some((before, digits)) if is_digits(digits) => (before, length(digits, 32)?),
        _ => (rest, 32),
    };
    let of = if spec.is_empty() { None } else { Some(DomainSpec::parse(spec.strip_prefix(':')?)?) };
    Some(Hosts { of, v4_length, v6_length })
}

fn range(text: &str, most: u32, address: impl Fn(&str) -> Option<IpAddr>) -> Option<Mechanism> {
    let (text, length) = match text.split_once('/') {
        Some((text, digits)) => (text, length(digits, most)?),
        None => (text, most),
    };
    Some(Mechanism::Addresses(Range { address: address(text)?, length }))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// `cidr-length`, without a leading zero.
fn length(digits: &str, most: u32) -> Option<u32> {
    let is_plain = is_digits(digits) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|length| is_plain && *length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Terms that are none.
    const WRONG: &[&str] = &[
        "bogus:x",
        "al",
        "all:x",
        "all.",
        "all/8",
        "include",
        "include:",
        "include:a.test/24",
        "exists",
        "exists:",
        "exists:a.test/24",
        "ptr:",
        "ptr/0",
        "a:",
        "a/33",
        "a//129",
        "a/",
        "a/024",
        "a/24/64",
        "a:a.test:8080",
        "a:a.-test",
        "a:111.222.33.44",
        "a:museum.",
        "mx:a.test/24/24",
        "ip4",
        "ip4:",
        "ip4:192.0.2",
        "ip4:192.0.2.1:8080",
        "ip4:192.0.2.1/33",
        "ip4:192.0.2.1/032",
        "ip4:192.0.2.1//32",
        "ip4:2001:db8::1",
        "ip6",
        "ip6:192.0.2.1",
        "ip6:2001:db8::/129",
        "ip6:2001:db8:://33",
        "ip6::CAFE::BABE",
        "redirect=a.test redirect=b.test",
        "exp=a.test exp=a.test",
        "redirect=",
        "redirect=-all",
        "redirect:a.test",
        "exp=",
        "exp=-all",
        "exp=%{r}.a.test",
        "foo=%abc",
        "1up=foo",
        "moo/far=x",
        "include:%{x}.a.test",
        "include:%(d).a.test",
        "include:a%.test",
        "include:%{d.a.test",
        "include:%{d0}.a.test",
        "a:192.0.2.1",
        "include:a.test,",
        "=x",
        "-",
        "exists:%{l0x}.a.test",
        "a:nodots",
        "a:a.test\rptr",
        "\u{e9}",
    ];

    #[test]
    fn a_record_with_any_mistake_is_none() {
        for valid in [
            "v=spf1",
            "v=spf1  -all ",
            "v=spf1 +a ?mx/24 ~MX:mx.a.test/24//64 a//64 A:a.test -ALL",
            "v=spf1 ip4:192.0.2.0/24 ip4:192.0.2.1 ip6:2001:db8::/32 ip6:::1 ~all",
            "v=spf1 include:_spf.a.test redirect=%{d}._spf.a.test exp=exp.a.test unknown=any:thing%% moo.cow-far_out=man:dog/cat",
            "v=spf1 exists:%{l1r-}.%{i}%%._h.%{d2} exists:%{ir/}.a.test a:%{d}/24 ptr ptr:a.test. -all",
            "v=spf1 a:foo:bar/baz.a.test mx:a.xn--zckzah/24 default=",
        ] {
            assert!(Record::parse(valid.as_bytes()).is_some(), "{valid}");
        }
        for wrong in WRONG {
            let record = format!("v=spf1 {wrong} -all");
            assert!(Record::parse(record.as_bytes()).is_none(), "{record}");
        }
    }
}
