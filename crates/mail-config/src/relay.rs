use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mail_types::{Address, AddressPattern, Domain, Secret};

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
    /// What addresses of ours send on to others is sealed. RFC 8617.
    pub arc_seal: bool,
    /// `[[relay.route]]`; the first that fits decides.
    pub routes: Vec<Route>,
    /// `[[relay.source]]`; the first that fits decides.
    pub sources: Vec<RelaySource>,
    /// `[relay.security]`
    pub security: SecurityConfig,
    /// `[relay.tls_reports]`
    pub tls_reports: TlsReportsConfig,
}

/// What others are told of the TLS of their mail hosts. RFC 8460.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsReportsConfig {
    /// Reports go to the domains that want them.
    pub enabled: bool,
    /// Whom they are from; postmaster of the host without one.
    pub from: Option<Address>,
    /// Who we are; the host's name without one.
    pub organization: Option<String>,
}

impl Default for TlsReportsConfig {
    fn default() -> Self {
        Self { enabled: true, from: None, organization: None }
    }
}

/// What the mail hosts of other domains must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityConfig {
    /// Obey the MTA-STS policies of domains. RFC 8461.
    pub mta_sts: bool,
    /// Obey the TLSA records of mail hosts, where the DNS says that they are authentic. RFC 7672.
    pub dane: bool,
    /// CA certificates to trust besides the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// The port of the web servers that have policies.
    pub https_port: u16,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self { mta_sts: true, dane: true, ca_file: None, https_port: 443 }
    }
}

/// Mail that goes another way: what both its lists fit, an empty one fitting all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Whose mail, by the reverse path.
    pub senders: Vec<AddressPattern>,
    /// Where it is for; not the subdomains of these.
    pub domains: Vec<Domain>,
    /// By this host; straight to the domain's mail hosts without one.
    pub smarthost: Option<Smarthost>,
}

/// Addresses of this machine that mail goes out from. Hosts of a family without one are not spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelaySource {
    /// Whose mail, by the reverse path; everybody's where it is empty.
    pub senders: Vec<AddressPattern>,
    /// To hosts at IPv4 addresses.
    pub v4: Option<Ipv4Addr>,
    /// To hosts at IPv6 addresses.
    pub v6: Option<Ipv6Addr>,
    /// What we call ourselves in EHLO instead of the host's own name.
    pub hostname: Option<Domain>,
    /// How mail from there grows while nobody knows it yet.
    pub warm_up: Option<WarmUp>,
}

/// How many messages a day go out from an address that is new to others, one to each recipient counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// When the first day began.
    pub since: Timestamp,
    /// On the first day.
    pub start: u32,
    /// More on each day than on the one before, in per cent.
    pub growth: u32,
    /// On any day.
    pub most: u32,
}

impl RelaySource {
    /// The address from which one of this family is spoken to.
    #[must_use]
    pub fn address_to(&self, host: IpAddr) -> Option<IpAddr> {
        if host.is_ipv4() { self.v4.map(IpAddr::V4) } else { self.v6.map(IpAddr::V6) }
    }

    /// Under which name operators are told of its warm-up.
    #[must_use]
    pub fn subject(&self) -> String {
        let v4 = self.v4.map(|it| it.to_string());
        let addresses: Vec<String> = v4.into_iter().chain(self.v6.map(|it| it.to_string())).collect();
        format!("warm-up {}", addresses.join(" "))
    }

    /// True if it is meant for what `sender` sends.
    #[must_use]
    pub fn is_of(&self, sender: Option<&Address>) -> bool {
        fits(&self.senders, sender)
    }
}

impl RelayConfig {
    /// True if what `sender` sends to a domain that is not ours goes straight to the domain's mail hosts.
    #[must_use]
    pub fn leads_to_mail_hosts(&self, sender: Option<&Address>, domain: &Domain) -> bool {
        let routes = self.routes.iter().map(|route| (route, route.smarthost.as_ref()));
        Route::choose(routes, self.others(), sender, domain) == Some(None)
    }

    /// The smarthost for what no route is meant for; `Some(None)` for the mail hosts of its domain, `None` for nowhere.
    #[must_use]
    pub fn others(&self) -> Option<Option<&Smarthost>> {
        self.smarthost.as_ref().map(Some).or(self.direct.then_some(None))
    }
}

impl Route {
    /// What goes with the first of these routes that is meant for what `sender` sends to an address in `domain`; `others` with none of them.
    pub fn choose<'r, T>(
        mut routes: impl Iterator<Item = (&'r Self, T)>,
        others: Option<T>,
        sender: Option<&Address>,
        domain: &Domain,
    ) -> Option<T> {
        routes.find(|(route, _)| route.is_of(sender, domain)).map(|(_, choice)| choice).or(others)
    }

