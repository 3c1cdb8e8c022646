//! An account whose INBOX holds so many messages.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mail_store::{Account, Mailbox, Store};
use mail_types::{Address, Flags, MailboxName};
use tempfile::TempDir;

/// A message of usual length for a short one.
const MESSAGE: &[u8] =
    b"From: <a@elsewhere.test>\r\nSubject: measured\r\n\r\nA line that is here to be read.\r\n";

pub(crate) struct Fixture {
    dir: TempDir,
    owner: Address,
}

impl Fixture {
    /// In a new folder below `dir`; names as Dovecot gives them, all of messages seen before.
    pub(crate) fn new(dir: &Path, size: usize) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let fixture = Self { dir, owner: "user@bench.test".parse().unwrap() };
        Store::open(fixture.dir.path()).unwrap().create_account(&fixture.owner).unwrap();
        let cur = fixture.home().join("Maildir/cur");
        for number in 0..size {
            let name = format!(
                "{}.M{number}P1.bench,S={},W={}:2,S",
                1_700_000_000 + number,
                MESSAGE.len(),
                MESSAGE.len()
            );
            std::fs::write(cur.join(name), MESSAGE).unwrap();
        }
        fixture
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("bench.test/user")
    }

    /// Opens INBOX as a process does that has just begun.
    pub(crate) fn open(&self) -> Arc<Mailbox> {
        self.account().open(&MailboxName::inbox()).unwrap()
    }

    pub(crate) fn account(&self) -> Arc<Account> {
        Store::open(self.dir.path()).unwrap().account(&self.owner).unwrap()
    }

    pub(crate) fn delete_index(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.home().join(format!("index.sqlite{suffix}")));
        }
    }

    /// Until an open mailbox need not be compared again.
    pub(crate) fn settle(&self) {
        settle(&self.open());
    }

    pub(crate) fn deliver(&self) {
        let store = Store::open(self.dir.path()).unwrap();
        let mut delivery = store.deliver(&[self.owner.clone().into()]).unwrap();
        delivery.write_all(MESSAGE).unwrap();
        delivery.commit_all().map_err(|(_, error)| error).unwrap();
    }
}

/// Until nothing is in doubt.
pub(crate) fn settle(mailbox: &Mailbox) {
    mailbox.sync().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    mailbox.sync().unwrap();
    std::thread::sleep(Duration::from_secs(1));
}

pub(crate) fn append(mailbox: &Arc<Mailbox>) {
    let mut append = mailbox.append(Flags::new(), None).unwrap();
    append.write_all(MESSAGE).unwrap();
    append.commit().unwrap();
}
