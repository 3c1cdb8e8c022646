//! Real mail hosts found by MX, each at a loopback address of its own: Debian's Postfix and Exim, and another Mailstead.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::{Exim, Installation, NOBODY, Postfix, Process, program, python};
use serde_json::json;
use testkit::TestDns;

use crate::relay::wait;

const POSTFIX: [u8; 4] = [127, 0, 4, 1];
const EXIM: [u8; 4] = [127, 0, 4, 2];
/// Exim too, where it knows nothing newer than TLS 1.1.
const OLD: [u8; 4] = [127, 0, 4, 3];
const ZONE: &str = "postfix.test. MX 10 mx.postfix.test.\nmx.postfix.test. A 127.0.4.1\n\
                    exim.test. MX 10 mx.exim.test.\nmx.exim.test. A 127.0.4.2\n\
                    old.test. MX 10 mx.old.test.\nmx.old.test. A 127.0.4.3\n\
                    other.test. MX 10 mx.other.test.\nmx.other.test. A 127.0.0.1\n";
/// Octets of a message that Postfix and Exim take.
const MAX_SIZE: u32 = 300_000;

/// It takes mail for some of postfix.test, and sends its reports to `reports`.
fn postfix(port: u16, reports: u16, certificates: &Path) -> Result<Postfix> {
    Postfix::start_at((POSTFIX, port).into(), |folder| {
        Postfix::furnish(folder, certificates)?;
        let shown = folder.display();
        Ok(format!(
            "myhostname = mx.postfix.test\nvirtual_mailbox_domains = postfix.test\nvirtual_mailbox_base = {shown}/mail\n\
             virtual_mailbox_maps = inline:{{ {{ eve@postfix.test = eve/ }} {{ jürgen@postfix.test = utf8/ }} \
                 {{ later@postfix.test = eve/ }} {{ full@postfix.test = eve/ }} }}\n\
             virtual_uid_maps = static:{NOBODY}\nvirtual_gid_maps = static:{NOBODY}\nsmtputf8_enable = yes\n\
             message_size_limit = {MAX_SIZE}\nvirtual_mailbox_limit = 0\nrelayhost = [127.0.0.1]:{reports}\n\
             smtpd_recipient_restrictions = check_recipient_access inline:{{ \
                 {{ later@postfix.test = 450 4.2.1 The mailbox is busy }} \
                 {{ full@postfix.test = 552 5.2.2 The mailbox is full }} }}\n\
             smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {shown}/etc/key.pem, {shown}/etc/cert.pem\n"
        ))
    })
}

/// It takes mail for some of exim.test and of old.test, and sends its reports to `reports`.
fn exim(port: u16, reports: u16, certificates: &Path) -> Result<(Exim, Process)> {
    let exim = Exim::with(|folder| {
        for name in ["cert.pem", "key.pem"] {
            std::fs::copy(certificates.join(name), folder.join(name))?;
        }
        let shown = folder.display();
        Ok(format!(
            "local_interfaces = <; 127.0.4.2 ; 127.0.4.3\ndaemon_smtp_ports = {port}\nmessage_size_limit = {MAX_SIZE}\n\
             tls_advertise_hosts = *\ntls_certificate = {shown}/cert.pem\ntls_privatekey = {shown}/key.pem\n\
             tls_require_ciphers = ${{if eq{{$received_ip_address}}{{127.0.4.3}}{{NORMAL:-VERS-ALL:+VERS-TLS1.1}}{{NORMAL}}}}\n\
             dsn_advertise_hosts = *\nchunking_advertise_hosts = *\nsmtputf8_advertise_hosts =\n\
             acl_smtp_rcpt = rcpt\nacl_smtp_data = data\nlog_selector = +tls_cipher +received_recipients\n\
             domainlist ours = exim.test : old.test\n\
             begin acl\n\
             rcpt:\n  deny domains = !+ours\n       message = relay not permitted\n  \
             defer local_parts = grey\n        !seen = -1s / key=$sender_address-$local_part\n        message = 4.7.1 Greylisted, come back\n  \
             require verify = recipient\n  accept\n\
             data:\n  deny condition = ${{if match{{$recipients}}{{full@}}}}\n       message = 552 5.2.2 The mailbox is full\n  accept\n\
             begin routers\n\
             here:\n  driver = accept\n  domains = +ours\n  local_parts = eve : grey : full\n  transport = maildir\n\
             elsewhere:\n  driver = manualroute\n  domains = !+ours\n  transport = remote\n  route_list = * 127.0.0.1::{reports}\n  self = send\n\
             begin transports\n\
             maildir:\n  driver = appendfile\n  directory = {shown}/mail/$local_part_data\n  maildir_format\n  create_directory\n  user = Debian-exim\n\
             remote:\n  driver = smtp\n  allow_localhost\n  hosts_avoid_tls = *\n\
             begin retry\n* * F,1h,1m\n"
        ))
    })?;
    let process = exim.serve((EXIM, port).into())?;
    Ok((exim, process))
}

