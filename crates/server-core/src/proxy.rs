//! The PROXY protocol, versions 1 and 2: the header by which a proxy says who its client is. The standard is HAProxy's
//! `doc/proxy-protocol.txt`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// How long a proxy may take for its header; a lost packet alone costs 3 seconds, proxy-protocol §2.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// Octets of the longest line of version 1, with its CRLF. proxy-protocol §2.1.
const MAX_LINE: usize = 107;
/// What version 2 begins with. proxy-protocol §2.2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of addresses and further fields in version 2. The addresses need 216 at most; certificates' names are the largest of the rest.
const MAX_REST: usize = 4096;
/// The type of the field that holds a checksum of the header. proxy-protocol §2.2.3.
const CRC32C: u8 = 0x03;

/// The type of the field that tells of TLS between client and proxy, and the octets that it begins with: flags, and what came of the
/// client's certificate. proxy-protocol §2.2.6.
const SSL: u8 = 0x20;
const SSL_HEAD: usize = 5;
/// The flag that the client has connected over TLS.
const CLIENT_SSL: u8 = 0x01;

/// The ends of a connection between a client and the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proxied {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// It is under TLS.
    pub(crate) is_tls: bool,
}

/// What a header says: `None` where the connection is the proxy's own or its client is not known.
type Header = Option<Proxied>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no header of the PROXY protocol: {0}")]
struct Malformed(&'static str);

impl From<Malformed> for io::Error {
    fn from(error: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Reads the header, and nothing of what is behind it.
///
/// # Errors
/// There is none, it is malformed, or it takes too long: the connection must not be served then, proxy-protocol §2.
pub(crate) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    deadline: Duration,
) -> io::Result<Header> {
    timeout(deadline, header(stream)).await?
}

async fn header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Header> {
    // No header is shorter.
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return version_2(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Malformed("it does not begin as one").into());
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_LINE {
            return Err(Malformed("the line is too long").into());
        }
        line.push(stream.read_u8().await?);
    }
    Ok(parse_line(&line).ok_or(Malformed("the line is not as it should be"))?)
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 25` or `PROXY UNKNOWN …`, given with its CRLF.
fn parse_line(line: &[u8]) -> Option<Header> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", "TCP4", from, to, from_port, to_port] => {
            let address = |text: &str| text.parse::<Ipv4Addr>().ok();
            let peer = (address(from)?, port(from_port)?).into();
            Some(Some(Proxied { peer, local: (address(to)?, port(to_port)?).into(), is_tls: false }))
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] => {
            let address = |text: &str| text.parse::<Ipv6Addr>().ok();
            let peer = (address(from)?, port(from_port)?).into();
            Some(Some(Proxied { peer, local: (address(to)?, port(to_port)?).into(), is_tls: false }))
        }
        _ => None,
    }
}

/// A decimal number without zeros before it.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| port.to_string() == text)
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Header> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [_, _, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_REST {
        return Err(Malformed("it is too long").into());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    Ok(parse_binary(head, &rest)?)
}

/// Version 2 behind its signature: `head` is version and command, family and transport, and the length of `rest`.
fn parse_binary(head: [u8; 4], rest: &[u8]) -> Result<Header, Malformed> {
    let [version_and_command, family, ..] = head;
    match version_and_command {
        // LOCAL: whatever else is said means nothing.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(Malformed("the version or the command is unknown")),
    }
    let (proxied, fields) = match family {
        0x00 => (None, rest),
        0x11 => addresses(rest, |octets: [u8; 4]| Ipv4Addr::from(octets))?,
        0x21 => addresses(rest, |octets: [u8; 16]| Ipv6Addr::from(octets))?,
        _ => return Err(Malformed("the connection is not one of TCP")),
    };
    let is_tls = read_fields(head, rest, fields)?;
    Ok(proxied.map(|proxied| Proxied { is_tls, ..proxied }))
}

/// Source, destination and their ports, and what is behind these.
fn addresses<const N: usize, A>(rest: &[u8], address: fn([u8; N]) -> A) -> Result<(Header, &[u8]), Malformed>
where
    SocketAddr: From<(A, u16)>,
{
    let split = || {
        let (from, rest) = rest.split_first_chunk()?;
        let (to, rest) = rest.split_first_chunk()?;
        let (from_port, rest) = rest.split_first_chunk()?;
        let (to_port, rest) = rest.split_first_chunk()?;
        let peer = (address(*from), u16::from_be_bytes(*from_port)).into();
        let local = (address(*to), u16::from_be_bytes(*to_port)).into();
        Some((Some(Proxied { peer, local, is_tls: false }), rest))
    };
    split().ok_or(Malformed("the addresses are cut off"))
}

/// The further fields, a type, two octets of length and a value each: the checksum is compared, and whether the client came over TLS is
/// what they tell.
fn read_fields(head: [u8; 4], rest: &[u8], mut fields: &[u8]) -> Result<bool, Malformed> {
    let mut is_tls = false;
    let cut_off = Malformed("a field is cut off");
    while let Some((kind, behind)) = fields.split_first() {
        let (length, behind) = behind.split_first_chunk().ok_or(cut_off)?;
        let (value, behind) =
            behind.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(cut_off)?;
        if *kind == CRC32C {
            let at = rest.len() - behind.len() - value.len();
            check_sum(head, rest, at, value)?;
        }
        if *kind == SSL {
            let flags = value.first().filter(|_| value.len() >= SSL_HEAD).ok_or(cut_off)?;
            is_tls = flags & CLIENT_SSL != 0;
        }
        fields = behind;
    }
    Ok(is_tls)
}

/// Compares the checksum, which stands at `at` in `rest` and was computed with zeros in its place.
fn check_sum(head: [u8; 4], rest: &[u8], at: usize, value: &[u8]) -> Result<(), Malformed> {
    let masked = rest
        .iter()
        .enumerate()
        .map(|(place, octet)| if (at..at + value.len()).contains(&place) { 0 } else { *octet });
    let sum = crc32c(SIGNATURE.into_iter().chain(head).chain(masked));
    if value == sum.to_be_bytes() { Ok(()) } else { Err(Malformed("the checksum is wrong")) }
}

/// RFC 9260 Appendix A.
fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
    !octets.fold(u32::MAX, |sum, octet| (0..8).fold(sum ^ u32::from(octet), |sum, _| bit(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(peer: &str, local: &str) -> Header {
        Some(Proxied { peer: peer.parse().unwrap(), local: local.parse().unwrap(), is_tls: false })
    }

    /// What is said, and what is left unread.
    async fn read(octets: &[u8]) -> io::Result<(Header, Vec<u8>)> {
        let mut octets = octets;
        let header = read_header(&mut octets, DEADLINE).await?;
        Ok((header, octets.to_vec()))
    }

    /// Version 2, with its length.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0, 25];

    #[tokio::test]
    async fn version_1_names_client_and_server() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 25", proxied("192.0.2.1:56324", "198.51.100.2:25")),
            (
                "PROXY TCP6 2001:db8::1 2001:db8::2 65535 143",
                proxied("[2001:db8::1]:65535", "[2001:db8::2]:143"),
            ),
            ("PROXY UNKNOWN", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", None),
        ] {
            let (header, rest) = read(format!("{line}\r\nEHLO x\r\n").as_bytes()).await.unwrap();
            assert_eq!((header, rest.as_slice()), (expected, &b"EHLO x\r\n"[..]), "{line}");
        }
    }

    #[tokio::test]
    async fn version_2_names_client_and_server() {
        let v6: Vec<u8> = [
            &"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets()[..],
            &"2001:db8::2".parse::<Ipv6Addr>().unwrap().octets(),
            &[0, 80, 0, 143],
        ]
        .concat();
        // proxy-protocol §2.2: with LOCAL everything else is thrown away.
        let with_field = [&V4[..], &[0x04, 0, 2, 9, 9]].concat();
        for (octets, expected) in [
            (binary(0x21, 0x11, &V4), proxied("192.0.2.1:56324", "198.51.100.2:25")),
            (binary(0x21, 0x11, &with_field), proxied("192.0.2.1:56324", "198.51.100.2:25")),
            (binary(0x21, 0x21, &v6), proxied("[2001:db8::1]:80", "[2001:db8::2]:143")),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &[1, 2, 3]), None),
        ] {
            let (header, rest) = read(&[&octets[..], b"EHLO"].concat()).await.unwrap();
            assert_eq!((header, rest.as_slice()), (expected, &b"EHLO"[..]), "{octets:?}");
        }
    }

    /// proxy-protocol §2.2.6
    #[tokio::test]
    async fn version_2_tells_of_tls_between_client_and_proxy() {
        for (flags, is_tls) in [(0x00, false), (0x01, true), (0x07, true), (0x06, false)] {
            let version = [0x21, 0, 7, b'T', b'L', b'S', b'v', b'1', b'.', b'3'];
            let field = [&[SSL, 0, 15, flags, 0, 0, 0, 0][..], &version].concat();
            let octets = binary(0x21, 0x11, &[&V4[..], &field].concat());
            let (header, _) = read(&octets).await.unwrap();
            assert_eq!(header.map(|it| it.is_tls), Some(is_tls), "{flags}");
        }
        let short = binary(0x21, 0x11, &[&V4[..], &[SSL, 0, 4, 1, 0, 0, 0]].concat());
        assert!(read(&short).await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
        for octets in [
            &b"EHLO client.example.net\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25 9\r\n",
            b"PROXY TCP4 192.0.2.1  198.51.100.2 56324 25\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 56324 25\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.2 56324 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 056324 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +56324 25\r\n",
            b"PROXY TCP4 192.0.2.01 198.51.100.2 56324 25\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 56324 25\r\n",
            b"proxy tcp4 192.0.2.1 198.51.100.2 56324 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\n\r\n",
            b"PROXY TCP4 192.0.2.1",
            long.as_bytes(),
            &binary(0x11, 0x11, &V4),
            &binary(0x22, 0x11, &V4),
            &binary(0x21, 0x12, &V4),
            &binary(0x21, 0x31, &[0; 216]),
            &binary(0x21, 0x11, V4.split_last().unwrap().1),
            &binary(0x21, 0x21, &V4),
            &binary(0x21, 0x11, &[&V4[..], &[0x04, 0, 3, 9, 9]].concat()),
            &binary(0x21, 0x11, &[&V4[..], &[0x04, 0]].concat()),
            &binary(0x21, 0x11, &vec![0; MAX_REST + 1]),
            binary(0x21, 0x11, &V4).split_last().unwrap().1,
        ] {
            assert!(read(octets).await.is_err(), "{}", octets.escape_ascii());
        }
    }

    /// proxy-protocol §2.2.3; RFC 9260 Appendix A says what the checksum of `123456789` is.
    #[tokio::test]
    async fn a_header_that_was_damaged_on_its_way_is_refused() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        let unsigned = binary(0x21, 0x11, &[&V4[..], &[CRC32C, 0, 4, 0, 0, 0, 0]].concat());
        let sum = crc32c(unsigned.iter().copied());
        let mut signed = unsigned.clone();
        let at = signed.len() - 4;
        signed[at..].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(read(&signed).await.unwrap().0, proxied("192.0.2.1:56324", "198.51.100.2:25"));
        signed[16] ^= 1;
        assert!(read(&signed).await.is_err());
        assert!(read(&unsigned).await.is_err());
    }

    #[tokio::test]
    async fn a_proxy_that_says_nothing_is_not_waited_for() {
        let (_proxy, mut ours) = tokio::io::duplex(64);
        let end = read_header(&mut ours, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::TimedOut);
    }
}
