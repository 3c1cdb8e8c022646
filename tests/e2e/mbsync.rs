//! mbsync, which notices every UID that changes and every flag that is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::{Client, Demo, HOST, Installation, Mail, Person, Site};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// One person's mail on both sides.
struct Sync<'a> {
    site: &'a Site,
    person: &'a Person,
    /// Holds the config and `near/`.
    folder: TempDir,
}

impl<'a> Sync<'a> {
    fn new(site: &'a Site, local_part: &str, listener: &str) -> Result<Self> {
        Self::in_folder(site, local_part, listener, tempfile::tempdir()?)
    }

    /// Goes on with what an earlier one left in `folder`.
    fn in_folder(site: &'a Site, local_part: &str, listener: &str, folder: TempDir) -> Result<Self> {
        let person = site.person(local_part);
        let tls = if listener == "imaps" { "IMAPS" } else { "STARTTLS" };
        let far = format!(
            "Host {HOST}\nPort {port}\nUser {user}\nPass {password}\nSSLType {tls}\nCertificateFile {ca}\n",
            port = site.port(listener),
            user = person.address,
            password = person.password,
            ca = site.ca_file.display(),
        );
        Self::with(site, local_part, &far, folder)
    }

    /// With the server that mbsync is told of by `far`.
    fn with(site: &'a Site, local_part: &str, far: &str, folder: TempDir) -> Result<Self> {
        let near = folder.path().join("near");
        std::fs::create_dir_all(&near)?;
        let config = format!(
            "IMAPAccount far\n{far}\nIMAPStore far\nAccount far\n\n\
             MaildirStore near\nPath {near}/\nInbox {near}/INBOX\nSubFolders Verbatim\n\n\
             Channel mail\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n",
            near = near.display(),
        );
        std::fs::write(folder.path().join("mbsyncrc"), config)?;
        Ok(Self { site, person: site.person(local_part), folder })
    }

    /// Runs mbsync, on a terminal that `script` makes so that it counts, and returns what it did on the far and the near side: messages
    /// added, flags changed, messages deleted.
    fn run(&self) -> Result<(String, String)> {
        let finished = Client::new("script")
            .home(self.folder.path())
            .args(["--quiet", "--return", "--command", "mbsync -c mbsyncrc --all", "/dev/null"])
            .run()?;
        let totals = finished.output.rsplit("C: 1/1").next().with_context(|| format!("{finished:?}"))?;
        let side = |name: &str| {
            let after = totals.split(name).nth(1).unwrap_or_default();
            after.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
        };
        Ok((side("F: "), side("N: ")))
    }

    fn near(&self, mailbox: &str) -> PathBuf {
        self.folder.path().join("near").join(mailbox)
    }

    fn far(&self, mailbox: &str) -> PathBuf {
        match mailbox {
            "INBOX" => self.person.maildir.clone(),
            other => self.person.maildir.join(format!(".{}", other.replace('/', "."))),
        }
    }

    /// What a mailbox holds on both sides, which must be the same.
    #[track_caller]
    fn both(&self, mailbox: &str) -> BTreeMap<String, String> {
        let (near, far) = (flags_by_subject(&self.near(mailbox)), flags_by_subject(&self.far(mailbox)));
        assert_eq!(near, far, "{mailbox}: near, far");
        near
    }

    /// `command` by a session that curl opens.
    fn imap(&self, path: &str, command: &str) -> Result<()> {
        let url = format!("imaps://{HOST}:{}{path}", self.site.port("imaps"));
        let user = format!("{}:{}", self.person.address, self.person.password);
        let ca = self.site.ca_file.to_string_lossy();
        Client::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--cacert",
                &ca,
                "--url",
                &url,
                "--user",
                &user,
                "--request",
                command,
            ])
            .run()?;
        Ok(())
    }
}

