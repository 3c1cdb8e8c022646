use std::net::IpAddr;

/// The parts of an address in reverse, as the zones of names of addresses and the lists of RFC 5782 have them: the four octets, or
/// the 32 nibbles.
#[must_use]
pub fn reversed(address: IpAddr) -> String {
    let parts: Vec<String> = match address {
        IpAddr::V4(address) => address.octets().iter().rev().map(ToString::to_string).collect(),
        IpAddr::V6(address) => {
            let octets = address.octets();
            octets.iter().rev().map(|octet| format!("{:x}.{:x}", octet & 15, octet >> 4)).collect()
        }
    };
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_reversed_as_rfc_5782_shows() {
        assert_eq!(reversed("192.0.2.99".parse().unwrap()), "99.2.0.192");
        let v6 = "2001:db8:1:2:3:4:567:89ab".parse().unwrap();
        assert_eq!(reversed(v6), "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2");
    }
}
