use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network has the form 192.0.2.0/24 or 2001:db8::/32")]
pub struct NetworkError;

/// Addresses that begin with the same bits: `192.0.2.0/24`. RFC 4632 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u32,
}

impl Network {
    /// What is never routed on the internet: this machine, private and link-local networks. RFC 1122, RFC 1918, RFC 3927,
    /// RFC 4193, RFC 4291.
    #[must_use]
    pub fn local() -> Vec<Self> {
        let v4 = [([127, 0, 0, 0], 8), ([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16)];
        let v4 = v4.into_iter().chain([([169, 254, 0, 0], 16)]);
        let v4 = v4.map(|(octets, prefix)| Self::of(Ipv4Addr::from(octets).into(), prefix));
        let v6 = [(Ipv6Addr::LOCALHOST, 128), (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)];
        let v6 = v6.into_iter().chain([(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)]);
        v4.chain(v6.map(|(first, prefix)| Self::of(first.into(), prefix))).collect()
    }

    /// The network of so many bits that an address lies in; one of more bits than the address has is the address alone.
    #[must_use]
    pub fn of(address: IpAddr, prefix: u32) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let prefix = prefix.min(32);
                Self {
                    first: Ipv4Addr::from_bits(address.to_bits() & mask(prefix, 32) as u32).into(),
                    prefix,
                }
            }
            IpAddr::V6(address) => {
                let prefix = prefix.min(128);
                Self { first: Ipv6Addr::from_bits(address.to_bits() & mask(prefix, 128)).into(), prefix }
            }
        }
    }

    /// The bits that all its addresses begin with: 0 to 32 of IPv4, to 128 of IPv6.
    #[must_use]
    pub const fn prefix(&self) -> u32 {
        self.prefix
    }

    /// True if all of `other` lies in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.first)
    }

    /// True for networks of IPv4 addresses.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// True if the address, or the IPv4 address that an IPv6 one stands for, lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.to_canonical().is_ipv4() == self.first.is_ipv4() && Self::of(address, self.prefix) == *self
    }
}

/// The first `prefix` of `width` bits.
const fn mask(prefix: u32, width: u32) -> u128 {
    let all = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    if prefix == 0 { 0 } else { all & !(all >> 1 >> (prefix - 1)) }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// An address alone is a network too. Bits behind the prefix are a mistake.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| NetworkError)?
            }
            Some(_) => return Err(NetworkError),
            None => width,
        };
        let network = Self::of(address, prefix);
        if prefix <= width && network.first == address { Ok(network) } else { Err(NetworkError) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "::192.0.2.7"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "2001:db8::1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        for text in
            ["", "192.0.2.0/33", "192.0.2.1/24", "2001:db8::/129", "192.0.2.0/", "192.0.2.0/+8", "all"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
        assert_eq!("2001:db8::/32".parse::<Network>().unwrap().to_string(), "2001:db8::/32");
    }

    #[test]
    fn a_network_covers_those_within_it() {
        let covers = |outer: &str, inner: &str| {
            outer.parse::<Network>().unwrap().covers(&inner.parse::<Network>().unwrap())
        };
        assert!(covers("10.0.0.0/8", "10.1.0.0/16") && covers("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!covers("10.1.0.0/16", "10.0.0.0/8") && !covers("10.0.0.0/8", "11.0.0.0/16"));
        assert!(!covers("::/0", "10.0.0.0/8") && covers("::/0", "fc00::/7"));
    }

    #[test]
    fn local_networks_are_those_that_are_not_routed() {
        let is_local =
            |text: &str| Network::local().iter().any(|network| network.contains(text.parse().unwrap()));
        for local in
            ["127.0.0.1", "::1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.1.1", "fd00::1", "fe80::1"]
        {
            assert!(is_local(local), "{local}");
        }
        for public in ["172.32.0.1", "192.0.2.1", "8.8.8.8", "2001:db8::1", "::2"] {
            assert!(!is_local(public), "{public}");
        }
    }
}
