use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use mail_config::{Config, Listener};
use server_core::{BoundListener, bind as bind_listeners};

use super::HOSTNAME;
use crate::certificate::TestCertificate;
use crate::data_dir;
use crate::server::Server;
use crate::supervisor::Sockets;

/// Names and addresses under which clients on this machine may know the demo.
const CERTIFICATE_NAMES: [&str; 4] = ["localhost", HOSTNAME, "127.0.0.1", "::1"];

/// Everything is relative to the folder, so that it may be moved.
const CONFIG: &str = include_str!("mailstead.toml");

/// Writes the config and the certificate where they are missing, renews the certificate in time, and names the config's file.
pub(super) fn ensure(folder: &Path) -> anyhow::Result<PathBuf> {
    let tls = folder.join("tls");
    data_dir::make(&tls, None)?;
    TestCertificate::new(&tls).ensure(&CERTIFICATE_NAMES)?;
    let file = folder.join("mailstead.toml");
    if !file.exists() {
        data_dir::write_whole(&file, CONFIG.as_bytes(), 0o600)?;
    }
    keep_at_home(&file)?;
    Ok(file)
}

/// A demo made before there was direct delivery has no word on it, and goes on sending nothing out.
fn keep_at_home(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    if !text.contains("relay") {
        data_dir::write_whole(file, format!("{text}\n[relay]\ndirect = false\n").as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Binds the sockets of all servers. A port that is not free is replaced in the config by one that is.
pub(super) fn bind(file: &Path) -> anyhow::Result<Sockets> {
    let config = Config::load(file)?;
    let mut text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let before = text.clone();
    let mut sockets = Vec::new();
    for listener in Server::enabled(&config).iter().flat_map(|server| server.listeners(&config)) {
        sockets.extend(bind_or_move(listener, &mut text)?);
    }
    if text != before {
        data_dir::write_whole(file, text.as_bytes(), 0o600)?;
    }
    Ok(Sockets::from_bound(sockets))
}

fn bind_or_move(listener: &Listener, text: &mut String) -> anyhow::Result<Vec<BoundListener>> {
    if let Ok(bound) = bind_listeners(std::slice::from_ref(listener)) {
        return Ok(bound);
    }
    let any_port = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let elsewhere = Listener { addresses: any_port, ..listener.clone() };
    let failed = |errors: Vec<server_core::BindError>| {
        anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let bound = bind_listeners(&[elsewhere]).map_err(failed)?;
    for (old, new) in listener.addresses.iter().zip(&bound) {
        *text = text.replace(&format!("\"{old}\""), &format!("\"{}\"", new.socket.local_addr()?));
    }
    Ok(bound)
}
