//! From the text of a config to its types, one function for each table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use disk_room::MinFree;
use mail_types::{Address, Domain, Language, MailboxName, Quota};
use toml::de::DeTable;

use crate::listener::{self, listeners};
use crate::reader::{NETWORK, Reader, Source};
use crate::{
    CapabilityMask, CertificateFiles, CommandLimits, Config, ConfigError, ConfigErrors, DAY, FullMailbox,
    ImapConfig, LimitsConfig, LogConfig, MINUTE, Pop3Config, QuotaConfig, SmtpConfig, TlsConfig,
};
use crate::{dns, events, metrics, milter, queue, relay, relay_client, reports, reputation, verdicts};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Where the data lives when nothing is said.
const DATA_DIR: &str = "/var/lib/mailstead";

/// Where the data lives, whatever else is wrong in the file at `path`.
pub(crate) fn data_dir(path: &Path) -> Result<PathBuf, ConfigErrors> {
    let text = text(path, path)?;
    let source = Source::new(path, &text);
    let (table, _) = DeTable::parse_recoverable(&text);
    let found = Reader::new(&source, "", table.into_inner(), None).path("data_dir");
    Ok(found.unwrap_or_else(|| DATA_DIR.into()))
}

fn text(text_at: &Path, path: &Path) -> Result<String, ConfigErrors> {
    std::fs::read_to_string(text_at).map_err(|error| {
        let message =
            format!("can't be read: {error}; make one with `mailstead init`, or name it with --config");
        ConfigErrors(vec![ConfigError { file: path.to_owned(), line: None, column: None, message }])
    })
}

/// Reads the text at `text_at` as if it stood in the file `path`.
pub(crate) fn load(text_at: &Path, path: &Path) -> Result<Config, ConfigErrors> {
    let text = text(text_at, path)?;
    let source = Source::new(path, &text);
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        source.report(error.span().map(|span| span.start), error.message());
    }
    let config = read(&source, table.into_inner());
    let errors = source.into_errors();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(ConfigErrors(errors)),
    }
}

/// Reads every key, and notes every mistake.
pub(crate) fn read<'t>(source: &Source<'t>, table: DeTable<'t>) -> Option<Config> {
    let mut reader = Reader::new(source, "", table, None);
    let config = config(&mut reader, source);
    reader.finish();
    config
}

fn config(reader: &mut Reader<'_, '_>, source: &Source<'_>) -> Option<Config> {
    let is_named = reader.has("hostname");
    let hostname = reader
        .parsed("hostname", "a host name such as \"mail.example.org\"", |text| text.parse::<Domain>().ok());
    if !is_named {
        reader.missing(
            "hostname",
            "say under which name other servers reach this one, such as hostname = \"mail.example.org\"",
        );
    }
    let data_dir = reader.path("data_dir").unwrap_or_else(|| DATA_DIR.into());
    let user = reader.string("user");
    let (tls, has_certificate) = reader.table("tls", tls);
    let config = Config {
        user,
        dns: reader.table("dns", dns::read),
        smtp: reader.table("smtp", |reader| smtp(reader, has_certificate)),
        queue: reader.table("queue", queue::read),
        relay: reader.table("relay", relay::read),
        reports: reader.table("reports", reports::read),
        reputation: reader.table("reputation", reputation::read),
        metrics: reader.table("metrics", metrics::read),
        imap: reader.table("imap", |reader| imap(reader, has_certificate)),
        pop3: reader.table("pop3", |reader| pop3(reader, has_certificate)),
        limits: reader.table("limits", limits),
        quota: reader.table("quota", quota),
        log: reader.table("log", log),
        file: source.file.to_owned(),
        tls,
        ..Config::new(hostname?, data_dir)
    };
    listener::check_together(&config, source);
    if !config.queue.verp.is_empty() && config.smtp.recipient_delimiter.is_none() {
        source.report(
            None,
            "queue.verp needs smtp.recipient_delimiter, behind which its return addresses name the recipient",
        );
    }
    Some(config)
}

/// Also tells whether there is a certificate: one that can't be read is a mistake, but not one of each listener.
fn tls(reader: &mut Reader<'_, '_>) -> (TlsConfig, bool) {
    let mut is_there = false;
    let certificates = reader.tables("certificate", |reader| {
        is_there = true;
        let (certificate, key) = (reader.file("certificate"), reader.file("key"));
        Some(CertificateFiles { certificate: certificate?, key: key? })
    });
    let tls = TlsConfig {
        certificates: certificates.unwrap_or_default(),
        channel_binding: reader.bool("channel_binding", false),
    };
    (tls, is_there)
}