/// The path, subject and flags of every message of a Maildir; `\Recent` aside, mail in `new` has none.
fn messages(maildir: &Path) -> Vec<(PathBuf, String, String)> {
    let mut found = Vec::new();
    for path in ["new", "cur"].iter().flat_map(|folder| files(&maildir.join(folder))) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let subject =
            text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let flags = name.split_once(":2,").map(|(_, flags)| flags.to_owned()).unwrap_or_default();
        found.push((path, subject, flags));
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn flags_by_subject(maildir: &Path) -> BTreeMap<String, String> {
    let all = messages(maildir);
    let map: BTreeMap<_, _> =
        all.iter().map(|(_, subject, flags)| (subject.clone(), flags.clone())).collect();
    assert_eq!(map.len(), all.len(), "each once: {all:?}");
    map
}

/// As a program like mutt changes flags: by renaming.
fn set_flags(maildir: &Path, subject: &str, flags: &str) {
    let all = messages(maildir);
    let (path, ..) = all.iter().find(|(_, known, _)| known == subject).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let base = name.split(":2,").next().unwrap();
    std::fs::rename(path, maildir.join("cur").join(format!("{base}:2,{flags}"))).unwrap();
}

fn mail(subject: &str) -> Mail {
    Mail::new("stranger@elsewhere.test", "bob@demo.test", subject, "first\n.second\nGrüße\nFrom here")
}

fn put(maildir: &Path, subject: &str) {
    for folder in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    let name = format!("{}.1_1.near", subject.replace(' ', "-"));
    std::fs::write(maildir.join("new").join(name), mail(subject).as_str().replace("\r\n", "\n")).unwrap();
}

const NOTHING: &str = "+0/0 *0/0 #0/0";

fn syncs_both_ways(listener: &str) -> Result<()> {
    let demo = Demo::start()?;
    let sync = Sync::new(demo.site(), "bob", listener)?;
    for subject in ["one", "two", "three", "four"] {
        demo.site().deliver("bob", &mail(subject))?;
    }

    let (far, near) = sync.run()?;
    assert_eq!((far.as_str(), near.as_str()), (NOTHING, "+5/5 *0/0 #0/0"), "the first run fetches all");
    assert_eq!(sync.both("INBOX").len(), 5);
    assert!(["Drafts", "Sent", "Junk", "Trash", "Archive"].iter().all(|name| sync.near(name).is_dir()));
    assert_eq!(sync.run()?, (NOTHING.to_owned(), NOTHING.to_owned()), "the second run has nothing to do");

    // Near: a new message, flags, a deletion, a new mailbox below another.
    put(&sync.near("INBOX"), "from near");
    set_flags(&sync.near("INBOX"), "one", "FS");
    set_flags(&sync.near("INBOX"), "two", "ST");
    put(&sync.near("Lists"), "in a list");
    put(&sync.near("Lists/rust"), "in a list below");
    // Far: the same by SMTP, by another program and by another session.
    demo.site().deliver("bob", &mail("from far"))?;
    set_flags(&sync.far("INBOX"), "three", "RS");
    sync.imap("/INBOX", "STORE 5 +FLAGS (\\Deleted)")?;
    sync.imap("", "CREATE Projects/2026")?;
    sync.imap("/INBOX", "COPY 1 Projects/2026")?;

    let (far, near) = sync.run()?;
    assert_eq!((far.as_str(), near.as_str()), ("+3/3 *2/2 #0/0", "+2/2 *2/2 #0/0"));
    let inbox = sync.both("INBOX");
    let flags = |subject: &str| inbox.get(subject).map(String::as_str);
    assert_eq!((flags("one"), flags("three")), (Some("FS"), Some("RS")));
    assert_eq!((flags("two"), flags("four")), (None, None), "deletions go both ways");
    assert!(flags("from near").is_some() && flags("from far").is_some());
    assert_eq!(
        (sync.both("Lists").len(), sync.both("Lists/rust").len(), sync.both("Projects/2026").len()),
        (1, 1, 1)
    );
    assert_eq!(sync.run()?, (NOTHING.to_owned(), NOTHING.to_owned()), "and then there is nothing to do");

    for (path, subject, _) in
        messages(&sync.far("INBOX")).iter().filter(|(_, subject, _)| subject.starts_with("from"))
    {
        let text = std::fs::read_to_string(path)?;
        assert!(text.ends_with("\r\n\r\nfirst\r\n.second\r\nGrüße\r\nFrom here\r\n"), "{subject}: {text}");
    }
    Ok(())
}

#[test]
fn mbsync_syncs_both_ways_over_implicit_tls_and_then_has_nothing_to_do() -> Result<()> {
    syncs_both_ways("imaps")
}

#[test]
fn mbsync_syncs_both_ways_over_starttls_and_then_has_nothing_to_do() -> Result<()> {
    syncs_both_ways("imap")
}

#[test]
fn mbsync_downloads_nothing_again_after_the_index_is_deleted() -> Result<()> {
    let demo = Demo::start()?;
    for number in 0..20 {
        demo.site().deliver("bob", &mail(&format!("number {number}")))?;
    }
    let sync = Sync::new(demo.site(), "bob", "imaps")?;
    sync.run()?;
    set_flags(&sync.near("INBOX"), "number 7", "FS");
    sync.run()?;
    let mirror = sync.folder;
    let (folder, _) = demo.stop()?;
    let account = folder.path().join("mailstead-demo/mail/demo.test/bob");
    let mut deleted = 0;
    for path in files(&account).iter().filter(|path| path.to_string_lossy().contains("index.sqlite")) {
        std::fs::remove_file(path)?;
        deleted += 1;
    }
    assert!(deleted > 0, "there is an index to delete");
    let demo = Demo::start_in(folder)?;
    let again = Sync::in_folder(demo.site(), "bob", "imaps", mirror)?;
    assert_eq!(again.run()?, (NOTHING.to_owned(), NOTHING.to_owned()));
    assert_eq!(again.both("INBOX").len(), 21);
    Ok(())
}

/// How mbsync speaks to Dovecot over the mail in `home`. Dovecot refuses to read root's.
fn dovecot(home: &Path) -> Result<String> {
    let shown = home.display();
    let config = format!(
        "base_dir = {shown}/run\nlog_path = {shown}/log\nssl = no\nmail_location = maildir:~/Maildir\nstats_writer_socket_path =\n"
    );
    std::fs::write(home.join("dovecot.conf"), config)?;
    let somebody = if nix::unistd::geteuid().is_root() {
        Client::new("chown").args(["-R", "65534:65534"]).args([home]).run()?;
        "setpriv --reuid=65534 --regid=65534 --clear-groups"
    } else {
        ""
    };
    let imap = format!("/usr/lib/dovecot/imap -c {shown}/dovecot.conf");
    Ok(format!("Tunnel \"env USER=somebody HOME={shown} {somebody} {imap} 2>/dev/null\"\n"))
}

#[test]
fn mbsync_has_nothing_to_do_when_mailstead_takes_over_what_dovecot_kept() -> Result<()> {
    let installation = Installation::new("switch.test", &["alice"], "")?;
    let site = installation.site();
    let home = tempfile::tempdir()?;
    for number in 0..30 {
        put(&home.path().join("Maildir"), &format!("delivered {number}"));
    }
    let with_dovecot = Sync::with(site, "alice", &dovecot(home.path())?, tempfile::tempdir()?)?;
    put(&with_dovecot.near("INBOX"), "uploaded");
    put(&with_dovecot.near("Lists/rust"), "in a list below");
    with_dovecot.run()?;
    set_flags(&with_dovecot.near("INBOX"), "delivered 3", "FRS");
    set_flags(&with_dovecot.near("INBOX"), "delivered 4", "ST");
    with_dovecot.run()?;
    let nothing = || (NOTHING.to_owned(), NOTHING.to_owned());
    assert_eq!(with_dovecot.run()?, nothing(), "all is in step with Dovecot");

    let ours = &site.person("alice").maildir;
    let account = ours.parent().context("the account's folder")?;
    if account.exists() {
        std::fs::remove_dir_all(account)?;
    }
    std::fs::create_dir_all(account)?;
    Client::new("cp").args(["-a"]).args([home.path().join("Maildir"), ours.clone()]).run()?;
    let server = installation.alone(&["imap-server"], "imap")?;
    let with_us = Sync::in_folder(site, "alice", "imaps", with_dovecot.folder)?;
    assert_eq!(with_us.run()?, nothing(), "no message and no flag is transferred again");
    let inbox = with_us.both("INBOX");
    assert_eq!((inbox.len(), inbox.get("delivered 3").map(String::as_str)), (30, Some("FRS")));
    assert_eq!(with_us.both("Lists/rust").len(), 1);
    server.stop(Signal::SIGTERM)?;
    Ok(())
}
