//! The configuration: one TOML file, read once into these types, with every mistake reported at once.

mod dns;
mod events;
mod listener;
mod load;
mod metrics;
mod milter;
mod paths;
mod queue;
mod reader;
mod relay;
mod relay_client;
mod reports;
mod reputation;
mod units;
mod verdicts;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use disk_room::MinFree;
use mail_types::{Address, Domain, Language, MailboxName, Network, Quota};

pub use dns::DnsConfig;
pub use events::EventsConfig;
pub use metrics::MetricsConfig;
pub use milter::{Milter, MilterAddress, MilterDefault};
pub use queue::{QueueConfig, QueueRate, SuppressionConfig};
pub use relay::{
    RelayConfig, RelaySource, RelayTls, Route, SecurityConfig, Smarthost, TlsReportsConfig, WarmUp,
    host_and_port as parse_host_and_port,
};
pub use relay_client::{RelayClient, RelayOrigin};
pub use reports::ReportsConfig;
pub use reputation::ReputationConfig;
pub use units::{duration as parse_duration, show_size, size as parse_size};
pub use verdicts::{
    DmarcObedience, DnsList, GreylistConfig, ListKind, ListSubject, RatesConfig, VerdictsConfig, Weights,
};

/// The whole configuration, valid and with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The host's own name: greetings, Received, Message-ID.
    pub hostname: Domain,
    /// Where everything lives. Relative paths start from the folder of [`Self::file`].
    pub data_dir: PathBuf,
    /// The user to become when started as root.
    pub user: Option<String>,
    /// Certificates.
    pub tls: TlsConfig,
    /// Whom to ask for names.
    pub dns: DnsConfig,
    /// Receiving and submission.
    pub smtp: SmtpConfig,
    /// The outbound queue.
    pub queue: QueueConfig,
    /// Where mail for elsewhere goes.
    pub relay: RelayConfig,
    /// What others report about mail in our name.
    pub reports: ReportsConfig,
    /// What block lists say of us.
    pub reputation: ReputationConfig,
    /// What the servers count, over HTTP.
    pub metrics: MetricsConfig,
    /// Reading by IMAP.
    pub imap: ImapConfig,
    /// Reading by POP3.
    pub pop3: Pop3Config,
    /// Limits that hold for every server.
    pub limits: LimitsConfig,
    /// How much mail an account may hold.
    pub quota: QuotaConfig,
    /// Logging.
    pub log: LogConfig,
}

impl Config {
    /// The defaults: no certificate, no relay, every server on its standard ports, without those that need a certificate.
    #[must_use]
    pub fn new(hostname: Domain, data_dir: PathBuf) -> Self {
        Self {
            file: data_dir.join("mailstead.toml"),
            hostname,
            data_dir,
            user: None,
            tls: TlsConfig::default(),
            dns: DnsConfig::default(),
            smtp: SmtpConfig::default(),
            queue: QueueConfig::default(),
            relay: RelayConfig::default(),
            reports: ReportsConfig::default(),
            reputation: ReputationConfig::default(),
            metrics: MetricsConfig::default(),
            imap: ImapConfig::default(),
            pop3: Pop3Config::default(),
            limits: LimitsConfig::default(),
            quota: QuotaConfig::default(),
            log: LogConfig::default(),
        }
    }