fn smtp(reader: &mut Reader<'_, '_>, has_certificate: bool) -> SmtpConfig {
    let standard = SmtpConfig::default();
    SmtpConfig {
        enabled: reader.bool("enabled", standard.enabled),
        listeners: listeners(reader, standard.listeners, has_certificate, true),
        // RFC 5321 §4.5.3.1: 64K octets and 100 recipients are the least that a server must take.
        max_message_size: reader.size("max_message_size", 64 << 10, standard.max_message_size),
        max_recipients: reader.number("max_recipients", 100, standard.max_recipients),
        max_errors: reader.number("max_errors", 1, standard.max_errors),
        // RFC 5321 §4.1.1.1, §4.1.4: EHLO twice and a few RSET are what any session may have.
        max_junk_commands: reader.number("max_junk_commands", 10, standard.max_junk_commands),
        max_hops: reader.number("max_hops", 10, standard.max_hops),
        command_timeout: reader.duration("command_timeout", SECOND, standard.command_timeout),
        data_timeout: reader.duration("data_timeout", SECOND, standard.data_timeout),
        recipient_delimiter: delimiter(reader, standard.recipient_delimiter),
        srs: srs(reader, standard.srs),
        check_from: reader.bool("check_from", standard.check_from),
        hide_client: reader.bool("hide_client", standard.hide_client),
        max_future_release: reader.duration(
            "max_future_release",
            Duration::ZERO,
            standard.max_future_release,
        ),
        max_held_back: held_back(reader, standard.max_held_back),
        xclient: reader.list("xclient", NETWORK, |text| text.parse().ok()).unwrap_or_default(),
        relay_clients: relay_client::read(reader),
        verdicts: reader.table("verdicts", verdicts::read),
        greylist: reader.table("greylist", verdicts::greylist),
        rates: reader.table("rates", verdicts::rates),
        milters: reader.tables("milter", milter::milter).unwrap_or_default(),
    }
}

/// How much an account may have held back; 0 for no limit.
fn held_back(reader: &mut Reader<'_, '_>, standard: Quota) -> Quota {
    let storage = reader.size("max_held_back_size", 0, standard.storage.unwrap_or_default());
    let messages = reader.number("max_held_back_messages", 0, standard.messages.unwrap_or_default());
    let limit = |limit: u64| Some(limit).filter(|limit| *limit > 0);
    Quota { storage: limit(storage), messages: limit(messages) }
}

/// How long return addresses hold: days are counted, up to half of those that have different names.
fn srs(reader: &mut Reader<'_, '_>, standard: Option<Duration>) -> Option<Duration> {
    let is_on = reader.bool("srs", standard.is_some());
    let expire = reader.duration("srs_expire", DAY, standard.unwrap_or(DAY));
    if expire > 500 * DAY {
        reader.wrong("srs_expire must be at most \"500d\"");
    }
    is_on.then_some(expire)
}

/// One character, or the empty string for none.
fn delimiter(reader: &mut Reader<'_, '_>, standard: Option<char>) -> Option<char> {
    let parse = |text: &str| {
        let mut chars = text.chars();
        let first = chars.next();
        (chars.next().is_none() && first.is_none_or(|c| c.is_ascii_punctuation())).then_some(first)
    };
    reader
        .parsed("recipient_delimiter", "one punctuation character, or \"\" for none", parse)
        .unwrap_or(standard)
}

fn imap(reader: &mut Reader<'_, '_>, has_certificate: bool) -> ImapConfig {
    let standard = ImapConfig::default();
    ImapConfig {
        enabled: reader.bool("enabled", standard.enabled),
        listeners: listeners(reader, standard.listeners, has_certificate, false),
        // RFC 7162 §4
        max_line: reader.size("max_line", 8 << 10, standard.max_line),
        max_literals: reader.size("max_literals", 8 << 10, standard.max_literals),
        max_before_login: reader.size("max_before_login", 1 << 10, standard.max_before_login),
        commands: command_limits(reader),
        max_errors: reader.number("max_errors", 1, standard.max_errors),
        max_append: reader.size("max_append", 64 << 10, standard.max_append),
        max_notify_mailboxes: reader.number("max_notify_mailboxes", 1, standard.max_notify_mailboxes),
        idle_timeout: reader.duration_for(
            "idle_timeout",
            30 * MINUTE,
            "RFC 3501 §5.4",
            standard.idle_timeout,
        ),
        login_timeout: reader.duration("login_timeout", SECOND, standard.login_timeout),
        write_timeout: reader.duration("write_timeout", SECOND, standard.write_timeout),
        keep_alive: reader.duration("keep_alive", SECOND, standard.keep_alive),
        uid_only: reader.bool("uid_only", standard.uid_only),
        // RFC 5464 §4.1 says what must be taken.
        max_annotation: reader.size("max_annotation", 1 << 10, standard.max_annotation),
        max_annotations: reader.number("max_annotations", 10, standard.max_annotations),
        comment: reader.string("comment").filter(|text| !text.is_empty()),
        admin: reader.parsed("admin", "a URI such as \"mailto:postmaster@example.org\"", uri).flatten(),
        language: language(reader, standard.language),
        progress_interval: reader.duration("progress_interval", SECOND, standard.progress_interval),
        masks: reader.tables("mask", mask).unwrap_or_default(),
    }
}

