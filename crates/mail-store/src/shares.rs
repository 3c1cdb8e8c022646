//! Which accounts have given rights to others, so that nobody looks through all accounts for the mailboxes that he may see.
//!
//! A cache of what stands in the mailboxes' own lists: for each account that shares something, a file in `.shares` with the
//! identifiers that have any right, one a line. Without the folder it is made anew of all accounts. Sessions that listen watch
//! the folder, so a change of rights writes the file anew even if the same identifiers have some.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mail_types::Address;

use crate::acl::{Acl, Identifier};
use crate::disk;
use crate::error::{IoContext as _, StoreError};
use crate::mailbox::{is_settled, modified_at, now_nanos};

/// The names of the files begin so in which it stands what others than the owner have seen.
pub(crate) const SEEN: &str = "mailstead-seen-";

/// An account, and by which identifiers others have rights in it.
#[derive(Debug)]
struct Share {
    owner: Address,
    identifiers: Vec<Identifier>,
}

/// All accounts that share something.
#[derive(Debug)]
pub(crate) struct Shares {
    mail_dir: PathBuf,
    /// As last read, with the time of the folder then, where that can be relied on.
    known: Mutex<Option<(i64, Arc<[Share]>)>>,
}

impl Shares {
    pub(crate) fn new(mail_dir: &Path) -> Self {
        Self { mail_dir: mail_dir.to_owned(), known: Mutex::default() }
    }

    /// What changes whenever somebody's rights in another's mailbox do.
    pub(crate) fn folder(&self) -> PathBuf {
        folder(&self.mail_dir)
    }

    /// The accounts in which one of the identifiers is meant, given the owner.
    pub(crate) fn owners(
        &self,
        is_meant: impl Fn(&Address, &Identifier) -> bool,
    ) -> Result<Vec<Address>, StoreError> {
        let shares = self.read()?;
        let meant = |share: &&Share| share.identifiers.iter().any(|it| is_meant(&share.owner, it));
        Ok(shares.iter().filter(meant).map(|share| share.owner.clone()).collect())
    }

    fn read(&self) -> Result<Arc<[Share]>, StoreError> {
        let folder = folder(&self.mail_dir);
        let (began, time) = (now_nanos(), modified_at(&folder));
        let time = match time {
            Err(error) if error.is_not_found() => {
                rebuild(&self.mail_dir)?;
                modified_at(&folder)?
            }
            time => time?,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, shares)) = &*known
            && *then == time
        {
            return Ok(Arc::clone(shares));
        }
        let shares: Arc<[Share]> = read(&folder)?.into();
        *known = is_settled(time, began).then(|| (time, Arc::clone(&shares)));
        Ok(shares)
    }
}

fn folder(mail_dir: &Path) -> PathBuf {
    mail_dir.join(".shares")
}

fn read(folder: &Path) -> Result<Vec<Share>, StoreError> {
    let mut shares = Vec::new();
    for entry in std::fs::read_dir(folder).context("reading the folder", folder)? {
        let entry = entry.context("reading the folder", folder)?;
        let Some(owner) = entry.file_name().to_str().and_then(owner) else { continue };
        let text = disk::read_optional(&entry.path())?.unwrap_or_default();
        let identifiers = String::from_utf8_lossy(&text).lines().map(Identifier::from).collect();
        shares.push(Share { owner, identifiers });
    }
    shares.sort_by(|one, other| one.owner.cmp(&other.owner));
    Ok(shares)
}

