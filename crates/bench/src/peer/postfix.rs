use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{
    DOMAIN, Place, Ports, Server, Stop, USERS, certificate, folder, free_addresses, mail_user, read_pid,
};
use crate::sink::Sink;

/// Where the package `ssl-cert`, which Debian's Postfix depends on, puts the certificate and the key that it makes: RSA of 2,048 bits.
const SNAKE_OIL: [&str; 2] =
    ["/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key"];

/// As [`start`], but its clients must trust any certificate.
pub(super) fn start_as_installed(place: &Place) -> Result<Server> {
    start_with(place, |folder| {
        let tls = certificate(folder)?;
        for (from, to) in SNAKE_OIL.iter().zip(["cert.pem", "key.pem"]) {
            std::fs::copy(from, folder.join(to))
                .with_context(|| format!("copying {from} (package ssl-cert)"))?;
        }
        Ok(tls)
    })
}

/// Postfix with its defaults, delivering to Maildirs by its own `virtual` agent.
pub(super) fn start(place: &Place) -> Result<Server> {
    start_with(place, certificate)
}

fn start_with(
    place: &Place,
    certificate: impl FnOnce(&Path) -> Result<Arc<rustls::ClientConfig>>,
) -> Result<Server> {
    let folder = folder(place, "postfix")?;
    let tls = certificate(folder.path())?;
    let [smtp] = free_addresses()?;
    let sink = Sink::start()?;
    let owner = mail_user()?;
    write_config(folder.path(), smtp, sink.address, owner.0.as_raw(), owner.1.as_raw())?;
    super::chown_all(&folder.path().join("mail"), owner.0, owner.1)?;
    let executable = PathBuf::from("postfix");
    let stop = launch(folder.path(), &executable)?;
    let server = Server {
        name: "postfix",
        ports: Ports { smtp: Some(smtp), submission: Some(smtp), ..Ports::default() },
        pid: stop.pid()?,
        started: Instant::now(),
        stop,
        launch,
        executable,
        folder,
        owner: Some(owner),
        tls,
        mail: |folder, user| folder.join("mail").join(format!("user{user}")).join("Maildir"),
        sink: Some(sink),
        _dns: None,
    };
    server.wait()?;
    Ok(server)
}

fn launch(folder: &Path, executable: &Path) -> Result<Stop> {
    let status = Command::new(executable)
        .arg("-c")
        .arg(folder.join("etc"))
        .arg("start")
        .status()
        .context("starting postfix (package postfix)")?;
    ensure!(status.success(), "postfix did not start: see {}", folder.join("log").display());
    Ok(Stop::Daemon(read_pid(&folder.join("queue/pid/master.pid"))?))
}

fn write_config(folder: &Path, smtp: SocketAddr, sink: SocketAddr, uid: u32, gid: u32) -> Result<()> {
    for part in ["etc", "queue", "data", "mail", "log"] {
        std::fs::create_dir(folder.join(part))?;
        std::fs::set_permissions(folder.join(part), std::fs::Permissions::from_mode(0o755))?;
    }
    let postfix = nix::unistd::User::from_name("postfix")?.context("there is no user postfix")?;
    nix::unistd::chown(&folder.join("data"), Some(postfix.uid), Some(postfix.gid))?;
    let shown = folder.display();
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {shown}/queue\ndata_directory = {shown}/data\n\
         mail_owner = postfix\nsetgid_group = postdrop\nmyhostname = mail.{DOMAIN}\nmydestination =\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\nalias_maps =\nalias_database =\n\
         maillog_file = {shown}/log/postfix.log\nmaillog_file_prefixes = {shown}\n\
         virtual_mailbox_domains = {DOMAIN}\nvirtual_mailbox_base = {shown}/mail\n\
         virtual_mailbox_maps = texthash:{shown}/etc/users\nvirtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\n\
         virtual_minimum_uid = 1\nsmtpd_tls_cert_file = {shown}/cert.pem\nsmtpd_tls_key_file = {shown}/key.pem\n\
         smtpd_tls_security_level = may\nsmtpd_client_connection_count_limit = 0\nsmtpd_peername_lookup = no\n\
         smtpd_recipient_limit = 1000\nrelayhost = [127.0.0.1]:{sink}\n",
        sink = sink.port(),
    );
    std::fs::write(folder.join("etc/main.cf"), main)?;
    let users = (0..USERS).fold(String::new(), |mut text, user| {
        let _ = writeln!(text, "user{user}@{DOMAIN} user{user}/Maildir/");
        text
    });
    std::fs::write(folder.join("etc/users"), users)?;
    std::fs::write(folder.join("etc/master.cf"), MASTER.replace("PORT", &smtp.port().to_string()))?;
    Ok(())
}

/// The services of Debian's own `master.cf` that this work needs, none in a chroot.
const MASTER: &str = "\
127.0.0.1:PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";
