use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{
    PASSWORD, Place, Ports, Server, Stop, USERS, certificate, folder, free_addresses, mail_user, read_pid,
};

/// Dovecot as its documentation advises for speed: its processes are reused.
pub(super) fn start(place: &Place) -> Result<Server> {
    let folder = folder(place, "dovecot")?;
    let tls = certificate(folder.path())?;
    let ports = free_addresses()?;
    let owner = mail_user()?;
    std::fs::create_dir(folder.path().join("mail"))?;
    super::chown_all(&folder.path().join("mail"), owner.0, owner.1)?;
    std::fs::write(folder.path().join("dovecot.conf"), config(folder.path(), ports))?;
    let users = (0..USERS).fold(String::new(), |mut text, user| {
        let _ = writeln!(text, "user{user}:{{PLAIN}}{PASSWORD}");
        text
    });
    std::fs::write(folder.path().join("users"), users)?;
    let executable = PathBuf::from("dovecot");
    let stop = launch(folder.path(), &executable)?;
    let [imap, imaps, pop3] = ports.map(Some);
    let server = Server {
        name: "dovecot",
        ports: Ports { imap, imaps, pop3, ..Ports::default() },
        pid: stop.pid()?,
        started: Instant::now(),
        stop,
        launch,
        executable,
        folder,
        owner: Some(owner),
        tls,
        mail: |folder, user| folder.join("mail").join(format!("user{user}")).join("Maildir"),
        sink: None,
        _dns: None,
    };
    server.wait()?;
    Ok(server)
}

fn launch(folder: &Path, executable: &Path) -> Result<Stop> {
    let status = Command::new(executable)
        .arg("-c")
        .arg(folder.join("dovecot.conf"))
        .stderr(File::create(folder.join("warnings"))?)
        .status()
        .context("starting dovecot (package dovecot-imapd)")?;
    ensure!(status.success(), "dovecot did not start: see {}", folder.join("log").display());
    Ok(Stop::Daemon(read_pid(&folder.join("run/master.pid"))?))
}

fn config(folder: &Path, [imap, imaps, pop3]: [SocketAddr; 3]) -> String {
    let path = |name: &str| -> String { PathBuf::from(folder).join(name).display().to_string() };
    let (base, users, cert, key) = (path("run"), path("users"), path("cert.pem"), path("key.pem"));
    format!(
        "base_dir = {base}\nstate_dir = {base}\nlog_path = {log}\nprotocols = imap pop3\nlisten = 127.0.0.1\n\
         ssl = yes\nssl_cert = <{cert}\nssl_key = <{key}\ndisable_plaintext_auth = no\n\
         mail_location = maildir:~/Maildir\nfirst_valid_uid = 1\nmail_max_userip_connections = 0\n\
         auth_username_format = %n\n\
         passdb {{\n  driver = passwd-file\n  args = {users}\n}}\n\
         userdb {{\n  driver = static\n  args = uid=mail gid=mail home={mail}/%n\n}}\n\
         default_client_limit = 12000\nservice auth {{\n  client_limit = 60000\n}}\nservice anvil {{\n  client_limit = 60000\n}}\n\
         service imap-login {{\n  service_count = 0\n  process_min_avail = 2\n  inet_listener imap {{\n    port = {imap}\n  }}\n  inet_listener imaps {{\n    port = {imaps}\n  }}\n}}\n\
         service pop3-login {{\n  service_count = 0\n  process_min_avail = 2\n  inet_listener pop3 {{\n    port = {pop3}\n  }}\n  inet_listener pop3s {{\n    port = 0\n  }}\n}}\n\
         service imap {{\n  service_count = 0\n  process_min_avail = 8\n  process_limit = 12000\n}}\n\
         service pop3 {{\n  service_count = 0\n  process_min_avail = 8\n}}\n",
        log = path("log"),
        mail = path("mail"),
        imap = imap.port(),
        imaps = imaps.port(),
        pop3 = pop3.port(),
    )
}