    /// The supervisor's control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join(CONTROL_SOCKET)
    }

    /// The control socket of the supervisor over the file at `path`: it may still run with what stood there before.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn control_socket_of(path: &Path) -> Result<PathBuf, ConfigErrors> {
        load::data_dir(path).map(|data_dir| data_dir.join(CONTROL_SOCKET))
    }

    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigErrors`] names every mistake in it, each with its line and column.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        load::load(path, path)
    }

    /// As [`Self::load`] of `file`, but the text is that of `copy`: a server that is started again gets the config that was
    /// checked, whatever the file holds by now.
    ///
    /// # Errors
    /// [`ConfigErrors`].
    pub fn load_copy(copy: &Path, file: &Path) -> Result<Self, ConfigErrors> {
        load::load(copy, file)
    }
}

const CONTROL_SOCKET: &str = "control.sock";

/// Every mistake found in one file.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One mistake, shown as `file:line:column: key: what is wrong and what to do`.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// From 1; `None` where the mistake is in no line (the file can't be read, a key is missing).
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// How a listener is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// By STARTTLS or STLS.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// What an SMTP listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpRole {
    /// Mail from anywhere to local accounts: port 25.
    Mx,
    /// Mail from our own users, after AUTH: ports 587 and 465.
    Submission,
    /// Mail from another mail server of ours to local accounts, by LMTP (RFC 2033).
    Lmtp,
}

/// Sockets of one kind. A socket handed down under this name (`LISTEN_FDNAMES`) is served like this too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `smtp`, `submission`, `submissions`, `imap`, `imaps`, `pop3`, `pop3s` or what the operator chose.
    pub name: String,
    /// Where to listen. Port 0 takes a free port.
    pub addresses: Vec<SocketAddr>,
    /// How it is secured.
    pub tls: TlsMode,
    /// Who comes: other mail servers to SMTP listeners of the role [`SmtpRole::Mx`], our own users to all others.
    pub role: SmtpRole,
    /// Who comes from these brings others, and says by the PROXY protocol whom.
    pub proxies: Vec<Network>,
}

/// `[tls]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// `[[tls.certificate]]`; the first one serves clients that send no known name.
    pub certificates: Vec<CertificateFiles>,
    /// Logins may be bound to the TLS connection: SCRAM-SHA-256-PLUS is offered under TLS 1.3.
    pub channel_binding: bool,
}

/// `[[tls.certificate]]`: PEM files. The names served are those in the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// `[smtp]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpConfig {
    /// Started by `mailstead serve`.
    pub enabled: bool,
    /// `[[smtp.listener]]`
    pub listeners: Vec<Listener>,
    /// Octets.
    pub max_message_size: u64,
    /// In one transaction.
    pub max_recipients: usize,
    /// Commands refused, since the last message, before the connection is closed, but for recipients that are refused to users of ours.
    pub max_errors: u32,
    /// Commands that lead to no mail (EHLO, RSET, NOOP, VRFY, HELP), since the last message, before the connection is closed.
    pub max_junk_commands: u32,
    /// Received headers that make a loop. RFC 5321 §6.3.
    pub max_hops: usize,
    /// The longest wait for the peer's next command. RFC 5321 §4.5.3.2.7.
    pub command_timeout: Duration,
    /// The longest wait for the next piece of mail data. RFC 5321 §4.5.3.2.5.
    pub data_timeout: Duration,
    /// Separates a detail from the local part (`bob+lists@`), or none.
    pub recipient_delimiter: Option<char>,
    /// Mail that goes on to other domains gets return addresses of ours (SRS), which hold so long.
    pub srs: Option<Duration>,
    /// A submission's From field must name addresses of its sender's only.
    pub check_from: bool,
    /// How long our own users may have a message held back (RFC 4865); zero for not at all.
    pub max_future_release: Duration,
    /// How much of it an account may have held back at one time.
    pub max_held_back: Quota,
    /// The Received field of what our own users send says nothing of where they are.
    pub hide_client: bool,
    /// Who comes from these may speak for others by XCLIENT.
    pub xclient: Vec<Network>,
    /// `[[smtp.relay_clients]]`; the first that fits is who comes.
    pub relay_clients: Vec<RelayClient>,
    /// What is found out about mail from elsewhere.
    pub verdicts: VerdictsConfig,
    /// Who comes for the first time is asked to come again.
    pub greylist: GreylistConfig,
    /// How much mail one may send in an hour.
    pub rates: RatesConfig,
    /// `[[smtp.milter]]`, in the order in which they are asked.
    pub milters: Vec<Milter>,
}

