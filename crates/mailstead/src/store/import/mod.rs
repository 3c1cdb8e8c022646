//! `mailstead store import`: Maildirs, mbox files, single messages, and archives of these.
//!
//! No journal is kept: a message of the source that lies in its mailbox already, with the same content, is not imported again,
//! as many times as it lies there. So an import that was cut short at any point goes on where it is run again.

mod archive;
mod incoming;
mod mbox;
mod report;
mod survey;
mod target;
mod tree;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use mail_store::Account;
use mail_types::{Flags, MailboxName};
use nix::unistd::{User, geteuid};

use super::dates;
use super::input::Input;
use super::mbox_header::{fields, value};
use super::progress::Progress;
use super::trouble::Trouble;
use incoming::{Incoming, LineEnds};
use mbox::Mbox;
use report::Report;
use survey::Survey;
use target::{Facts, Target};
use tree::{Content, Entry, Tree};

/// What an import is asked for.
pub(crate) struct Request {
    pub(crate) sources: Vec<PathBuf>,
    /// What goes to INBOX otherwise goes here, and the other mailboxes below it.
    pub(crate) mailbox: Option<MailboxName>,
    pub(crate) is_dry_run: bool,
}

/// Imports all sources. What can't be read of them is told at once, and counted in the report.
pub(crate) fn run(account: Arc<Account>, request: &Request) -> anyhow::Result<Report> {
    let open = |path: &PathBuf| Tree::open(path).with_context(|| not_opened(path));
    let trees = request.sources.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let mut target = Target::new(account, request.is_dry_run);
    for tree in &trees {
        let source = Source::survey(tree, request)?;
        let done = source.import(&mut target);
        source.progress.end();
        done.context("stopped; what was imported stays, and the same command goes on from there")?;
    }
    Ok(target.report)
}

/// Imports run as the user whom the mail belongs to, who may not be allowed everything that the operator is.
fn not_opened(path: &Path) -> String {
    let user =
        User::from_uid(geteuid()).ok().flatten().map_or_else(|| geteuid().to_string(), |user| user.name);
    format!("can't open {} as the user {user}", path.display())
}

/// A source that is being imported.
struct Source<'a> {
    tree: &'a Tree,
    survey: Survey,
    request: &'a Request,
    progress: Progress,
}

impl<'a> Source<'a> {
    fn survey(tree: &'a Tree, request: &'a Request) -> anyhow::Result<Self> {
        let survey = Survey::of(tree).map_err(into_fatal)?;
        let progress = Progress::new();
        progress.begin(&tree.path.display().to_string(), survey.octets);
        Ok(Self { tree, survey, request, progress })
    }

    fn import(&self, target: &mut Target) -> anyhow::Result<()> {
        let path = self.tree.path.display().to_string();
        for (path, text) in &self.survey.unreadable {
            self.settle(target, &self.named(path), Err(Trouble::Message(text.clone())))?;
        }
        target.begin();
        let walked = self.tree.walk(&mut |entry| self.entry(entry, target));
        self.settle(target, &path, walked)?;
        self.subscribe(target).map_err(into_fatal)?;
        target.flush().map_err(into_fatal)
    }

    /// Names what can't be read, and goes on; stops at what is fatal.
    fn settle(&self, target: &mut Target, name: &str, done: Result<(), Trouble>) -> anyhow::Result<()> {
        match done {
            Ok(()) => Ok(()),
            Err(Trouble::Message(text)) => {
                self.progress.warn(&format!("{name}: {text}"));
                target.report.failed += 1;
                Ok(())
            }
            Err(Trouble::Fatal(error)) => Err(error),
        }
    }

