//! A Maildir++ tree, as Dovecot reads it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use mail_store::{Account, Mailbox, Message};
use mail_types::{Keyword, MailboxName};

use super::{Done, make_folder, open, sync_folder};
use crate::data_dir::write_whole;
use crate::store::trouble::Trouble;

/// Makes the tree's top, which is a Maildir also when INBOX is not exported, and lists the subscriptions.
pub(super) fn prepare(target: &Path, account: &Account, mailboxes: &[MailboxName]) -> anyhow::Result<()> {
    make_parts(target)?;
    let subscribed = account.subscriptions()?;
    let lines = subscribed.iter().filter(|name| mailboxes.contains(name)).map(subscription);
    write_whole(&target.join("subscriptions"), lines.collect::<String>().as_bytes(), 0o600)
}

fn subscription(name: &MailboxName) -> String {
    let folder = name.to_maildir();
    format!("{}\n", folder.strip_prefix('.').unwrap_or("INBOX"))
}

fn make_parts(folder: &Path) -> anyhow::Result<()> {
    ["tmp", "new", "cur"].iter().try_for_each(|part| make_folder(&folder.join(part)))
}

/// The folder of a mailbox.
pub(super) struct Folder {
    path: PathBuf,
    /// The files of messages that are there, by what stays of their names.
    there: HashMap<String, String>,
    letters: Vec<Keyword>,
    written: Vec<Written>,
}

/// A file in `tmp/` that is not yet brought to the disk.
struct Written {
    file: File,
    path: PathBuf,
    /// In `cur/`.
    name: PathBuf,
}

/// Files that become durable together, and the threads that see to it: side by side they share what the disk does.
const BATCH: usize = 64;
const FLUSHERS: usize = 16;

impl Folder {
    /// Gives the keywords too that have no letter left.
    pub(super) fn open(
        target: &Path,
        name: &MailboxName,
        mailbox: &Mailbox,
    ) -> Result<(Self, Vec<Keyword>), Trouble> {
        let path = if name.is_inbox() { target.to_owned() } else { target.join(name.to_maildir()) };
        make_parts(&path)?;
        if !name.is_inbox() {
            write_whole(&path.join("maildirfolder"), b"", 0o600)?;
        }
        let mut letters = keywords_in_use(mailbox);
        let without_letter = letters.split_off(letters.len().min(26));
        let lines = letters.iter().enumerate().map(|(position, keyword)| format!("{position} {keyword}\n"));
        write_whole(&path.join("dovecot-keywords"), lines.collect::<String>().as_bytes(), 0o600)?;
        let there = names_in(&path.join("cur")).with_context(|| format!("can't read {}", path.display()))?;
        Ok((Self { path, there, letters, written: Vec::new() }, without_letter))
    }

    /// Adds a message, unless it is there; one whose flags have changed gets its new name.
    pub(super) fn add(&mut self, mailbox: &Mailbox, message: &Message) -> Result<Done, Trouble> {
        let Some(source) = open(mailbox, message)? else { return Ok(Done::Gone) };
        let unique = format!("{}.U{:010}.mailstead", mailbox.uid_validity(), message.uid.value());
        let mut base = format!("{unique},S={}", source.file_size);
        if source.wire_size != source.file_size {
            base += &format!(",W={}", source.wire_size);
        }
        let name = format!("{base}:2,{}", self.info(message));
        let path = self.path.join("cur").join(&name);
        match self.there.remove(&base) {
            Some(there) if there == name => return Ok(Done::WasThere),
            Some(there) => rename(&self.path.join("cur").join(there), &path)?,
            None => {
                let (file, tmp) = self.write(&unique, source.file, source.file_size, message)?;
                self.written.push(Written { file, path: tmp, name: path });
            }
        }
        if self.written.len() >= BATCH {
            self.flush()?;
        }
        Ok(Done::Written)
    }

    /// Gives the files their names once they are on the disk.
    fn flush(&mut self) -> anyhow::Result<()> {
        let written = std::mem::take(&mut self.written);
        let share = written.len().div_ceil(FLUSHERS).max(1);
        std::thread::scope(|scope| {
            let shares = written.chunks(share).map(|share| scope.spawn(|| sync(share)));
            let shares: Vec<_> = shares.collect();
            shares.into_iter().try_for_each(|it| it.join().unwrap_or_else(|it| std::panic::resume_unwind(it)))
        })?;
        written.iter().try_for_each(|it| rename(&it.path, &it.name))
    }

    /// Writes the message into `tmp/`.
    fn write(
        &self,
        unique: &str,
        source: File,
        size: u64,
        message: &Message,
    ) -> Result<(File, PathBuf), Trouble> {
        let path = self.path.join("tmp").join(unique);
        let failed = |error: io::Error| {
            Trouble::Fatal(anyhow::Error::new(error).context(format!("can't write {}", path.display())))
        };
        let mut file = File::create(&path).map_err(failed)?;
        let mut left = source.take(size);
        let mut block = vec![0; 64 << 10];
        loop {
            let read = left.read(&mut block).map_err(Trouble::unreadable)?;
            if read == 0 {
                break;
            }
            file.write_all(block.get(..read).unwrap_or_default()).map_err(failed)?;
        }
        if left.limit() > 0 {
            return Err(Trouble::Message(format!("its file is {} octets too short", left.limit())));
        }
        let age = Duration::from_secs(message.internal_date.unix_seconds().unsigned_abs());
        let is_early = message.internal_date.unix_seconds() < 0;
        let date = if is_early { UNIX_EPOCH.checked_sub(age) } else { UNIX_EPOCH.checked_add(age) };
        file.set_modified(date.unwrap_or(UNIX_EPOCH)).map_err(failed)?;
        Ok((file, path))
    }

    /// The letters of the flags and keywords, which ascend.
    fn info(&self, message: &Message) -> String {
        let letter = |keyword: &Keyword| {
            let position = self.letters.iter().position(|it| it == keyword)?;
            Some(char::from(b'a' + u8::try_from(position).ok()?))
        };
        let system = message.flags.system().map(mail_types::Flag::maildir_letter);
        let mut letters: Vec<char> =
            system.chain(message.flags.keywords().iter().filter_map(letter)).collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    pub(super) fn close(mut self) -> Result<(), Trouble> {
        self.flush()?;
        sync_folder(&self.path.join("cur"))?;
        Ok(sync_folder(&self.path)?)
    }
}

fn sync(files: &[Written]) -> anyhow::Result<()> {
    let sync =
        |it: &Written| it.file.sync_all().with_context(|| format!("can't flush {}", it.path.display()));
    files.iter().try_for_each(sync)
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::rename(from, to).with_context(|| format!("can't rename {}", from.display()))
}

/// In the order in which the mailbox came to know them, so that a letter keeps its meaning.
fn keywords_in_use(mailbox: &Mailbox) -> Vec<Keyword> {
    let snapshot = mailbox.snapshot();
    let messages = (0..snapshot.len()).filter_map(|position| snapshot.get(position));
    let mut used: Vec<Keyword> = Vec::new();
    for keyword in messages.flat_map(|message| message.flags.keywords().to_vec()) {
        if !used.contains(&keyword) {
            used.push(keyword);
        }
    }
    snapshot.keywords().iter().filter(|keyword| used.contains(keyword)).cloned().collect()
}

fn names_in(cur: &Path) -> io::Result<HashMap<String, String>> {
    let mut names = HashMap::new();
    for entry in cur.read_dir()? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if let Some((base, _)) = name.split_once(":2,") {
            names.insert(base.to_owned(), name);
        }
    }
    Ok(names)
}
