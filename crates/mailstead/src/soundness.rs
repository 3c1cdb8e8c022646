//! What a config needs of this machine, checked before anything starts.

use anyhow::Context;
use mail_config::Config;
use nix::unistd::geteuid;
use server_core::{TlsContext, program};

use crate::output::with_causes;
use crate::owner::{other_owner, with_the_rights_of};
use crate::server::Server;

/// Everything for which a config, although its text holds, can't be used here.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(crate) struct Unusable(pub(crate) Vec<String>);

/// Checks everything that can be known without starting a server, and returns what is worth a warning.
pub(crate) fn check(config: &Config) -> Result<Vec<String>, Unusable> {
    let mut problems = Vec::new();
    if Server::enabled(config).iter().all(|server| *server == Server::Metrics) {
        problems.push("the config enables no server: set enabled = true for one".to_owned());
    }
    if let Err(error) = program::check_filter(&config.log.filter) {
        problems.push(format!("log.filter = {:?}: {error}", config.log.filter));
    }
    let mut warnings = check_certificates(config).unwrap_or_else(|error| {
        problems.push(with_causes(&error));
        Vec::new()
    });
    if is_reached_from_elsewhere(config) {
        warnings.extend(risks(config).map(str::to_owned));
    }
    if problems.is_empty() { Ok(warnings) } else { Err(Unusable(problems)) }
}

/// What is no mistake in a config, but seldom meant.
fn risks(config: &Config) -> impl Iterator<Item = &'static str> {
    let risks = [
        (
            config.user.is_none() && geteuid().is_root(),
            "the servers run as root: make a user for them and name it as `user`",
        ),
        // RFC 5321 §2.3.5.
        (
            !config.hostname.is_literal() && !config.hostname.as_str().contains('.'),
            "hostname has no dot: other servers refuse mail from a host that has no full name in the DNS",
        ),
        (
            config.tls.certificates.is_empty() && !config.limits.allow_plaintext_login,
            "there is no certificate: only clients on this machine can log in",
        ),
    ];
    risks.into_iter().filter_map(|(applies, text)| applies.then_some(text))
}

/// False for one that serves this machine only.
fn is_reached_from_elsewhere(config: &Config) -> bool {
    let listeners = Server::enabled(config).into_iter().flat_map(|server| server.listeners(config));
    listeners.flat_map(|listener| &listener.addresses).any(|address| !address.ip().is_loopback())
}

/// With the rights that the servers will have: a key that only root reads would fail them, at the latest when it is renewed.
fn check_certificates(config: &Config) -> anyhow::Result<Vec<String>> {
    let owner = other_owner(config.user.as_deref())?;
    let loaded = with_the_rights_of(owner.as_ref(), || TlsContext::load(&config.tls))?;
    let tls = match &owner {
        Some(owner) => loaded.with_context(|| format!("the servers run as the user {}", owner.name))?,
        None => loaded?,
    };
    Ok(tls.map(|tls| tls.warnings(&config.hostname.to_ascii())).unwrap_or_default())
}