/// Configures a Mailstead whose host has the name `host`.
fn configure(installation: &Installation, host: &str, more: &str) -> Result<()> {
    installation.write_config(more)?;
    let config = std::fs::read_to_string(installation.config())?;
    let named = config.replace("hostname = \"localhost\"", &format!("hostname = \"{host}\""));
    Ok(std::fs::write(installation.config(), named)?)
}

/// What each does with mail is in `mail_hosts.py`. Only root can start Postfix and Exim; CI is root.
#[test]
fn postfix_exim_and_another_mailstead_get_mail_and_what_they_say_of_it_reaches_its_sender() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let other = Installation::new("other.test", &["eve", "jürgen"], "")?;
    let sender = Installation::new("farm.test", &["alice"], "")?;
    let (port, dns) = (other.site().port("smtp"), TestDns::start(ZONE)?);
    let more = format!(
        "[dns]\nservers = [\"{}\"]\n[relay]\nport = {port}\n[queue]\nretry_min = \"1s\"\nretry_max = \"1s\"\n",
        dns.address
    );
    configure(&sender, "mx.farm.test", &more)?;
    let (reports, certificates) = (sender.site().port("smtp"), sender.data().join("tls"));
    let back = format!("[relay]\nsmarthost = \"127.0.0.1:{reports}\"\ntls = \"none\"\n");
    configure(&other, "mx.other.test", &back)?;
    let postfix = postfix(port, reports, &certificates)?;
    let (exim, _exim) = exim(port, reports, &certificates)?;
    let old: SocketAddr = (OLD, port).into();
    std::net::TcpStream::connect(old)?;
    let (_theirs, _ours) = (other.serve()?, sender.serve()?);
    let told = json!({
        "mailstead": program("mailstead"), "config": sender.config(), "max_size": MAX_SIZE,
        "maildirs": {
            "eve@postfix.test": postfix.folder().join("mail/eve"), "jürgen@postfix.test": postfix.folder().join("mail/utf8"),
            "eve@exim.test": exim.folder().join("mail/eve"), "grey@exim.test": exim.folder().join("mail/grey"),
            "eve@other.test": other.site().person("eve").maildir, "jürgen@other.test": other.data().join("mail/other.test/j%C3%BCrgen/Maildir"),
        },
    });
    python("mail_hosts.py", sender.site(), told)
        .with_context(|| format!("Postfix:\n{}\nExim:\n{}", postfix.log(), exim.log()))?;
    // RFC 3030: each message to a host that takes chunks went in chunks, over TLS where there was one.
    let log = postfix.log();
    ensure!(log.contains(" bdat=") && !log.contains(" data=1"), "{log}");
    ensure!(log.contains("TLS connection established") || log.contains("starttls=1"), "{log}");
    let log = exim.log();
    let taken: Vec<_> = log.lines().filter(|line| line.contains(" <= alice@farm.test ")).collect();
    ensure!(taken.len() >= 4 && taken.iter().all(|line| line.contains(" K ")), "{log}");
    let (old, new): (Vec<_>, Vec<_>) = taken.into_iter().partition(|line| line.ends_with("for eve@old.test"));
    ensure!(old.len() == 1 && !old.concat().contains(" X=TLS"), "{old:?}");
    ensure!(new.iter().all(|line| line.contains(" X=TLS1.3:")), "{new:?}");
    // Nothing is left anywhere.
    wait(|| {
        let (postfix, exim) = (postfix.queue()?, exim.queued()?);
        ensure!(postfix.contains("is empty") && exim.trim().is_empty(), "{postfix}\n{exim}\n{}", log);
        Ok(())
    })
}
