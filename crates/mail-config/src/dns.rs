use std::net::SocketAddr;
use std::time::Duration;

use crate::reader::Reader;

/// `[dns]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Resolvers to ask; those of the system if there are none.
    pub servers: Vec<SocketAddr>,
    /// The longest that one look-up takes.
    pub timeout: Duration,
    /// Answers kept in memory by one server process.
    pub cache: u64,
    /// Believe the resolvers when they say that an answer is authentic (DNSSEC); if it isn't said, those on this machine.
    pub validates: Option<bool>,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: Duration::from_secs(5), cache: 10_000, validates: None }
    }
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> DnsConfig {
    let standard = DnsConfig::default();
    let servers = reader.list("servers", "an address such as \"192.0.2.53\" or \"127.0.0.1:5353\"", resolver);
    DnsConfig {
        servers: servers.unwrap_or(standard.servers),
        timeout: reader.duration("timeout", Duration::from_secs(1), standard.timeout),
        cache: reader.number("cache", 100, standard.cache),
        validates: reader.has("validates").then(|| reader.bool("validates", false)),
    }
}

/// An address, and its port unless that is 53.
fn resolver(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    text.parse().ok().or_else(|| Some(SocketAddr::new(bare.parse().ok()?, 53)))
}
