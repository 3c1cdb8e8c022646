use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use mail_config::Listener;
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listening socket and how it is served.
#[derive(Debug)]
pub struct BoundListener {
    /// The socket.
    pub socket: TcpListener,
    /// How it is served.
    pub listener: Arc<Listener>,
}

/// Why there is no socket. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is in use, is not ours, or needs a privilege.
    #[error("can't listen on {address} ({listener}): {source}; {}", advice(source))]
    Bind {
        /// The listener's name.
        listener: String,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A socket was handed down that can't be used.
    #[error("the socket handed down as {listener} can't be used: {source}")]
    Inherited {
        /// Its name in LISTEN_FDNAMES.
        listener: String,
        /// What the system said.
        source: std::io::Error,
    },
}

fn advice(error: &std::io::Error) -> &'static str {
    let kind = error.kind();
    if kind == std::io::ErrorKind::AddrInUse {
        "another program listens there: stop it, or choose another address in the config"
    } else if kind == std::io::ErrorKind::PermissionDenied {
        "a port below 1024 needs root, CAP_NET_BIND_SERVICE or a socket handed down by systemd"
    } else if kind == std::io::ErrorKind::AddrNotAvailable {
        "it is not an address of this machine"
    } else {
        "see the addresses in the config"
    }
}

/// The sockets for `listeners`: those handed down by systemd or the supervisor (`LISTEN_FDS`, `LISTEN_FDNAMES`), else newly bound.
///
/// A handed-down socket whose name is no listener's is left alone, and told of in the log: its clients would wait for ever.
///
/// # Errors
/// [`BindError`], naming each one that failed.
pub fn bind(listeners: &[Listener]) -> Result<Vec<BoundListener>, Vec<BindError>> {
    let mut inherited = inherited_sockets();
    let mut bound = Vec::new();
    let mut errors = Vec::new();
    for listener in listeners {
        let listener = Arc::new(listener.clone());
        let results = match inherited.remove(&listener.name) {
            Some(sockets) => sockets.into_iter().map(|socket| adopt(socket, &listener.name)).collect(),
            None => bind_all(&listener),
        };
        for result in results {
            match result {
                Ok(socket) => bound.push(BoundListener { socket, listener: Arc::clone(&listener) }),
                Err(error) => errors.push(error),
            }
        }
    }
    for name in inherited.keys() {
        warn!("a socket was handed down as {name}, but no listener has that name: it is not served");
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

type InheritedSocket = std::io::Result<TcpListener>;

/// The sockets handed down, by name.
fn inherited_sockets() -> HashMap<String, Vec<InheritedSocket>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut handed_down = listenfd::ListenFd::from_env();
    let mut sockets: HashMap<String, Vec<InheritedSocket>> = HashMap::new();
    for (position, name) in names.split(':').enumerate().take(handed_down.len()) {
        if let Some(socket) = handed_down.take_tcp_listener(position).transpose() {
            sockets.entry(name.to_owned()).or_default().push(socket);
        }
    }
    sockets
}

fn adopt(socket: InheritedSocket, listener: &str) -> Result<TcpListener, BindError> {
    let usable = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    usable.map_err(|source| BindError::Inherited { listener: listener.to_owned(), source })
}

fn bind_all(listener: &Listener) -> Vec<Result<TcpListener, BindError>> {
    let failed = |address: &SocketAddr, source| BindError::Bind {
        listener: listener.name.clone(),
        address: *address,
        source,
    };
    let usable = |address: &&SocketAddr| listener.addresses.len() == 1 || !is_missing_ipv6(**address);
    listener
        .addresses
        .iter()
        .filter(usable)
        .map(|address| bind_one(*address).map_err(|source| failed(address, source)))
        .collect()
}

/// True for `[::]` on a machine without IPv6, where the other addresses of the listener are enough.
fn is_missing_ipv6(address: SocketAddr) -> bool {
    address.is_ipv6()
        && address.ip().is_unspecified()
        && Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))
            .is_err_and(|error| error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32))
}

/// Listens on `address` alone: an IPv6 address does not take the IPv4 one with it.
fn bind_one(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_config::{SmtpRole, TlsMode};

    fn listener(addresses: &[SocketAddr]) -> Listener {
        Listener {
            proxies: Vec::new(),
            name: "imap".to_owned(),
            addresses: addresses.to_vec(),
            tls: TlsMode::None,
            role: SmtpRole::Mx,
        }
    }

    #[test]
    fn every_address_that_can_not_be_bound_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let errors = bind(&[listener(&[address]), listener(&["192.0.2.1:0".parse().unwrap()])]).unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains(&address.to_string()) && text.contains("another program"), "{text}");
        assert!(text.contains("192.0.2.1") && text.contains("not an address of this machine"), "{text}");
    }

    #[test]
    fn an_ipv4_and_an_ipv6_socket_share_a_port() {
        let first = bind(&[listener(&["0.0.0.0:0".parse().unwrap()])]).unwrap();
        let port = first.first().unwrap().socket.local_addr().unwrap().port();
        match bind(&[listener(&[format!("[::]:{port}").parse().unwrap()])]) {
            Ok(_) => {}
            Err(errors) => assert!(
                format!("{errors:?}").contains("AddressFamily") || format!("{errors:?}").contains("97"),
                "{errors:?}"
            ),
        }
    }
}
