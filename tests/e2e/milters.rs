//! Filters attached by the milter protocol: Debian's Rspamd, OpenDKIM and ClamAV.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ChildStdout, Command};

use anyhow::{Result, ensure};
use e2e::{Client, HOST, Installation, Mail, PATIENCE, Process, Site, free_port, messages_in};

use crate::relay::submit;
use crate::verdicts::make_key;

/// By which Rspamd is tried out: its test patterns for two actions, which newer versions want otherwise switched on.
const REJECTED: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
const MARKED: &str = "YJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// Rspamd by itself, without Redis, rules and look-ups, on a port.
fn rspamd(folder: &Path) -> Result<(Process, u16)> {
    let (port, dns) = (free_port(), free_port());
    let shown = folder.display();
    // Its lists of top-level domains and of languages take it half a minute on a busy machine.
    std::fs::write(folder.join("domains"), "test\n")?;
    let config = format!(
        r#"options {{
  pidfile = "{shown}/rspamd.pid"; tempdir = "{shown}"; hs_cache_dir = "{shown}"; disable_hyperscan = true;
  url_tld = "{shown}/domains"; filters = ""; enable_test_patterns = true; gtube_patterns = "all";
  dns {{ nameserver = ["127.0.0.1:{dns}"]; timeout = 0.1s; retransmits = 1; }}
}}
lang_detection {{ languages = "{shown}/none"; }}
logging {{ type = "console"; level = "info"; }}
actions {{ reject = 15; add_header = 6; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{port}"; milter = yes; count = 1; timeout = 60s;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
"#
    );
    let file = folder.join("rspamd.conf");
    std::fs::write(&file, config)?;
    // It does not run as root without being told to.
    let (mut process, _) =
        Process::start(Command::new("/usr/bin/rspamd").args(["-f", "-i", "-c"]).arg(file))?;
    process.wait_for_port(port)?;
    Ok((process, port))
}

fn swaks(site: &Site, mail: &Mail) -> Client {
    let port = site.port("smtp").to_string();
    let to = &site.person("bob").address;
    let server =
        ["--server", HOST, "--port", &port, "--from", "eve@elsewhere.test", "--to", to, "--data", "-"];
    Client::new("swaks").args(server).input(mail.as_str().strip_suffix("\r\n").unwrap_or_default())
}

#[test]
fn rspamd_refuses_and_marks_and_what_it_marks_goes_to_junk() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_rspamd, port) = rspamd(folder.path())?;
    let config = format!("[[smtp.milter]]\nname = \"rspamd\"\naddress = \"inet:127.0.0.1:{port}\"\n");
    let installation = Installation::new("milter.test", &["bob"], &config)?;
    let server = installation.serve()?;
    let (site, bob) = (installation.site(), installation.site().person("bob"));
    let mail = |body: &str| Mail::new("eve@elsewhere.test", &bob.address, "a test", body);

    let (code, said) = swaks(site, &mail(REJECTED)).run_to_code()?;
    ensure!(code != Some(0) && said.output.contains("554 5.7.1 "), "{said:?}");
    swaks(site, &mail(MARKED)).run()?;
    swaks(site, &mail("hello")).run()?;

    let inbox = messages_in(&bob.maildir)?;
    assert!(inbox.len() == 1 && inbox.iter().all(|message| message.contains("\r\nhello\r\n")), "{inbox:?}");
    let junk = messages_in(&bob.maildir.join(".Junk"))?;
    assert_eq!(junk.len(), 1, "{junk:?}");
    for part in ["\r\nX-Spam: Yes\r\n", "X-Mailstead-Verdict: junk;\r\n\trspamd=junk\r\n"] {
        assert!(junk.iter().all(|message| message.contains(part)), "{junk:?}");
    }
    let told = installation.mailstead(&["trace", &bob.address]).run()?.output;
    for part in [": 554 5.7.1 ", "verdict: junk; rspamd=junk", "delivered to Junk of bob@milter.test"] {
        assert!(told.contains(part), "{part} is not in\n{told}\n{}", server.log());
    }
    Ok(())
}

/// Whether the signature of the message on standard input is good, with the key in the argument.
const VERIFY: &str = "import dkim, sys; print(dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda *_, **__: sys.argv[1].encode()))";

