//! fetchmail, which empties a mailbox by POP3 or IMAP into a delivery agent.

use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use e2e::{Client, Demo, HOST, Mail, Site, messages_in};
use tempfile::TempDir;

/// fetchmail's exit code when there was no mail.
const NO_MAIL: i32 = 1;

struct Fetchmail {
    folder: TempDir,
}

impl Fetchmail {
    fn new(site: &Site, local_part: &str, listener: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let person = site.person(local_part);
        let protocol = listener.trim_end_matches('s');
        let tls = if listener.ends_with('s') { "ssl" } else { "sslproto \"TLS1.2+\"" };
        let config = format!(
            "poll {HOST} protocol {protocol} port {port} auth password\n\
             user \"{user}\" password \"{password}\" is \"{local_part}\" here {tls} sslcertck sslcertfile \"{ca}\"\n\
             mda \"cat >> fetched\" fetchall\n",
            port = site.port(listener),
            user = person.address,
            password = person.password,
            ca = site.ca_file.display(),
        );
        let file = folder.path().join("fetchmailrc");
        std::fs::write(&file, config)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { folder })
    }

    /// Runs it once and returns its exit code and all that it ever handed on.
    fn run(&self) -> Result<(Option<i32>, String)> {
        let (code, said) = Client::new("fetchmail")
            .home(self.folder.path())
            .args(["-f", "fetchmailrc", "--nodetach", "--daemon", "0", "--pidfile", "pid", "--nosyslog"])
            .run_to_code()?;
        let fetched = std::fs::read_to_string(self.folder.path().join("fetched"));
        Ok((code, fetched.unwrap_or_else(|_| format!("{said:?}"))))
    }
}

fn empties(listener: &str) -> Result<()> {
    let demo = Demo::start()?;
    let bob = demo.site().person("bob");
    for subject in ["one", "two", "three"] {
        let mail = Mail::new("stranger@elsewhere.test", &bob.address, subject, ".first\n..second\nGrüße");
        demo.site().deliver("bob", &mail)?;
    }
    let fetchmail = Fetchmail::new(demo.site(), "bob", listener)?;
    let (code, fetched) = fetchmail.run()?;
    assert_eq!(code, Some(0), "{fetched}");
    assert_eq!(fetched.matches("\n\n.first\n..second\nGrüße\n").count(), 3, "{fetched}");
    assert_eq!(fetched.matches("\nSubject: ").count(), 4, "and the welcome message: {fetched}");
    assert!(messages_in(&bob.maildir)?.is_empty(), "what was handed on is removed");
    assert_eq!(fetchmail.run()?, (Some(NO_MAIL), fetched), "the second run finds nothing");
    Ok(())
}

#[test]
fn fetchmail_empties_a_maildrop_by_pop3_over_implicit_tls() -> Result<()> {
    empties("pop3s")
}

#[test]
fn fetchmail_empties_a_maildrop_by_pop3_over_starttls() -> Result<()> {
    empties("pop3")
}

#[test]
fn fetchmail_empties_a_mailbox_by_imap_over_implicit_tls() -> Result<()> {
    empties("imaps")
}

#[test]
fn fetchmail_empties_a_mailbox_by_imap_over_starttls() -> Result<()> {
    empties("imap")
}