/// `[imap]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImapConfig {
    /// Started by `mailstead serve`.
    pub enabled: bool,
    /// `[[imap.listener]]`
    pub listeners: Vec<Listener>,
    /// Octets of one command without its literals.
    pub max_line: usize,
    /// Octets of all literals of one command, those of a message that is stored not counted.
    pub max_literals: usize,
    /// Octets of one command, and of its literals, before login.
    pub max_before_login: usize,
    /// Octets of a literal in APPEND.
    pub max_append: u64,
    /// What one command may ask for.
    pub commands: CommandLimits,
    /// Commands answered BAD in a row before the connection is closed.
    pub max_errors: u32,
    /// Mailboxes that one session may watch by NOTIFY.
    pub max_notify_mailboxes: usize,
    /// How long a client may be silent after login. At least 30 minutes, RFC 3501 §5.4.
    pub idle_timeout: Duration,
    /// How long an unauthenticated client may be silent.
    pub login_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// How often IDLE sends a line to keep NAT alive.
    pub keep_alive: Duration,
    /// Offer UIDONLY (RFC 9586).
    pub uid_only: bool,
    /// Octets of an annotation's value (RFC 5464).
    pub max_annotation: usize,
    /// Annotations of one mailbox, beside them what one other user has there privately, and an account's own ones of the server.
    pub max_annotations: usize,
    /// What clients are told of the server, `/shared/comment`.
    pub comment: Option<String>,
    /// How to reach its administrator, `/shared/admin`: a URI.
    pub admin: Option<String>,
    /// What clients are spoken to in that ask for the language that the operator prefers (RFC 5255 §3.2).
    pub language: Language,
    /// How long a command may take before its client is told how far it is, and told so again.
    pub progress_interval: Duration,
    /// `[[imap.mask]]`
    pub masks: Vec<CapabilityMask>,
}

/// What one IMAP command may ask for; keys of `[imap]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLimits {
    /// Numbers and ranges in all of its sets.
    pub max_set: usize,
    /// Data items of FETCH.
    pub max_fetch_items: usize,
    /// Keys of a search, those within others counted.
    pub max_search_keys: usize,
    /// Search keys within each other.
    pub max_search_depth: usize,
    /// Octets of the name of a mailbox that is made, in UTF-8.
    pub max_mailbox_name: usize,
    /// Levels of such a name.
    pub max_mailbox_depth: usize,
}

impl CommandLimits {
    /// What the grammar takes, whatever the config says.
    const MOST_SEARCH_DEPTH: usize = 100;
    /// What fits the name of a folder.
    const MOST_MAILBOX_NAME: usize = 255;
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self {
            max_set: 50_000,
            max_fetch_items: 250,
            max_search_keys: 1000,
            max_search_depth: Self::MOST_SEARCH_DEPTH,
            max_mailbox_name: Self::MOST_MAILBOX_NAME,
            max_mailbox_depth: MailboxName::MAX_DEPTH,
        }
    }
}

/// `[[imap.mask]]`: capabilities that some are not offered, so that one client's fault has an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityMask {
    /// Whose sessions; those of everybody when `None`.
    pub account: Option<Address>,
    /// Which clients, by the name that they give by ID (RFC 2971), in any case; all when `None`.
    pub client: Option<String>,
    /// What is not offered, in capitals.
    pub hide: Vec<String>,
}

impl CapabilityMask {
    /// True if it is meant for this session.
    #[must_use]
    pub fn applies(&self, account: Option<&Address>, client: Option<&str>) -> bool {
        let is_meant = |wanted: &str| client.is_some_and(|client| client.eq_ignore_ascii_case(wanted));
        self.account.as_ref().is_none_or(|wanted| account == Some(wanted))
            && self.client.as_deref().is_none_or(is_meant)
    }
}

/// `[pop3]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pop3Config {
    /// Started by `mailstead serve`.
    pub enabled: bool,
    /// `[[pop3.listener]]`
    pub listeners: Vec<Listener>,
    /// At least 10 minutes, RFC 1939 §3.
    pub idle_timeout: Duration,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Open connections of one server process.
    pub max_connections: usize,
    /// Of one IP address; loopback is exempt.
    pub max_connections_per_address: usize,
    /// Of one network, the /24 of an IPv4 address or the /48 of an IPv6 one, before login, and no fewer than of one address; loopback and
    /// [`SmtpConfig::networks_of_ours`] are exempt.
    pub max_connections_per_network: usize,
    /// Of one account in one server process.
    pub max_connections_per_account: usize,
    /// Failed logins of one connection before it is closed.
    pub max_login_failures: u32,
    /// Failed logins of one IP address after which it is turned away; loopback is exempt, and a login that succeeds clears those of its
    /// account. Accounts that have logged in from its network before are let in, and fail so often each.
    pub max_login_failures_per_address: u32,
    /// For how long it is turned away.
    pub ban_time: Duration,
    /// How long sessions may go on after SIGTERM or a reload.
    pub drain_timeout: Duration,
    /// Offer AUTH and LOGIN without TLS on addresses other than loopback.
    pub allow_plaintext_login: bool,
    /// What mail leaves free of a disk, for what must be written when that is full of mail.
    pub min_free: MinFree,
}