    fn entry(&self, entry: Entry<'_>, target: &mut Target) -> Result<(), Trouble> {
        let Entry { path, modified, size, content } = entry;
        let done = match content {
            Content::Folder => self.folder(&path, target),
            Content::Unreadable(text) => Err(Trouble::Message(text)),
            Content::File(content) => {
                let mut watched = self.progress.watch(content);
                let done = self.file(&path, modified, &mut watched, target);
                self.progress.advance(size.saturating_sub(watched.octets));
                done
            }
        };
        Ok(self.settle(target, &self.named(&path), done)?)
    }

    /// An entry as the operator knows it.
    fn named(&self, path: &[String]) -> String {
        let source = self.tree.path.display();
        if self.tree.is_file() { source.to_string() } else { format!("{source}: {}", path.join("/")) }
    }

    /// An empty Maildir is a mailbox too.
    fn folder(&self, path: &[String], target: &mut Target) -> Result<(), Trouble> {
        match path
            .split_last()
            .filter(|(part, maildir)| *part == "cur" && self.survey.maildirs.contains(*maildir))
        {
            Some((_, maildir)) => target.make(&self.mailbox(&self.survey.levels_of_maildir(maildir))?),
            None => Ok(()),
        }
    }

    fn file(
        &self,
        path: &[String],
        modified: Option<i64>,
        content: &mut dyn Read,
        target: &mut Target,
    ) -> Result<(), Trouble> {
        let Some((name, above)) = path.split_last() else { return Ok(()) };
        if self.survey.maildirs.contains(above) {
            return Ok(()); // what programs keep beside the messages
        }
        match above.split_last().filter(|(_, it)| self.survey.maildirs.contains(*it)) {
            Some((part, maildir)) if matches!(part.as_str(), "cur" | "new") => {
                self.maildir_file(maildir, name, modified, content, target)
            }
            Some((part, _)) if part == "tmp" => Ok(()), // not a whole message yet
            _ => self.other_file(name, above, modified, content, target),
        }
    }

    fn maildir_file(
        &self,
        maildir: &[String],
        name: &str,
        modified: Option<i64>,
        content: &mut dyn Read,
        target: &mut Target,
    ) -> Result<(), Trouble> {
        if name.starts_with('.') {
            return Ok(()); // no message, by the rules of Maildir
        }
        let mailbox = self.mailbox(&self.survey.levels_of_maildir(maildir))?;
        let flags = self.survey.flags(maildir, name);
        let facts = Facts { mailbox, flags, date: modified, line_ends: LineEnds::Any };
        target.add(facts, |incoming| copy(&mut Input::new(content), incoming))
    }

    fn other_file(
        &self,
        name: &str,
        above: &[String],
        modified: Option<i64>,
        content: &mut dyn Read,
        target: &mut Target,
    ) -> Result<(), Trouble> {
        let mut input = Input::new(content);
        let start = input.peek(1024).map_err(Trouble::unreadable)?;
        let is_mbox = start.starts_with(b"From ") || (start.is_empty() && is_named_as_mbox(name));
        let is_message = is_named_as_message(name) || (self.tree.is_file() && begins_as_header(start));
        if is_mbox {
            let levels = if self.tree.is_file() && self.request.mailbox.is_some() {
                Vec::new()
            } else {
                self.survey.levels_of_files(above, Some(name))
            };
            return self.mbox(
                &self.named_path(above, name),
                &self.mailbox(&levels)?,
                modified,
                input,
                target,
            );
        }
        if is_message {
            let mailbox = self.mailbox(&self.survey.levels_of_files(above, None))?;
            return message(mailbox, modified, input, target);
        }
        if self.tree.is_file() {
            return Err(Trouble::Message("it is no message, mbox, zip or tar".to_owned()));
        }
        target.report.passed_over += 1;
        Ok(())
    }

    fn named_path(&self, above: &[String], name: &str) -> String {
        self.named(&[above, &[name.to_owned()]].concat())
    }

