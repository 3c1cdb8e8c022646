use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use mail_config::DnsConfig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Where Debian puts it; not on everybody's PATH.
const NSD: &str = "/usr/sbin/nsd";
/// Ports tried until one is free for UDP and TCP.
pub(crate) const ATTEMPTS: usize = 10;
/// What every zone begins with. The root is served, so that every name that no record has is known not to exist.
pub(crate) const HEAD: &str = "$ORIGIN .\n$TTL 300\n@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n@ NS ns.test.\nns.test. A 127.0.0.1\n";

/// A real DNS server (NSD) on a loopback port of its own, which has one zone, the root, and says SERVFAIL of all names below `broken.`
#[derive(Debug)]
pub struct TestDns {
    /// Where it answers, by UDP and TCP.
    pub address: SocketAddr,
    server: Child,
    _folder: TempDir,
}

impl TestDns {
    /// Starts it with these records (RFC 1035 §5.1; names that don't end in a dot are taken from the root too). Blocks until it answers.
    ///
    /// # Errors
    /// NSD isn't there, or the records are wrong.
    pub fn start(records: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("root.zone"), format!("{HEAD}{records}\n"))?;
        Self::serve(folder, &[(".", "root.zone"), ("broken.", "there-is-none.zone")])
    }

    /// Serves zones, each with its file in the folder.
    pub(crate) fn serve(folder: TempDir, zones: &[(&str, &str)]) -> Result<Self> {
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let config = folder.path().join("nsd.conf");
            let text = config_text(&folder.path().display().to_string(), address.port(), zones);
            std::fs::write(&config, text)?;
            let mut command = Command::new(NSD);
            let mut server = command
                .args(["-d", "-c"])
                .arg(&config)
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .context("nsd can't be started")?;
            said = until_started(&mut server, "nsd started")?;
            if said.contains("nsd started") {
                return Ok(Self { address, server, _folder: folder });
            }
            server.wait()?;
        }
        bail!("nsd does not start: {said}")
    }

    /// The part of a config by which this server is asked.
    #[must_use]
    pub fn config(&self) -> DnsConfig {
        DnsConfig { servers: vec![self.address], ..DnsConfig::default() }
    }
}

impl Drop for TestDns {
    fn drop(&mut self) {
        end(&mut self.server);
    }
}

/// Its children go only if it is told to end.
pub(crate) fn end(server: &mut Child) {
    let pid = i32::try_from(server.id()).unwrap_or_default();
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let _ = server.wait();
}

fn config_text(folder: &str, port: u16, zones: &[(&str, &str)]) -> String {
    let zone = |(name, file): &(&str, &str)| format!("zone:\n name: \"{name}\"\n zonefile: \"{file}\"\n");
    let zones: String = zones.iter().map(zone).collect();
    format!(
        "server:\n ip-address: 127.0.0.1\n port: {port}\n username: \"\"\n pidfile: \"\"\n database: \"\"\n zonesdir: \"{folder}\"\n \
         zonelistfile: \"{folder}/zone.list\"\n xfrdfile: \"\"\n xfrdir: \"{folder}\"\n rrl-ratelimit: 0\n verbosity: 1\n\
         remote-control:\n control-enable: no\n{zones}"
    )
}

/// What it says until it says `sign`, or until it ends.
pub(crate) fn until_started(server: &mut Child, sign: &str) -> Result<String> {
    let mut said = String::new();
    let mut lines = BufReader::new(server.stderr.take().context("no standard error")?);
    while !said.contains(sign) && lines.read_line(&mut said)? > 0 {}
    if let Some(line) = said.lines().find(|line| line.contains(".zone:")) {
        bail!("the zone is wrong: {line}");
    }
    // What it says later must go somewhere.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok(said)
}