/// `[quota]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuotaConfig {
    /// What an account may hold for which the directory says nothing else.
    pub default: Quota,
    /// What is answered to mail for a full account.
    pub full: FullMailbox,
}

/// What is answered to mail for a full account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FullMailbox {
    /// 452 4.2.2: the sender tries again. RFC 3463 §3.3 calls it a persistent transient failure, since the owner can make room.
    #[default]
    Defer,
    /// 552 5.2.2: the sender gives up.
    Reject,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A tracing filter: `info`, `imap_server=debug,info`, …
    pub filter: String,
    /// What is kept of each message's way.
    pub events: EventsConfig,
}

impl Listener {
    /// A listener on every address of the machine.
    fn standard(name: &str, port: u16, tls: TlsMode, role: SmtpRole) -> Self {
        let addresses = vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
        Self { name: name.to_owned(), addresses, tls, role, proxies: Vec::new() }
    }

    /// True if a connection from `peer` begins with a header of the PROXY protocol.
    #[must_use]
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(peer))
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listeners: vec![
                Listener::standard("smtp", 25, TlsMode::StartTls, SmtpRole::Mx),
                Listener::standard("submission", 587, TlsMode::StartTls, SmtpRole::Submission),
                Listener::standard("submissions", 465, TlsMode::Implicit, SmtpRole::Submission),
            ],
            max_message_size: 50 << 20,
            max_recipients: 1000,
            max_errors: 20,
            max_junk_commands: 100,
            max_hops: 100,
            command_timeout: 5 * MINUTE,
            data_timeout: 5 * MINUTE,
            recipient_delimiter: Some('+'),
            srs: Some(21 * DAY),
            check_from: true,
            hide_client: false,
            max_future_release: 30 * DAY,
            max_held_back: Quota { storage: Some(500 << 20), messages: Some(1000) },
            xclient: Vec::new(),
            relay_clients: Vec::new(),
            verdicts: VerdictsConfig::default(),
            greylist: GreylistConfig::default(),
            rates: RatesConfig::default(),
            milters: Vec::new(),
        }
    }
}

impl Default for ImapConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listeners: vec![
                Listener::standard("imap", 143, TlsMode::StartTls, SmtpRole::Submission),
                Listener::standard("imaps", 993, TlsMode::Implicit, SmtpRole::Submission),
            ],
            max_line: 64 << 10,
            max_literals: 1 << 20,
            max_before_login: 8 << 10,
            max_append: 100 << 20,
            commands: CommandLimits::default(),
            max_errors: 50,
            max_notify_mailboxes: 1000,
            idle_timeout: 30 * MINUTE,
            login_timeout: 3 * MINUTE,
            write_timeout: 5 * MINUTE,
            keep_alive: 15 * MINUTE,
            uid_only: false,
            max_annotation: 64 << 10,
            max_annotations: 100,
            comment: None,
            admin: None,
            language: Language::English,
            progress_interval: Duration::from_secs(15),
            masks: Vec::new(),
        }
    }
}

impl Default for Pop3Config {
    fn default() -> Self {
        Self {
            enabled: true,
            listeners: vec![
                Listener::standard("pop3", 110, TlsMode::StartTls, SmtpRole::Submission),
                Listener::standard("pop3s", 995, TlsMode::Implicit, SmtpRole::Submission),
            ],
            idle_timeout: 10 * MINUTE,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 200,
            max_connections_per_network: 1000,
            max_connections_per_account: 50,
            max_login_failures: 5,
            max_login_failures_per_address: 20,
            ban_time: 10 * MINUTE,
            drain_timeout: Duration::from_secs(30),
            allow_plaintext_login: false,
            min_free: MinFree::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), events: EventsConfig::default() }
    }
}

#[cfg(test)]
mod tests;