    /// True if it is meant for what `sender` sends to an address in `domain`.
    #[must_use]
    pub fn is_of(&self, sender: Option<&Address>, domain: &Domain) -> bool {
        fits(&self.senders, sender) && (self.domains.is_empty() || self.domains.contains(domain))
    }
}

/// True if the list is empty or has the sender; nobody (`<>`) is in no list. The local part's case does not matter.
fn fits(patterns: &[AddressPattern], sender: Option<&Address>) -> bool {
    let is = |sender: &Address| patterns.iter().any(|pattern| pattern.fits(sender));
    patterns.is_empty() || sender.is_some_and(is)
}

/// The host that takes our mail for elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smarthost {
    /// A name or address; for a socket of this machine, its path as it is shown.
    pub host: String,
    /// The port.
    pub port: u16,
    /// A socket of this machine, instead of host and port.
    pub socket: Option<PathBuf>,
    /// It is spoken to by LMTP (RFC 2033).
    pub lmtp: bool,
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
        let (security, tls_reports) = (SecurityConfig::default(), TlsReportsConfig::default());
        Self {
            smarthost: None,
            direct: true,
            port: 25,
            arc_seal: false,
            routes: Vec::new(),
            sources: Vec::new(),
            security,
            tls_reports,
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone)]
enum Target {
    MailHosts,
    Smtp(String, u16),
    Lmtp(String, u16),
    LmtpSocket(PathBuf),
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> RelayConfig {
    let standard = RelayConfig::default();
    let is_direct = !reader.has("smarthost");
    let host = reader.parsed("smarthost", "\"host:port\", such as \"smtp.example.net:587\"", host_and_port);
    let target = host.map(|(host, port)| Target::Smtp(host, port));
    RelayConfig {
        smarthost: smarthost(reader, target.or(is_direct.then_some(Target::MailHosts))),
        direct: reader.bool("direct", standard.direct),
        port: reader.number("port", 1, standard.port),
        arc_seal: reader.bool("arc_seal", standard.arc_seal),
        routes: reader.tables("route", route).unwrap_or_default(),
        sources: reader.tables("source", source).unwrap_or_default(),
        security: reader.table("security", security),
        tls_reports: reader.table("tls_reports", tls_reports),
    }
}

fn tls_reports(reader: &mut Reader<'_, '_>) -> TlsReportsConfig {
    let address = |text: &str| text.parse::<Address>().ok();
    TlsReportsConfig {
        enabled: reader.bool("enabled", TlsReportsConfig::default().enabled),
        from: reader.parsed("from", "an address such as \"postmaster@example.org\"", address),
        organization: reader.string("organization").filter(|text| !text.is_empty()),
    }
}

fn security(reader: &mut Reader<'_, '_>) -> SecurityConfig {
    let standard = SecurityConfig::default();
    SecurityConfig {
        mta_sts: reader.bool("mta_sts", standard.mta_sts),
        dane: reader.bool("dane", standard.dane),
        ca_file: reader.file("ca_file"),
        https_port: reader.number("https_port", 1, standard.https_port),
    }
}

fn route(reader: &mut Reader<'_, '_>) -> Option<Route> {
    if !reader.has("domains") && !reader.has("senders") {
        reader.missing(
            "domains",
            "say whose mail goes this way, by domains = [\"example.net\"] or senders = [\"@example.org\"]",
        );
    }
    if !reader.has("smarthost") {
        reader.missing("smarthost", "say where the mail goes, such as smarthost = \"mx\"");
    }
    let domain = |text: &str| text.parse::<Domain>().ok();
    let domains = reader.list("domains", "a domain such as \"example.net\"", domain).unwrap_or_default();
    let senders = senders(reader);
    let target = reader.parsed("smarthost", TARGET, target);
    let smarthost = smarthost(reader, target.clone());
    let is_whole = target.is_some() && !(domains.is_empty() && senders.is_empty());
    is_whole.then_some(Route { senders, domains, smarthost })
}

/// What is expected where [`target`] reads.
const TARGET: &str =
    "\"host:port\", such as \"smtp.example.net:587\", \"mx\", \"lmtp:host:port\" or \"lmtp:unix:/path\"";

fn target(text: &str) -> Option<Target> {
    let Some(lmtp) = text.strip_prefix("lmtp:") else {
        let smtp = |(host, port)| Target::Smtp(host, port);
        return if text == "mx" { Some(Target::MailHosts) } else { host_and_port(text).map(smtp) };
    };
    match lmtp.strip_prefix("unix:").map(PathBuf::from) {
        Some(path) => path.is_absolute().then_some(Target::LmtpSocket(path)),
        None => host_and_port(lmtp).map(|(host, port)| Target::Lmtp(host, port)),
    }
}

fn senders(reader: &mut Reader<'_, '_>) -> Vec<AddressPattern> {
    let pattern = |text: &str| text.parse::<AddressPattern>().ok().map(|it| it.to_lowercase());
    let expected = "an address such as \"alice@example.org\", or \"@example.org\" for all of a domain";
    reader.list("senders", expected, pattern).unwrap_or_default()
}

fn source(reader: &mut Reader<'_, '_>) -> Option<RelaySource> {
    let expected = "an address of this machine, such as \"192.0.2.10\" or \"2001:db8::10\"";
    let addresses = reader.list("addresses", expected, |text| text.parse::<IpAddr>().ok());
    let senders = senders(reader);
    let hostname = reader
        .parsed("hostname", "a host name such as \"mail.example.org\"", |text| text.parse::<Domain>().ok());
    let v4: Vec<_> =
        of_family(addresses.as_deref(), |it| if let IpAddr::V4(v4) = it { Some(v4) } else { None });
    let v6: Vec<_> =
        of_family(addresses.as_deref(), |it| if let IpAddr::V6(v6) = it { Some(v6) } else { None });
    let warm_up = warm_up(reader);
    if v4.is_empty() && v6.is_empty() {
        reader.missing("addresses", "say from where mail goes out, such as addresses = [\"192.0.2.10\"]");
        return None;
    }
    if v4.len() > 1 || v6.len() > 1 {
        reader.wrong("addresses: one of each family; repeat the table for another with senders of its own");
    }
    Some(RelaySource { senders, v4: v4.first().copied(), v6: v6.first().copied(), hostname, warm_up })
}

fn warm_up(reader: &mut Reader<'_, '_>) -> Option<WarmUp> {
    let date = |text: &str| text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    let is_asked_for = ["warm_up_start", "warm_up_growth", "warm_up_max"].iter().any(|key| reader.has(key));
    if is_asked_for && !reader.has("warm_up_since") {
        let advice = "say when the first day is, such as warm_up_since = \"2026-12-01\", or leave the other warm_up_ keys out: without it there is no limit";
        reader.missing("warm_up_since", advice);
    }
    let since = reader.parsed("warm_up_since", "a day such as \"2026-12-01\"", date);
    let (start, growth) = (reader.number("warm_up_start", 1, 50), reader.number("warm_up_growth", 0, 50));
    let most = reader.number("warm_up_max", 1, 100_000);
    Some(WarmUp { since: since?.timestamp(), start, growth, most })
}

fn of_family<T>(addresses: Option<&[IpAddr]>, family: impl Fn(IpAddr) -> Option<T>) -> Vec<T> {
    addresses.unwrap_or_default().iter().copied().filter_map(family).collect()
}

/// The keys that say how to speak to `target`; `None` if that is a domain's mail hosts.
fn smarthost(reader: &mut Reader<'_, '_>, target: Option<Target>) -> Option<Smarthost> {
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
    let (has_username, has_file) = (reader.has("username"), reader.has("password_file"));
    if has_username != has_file {
        reader.wrong("username and password_file go together");
    }
    let (username, file) = (reader.string("username"), reader.file("password_file"));
    let credentials = username
        .zip(file)
        .and_then(|(username, file)| relay_password(reader, &file).map(|password| (username, password)));
    // What shows the default may be said anywhere.
    if matches!(target, Some(Target::MailHosts))
        && (has_username || has_file || tls.is_some_and(|tls| tls != RelayTls::Opportunistic))
    {
        reader.wrong(
            "tls, username and password_file are for a smarthost, and there is none: say which, or leave them out (what mail hosts must prove is in [relay.security])",
        );
    }
    let (host, port, socket, lmtp) = match target? {
        Target::MailHosts => return None,
        Target::Smtp(host, port) => (host, port, None, false),
        Target::Lmtp(host, port) => (host, port, None, true),
        Target::LmtpSocket(path) => (path.display().to_string(), 0, Some(path), true),
    };
    if socket.is_some() && matches!(tls, Some(RelayTls::Required | RelayTls::Implicit)) {
        reader.wrong("a socket of this machine has no name that a certificate could be for: leave tls out");
    }
    // Who listens on a socket of this machine needs no encryption.
    let usual = if socket.is_some() { RelayTls::None } else { RelayTls::Opportunistic };
    Some(Smarthost { host, port, socket, lmtp, tls: tls.unwrap_or(usual), ca_file, credentials })
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

/// `mx.example.net:25`, `192.0.2.1:25`, `[2001:db8::1]:25`: the host without brackets, and the port.
#[must_use]
pub fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match bare {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok() || host.parse::<Domain>().is_ok(),
    };
    Some((bare.unwrap_or(host).to_owned(), port.parse().ok()?)).filter(|_| valid)
}
