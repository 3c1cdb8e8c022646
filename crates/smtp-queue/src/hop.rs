use std::fmt;
use std::str::FromStr;

use mail_config::parse_host_and_port;

/// The port of mail hosts. RFC 5321 §4.5.4.2.
const SMTP_PORT: u16 = 25;

/// A host that an operator chose for mail: `mx.example.net`, `192.0.2.1:2525`, `[2001:db8::1]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a host has the form mx.example.net, 192.0.2.1:2525 or [2001:db8::1]:25")]
pub struct NextHopError;

impl FromStr for NextHop {
    type Err = NextHopError;

    fn from_str(text: &str) -> Result<Self, NextHopError> {
        let usual = || parse_host_and_port(&format!("{text}:{SMTP_PORT}"));
        let (host, port) = parse_host_and_port(text).or_else(usual).ok_or(NextHopError)?;
        if port == 0 { Err(NextHopError) } else { Ok(Self { host, port }) }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_port_or_the_usual_one() {
        let shown = |text: &str| text.parse::<NextHop>().map(|hop| hop.to_string());
        for (text, expected) in [
            ("mx.example.net", "mx.example.net:25"),
            ("mx.example.net:2525", "mx.example.net:2525"),
            ("192.0.2.1", "192.0.2.1:25"),
            ("[2001:db8::1]", "[2001:db8::1]:25"),
            ("[2001:db8::1]:26", "[2001:db8::1]:26"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
            assert_eq!(shown(expected).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", ":25", "mx example", "mx.example.net:0", "mx.example.net:99999", "2001:db8::1"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
