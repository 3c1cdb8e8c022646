//! `mailstead store export`: an account's mail as a Maildir++ tree or as mbox files.
//!
//! Run again, it goes on: a message has the same file name in each run, and of an mbox file what is there is compared.

mod maildir;
mod mbox;
mod resumed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use mail_store::{Account, Mailbox, Message, StoreError};
use mail_types::MailboxName;
use serde_json::{Value, json};

use super::progress::Progress;
use super::trouble::Trouble;

/// What an export is asked for.
pub(crate) struct Request {
    pub(crate) target: PathBuf,
    /// Only this mailbox, and those below it.
    pub(crate) mailbox: Option<MailboxName>,
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A Maildir with a subfolder for each other mailbox
    Maildir,
    /// A file for each mailbox, those below it in a folder beside it
    Mbox,
}

/// What an export did.
#[derive(Debug, Default)]
pub(crate) struct Report {
    mailboxes: BTreeMap<MailboxName, u64>,
    already_there: u64,
    failed: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Written,
    WasThere,
    /// It was expunged meanwhile.
    Gone,
}

/// Exports all that is asked for. What can't be read is told at once, and counted in the report.
pub(crate) fn run(account: &Arc<Account>, request: &Request) -> anyhow::Result<Report> {
    let mailboxes = selected(account, request.mailbox.as_ref())?;
    make_folder(&request.target)?;
    let mut octets = 0;
    for name in &mailboxes {
        octets += account.status(name)?.size;
    }
    let progress = Progress::new();
    progress.begin(&request.target.display().to_string(), octets);
    let mut export = Export { account, request, progress, report: Report::default() };
    let done = export.all(&mailboxes);
    export.progress.end();
    done.context("stopped; the same command goes on from there")?;
    Ok(export.report)
}

fn selected(account: &Account, asked: Option<&MailboxName>) -> anyhow::Result<Vec<MailboxName>> {
    let all = account.mailboxes()?.into_iter().filter(|entry| entry.selectable).map(|entry| entry.name);
    let is_asked = |name: &MailboxName| asked.is_none_or(|asked| name == asked || name.is_below(asked));
    let selected: Vec<MailboxName> = all.filter(is_asked).collect();
    match asked.filter(|_| selected.is_empty()) {
        Some(asked) => Err(StoreError::NoSuchMailbox(asked.clone()).into()),
        None => Ok(selected),
    }
}

struct Export<'a> {
    account: &'a Arc<Account>,
    request: &'a Request,
    progress: Progress,
    report: Report,
}

impl Export<'_> {
    fn all(&mut self, mailboxes: &[MailboxName]) -> anyhow::Result<()> {
        if self.request.format == Format::Maildir {
            maildir::prepare(&self.request.target, self.account, mailboxes)?;
        }
        mailboxes.iter().try_for_each(|name| self.mailbox(name))
    }

    fn mailbox(&mut self, name: &MailboxName) -> anyhow::Result<()> {
        let mailbox = match self.account.open(name) {
            Err(StoreError::NoSuchMailbox(_)) => return Ok(()), // deleted meanwhile
            opened => opened?,
        };
        self.report.mailboxes.insert(name.clone(), 0);
        let done = match self.request.format {
            Format::Maildir => self.maildir(name, &mailbox),
            Format::Mbox => self.mbox(name, &mailbox),
        };
        self.settle(&name.to_string(), done.map(|()| None))
    }

    fn maildir(&mut self, name: &MailboxName, mailbox: &Mailbox) -> Result<(), Trouble> {
        let (mut folder, without_letter) = maildir::Folder::open(&self.request.target, name, mailbox)?;
        for keyword in without_letter {
            let text = format!("the keyword {keyword} is left off: a Maildir has letters for 26");
            self.settle(&name.to_string(), Err(Trouble::Message(text)))?;
        }
        self.each(name, mailbox, |message| folder.add(mailbox, message))?;
        folder.close()
    }

    fn mbox(&mut self, name: &MailboxName, mailbox: &Mailbox) -> Result<(), Trouble> {
        let mut file = mbox::File::open(&self.request.target, name)?;
        self.each(name, mailbox, |message| file.add(mailbox, message))?;
        file.close()
    }

    fn each(
        &mut self,
        name: &MailboxName,
        mailbox: &Mailbox,
        mut add: impl FnMut(&Message) -> Result<Done, Trouble>,
    ) -> Result<(), Trouble> {
        let snapshot = mailbox.snapshot();
        for message in (0..snapshot.len()).filter_map(|position| snapshot.get(position)) {
            let done = add(&message);
            if matches!(done, Ok(Done::Written)) {
                *self.report.mailboxes.entry(name.clone()).or_default() += 1;
            }
            self.settle(&format!("{name}, the message with UID {}", message.uid), done.map(Some))?;
            self.progress.advance(message.size);
        }
        Ok(())
    }

    /// Names what can't be exported, and goes on; stops at what is fatal.
    fn settle(&mut self, name: &str, done: Result<Option<Done>, Trouble>) -> anyhow::Result<()> {
        match done {
            Ok(done) => self.report.already_there += u64::from(done == Some(Done::WasThere)),
            Err(Trouble::Message(text)) => {
                self.progress.warn(&format!("{name}: {text}"));
                self.report.failed += 1;
            }
            Err(Trouble::Fatal(error)) => return Err(error),
        }
        Ok(())
    }
}

impl Report {
    pub(crate) const fn has_failures(&self) -> bool {
        self.failed > 0
    }

    fn messages(&self) -> u64 {
        self.mailboxes.values().sum()
    }

    pub(crate) fn to_json(&self) -> Value {
        let mailboxes = self.mailboxes.iter().map(|(name, count)| (name.to_string(), json!(count)));
        json!({
            "exported": self.messages(),
            "already_there": self.already_there,
            "failed": self.failed,
            "mailboxes": mailboxes.collect::<serde_json::Map<_, _>>(),
        })
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("exported {} messages of {} mailboxes", self.messages(), self.mailboxes.len());
        if self.already_there > 0 {
            text += &format!("; {} were there already", self.already_there);
        }
        if self.failed > 0 {
            text += &format!("; {} failed: see above", self.failed);
        }
        text
    }
}

/// Makes a folder that only the owner may enter.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("can't make the folder {}", path.display()))
}

fn sync_folder(path: &Path) -> anyhow::Result<()> {
    let synced = std::fs::File::open(path).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("can't flush the folder {}", path.display()))
}

/// A message's file, open; `None` if it was expunged meanwhile.
fn open(mailbox: &Mailbox, message: &Message) -> Result<Option<mail_store::MessageFile>, Trouble> {
    match mailbox.open_message(message.uid) {
        Ok(file) => Ok(Some(file)),
        Err(StoreError::MessageGone(_)) => Ok(None),
        Err(error @ StoreError::Io { .. }) => Err(Trouble::unreadable(error)),
        Err(error) => Err(Trouble::fatal(error)),
    }
}