    fn mbox(
        &self,
        name: &str,
        mailbox: &MailboxName,
        modified: Option<i64>,
        input: Input<'_>,
        target: &mut Target,
    ) -> Result<(), Trouble> {
        target.make(mailbox)?; // also when it is empty
        let mut mbox = Mbox::new(input);
        let mut number = 0;
        while let Some(head) = mbox.next().map_err(Trouble::unreadable)? {
            number += 1;
            let header = head.header;
            let line_ends = if header.is_ours { LineEnds::Lf } else { LineEnds::Any };
            let date = head.date.or_else(|| date_in(&header.own)).or(modified);
            let facts = Facts { mailbox: mailbox.clone(), flags: header.flags, date, line_ends };
            let added = target.add(facts, |incoming| {
                incoming.put(&header.own)?;
                while let Some(piece) = mbox.body().map_err(Trouble::unreadable)? {
                    incoming.put(piece)?;
                }
                Ok(())
            });
            self.settle(target, &format!("{name}, message {number}"), added)?;
        }
        Ok(())
    }

    /// The mailbox of these levels; no level is INBOX, or what takes its place.
    fn mailbox(&self, levels: &[String]) -> Result<MailboxName, Trouble> {
        let clean = |level: &String| level.replace(|c: char| c.is_control() || c == '/', "_");
        let mut levels: Vec<String> = levels.iter().map(clean).filter(|level| !level.is_empty()).collect();
        if let Some(mailbox) = &self.request.mailbox {
            if levels.first().is_some_and(|level| level.eq_ignore_ascii_case("INBOX")) {
                levels.remove(0);
            }
            levels.insert(0, mailbox.to_string());
        }
        if levels.is_empty() {
            return Ok(MailboxName::inbox());
        }
        levels.join("/").parse().map_err(|error| Trouble::Message(format!("{}: {error}", levels.join("/"))))
    }

    fn subscribe(&self, target: &mut Target) -> Result<(), Trouble> {
        let levels = self.survey.subscriptions().unwrap_or_default();
        let names: Vec<_> = levels.iter().filter_map(|levels| self.mailbox(levels).ok()).collect();
        target.subscribe(&names)
    }
}

fn message(
    mailbox: MailboxName,
    modified: Option<i64>,
    mut input: Input<'_>,
    target: &mut Target,
) -> Result<(), Trouble> {
    let header = input.header(|_| false).map_err(Trouble::unreadable)?;
    let date = date_in(&header).or(modified);
    let facts = Facts { mailbox, flags: Flags::new(), date, line_ends: LineEnds::Any };
    target.add(facts, |incoming| {
        incoming.put(&header)?;
        copy(&mut input, incoming)
    })
}

fn copy(input: &mut Input<'_>, incoming: &mut Incoming) -> Result<(), Trouble> {
    loop {
        let block = input.peek(1).map_err(Trouble::unreadable)?;
        if block.is_empty() {
            return Ok(());
        }
        incoming.put(block)?;
        let length = block.len();
        input.consume(length);
    }
}

fn date_in(header: &[u8]) -> Option<i64> {
    fields(header).find_map(|field| value(field, "Date")).and_then(dates::in_date_field)
}

/// An mbox without messages can be told by its name only; Thunderbird's have no extension.
fn is_named_as_mbox(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".mbox") || !name.contains('.'))
}

/// `.eml`, or a number as in MH folders; what macOS puts beside a file begins with a dot.
fn is_named_as_message(name: &str) -> bool {
    if name.starts_with('.') {
        return false;
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|it| it.eq_ignore_ascii_case("eml")) || name.bytes().all(|c| c.is_ascii_digit())
}

/// A field's name and a colon. RFC 5322 §2.2.
fn begins_as_header(start: &[u8]) -> bool {
    let name = start.iter().take_while(|octet| octet.is_ascii_graphic() && **octet != b':').count();
    name > 0 && start.get(name) == Some(&b':')
}

fn into_fatal(trouble: Trouble) -> anyhow::Error {
    match trouble {
        Trouble::Fatal(error) => error,
        Trouble::Message(text) => anyhow::anyhow!(text),
    }
}
