//! What the files say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::ledger::{Place, id_of};
use super::wire::Flags;

/// A message as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) flags: Flags,
}

/// A mailbox as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) uid_validity: u32,
    pub(crate) messages: BTreeMap<u32, Stored>,
}

/// The mailboxes, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) folders: BTreeMap<String, Folder>,
}

/// The folder of a mailbox.
pub(crate) fn folder(maildir: &Path, mailbox: &str) -> PathBuf {
    if mailbox == "INBOX" { maildir.to_owned() } else { maildir.join(format!(".{mailbox}")) }
}

/// UIDVALIDITY, as the mailbox's file has it.
pub(crate) fn uid_validity(folder: &Path) -> Result<u32> {
    let text = std::fs::read_to_string(folder.join("mailstead-mailbox"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("uidvalidity "));
    Ok(value.context("no UIDVALIDITY")?.parse()?)
}

/// The UID in a file name, and its flags behind `:2,`.
pub(crate) fn name_parts(name: &str) -> (Option<u32>, &str) {
    let (front, info) = name.split_once(":2,").unwrap_or((name, ""));
    let uid = front.split(',').find_map(|field| field.strip_prefix("U="));
    (uid.and_then(|uid| uid.parse().ok()), info)
}

impl Truth {
    /// Reads the files; an error while one has no UID yet.
    pub(crate) fn read(maildir: &Path, mailboxes: &[&str]) -> Result<Self> {
        let read = |name: &&str| Ok(((*name).to_owned(), Folder::read(&folder(maildir, name))?));
        Ok(Self { folders: mailboxes.iter().map(read).collect::<Result<_>>()? })
    }

    /// All messages.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Place, &Stored)> {
        self.folders.values().flat_map(|folder| {
            folder.messages.iter().map(|(uid, stored)| ((folder.uid_validity, *uid), stored))
        })
    }
}

impl Folder {
    fn read(folder: &Path) -> Result<Self> {
        let file = std::fs::read_to_string(folder.join("mailstead-mailbox"))?;
        let values = |key: &'static str| file.lines().filter_map(move |line| line.strip_prefix(key));
        let keywords: Vec<&str> = values("keyword ").collect();
        let mut extra = BTreeMap::new();
        for line in values("extra ") {
            let mut numbers = line.split(' ').map(str::parse::<usize>);
            let uid = numbers.next().context("no UID")??;
            extra.insert(u32::try_from(uid)?, numbers.collect::<Result<Vec<_>, _>>()?);
        }
        let waiting = std::fs::read_dir(folder.join("new"))?.count();
        ensure!(waiting == 0, "{waiting} messages have no UID yet in {}", folder.display());
        let mut messages = BTreeMap::new();
        for entry in std::fs::read_dir(folder.join("cur"))? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name")?;
            let (uid, info) = name_parts(&name);
            let uid = uid.with_context(|| format!("{name} has no UID yet"))?;
            let id = id_of(&std::fs::read(entry.path())?).with_context(|| format!("{name} has no id"))?;
            let positions =
                info.bytes().filter(u8::is_ascii_lowercase).map(|letter| usize::from(letter - b'a'));
            let all = positions.chain(extra.get(&uid).into_iter().flatten().copied());
            let keywords = all.map(|position| keywords[position].to_owned());
            let flags = system(info).chain(keywords).collect();
            let double = messages.insert(uid, Stored { id, flags });
            ensure!(double.is_none(), "two files have the UID {uid} in {}", folder.display());
        }
        Ok(Self { uid_validity: uid_validity(folder)?, messages })
    }
}

fn system(info: &str) -> impl Iterator<Item = String> {
    let names =
        [('D', "\\Draft"), ('F', "\\Flagged"), ('R', "\\Answered"), ('S', "\\Seen"), ('T', "\\Deleted")];
    names.into_iter().filter(|(letter, _)| info.contains(*letter)).map(|(_, name)| name.to_owned())
}
