//! OfflineIMAP, which aborts where UIDPLUS is offered and APPENDUID is missing, and copies again what changes its UID.

use std::path::{Path, PathBuf};

use anyhow::Result;
use e2e::{Client, Demo, HOST, Mail, Person, Site, messages_in};
use tempfile::TempDir;

struct OfflineImap<'a> {
    person: &'a Person,
    folder: TempDir,
}

impl<'a> OfflineImap<'a> {
    fn new(site: &Site, person: &'a Person) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let near = folder.path().join("near");
        std::fs::create_dir(&near)?;
        let config = format!(
            "[general]\naccounts = far\nui = basic\nmetadata = {home}/state\n\n\
             [Account far]\nlocalrepository = near\nremoterepository = server\n\n\
             [Repository near]\ntype = Maildir\nlocalfolders = {near}\n\n\
             [Repository server]\ntype = IMAP\nremotehost = {HOST}\nremoteport = {port}\nremoteuser = {user}\nremotepass = {password}\n\
             ssl = yes\nsslcacertfile = {ca}\n",
            home = folder.path().display(),
            near = near.display(),
            port = site.port("imaps"),
            user = person.address,
            password = person.password,
            ca = site.ca_file.display(),
        );
        std::fs::write(folder.path().join("offlineimaprc"), config)?;
        Ok(Self { person, folder })
    }

    /// Syncs once and returns what it told of each message copied, changed or deleted.
    fn run(&self) -> Result<Vec<String>> {
        let finished = Client::new("offlineimap")
            .home(self.folder.path())
            .args(["-c", "offlineimaprc", "-o", "-u", "basic"])
            .run()?;
        let told = finished.output.lines().chain(finished.errors.lines());
        let works = ["Copy message", "Adding flags", "Removing flags", "Deleting", "Creating new"];
        Ok(told.filter(|line| works.iter().any(|work| line.contains(work))).map(str::to_owned).collect())
    }

    fn near(&self, mailbox: &str) -> PathBuf {
        self.folder.path().join("near").join(mailbox)
    }

    fn far(&self, mailbox: &str) -> PathBuf {
        self.person.maildir.join(mailbox)
    }
}

/// The subjects of a Maildir, in order.
fn subjects(maildir: &Path) -> Result<Vec<String>> {
    let subject = |message: &String| {
        message.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
    };
    let mut subjects: Vec<_> = messages_in(maildir)?.iter().map(subject).collect();
    subjects.sort();
    Ok(subjects)
}

#[test]
fn offlineimap_syncs_both_ways_and_then_has_nothing_to_do() -> Result<()> {
    let demo = Demo::start()?;
    let bob = demo.site().person("bob");
    let sync = OfflineImap::new(demo.site(), bob)?;
    let mail =
        |subject: &str| Mail::new("stranger@elsewhere.test", &bob.address, subject, "first\n.second\nGrüße");
    demo.site().deliver("bob", &mail("one"))?;
    demo.site().deliver("bob", &mail("two"))?;
    sync.run()?;
    assert_eq!(subjects(&sync.near("INBOX"))?, subjects(&sync.far(""))?);
    assert_eq!(sync.run()?, Vec::<String>::new(), "the second run has nothing to do");

    // Near: a new message and a flag; far: a new message.
    let cur = sync.near("INBOX").join("cur");
    std::fs::write(cur.join("1.near.host:2,S"), mail("from near").as_str().replace("\r\n", "\n"))?;
    demo.site().deliver("bob", &mail("from far"))?;
    assert_eq!(sync.run()?.len(), 2, "each is copied once");
    let both = subjects(&sync.near("INBOX"))?;
    assert_eq!(both, subjects(&sync.far(""))?);
    assert!(both.iter().filter(|subject| subject.starts_with("from ")).count() == 2, "{both:?}");
    assert_eq!(sync.run()?, Vec::<String>::new(), "and then there is nothing to do");
    Ok(())
}
