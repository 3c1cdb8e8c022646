use std::sync::Arc;

use mail_config::{Config, Listener};
use server_core::{BindError, BoundListener, bind};

use crate::server::Server;

/// The listening sockets of all servers. They live here, so that no client is refused while a server starts again.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Vec<BoundListener>);

impl Sockets {
    /// Binds what the config wants, or takes what systemd hands down.
    pub(crate) fn bind(config: &Config) -> Result<Self, Vec<BindError>> {
        bind(&wanted(config)).map(Self)
    }

    /// Sockets that are bound already.
    pub(crate) const fn from_bound(sockets: Vec<BoundListener>) -> Self {
        Self(sockets)
    }

    /// The sockets of another config: those that it shares with this one stay, new ones are bound.
    pub(super) fn rebind(&self, config: &Config) -> Result<Self, Vec<BindError>> {
        let mut sockets = Vec::new();
        let mut errors = Vec::new();
        for listener in wanted(config) {
            let listener = Arc::new(listener);
            match self.kept(&listener) {
                Some(kept) => sockets.extend(kept),
                None => match self.each_address(&listener) {
                    Ok(bound) => sockets.extend(bound),
                    Err(failed) => errors.extend(failed),
                },
            }
        }
        if errors.is_empty() { Ok(Self(sockets)) } else { Err(errors) }
    }

    /// The sockets of a listener whose name and addresses stay as they are; also those that systemd handed down.
    fn kept(&self, listener: &Arc<Listener>) -> Option<Vec<BoundListener>> {
        let same = |bound: &&BoundListener| {
            bound.listener.name == listener.name && bound.listener.addresses == listener.addresses
        };
        let kept: Option<Vec<_>> = self.0.iter().filter(same).map(|bound| share(bound, listener)).collect();
        kept.filter(|kept| !kept.is_empty())
    }

    fn each_address(&self, listener: &Arc<Listener>) -> Result<Vec<BoundListener>, Vec<BindError>> {
        let mut sockets = Vec::new();
        let mut errors = Vec::new();
        for address in &listener.addresses {
            let bound =
                self.0.iter().find(|bound| bound.socket.local_addr().is_ok_and(|local| local == *address));
            if let Some(shared) = bound.and_then(|bound| share(bound, listener)) {
                sockets.push(shared);
                continue;
            }
            match bind(&[Listener { addresses: vec![*address], ..Listener::clone(listener) }]) {
                Ok(new) => {
                    let whole = |new: BoundListener| BoundListener { listener: Arc::clone(listener), ..new };
                    sockets.extend(new.into_iter().map(whole));
                }
                Err(failed) => errors.extend(failed),
            }
        }
        if errors.is_empty() { Ok(sockets) } else { Err(errors) }
    }

    /// The sockets of one server.
    pub(crate) fn of(&self, server: Server, config: &Config) -> Vec<&BoundListener> {
        let names: Vec<&str> =
            server.listeners(config).iter().map(|listener| listener.name.as_str()).collect();
        self.0.iter().filter(|bound| names.contains(&bound.listener.name.as_str())).collect()
    }
}

/// The listeners of all enabled servers.
fn wanted(config: &Config) -> Vec<Listener> {
    Server::enabled(config).iter().flat_map(|server| server.listeners(config)).cloned().collect()
}

/// The same socket under `listener`.
fn share(bound: &BoundListener, listener: &Arc<Listener>) -> Option<BoundListener> {
    let socket = bound.socket.try_clone().ok()?;
    Some(BoundListener { socket, listener: Arc::clone(listener) })
}
