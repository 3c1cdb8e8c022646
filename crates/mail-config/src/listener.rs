//! `[[smtp.listener]]`, `[[imap.listener]]`, `[[pop3.listener]]`, and how they go together.

use std::net::SocketAddr;

use crate::reader::{NETWORK, Reader, Source};
use crate::{Config, Listener, SmtpRole, TlsMode};

/// The listeners of one server. Implicit TLS without a certificate is a mistake where it is asked for, and left out of the defaults.
pub(crate) fn listeners(
    reader: &mut Reader<'_, '_>,
    standard: Vec<Listener>,
    has_certificate: bool,
    has_roles: bool,
) -> Vec<Listener> {
    let found = reader.tables("listener", |reader| {
        let listener = listener(reader, has_roles);
        if !has_certificate && listener.as_ref().is_some_and(|listener| listener.tls == TlsMode::Implicit) {
            reader.wrong("tls = \"implicit\" needs a certificate: add a [[tls.certificate]]");
        }
        listener
    });
    let usable = |listener: &Listener| has_certificate || listener.tls != TlsMode::Implicit;
    found.unwrap_or_else(|| standard.into_iter().filter(usable).collect())
}

fn listener(reader: &mut Reader<'_, '_>, has_roles: bool) -> Option<Listener> {
    let addresses = reader.list(
        "addresses",
        "an address with its port, such as \"0.0.0.0:993\" or \"[::]:993\"",
        |text| text.parse().ok(),
    );
    if addresses.as_ref().is_none_or(Vec::is_empty) {
        reader
            .missing("addresses", "say where to listen, such as addresses = [\"0.0.0.0:993\", \"[::]:993\"]");
    }
    let name = reader.parsed("name", "a name without spaces and colons", |text| {
        let valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != ':');
        valid.then(|| text.to_owned())
    });
    if name.is_none() {
        reader.missing(
            "name",
            "the name is shown in the log, and sockets handed down by systemd are known by it",
        );
    }
    let tls = reader.parsed("tls", "\"none\", \"starttls\" or \"implicit\"", |text| match text {
        "none" => Some(TlsMode::None),
        "starttls" => Some(TlsMode::StartTls),
        "implicit" => Some(TlsMode::Implicit),
        _ => None,
    });
    if let Some(name) = &name {
        reader.place(name);
    }
    let role = if has_roles { role(reader) } else { SmtpRole::Submission };
    // RFC 2033 §5.
    if role == SmtpRole::Lmtp && addresses.iter().flatten().any(|address: &SocketAddr| address.port() == 25) {
        reader.wrong("LMTP must not be spoken on port 25; take another one, such as 24");
    }
    let proxies = reader.list("proxies", NETWORK, |text| text.parse().ok()).unwrap_or_default();
    let tls = tls.unwrap_or(TlsMode::StartTls);
    Some(Listener { name: name?, addresses: addresses?, tls, role, proxies })
}

fn role(reader: &mut Reader<'_, '_>) -> SmtpRole {
    let role = reader.parsed("role", "\"mx\", \"submission\" or \"lmtp\"", |text| match text {
        "mx" => Some(SmtpRole::Mx),
        "submission" => Some(SmtpRole::Submission),
        "lmtp" => Some(SmtpRole::Lmtp),
        _ => None,
    });
    role.unwrap_or(SmtpRole::Mx)
}

/// Sockets are handed down by name, so every listener needs one of its own; and an address takes one listener only.
pub(crate) fn check_together(config: &Config, source: &Source<'_>) {
    let servers = [
        (config.smtp.enabled, &config.smtp.listeners),
        (config.imap.enabled, &config.imap.listeners),
        (config.pop3.enabled, &config.pop3.listeners),
        (true, &config.metrics.listeners),
    ];
    let mut before: Vec<(&Listener, bool)> = Vec::new();
    for (enabled, listener) in servers.into_iter().flat_map(|(on, all)| all.iter().map(move |one| (on, one)))
    {
        for (other, other_enabled) in &before {
            if other.name == listener.name {
                let message =
                    format!("two listeners are named \"{}\"; give each a name of its own", listener.name);
                source.report(source.last_place(&listener.name), message);
            } else if let Some(address) =
                common_address(other, listener).filter(|_| enabled && *other_enabled)
            {
                let (name, other) = (&listener.name, &other.name);
                let place = source.last_place(name).or_else(|| source.last_place(other));
                source.report(
                    place,
                    format!("the listeners \"{other}\" and \"{name}\" can't both have {address}"),
                );
            }
        }
        before.push((listener, enabled));
    }
}

/// An address on which both would listen.
fn common_address(left: &Listener, right: &Listener) -> Option<SocketAddr> {
    let clash = |a: &SocketAddr, b: &SocketAddr| {
        let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
        a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && overlap
    };
    right.addresses.iter().find(|address| left.addresses.iter().any(|other| clash(other, address))).copied()
}
