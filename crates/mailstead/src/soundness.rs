//! What a config needs of this machine, checked before anything starts.

use anyhow::Context;
use mail_config::Config;
use nix::unistd::geteuid;
use server_core::{TlsContext, program};

use crate::owner::{other_owner, with_the_rights_of};
use crate::server::Server;

/// Everything for which a config, although its text holds, can't be used here.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(crate) struct Unusable(pub(crate) Vec<String>);

/// Checks everything that can be known without starting a server, and returns what is worth a warning.
pub(crate) fn check(config: &Config) -> Result<Vec<String>, Unusable> {
    let mut problems = Vec::new();
    if Server::enabled(config).is_empty() {
        problems.push("the config enables no server: set enabled = true for one".to_owned());
    }
    if let Err(error) = program::check_filter(&config.log.filter) {
        problems.push(format!("log.filter = {:?}: {error}", config.log.filter));
    }
    let mut warnings = check_certificates(config).unwrap_or_else(|error| {
        problems.push(format!("{error:#}"));
        Vec::new()
    });
    if config.user.is_none() && geteuid().is_root() && is_reached_from_elsewhere(config) {
        warnings.push("the servers run as root: make a user for them and name it as `user`".to_owned());
    }
    if problems.is_empty() { Ok(warnings) } else { Err(Unusable(problems)) }
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
