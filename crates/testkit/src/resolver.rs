use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use mail_config::DnsConfig;
use tempfile::TempDir;

use crate::TestDns;
use crate::dns::{ATTEMPTS, HEAD, end, until_started};

/// Where Debian puts it; not on everybody's PATH.
const UNBOUND: &str = "/usr/sbin/unbound";

/// A real resolver (Unbound) on a loopback port of its own, which validates: it trusts the key by which the root zone of its [`TestDns`] is signed.
/// Below `unsigned.` lies a zone that is not signed.
#[derive(Debug)]
pub struct TestResolver {
    /// Where it answers, by UDP and TCP.
    pub address: SocketAddr,
    server: Child,
    _zones: TestDns,
    _folder: TempDir,
}

impl TestResolver {
    /// Starts it with these records of the signed zone and of the other one (their names without a dot at the end are below `unsigned.`). In the
    /// text of the signed zone each of `forged` is replaced by what stands beside it: no signature fits it then. Blocks until it answers.
    ///
    /// # Errors
    /// Unbound, NSD or ldns isn't there, or the records are wrong.
    pub fn start(signed: &str, unsigned: &str, forged: &[(&str, &str)]) -> Result<Self> {
        let zones = tempfile::tempdir()?;
        let path = |name: &str| zones.path().join(name);
        let delegation = "unsigned. NS ns.test.\n";
        std::fs::write(path("root.zone"), format!("{HEAD}{delegation}{signed}\n"))?;
        let head = HEAD.replace("$ORIGIN .", "$ORIGIN unsigned.").replace("ns.test. A 127.0.0.1\n", "");
        std::fs::write(path("unsigned.zone"), format!("{head}{unsigned}\n"))?;
        let key = sign(zones.path())?;
        let mut text = std::fs::read_to_string(path("signed.zone"))?;
        for (from, to) in forged {
            ensure!(text.contains(from), "{from} is not in the signed zone: {text}");
            text = text.replace(from, to);
        }
        std::fs::write(path("signed.zone"), text)?;
        let folder = tempfile::tempdir()?;
        let anchor = folder.path().join("anchor");
        std::fs::copy(path(&format!("{key}.key")), &anchor)?;
        let zones = TestDns::serve(zones, &[(".", "signed.zone"), ("unsigned.", "unsigned.zone")])?;
        Self::resolve(zones, folder)
    }

    fn resolve(zones: TestDns, folder: TempDir) -> Result<Self> {
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let config = folder.path().join("unbound.conf");
            std::fs::write(&config, config_text(folder.path(), address.port(), zones.address.port()))?;
            let mut command = Command::new(UNBOUND);
            let command = command.args(["-d", "-c"]).arg(&config).stdin(Stdio::null()).stderr(Stdio::piped());
            let mut server = command.spawn().context("unbound can't be started")?;
            said = until_started(&mut server, "start of service")?;
            if said.contains("start of service") {
                return Ok(Self { address, server, _zones: zones, _folder: folder });
            }
            server.wait()?;
        }
        bail!("unbound does not start: {said}")
    }

    /// The part of a config by which this resolver is asked.
    #[must_use]
    pub fn config(&self) -> DnsConfig {
        DnsConfig { servers: vec![self.address], ..DnsConfig::default() }
    }
}

impl Drop for TestResolver {
    fn drop(&mut self) {
        end(&mut self.server);
    }
}

/// Signs root.zone to signed.zone, with a new key, whose name without a suffix comes back.
fn sign(folder: &Path) -> Result<String> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).current_dir(folder).args(arguments).output();
        let output = output.with_context(|| format!("{program} can't be started"))?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Ok::<_, anyhow::Error>(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let key = run("ldns-keygen", &["-a", "ECDSAP256SHA256", "."])?;
    run("ldns-signzone", &["-f", "signed.zone", "root.zone", &key])?;
    Ok(key)
}

fn config_text(folder: &Path, port: u16, zones: u16) -> String {
    let folder = folder.display();
    format!(
        "server:\n interface: 127.0.0.1\n port: {port}\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: \"{folder}\"\n \
         use-syslog: no\n logfile: \"\"\n verbosity: 1\n num-threads: 1\n do-not-query-localhost: no\n \
         module-config: \"validator iterator\"\n trust-anchor-file: \"{folder}/anchor\"\n local-zone: \"test.\" nodefault\n \
         access-control: 127.0.0.0/8 allow\n\
         remote-control:\n control-enable: no\n\
         stub-zone:\n name: \".\"\n stub-addr: 127.0.0.1@{zones}\n\
         stub-zone:\n name: \"unsigned.\"\n stub-addr: 127.0.0.1@{zones}\n"
    )
}