/// Makes the folder of what all accounts' mailboxes say. It gets its name when it is whole.
fn rebuild(mail_dir: &Path) -> Result<(), StoreError> {
    let (folder, unfinished) =
        (folder(mail_dir), mail_dir.join(format!(".shares-{}", crate::names::unique())));
    disk::create_dir(&unfinished)?;
    for domain in subfolders(mail_dir)?.iter().filter(|it| !is_hidden(it)) {
        for home in subfolders(domain)? {
            let identifiers = identifiers_in(&home.join("Maildir"))?;
            let Some(name) = name(&home).filter(|_| !identifiers.is_empty()) else { continue };
            disk::replace(&unfinished.join(name), text(&identifiers).as_bytes())?;
        }
    }
    let renamed = disk::rename_new(&unfinished, &folder).and_then(|()| disk::sync_dir(mail_dir));
    if renamed.is_err() {
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    // Another thread or process may have been faster.
    if folder.is_dir() { Ok(()) } else { renamed }
}

/// Notes by which identifiers others have rights in the account of this home.
pub(crate) fn note(home: &Path) -> Result<(), StoreError> {
    let _lock = disk::lock(home)?;
    note_if(home, false)
}

/// Notes it, under the account's lock, once more although they are the same: who listens learns that something else changed of their rights.
pub(crate) fn note_change(home: &Path) -> Result<(), StoreError> {
    note_if(home, true)
}

fn note_if(home: &Path, is_changed: bool) -> Result<(), StoreError> {
    let (Some(mail_dir), Some(name)) = (home.parent().and_then(Path::parent), name(home)) else {
        return Ok(());
    };
    let folder = folder(mail_dir);
    if !folder.is_dir() {
        return rebuild(mail_dir);
    }
    let identifiers = identifiers_in(&home.join("Maildir"))?;
    let path = folder.join(name);
    let before = disk::read_optional(&path)?;
    if identifiers.is_empty() {
        return if before.is_some() { disk::remove(&path) } else { Ok(()) };
    }
    let now = text(&identifiers);
    let is_same = before.as_deref() == Some(now.as_bytes()) && !is_changed;
    if is_same { Ok(()) } else { disk::replace(&path, now.as_bytes()) }
}

/// Brings to the disk what others than the owner have seen in the account of this home: the index must not have it for longer.
pub(crate) fn settle(home: &Path) -> Result<(), StoreError> {
    let marker = home.parent().and_then(Path::parent).zip(name(home));
    if !marker.is_some_and(|(mail_dir, name)| folder(mail_dir).join(name).exists()) {
        return Ok(());
    }
    let maildir = home.join("Maildir");
    let folders = subfolders(&maildir)?.into_iter().filter(|it| is_hidden(it));
    for folder in folders.chain([maildir]) {
        for entry in std::fs::read_dir(&folder).context("reading the folder", &folder)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(SEEN.as_bytes()) {
                let path = entry.path();
                disk::sync_file(&std::fs::File::open(&path).context("opening", &path)?, &path)?;
            }
        }
    }
    Ok(())
}

fn identifiers_in(maildir: &Path) -> Result<BTreeSet<Identifier>, StoreError> {
    let folders = subfolders(maildir)?.into_iter().filter(|it| is_hidden(it));
    let mut identifiers = BTreeSet::new();
    for folder in folders.chain([maildir.to_owned()]) {
        identifiers.extend(Acl::read(&folder)?.shared_with().cloned());
    }
    Ok(identifiers)
}

fn text(identifiers: &BTreeSet<Identifier>) -> String {
    identifiers.iter().map(|it| format!("{it}\n")).collect()
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("reading the folder", folder)?,
    };
    let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries.flatten().filter(is_folder).map(|entry| entry.path()).collect())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// The name of an account's file: `bob@example.org`, each part as the folder of its name.
fn name(home: &Path) -> Option<String> {
    let part = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    Some(format!("{}@{}", part(home)?, part(home.parent()?)?))
}

/// Whose file has this name.
fn owner(name: &str) -> Option<Address> {
    let (local_part, domain) = name.split_once('@')?;
    Address::new(&decode(local_part)?, decode(domain)?.parse().ok()?).ok()
}

/// The inverse of the names that folders of accounts have.
fn decode(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, behind)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let (code, behind) = behind.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        rest = behind;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}
