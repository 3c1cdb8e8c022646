use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ParseError;
use crate::command::host;
use crate::xtext;

/// What a proxy says of its client by XCLIENT: `XCLIENT_README` of Postfix. `None` for what it does not say or know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xclient {
    /// `ADDR`
    pub address: Option<IpAddr>,
    /// `PORT`
    pub port: Option<u16>,
    /// `DESTADDR`: what the client has called.
    pub called: Option<IpAddr>,
    /// `DESTPORT`
    pub called_port: Option<u16>,
    /// `HELO`: how the client greeted.
    pub helo: Option<String>,
    /// `LOGIN`: as whom the client has logged in at the proxy.
    pub login: Option<String>,
}

impl Xclient {
    /// `XCLIENT 1*( SP attribute-name "=" attribute-value )`, the values in xtext.
    ///
    /// Deviates: NAME is not believed, since the DNS is asked here, nor PROTO, since the dialogue begins anew.
    pub(crate) fn parse(arguments: &str) -> Result<Self, ParseError> {
        let mut client = Self::default();
        if arguments.is_empty() {
            return Err(ParseError::Arguments);
        }
        for word in arguments.split_ascii_whitespace() {
            let (name, text) = word.split_once('=').ok_or(ParseError::Arguments)?;
            let text = xtext::decode(text).ok_or(ParseError::Arguments)?;
            let is_known = !["[UNAVAILABLE]", "[TEMPUNAVAIL]"].contains(&text.to_ascii_uppercase().as_str());
            match (name.to_ascii_uppercase().as_str(), is_known) {
                ("ADDR", true) => client.address = Some(address(&text).ok_or(ParseError::Arguments)?),
                ("PORT", true) => client.port = Some(port(&text)?),
                ("DESTADDR", true) => client.called = Some(address(&text).ok_or(ParseError::Arguments)?),
                ("DESTPORT", true) => client.called_port = Some(port(&text)?),
                ("HELO", true) => client.helo = Some(host(&text)?),
                ("LOGIN", true) if !text.is_empty() => client.login = Some(text),
                ("ADDR" | "PORT" | "HELO" | "LOGIN" | "DESTADDR" | "DESTPORT", false)
                | ("NAME" | "PROTO", _) => {}
                _ => return Err(ParseError::Arguments),
            }
        }
        Ok(client)
    }
}

fn port(text: &str) -> Result<u16, ParseError> {
    text.parse().map_err(|_| ParseError::Arguments)
}

/// `192.0.2.1` or `IPV6:2001:db8::1`.
fn address(text: &str) -> Option<IpAddr> {
    match text.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("IPV6:") => {
            rest.parse::<Ipv6Addr>().ok().map(IpAddr::from)
        }
        _ => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
}

impl fmt::Display for Xclient {
    /// Each attribute behind a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str(" ADDR=[UNAVAILABLE]");
        }
        for (name, address) in [("ADDR", self.address), ("DESTADDR", self.called)] {
            match address {
                Some(IpAddr::V4(address)) => write!(f, " {name}={address}")?,
                Some(IpAddr::V6(address)) => write!(f, " {name}=IPV6:{address}")?,
                None => {}
            }
        }
        for (name, port) in [("PORT", self.port), ("DESTPORT", self.called_port)] {
            if let Some(port) = port {
                write!(f, " {name}={port}")?;
            }
        }
        for (name, text) in [("HELO", &self.helo), ("LOGIN", &self.login)] {
            if let Some(text) = text {
                write!(f, " {name}={}", xtext::encode(text))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &str, expected: Xclient) {
        assert_eq!(Xclient::parse(arguments), Ok(expected), "{arguments}");
    }

    /// The examples of Postfix's `XCLIENT_README`, and what nginx sends.
    #[test]
    fn a_proxy_says_of_its_client_what_it_knows() {
        let address = Some(IpAddr::from([168, 100, 189, 2]));
        check("NAME=spike.porcupine.org ADDR=168.100.189.2", Xclient { address, ..Xclient::default() });
        check(
            "addr=IPV6:2001:db8::1 port=54321 HELO=a+2Bb LOGIN=[UNAVAILABLE] PROTO=ESMTP",
            Xclient {
                address: "2001:db8::1".parse().ok(),
                port: Some(54321),
                helo: Some("a+b".to_owned()),
                ..Xclient::default()
            },
        );
        check(
            "ADDR=168.100.189.2 LOGIN=alice@example.org NAME=[TEMPUNAVAIL]",
            Xclient { address, login: Some("alice@example.org".to_owned()), ..Xclient::default() },
        );
        check("ADDR=[UNAVAILABLE] NAME=[unavailable]", Xclient::default());
        check(
            "DESTADDR=168.100.189.2 DESTPORT=25",
            Xclient { called: address, called_port: Some(25), ..Xclient::default() },
        );
    }

    #[test]
    fn what_means_nothing_is_501() {
        for wrong in [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=x",
            "ADDR=2001:db8::1",
            "IP=192.0.2.1",
            "PORT=70000",
            "HELO=a+20b",
            "LOGIN=",
            "LOGIN=a=b",
        ] {
            assert_eq!(Xclient::parse(wrong), Err(ParseError::Arguments), "{wrong}");
        }
    }
}
