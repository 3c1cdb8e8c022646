use std::path::{Path, PathBuf};

use mail_types::{Domain, Secret};

use crate::reader::Reader;

/// `[relay]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// Where all mail for elsewhere goes that no route is for.
    pub smarthost: Option<Smarthost>,
    /// Without a smarthost, straight to the mail hosts of each domain (MX); otherwise it waits.
    pub direct: bool,
    /// The port of mail hosts.
    pub port: u16,
    /// `[[relay.route]]`
    pub routes: Vec<Route>,
    /// `[relay.security]`
    pub security: SecurityConfig,
}

/// What the mail hosts of other domains must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityConfig {
    /// Obey the MTA-STS policies of domains. RFC 8461.
    pub mta_sts: bool,
    /// CA certificates to trust besides the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// The port of the web servers that have policies.
    pub https_port: u16,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self { mta_sts: true, ca_file: None, https_port: 443 }
    }
}

/// Domains whose mail goes another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whose mail; not that of their subdomains.
    pub domains: Vec<Domain>,
    /// By this host; straight to the domain's mail hosts without one.
    pub smarthost: Option<Smarthost>,
}

/// The host that takes our mail for elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smarthost {
    /// A name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How the connection is secured.
    pub tls: RelayTls,
    /// CA certificates to trust besides the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// What we log in with.
    pub credentials: Option<(String, Secret<String>)>,
}

/// How a connection to the smarthost is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayTls {
    /// Never.
    None,
    /// STARTTLS if offered, unverified.
    Opportunistic,
    /// STARTTLS with a verified certificate, or no delivery.
    Required,
    /// TLS from the first byte, verified.
    Implicit,
}

impl Default for RelayConfig {
    fn default() -> Self {
        let security = SecurityConfig::default();
        Self { smarthost: None, direct: true, port: 25, routes: Vec::new(), security }
    }
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> RelayConfig {
    let standard = RelayConfig::default();
    let host = reader.parsed("smarthost", "\"host:port\", such as \"smtp.example.net:587\"", host_and_port);
    RelayConfig {
        smarthost: smarthost(reader, host),
        direct: reader.bool("direct", standard.direct),
        port: reader.number("port", 1, standard.port),
        routes: reader.tables("route", route).unwrap_or_default(),
        security: reader.table("security", security),
    }
}

fn security(reader: &mut Reader<'_, '_>) -> SecurityConfig {
    let standard = SecurityConfig::default();
    SecurityConfig {
        mta_sts: reader.bool("mta_sts", standard.mta_sts),
        ca_file: reader.file("ca_file"),
        https_port: reader.number("https_port", 1, standard.https_port),
    }
}

fn route(reader: &mut Reader<'_, '_>) -> Option<Route> {
    if !reader.has("domains") {
        reader.missing("domains", "say whose mail goes this way, such as domains = [\"example.net\"]");
    }
    if !reader.has("smarthost") {
        reader.missing("smarthost", "say where the mail goes, such as smarthost = \"mx\"");
    }
    let domain = |text: &str| text.parse::<Domain>().ok();
    let domains = reader.list("domains", "a domain such as \"example.net\"", domain);
    let host =
        reader.parsed("smarthost", "\"host:port\", such as \"smtp.example.net:587\", or \"mx\"", |text| {
            if text == "mx" { Some(None) } else { host_and_port(text).map(Some) }
        });
    let smarthost = smarthost(reader, host.clone().flatten());
    host.is_some().then_some(Route { domains: domains?, smarthost })
}

/// The keys that say how to speak to the smarthost `host`.
fn smarthost(reader: &mut Reader<'_, '_>, host: Option<(String, u16)>) -> Option<Smarthost> {
    let tls =
        reader.parsed(
            "tls",
            "\"none\", \"opportunistic\", \"required\" or \"implicit\"",
            |text| match text {
                "none" => Some(RelayTls::None),
                "opportunistic" => Some(RelayTls::Opportunistic),
                "required" => Some(RelayTls::Required),
                "implicit" => Some(RelayTls::Implicit),
                _ => None,
            },
        );
    let ca_file = reader.file("ca_file");
    let credentials = match (reader.string("username"), reader.file("password_file")) {
        (Some(username), Some(file)) => relay_password(reader, &file).map(|password| (username, password)),
        (None, None) => None,
        _ => {
            reader.wrong("username and password_file go together");
            None
        }
    };
    let tls = tls.unwrap_or(RelayTls::Opportunistic);
    host.map(|(host, port)| Smarthost { host, port, tls, ca_file, credentials })
}

/// The first line of the file.
fn relay_password(reader: &Reader<'_, '_>, file: &Path) -> Option<Secret<String>> {
    let text = std::fs::read_to_string(file);
    let password = text.as_ref().map(|text| text.lines().next().unwrap_or_default());
    match password {
        Ok("") => reader.wrong(format!("password_file: {} holds no password", file.display())),
        Ok(password) => return Some(Secret::new(password.to_owned())),
        Err(error) => reader.wrong(format!("password_file: can't read {}: {error}", file.display())),
    }
    None
}

pub(crate) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.parse::<std::net::Ipv4Addr>().is_ok() || host.parse::<Domain>().is_ok(),
    };
    Some((bare.unwrap_or(host).to_owned(), port.parse().ok()?)).filter(|_| valid)
}
