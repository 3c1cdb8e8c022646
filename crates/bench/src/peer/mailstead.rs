use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use mail_directory::Directory;
use mail_types::Secret;
use testkit::TestDns;

use super::{DOMAIN, PASSWORD, Place, Ports, Server, Stop, USERS, certificate, folder, free_addresses};
use crate::backlog;
use crate::signature;
use crate::sink::Sink;

/// The domain of the senders: all is well with it, so that every check is made to its end.
fn zone(key: &str) -> String {
    format!(
        "elsewhere.test. MX 10 bench.test.\nelsewhere.test. TXT \"v=spf1 mx a:bench.test -all\"\nbench.test. A 127.0.0.1\n\
         _dmarc.elsewhere.test. TXT \"v=DMARC1; p=reject\"\ns._domainkey.elsewhere.test. TXT \"v=DKIM1; p={key}\"\n"
    )
}

/// With a DNS server that its clients are looked up in, among them the key of `signature`.
pub(super) fn start_judging(place: &Place) -> Result<Server> {
    let dns = TestDns::start(&zone(&signature::public_key()?))?;
    let more = format!("\n[dns]\nservers = [\"{}\"]\n\n[smtp.verdicts]\ntrusted = []\n", dns.address);
    let mut server = start_with(place, &more)?;
    (server.name, server._dns) = ("judging", Some(dns));
    Ok(server)
}

pub(super) fn start(place: &Place) -> Result<Server> {
    start_with(place, "")
}

pub(super) fn start_backlogged(place: &Place) -> Result<Server> {
    let mut server = start(place)?;
    server.name = "backlogged";
    let queue = server.queue()?;
    backlog::add(&queue, backlog::DEAD, 20_000)?;
    backlog::until_tried(&queue)?;
    Ok(server)
}

fn start_with(place: &Place, more: &str) -> Result<Server> {
    let folder = folder(place, "mailstead")?;
    let tls = certificate(folder.path())?;
    let (ports, sink) = (free_addresses()?, Sink::start()?);
    std::fs::write(folder.path().join("mailstead.toml"), config(ports, sink.address) + more)?;
    fill_directory(folder.path())?;
    let stop = launch(folder.path(), &place.mailstead)?;
    let [smtp, submission, imap, imaps, pop3] = ports.map(Some);
    let server = Server {
        name: "mailstead",
        ports: Ports { smtp, submission, imap, imaps, pop3 },
        pid: stop.pid()?,
        started: Instant::now(),
        stop,
        launch,
        executable: place.mailstead.clone(),
        folder,
        owner: None,
        tls,
        mail,
        sink: Some(sink),
        _dns: None,
    };
    server.wait()?;
    Ok(server)
}

fn launch(folder: &Path, executable: &Path) -> Result<Stop> {
    let log = File::create(folder.join("log"))?;
    let child = Command::new(executable)
        .args(["serve", "--config"])
        .arg(folder.join("mailstead.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", executable.display()))?;
    Ok(Stop::Child(child))
}

fn mail(folder: &Path, user: usize) -> PathBuf {
    folder.join("mail").join(DOMAIN).join(format!("user{user}")).join("Maildir")
}

fn config([smtp, submission, imap, imaps, pop3]: [SocketAddr; 5], sink: SocketAddr) -> String {
    format!(
        "hostname = \"localhost\"\ndata_dir = \".\"\n\n\
         [[tls.certificate]]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\n\
         [[smtp.listener]]\nname = \"smtp\"\nrole = \"mx\"\ntls = \"starttls\"\naddresses = [\"{smtp}\"]\n\n\
         [[smtp.listener]]\nname = \"submission\"\nrole = \"submission\"\ntls = \"starttls\"\naddresses = [\"{submission}\"]\n\n\
         [smtp]\ncheck_from = false\n\n[relay]\nsmarthost = \"{sink}\"\ntls = \"none\"\n\n\
         [[relay.route]]\ndomains = [\"{dead}\"]\nsmarthost = \"127.0.0.1:9\"\ntls = \"none\"\n\n\
         [[relay.route]]\ndomains = [\"{dead}\"]\nsmarthost = \"127.0.0.1:9\"\ntls = \"none\"\n\n\
         [[imap.listener]]\nname = \"imap\"\ntls = \"starttls\"\naddresses = [\"{imap}\"]\n\n\
         [[imap.listener]]\nname = \"imaps\"\ntls = \"implicit\"\naddresses = [\"{imaps}\"]\n\n\
         [[pop3.listener]]\nname = \"pop3\"\ntls = \"starttls\"\naddresses = [\"{pop3}\"]\n\n\
         [limits]\nmax_connections = 20000\nmax_connections_per_account = 20000\n",
        dead = backlog::DEAD,
    )
}

fn fill_directory(folder: &Path) -> Result<()> {
    let directory = Directory::open(&folder.join("directory.sqlite"))?;
    directory.add_domain(&DOMAIN.parse()?)?;
    for user in 0..USERS {
        directory.add_account(&format!("user{user}@{DOMAIN}").parse()?, &Secret::new(PASSWORD.to_owned()))?;
    }
    Ok(())
}
