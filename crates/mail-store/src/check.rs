//! What `mailstead store check` finds: every inconsistency between Maildir, `mailstead-mailbox` and index. Nothing is changed.

mod content;
mod file;
mod finding;
mod mailbox;
mod rebuild;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use mail_types::{Address, MailboxName};
use rustix::fs::{FlockOperation, flock};

use self::content::Remembered;
use self::file::Found;
use self::finding::Findings;
use crate::error::{IoContext as _, StoreError};
use crate::index::{Index, Soundness};
use crate::mailbox_file::MailboxFile;
use crate::store::Store;

pub use finding::{Finding, Problem};

/// How far a check or a rebuild is.
#[derive(Debug, Clone, Copy)]
pub enum Advance<'a> {
    /// It begins with a mailbox.
    Mailbox {
        /// Its name.
        name: &'a MailboxName,
        /// Which one it is, from 0 on.
        position: usize,
        /// Of how many.
        count: usize,
        /// What lies in it.
        octets: u64,
    },
    /// It read so many octets.
    Octets(u64),
}

impl Store {
    /// Looks for everything in an account that is not as it should be, with `content` also by reading each message. Servers
    /// may run meanwhile: what changes while it is looked at is no finding. With `content` it remembers the hashes of
    /// messages that had none; else it changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the account's folder can't be looked at.
    pub fn check(
        &self,
        owner: &Address,
        content: bool,
        progress: &mut dyn FnMut(Advance<'_>),
    ) -> Result<Vec<Finding>, StoreError> {
        let home = self.home(owner);
        if !home.try_exists().context("looking at", &home)? {
            return Ok(Vec::new()); // no mail has come yet
        }
        if !home.join("Maildir/cur").try_exists().context("looking at", &home)? {
            return Ok(vec![Finding { path: home.join("Maildir/cur"), problem: Problem::FolderMissing }]);
        }
        let mut check = Check::begin(&home)?;
        let mut remembered = if content { Some(Remembered::read(&home)?) } else { None };
        let mailboxes = check.mailboxes()?;
        let count = mailboxes.len();
        for (position, (name, folder)) in mailboxes.into_iter().enumerate() {
            let begin = |octets| progress(Advance::Mailbox { name: &name, position, count, octets });
            let files = check.mailbox(&name, &folder, begin)?;
            if let Some(remembered) = &mut remembered {
                check.contents(&files, remembered, progress);
            }
        }
        check.account()?;
        if let Some(remembered) = remembered
            && let Err(error) = remembered.write()
        {
            tracing::warn!(%error, "the hashes of messages that had none are not remembered");
        }
        Ok(check.findings.0)
    }
}

/// The check of one account.
struct Check {
    maildir: PathBuf,
    lock: Option<File>,
    index: Option<Index>,
    index_path: PathBuf,
    findings: Findings,
}

impl Check {
    fn begin(home: &Path) -> Result<Self, StoreError> {
        let (maildir, index_path) = (home.join("Maildir"), home.join("index.sqlite"));
        let mut findings = Findings::default();
        let index = open_index(&index_path, &maildir, &mut findings);
        let lock = home.join("lock");
        let lock = match File::open(&lock) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None, // no server was here
            result => Some(result.context("opening", &lock)?),
        };
        Ok(Self { maildir, lock, index, index_path, findings })
    }

    /// The mailboxes and their folders.
    fn mailboxes(&mut self) -> Result<BTreeMap<MailboxName, PathBuf>, StoreError> {
        let mut mailboxes = BTreeMap::from([(MailboxName::inbox(), self.maildir.clone())]);
        for entry in std::fs::read_dir(&self.maildir).context("reading the folder", &self.maildir)? {
            let path = entry.context("reading the folder", &self.maildir)?.path();
            let folder = path.file_name().unwrap_or_default();
            if !folder.as_encoded_bytes().starts_with(b".") || !path.join("cur").is_dir() {
                continue;
            }
            let name = folder.to_str().and_then(|it| Some((MailboxName::from_maildir(it).ok()?, it)));
            match name.filter(|(name, folder)| name.to_maildir() == *folder) {
                Some((name, _)) => drop(mailboxes.insert(name, path)),
                None => self.findings.add(path, Problem::NotAMailboxName),
            }
        }
        Ok(mailboxes)
    }

    fn mailbox(
        &mut self,
        name: &MailboxName,
        folder: &Path,
        begin: impl FnOnce(u64),
    ) -> Result<Vec<Found>, StoreError> {
        let look = || mailbox::look(folder, &name.to_maildir(), self.index.as_ref());
        let first = look();
        begin(first.files.iter().map(|file| file.size).sum());
        let mut found = first.findings;
        if !found.is_empty() {
            // What another process was about to finish is not there when all of them wait, and what other programs did
            // in between looks otherwise.
            let again = self.while_all_wait(look)?.findings;
            found.retain(|finding| again.contains(finding));
        }
        self.findings.0.extend(found);
        Ok(first.files)
    }

    fn contents(
        &mut self,
        files: &[Found],
        remembered: &mut Remembered,
        progress: &mut dyn FnMut(Advance<'_>),
    ) {
        for file in files {
            content::judge(file, remembered, &mut self.findings);
            progress(Advance::Octets(file.size));
        }
    }

    /// Acts while no process of ours changes the account.
    fn while_all_wait<T>(&self, act: impl FnOnce() -> T) -> Result<T, StoreError> {
        let locked = |operation| match &self.lock {
            Some(lock) => {
                flock(lock, operation).map_err(std::io::Error::from).context("locking", &self.maildir)
            }
            None => Ok(()),
        };
        locked(FlockOperation::LockExclusive)?;
        let value = act();
        locked(FlockOperation::Unlock)?;
        Ok(value)
    }

    /// What concerns no single mailbox.
    fn account(&mut self) -> Result<(), StoreError> {
        let names: BTreeSet<MailboxName> = self.mailboxes()?.into_keys().collect();
        let subscriptions = crate::account::subscriptions_of(&self.maildir)?;
        let nowhere = subscriptions.into_iter().filter(|name| !names.contains(name));
        let path = self.maildir.join("subscriptions");
        nowhere.for_each(|name| self.findings.add(&path, Problem::SubscriptionToNowhere(name.to_string())));
        let keys: BTreeSet<String> = names.iter().map(MailboxName::to_maildir).collect();
        match self.index.as_ref().map(Index::folders).transpose() {
            Ok(folders) => {
                let missing = folders.into_iter().flatten().filter(|key| !keys.contains(key));
                missing.for_each(|key| {
                    self.findings.add(self.maildir.join(key), Problem::IndexedMailboxMissing);
                });
            }
            Err(error) => self.findings.add(&self.index_path, Problem::IndexDamaged(error.to_string())),
        }
        Ok(())
    }
}

/// The index, if it can be relied on.
fn open_index(path: &Path, maildir: &Path, findings: &mut Findings) -> Option<Index> {
    let problem = match Index::inspect(path) {
        Ok((index, Soundness::Sound)) => return Some(index),
        Ok((_, Soundness::Older)) => return None, // it is made anew at the next open, as after every upgrade
        Ok((_, Soundness::Newer(version))) => Problem::IndexNewer(version),
        Ok((_, Soundness::Damaged(text))) => Problem::IndexDamaged(text),
        Err(error) if error.is_not_found() => {
            // Only where a server was: else there is none to miss.
            if MailboxFile::path(maildir).exists() {
                findings.add(path, Problem::IndexMissing);
            }
            return None;
        }
        Err(error) => Problem::IndexDamaged(error.to_string()),
    };
    findings.add(path, problem);
    None
}