#[test]
fn opendkim_signs_what_our_users_submit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let key = make_key(folder.path())?.replace("\" \"", "");
    let socket = folder.path().join("opendkim.sock");
    let shown = folder.path().display();
    let config = format!(
        "Socket local:{}\nDomain milter.test\nSelector s\nKeyFile {shown}/key\nRequireSafeKeys no\nMode sv\nSyslog no\n",
        socket.display()
    );
    let file = folder.path().join("opendkim.conf");
    std::fs::write(&file, config)?;
    let (_opendkim, _) = Process::start(Command::new("/usr/sbin/opendkim").args(["-f", "-x"]).arg(file))?;
    crate::relay::wait(|| Ok(UnixStream::connect(&socket).map(drop)?))?;

    let config =
        format!("[[smtp.milter]]\naddress = \"unix:{}\"\nroles = [\"submission\"]\n", socket.display());
    let installation = Installation::new("milter.test", &["alice", "bob"], &config)?;
    let _server = installation.serve()?;
    let bob = installation.site().person("bob");
    let mail = Mail::new("alice@milter.test", &bob.address, "signed", ".text\n..more");
    submit(&installation, &mail, &[&bob.address])?;
    let [stored] = messages_in(&bob.maildir)?.try_into().map_err(|all| anyhow::anyhow!("{all:?}"))?;
    ensure!(stored.contains("\r\nDKIM-Signature: v=1;") && stored.ends_with(mail.as_str()), "{stored}");
    let record = format!("v=DKIM1; k=rsa; p={key}");
    let verified =
        Client::new("/usr/bin/python3").args(["-c", VERIFY, &record]).input(stored.as_bytes()).run()?;
    assert_eq!(verified.output.trim(), "True", "{stored}");
    Ok(())
}

/// By which scanners are tried out: the EICAR test file, as an attachment has it, and ClamAV's signature of it.
const INFECTED: &str = concat!(
    "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJE",
    "LUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo="
);
const SIGNATURE: &str = "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n";

/// ClamAV by itself, which knows nothing but the test file: its daemon, and what asks that as a milter, at a socket. Both write to their standard
/// output, and end when nobody has its other end any more.
fn clamav(folder: &Path) -> Result<([(Process, ChildStdout); 2], String)> {
    let path = |name: &str| folder.join(name);
    let shown = folder.display();
    std::fs::create_dir(path("signatures"))?;
    std::fs::write(path("signatures").join("test.hdb"), SIGNATURE)?;
    let daemon = format!(
        "Foreground yes\nLocalSocket {shown}/clamd.sock\nDatabaseDirectory {shown}/signatures\nTemporaryDirectory {shown}\n"
    );
    std::fs::write(path("clamd.conf"), daemon)?;
    let milter = format!(
        "Foreground yes\nMilterSocket unix:{shown}/milter.sock\nClamdSocket unix:{shown}/clamd.sock\n\
         TemporaryDirectory {shown}\nOnInfected Reject\nRejectMsg The message holds %v\nAddHeader Replace\n"
    );
    std::fs::write(path("milter.conf"), milter)?;
    let start = |program: &str, config: &str| {
        Process::start(Command::new(program).arg("--config-file").arg(path(config)))
    };
    let daemon = start("/usr/sbin/clamd", "clamd.conf")?;
    // What asks it gives up on one that isn't ready.
    crate::relay::wait(|| {
        let mut clamd = UnixStream::connect(path("clamd.sock"))?;
        clamd.set_read_timeout(Some(PATIENCE))?;
        clamd.write_all(b"nPING\n")?;
        let mut answer = [0; 5];
        clamd.read_exact(&mut answer)?;
        ensure!(&answer == b"PONG\n", "it answers {answer:?}");
        Ok(())
    })?;
    let milter = start("/usr/sbin/clamav-milter", "milter.conf")?;
    let socket = path("milter.sock");
    crate::relay::wait(|| Ok(UnixStream::connect(&socket).map(drop)?))?;
    Ok(([milter, daemon], format!("unix:{}", socket.display())))
}

#[test]
fn clamav_refuses_what_is_infected_and_says_so_of_what_is_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_clamav, address) = clamav(folder.path())?;
    let config = format!("[[smtp.milter]]\nname = \"clamav\"\naddress = \"{address}\"\n");
    let installation = Installation::new("milter.test", &["bob"], &config)?;
    let server = installation.serve()?;
    let (site, bob) = (installation.site(), installation.site().person("bob"));
    let mail = |file: &str| {
        Mail::of(&format!(
            "From: eve@elsewhere.test\r\nTo: {}\r\nSubject: a file\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
             --b\r\n\r\nhere it is\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=file.com\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{file}\r\n--b--\r\n",
            bob.address
        ))
    };

    let (code, said) = swaks(site, &mail(INFECTED)).run_to_code()?;
    let refusal = "550 5.7.1 The message holds Eicar-Test-Signature";
    ensure!(code != Some(0) && said.output.contains(refusal), "{said:?}");
    let clean = mail("aGVsbG8=");
    swaks(site, &clean).run()?;

    let [stored] = messages_in(&bob.maildir)?.try_into().map_err(|all| anyhow::anyhow!("{all:?}"))?;
    ensure!(stored.contains("\r\nX-Virus-Status: Clean\r\n"), "{stored}");
    ensure!(stored.ends_with("\r\n\r\naGVsbG8=\r\n--b--\r\n"), "{stored}");
    let told = installation.mailstead(&["trace", &bob.address]).run()?.output;
    ensure!(told.contains(&format!(": {refusal}")), "{told}\n{}", server.log());
    Ok(())
}
