//! mutt and neomutt without a person: they send by submission, and read, save and move by IMAP.

use std::path::PathBuf;

use anyhow::Result;
use e2e::{Client, Demo, HOST, Mail, Person, Site, messages_in};
use tempfile::TempDir;

struct Mutt<'a> {
    program: &'static str,
    person: &'a Person,
    folder: TempDir,
}

impl<'a> Mutt<'a> {
    /// On ports with implicit TLS, or on those with STARTTLS.
    fn new(program: &'static str, site: &Site, person: &'a Person, implicit: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (imap, smtp) = if implicit {
            (("imaps", "imaps"), ("smtps", "submissions"))
        } else {
            (("imap", "imap"), ("smtp", "submission"))
        };
        let user = person.address.replace('@', "%40");
        let url =
            |(scheme, listener): (&str, &str)| format!("{scheme}://{user}@{HOST}:{}/", site.port(listener));
        let settings = [
            ("from", person.address.clone()),
            ("folder", url(imap)),
            ("spoolfile", "+INBOX".to_owned()),
            ("record", "+Sent".to_owned()),
            ("imap_pass", person.password.clone()),
            ("smtp_url", url(smtp)),
            ("smtp_pass", person.password.clone()),
            ("ssl_force_tls", "yes".to_owned()),
            ("ssl_starttls", "yes".to_owned()),
            ("ssl_usesystemcerts", "no".to_owned()),
            ("certificate_file", site.ca_file.display().to_string()),
            ("header_cache", String::new()),
            ("quit", "yes".to_owned()),
            ("delete", "yes".to_owned()),
            ("confirmappend", "no".to_owned()),
            ("confirmcreate", "no".to_owned()),
            ("wait_key", "no".to_owned()),
            ("pipe_decode", "no".to_owned()),
            ("pipe_split", "yes".to_owned()),
            ("sleep_time", "0".to_owned()),
            ("mark_old", "no".to_owned()),
        ];
        let lines = settings.iter().map(|(name, value)| format!("set {name} = \"{value}\"\n"));
        std::fs::write(folder.path().join("muttrc"), lines.collect::<String>())?;
        Ok(Self { program, person, folder })
    }

    fn send(&self, to: &str, subject: &str, body: &str) -> Result<()> {
        Client::new(self.program)
            .home(self.folder.path())
            .args(["-n", "-F", "muttrc", "-s", subject, "--", to])
            .input(body)
            .run()?;
        Ok(())
    }

    /// Opens INBOX and presses these keys, on a terminal that `script` makes.
    fn press(&self, keys: &str) -> Result<()> {
        let file = self.folder.path().join("keys");
        std::fs::write(&file, format!("push \"{keys}\"\n"))?;
        let command = format!("{} -n -F muttrc -e 'source keys'", self.program);
        Client::new("script")
            .home(self.folder.path())
            .env("TERM", "xterm")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .run()?;
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stored(&self, mailbox: &str) -> Result<Vec<String>> {
        messages_in(&self.person.maildir.join(mailbox))
    }
}

fn sends_reads_and_moves(program: &'static str, implicit: bool) -> Result<()> {
    let demo = Demo::start()?;
    let (alice, bob) = (demo.site().person("alice"), demo.site().person("bob"));
    let mutt = Mutt::new(program, demo.site(), alice, implicit)?;
    mutt.send(&bob.address, "from mutt", "Grüße\n.dot\n")?;
    let has = |stored: &[String], subject: &str| {
        stored.iter().filter(|message| message.contains(&format!("\r\nSubject: {subject}\r\n"))).count()
    };
    assert_eq!(has(&messages_in(&bob.maildir)?, "from mutt"), 1, "it is delivered");
    // neomutt keeps none of what it sends without a person.
    let copies = usize::from(program == "mutt");
    assert_eq!(has(&mutt.stored(".Sent")?, "from mutt"), copies, "a copy is kept by APPEND");

    let mail = Mail::new("stranger@elsewhere.test", &alice.address, "to be filed", "first\n.second\nthird");
    demo.site().deliver("alice", &mail)?;
    let read = mutt.file("read");
    mutt.press(&format!(
        "<limit>~s filed<enter><first-entry><pipe-message>cat > {}<enter><flag-message><save-message>=Archive<enter><sync-mailbox><exit>",
        read.display()
    ))?;
    let read = std::fs::read_to_string(&read)?;
    assert!(read.ends_with("\n\nfirst\n.second\nthird\n"), "{read}");
    assert_eq!(has(&mutt.stored("")?, "to be filed"), 0, "it is gone from INBOX");
    let archived = mutt.stored(".Archive")?;
    assert_eq!(has(&archived, "to be filed"), 1, "{archived:?}");
    assert!(archived.iter().any(|message| message.ends_with(mail.as_str())), "{archived:?}");
    Ok(())
}

#[test]
fn mutt_sends_reads_and_moves_over_implicit_tls() -> Result<()> {
    sends_reads_and_moves("mutt", true)
}

#[test]
fn mutt_sends_reads_and_moves_over_starttls() -> Result<()> {
    sends_reads_and_moves("mutt", false)
}

#[test]
fn neomutt_sends_reads_and_moves_over_implicit_tls() -> Result<()> {
    sends_reads_and_moves("neomutt", true)
}
