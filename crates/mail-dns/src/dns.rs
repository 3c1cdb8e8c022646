use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, TokioResolver};
use mail_config::DnsConfig;
use tokio::time::timeout;
use tracing::warn;

use crate::validated::Validating;
use crate::{DnsError, LookupError, reversed};

/// How long any answer is believed at most, and how long it is believed that there is none.
const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(3600);
/// Addresses taken of one name: more of them is no host but an attempt to make us work.
const MAX_ADDRESSES: usize = 64;

/// The DNS, as this process asks it. Clones share the cache.
#[derive(Clone)]
pub struct Dns {
    resolver: Arc<TokioResolver>,
    /// `None` if nobody who is asked is believed that an answer is authentic.
    pub(crate) validating: Option<Validating>,
    timeout: Duration,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Dns {
    /// Asks the servers of the config; those of the system if it names none, and one on this machine if the system names none.
    ///
    /// # Errors
    /// [`DnsError::Resolver`].
    pub fn new(config: &DnsConfig) -> Result<Self, DnsError> {
        let (servers, mut options) = if config.servers.is_empty() { of_the_system() } else { of(config) };
        // The first attempt and one more; the look-up as a whole is bounded once again.
        options.timeout = config.timeout / 2;
        options.attempts = 1;
        options.cache_size = config.cache;
        options.positive_max_ttl = Some(LONGEST_TTL);
        options.negative_max_ttl = Some(LONGEST_NEGATIVE_TTL);
        // What stands in this machine's own file is true here and nowhere else.
        options.use_hosts_file = ResolveHosts::Never;
        let validating = is_believed(config, &servers).then(|| validating(&servers, &options)).transpose()?;
        let resolver = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| DnsError::Resolver(error.to_string()))?;
        Ok(Self { resolver: Arc::new(resolver), validating, timeout: config.timeout })
    }

    /// What asks, for libraries that ask themselves: it has the cache, but its caller must see to the time.
    #[must_use]
    pub fn resolver(&self) -> &TokioResolver {
        &self.resolver
    }

    /// The longest that one look-up takes.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The addresses of a host, IPv4 first; never none.
    ///
    /// # Errors
    /// [`LookupError`]; a temporary one if it is not known of either kind that there is none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let (v4, v6) = tokio::join!(self.look_up(host, RecordType::A), self.look_up(host, RecordType::AAAA));
        let address = |data: &RData| data.ip_addr();
        let mut addresses = Vec::new();
        let mut missing = None;
        for answer in [v4, v6] {
            match answer {
                Ok(lookup) => addresses.extend(records(&lookup).filter_map(address)),
                Err(error) if error.is_temporary() => missing = Some(error),
                Err(error) => drop(missing.get_or_insert(error)),
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() { Err(missing.unwrap_or(LookupError::NoRecords)) } else { Ok(addresses) }
    }

    /// The addresses of a host that are of the kind of `like`, none if it has none.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn addresses_like(&self, host: &str, like: IpAddr) -> Result<Vec<IpAddr>, LookupError> {
        let kind = if like.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        match self.look_up(host, kind).await {
            Ok(lookup) => Ok(records(&lookup).filter_map(RData::ip_addr).take(MAX_ADDRESSES).collect()),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The names of an address, in lower case without the last dot.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn names(&self, address: IpAddr) -> Result<Vec<String>, LookupError> {
        let zone = if address.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
        let lookup = self.look_up(&format!("{}.{zone}", reversed(address)), RecordType::PTR).await?;
        let name = |data: &RData| if let RData::PTR(name) = data { Some(plain(name)) } else { None };
        Ok(records(&lookup).filter_map(name).collect())
    }

    /// The IPv4 addresses of a name, none if it isn't there: what a list answers. RFC 5782 §2.1.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn entries(&self, name: &str) -> Result<Vec<Ipv4Addr>, LookupError> {
        let address = |data: &RData| if let RData::A(address) = data { Some(address.0) } else { None };
        match self.look_up(name, RecordType::A).await {
            Ok(lookup) => Ok(records(&lookup).filter_map(address).take(MAX_ADDRESSES).collect()),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The TXT records of a name, the strings of each joined.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, LookupError> {
        let lookup = self.look_up(name, RecordType::TXT).await?;
        let text =
            |data: &RData| if let RData::TXT(text) = data { Some(text.txt_data.concat()) } else { None };
        Ok(records(&lookup).filter_map(text).collect())
    }

    /// Asks for the records of a name, which is taken from the root on and octet by octet: whatever a sender makes of it (RFC 7208 §7)
    /// stands for nothing but itself.
    pub(crate) async fn look_up(&self, name: &str, kind: RecordType) -> Result<Lookup, LookupError> {
        let name = absolute(name).ok_or(LookupError::NotAName)?;
        match timeout(self.timeout, self.resolver.lookup(name, kind)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(LookupError::TimedOut(self.timeout)),
        }
    }
}

/// The name from the root on; one that is not in A-labels is put into them. `None` if there is no such name.
fn absolute(name: &str) -> Option<Name> {
    if name.is_ascii() {
        let labels = name.strip_suffix('.').unwrap_or(name).split('.');
        return Name::from_labels(labels.map(str::as_bytes)).ok();
    }
    let mut name = Name::from_str_relaxed(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// What an answer holds, in its order.
pub(crate) fn records(lookup: &Lookup) -> impl Iterator<Item = &RData> {
    lookup.answers().iter().map(|record| &record.data)
}

/// In lower case without the last dot.
pub(crate) fn plain(name: &Name) -> String {
    let name = name.to_lowercase().to_ascii();
    name.strip_suffix('.').unwrap_or(&name).to_owned()
}

/// True if the servers are believed when they say that an answer is authentic.
fn is_believed(config: &DnsConfig, servers: &ResolverConfig) -> bool {
    let are_here = || servers.name_servers().iter().all(|server| server.ip.is_loopback());
    config.validates.unwrap_or_else(are_here)
}

fn validating(servers: &ResolverConfig, options: &ResolverOpts) -> Result<Validating, DnsError> {
    let tls = TlsConfig::new().map_err(|error| DnsError::Resolver(error.to_string()))?;
    let context = Arc::new(PoolContext::new(options.clone(), tls));
    let servers = servers.name_servers().iter().cloned();
    Ok(NameServerPool::from_config(servers, context, TokioRuntimeProvider::default()))
}

fn of(config: &DnsConfig) -> (ResolverConfig, ResolverOpts) {
    let server = |address: &std::net::SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.to_vec())
    };
    let servers = config.servers.iter().map(server).collect();
    (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
}

fn of_the_system() -> (ResolverConfig, ResolverOpts) {
    let local = || vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())];
    match read_system_conf() {
        Ok((config, options)) if !config.name_servers().is_empty() => {
            let (_, _, servers) = config.into_parts();
            (ResolverConfig::from_parts(None, Vec::new(), servers), options)
        }
        Ok((_, options)) => (ResolverConfig::from_parts(None, Vec::new(), local()), options),
        Err(error) => {
            warn!(%error, "the system names no DNS server: 127.0.0.1 is asked");
            (ResolverConfig::from_parts(None, Vec::new(), local()), ResolverOpts::default())
        }
    }
}