fn command_limits(reader: &mut Reader<'_, '_>) -> CommandLimits {
    let CommandLimits {
        max_set,
        max_fetch_items,
        max_search_keys,
        max_search_depth,
        max_mailbox_name,
        max_mailbox_depth,
    } = CommandLimits::default();
    let most_name = CommandLimits::MOST_MAILBOX_NAME;
    let most_depth = MailboxName::MAX_DEPTH;
    CommandLimits {
        max_set: reader.number("max_set", 1000, max_set),
        max_fetch_items: reader.number("max_fetch_items", 20, max_fetch_items),
        max_search_keys: reader.number("max_search_keys", 20, max_search_keys),
        max_search_depth: reader.number_within(
            "max_search_depth",
            5..=CommandLimits::MOST_SEARCH_DEPTH,
            max_search_depth,
        ),
        max_mailbox_name: reader.number_within("max_mailbox_name", 20..=most_name, max_mailbox_name),
        max_mailbox_depth: reader.number_within("max_mailbox_depth", 1..=most_depth, max_mailbox_depth),
    }
}

/// One that people speak.
pub(crate) fn language(reader: &mut Reader<'_, '_>, standard: Language) -> Language {
    let spoken = |tag: &str| Language::tagged(tag).filter(|language| *language != Language::Unchosen);
    reader.parsed("language", "\"en\", \"pt\" or \"es\"", spoken).unwrap_or(standard)
}

/// A scheme, a colon, and something behind it, all of it visible ASCII (RFC 3986 §3), or the empty string for none.
fn uri(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = |c: u8| c.is_ascii_alphanumeric() || b"+-.".contains(&c);
    let is_uri = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme)
        && !rest.is_empty();
    (is_uri && text.bytes().all(|c| c.is_ascii_graphic())).then(|| Some(text.to_owned()))
}

fn mask(reader: &mut Reader<'_, '_>) -> Option<CapabilityMask> {
    let address = |text: &str| text.parse::<Address>().ok().map(|address| address.to_lowercase());
    let account = reader.parsed("account", "an address such as \"alice@example.org\"", address);
    let client = reader.string("client");
    // Without IMAP4rev1 no client would go on.
    let capability = |text: &str| {
        let is_atom =
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic() && !b"(){%*\"\\]".contains(&c));
        let name = text.to_ascii_uppercase();
        (is_atom && name != "IMAP4REV1").then_some(name)
    };
    let hide = reader.list("hide", "a capability such as \"XLIST\", but not IMAP4rev1", capability);
    Some(CapabilityMask { account, client, hide: hide.unwrap_or_default() })
}

fn pop3(reader: &mut Reader<'_, '_>, has_certificate: bool) -> Pop3Config {
    let standard = Pop3Config::default();
    Pop3Config {
        enabled: reader.bool("enabled", standard.enabled),
        listeners: listeners(reader, standard.listeners, has_certificate, false),
        idle_timeout: reader.duration_for("idle_timeout", 10 * MINUTE, "RFC 1939 §3", standard.idle_timeout),
    }
}

fn limits(reader: &mut Reader<'_, '_>) -> LimitsConfig {
    let standard = LimitsConfig::default();
    LimitsConfig {
        max_connections: reader.number("max_connections", 1, standard.max_connections),
        max_connections_per_address: reader.number(
            "max_connections_per_address",
            1,
            standard.max_connections_per_address,
        ),
        max_connections_per_network: reader.number(
            "max_connections_per_network",
            1,
            standard.max_connections_per_network,
        ),
        max_connections_per_account: reader.number(
            "max_connections_per_account",
            1,
            standard.max_connections_per_account,
        ),
        max_login_failures: reader.number("max_login_failures", 1, standard.max_login_failures),
        max_login_failures_per_address: reader.number(
            "max_login_failures_per_address",
            1,
            standard.max_login_failures_per_address,
        ),
        ban_time: reader.duration("ban_time", SECOND, standard.ban_time),
        drain_timeout: reader.duration("drain_timeout", SECOND, standard.drain_timeout),
        allow_plaintext_login: reader.bool("allow_plaintext_login", standard.allow_plaintext_login),
        min_free: if reader.has("min_free") {
            MinFree::octets(reader.size("min_free", 0, 0))
        } else {
            standard.min_free
        },
    }
}

fn quota(reader: &mut Reader<'_, '_>) -> QuotaConfig {
    let storage = reader.has("storage").then(|| reader.size("storage", 1, u64::MAX));
    let messages = reader.has("messages").then(|| reader.number("messages", 1, u64::MAX));
    let full = reader.parsed("full", "\"defer\" or \"reject\"", |text| match text {
        "defer" => Some(FullMailbox::Defer),
        "reject" => Some(FullMailbox::Reject),
        _ => None,
    });
    QuotaConfig { default: Quota { storage, messages }, full: full.unwrap_or_default() }
}

fn log(reader: &mut Reader<'_, '_>) -> LogConfig {
    let filter = reader.string("filter").unwrap_or_else(|| LogConfig::default().filter);
    LogConfig { filter, events: reader.table("events", events::read) }
}
