//! A first look at a source: which of its folders are Maildirs, and what their files say of all their messages.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use mail_types::{Flags, Keyword, MailboxName};

use super::tree::{Content, Entry, Tree};
use crate::store::trouble::Trouble;

/// The files beside messages that are read are never longer.
const LONGEST: u64 = 1 << 20;

/// The names that lead to a folder of the source.
type Folder = Vec<String>;

#[derive(Default)]
pub(super) struct Survey {
    pub(super) maildirs: BTreeSet<Folder>,
    /// The folder that stands for the account.
    base: Folder,
    keywords: BTreeMap<Folder, Vec<Option<Keyword>>>,
    subscriptions: BTreeMap<Folder, String>,
    /// Of all files.
    pub(super) octets: u64,
    /// Files beside messages that could not be read, and why.
    pub(super) unreadable: Vec<(Vec<String>, String)>,
    new: BTreeSet<Folder>,
    tmp: BTreeSet<Folder>,
    /// What all files have in common.
    common: Option<Folder>,
}

impl Survey {
    /// What can't be read is met again, and named, when messages are read.
    pub(super) fn of(tree: &Tree) -> Result<Self, Trouble> {
        let mut survey = Self::default();
        match tree.walk(&mut |entry| survey.look(entry)) {
            Ok(()) | Err(Trouble::Message(_)) => {}
            Err(fatal) => return Err(fatal),
        }
        let both = survey.new.intersection(&survey.tmp).cloned();
        survey.maildirs.extend(both);
        survey.base = survey.find_base(tree.is_archive());
        Ok(survey)
    }

    fn look(&mut self, entry: Entry<'_>) -> Result<(), Trouble> {
        let Some((name, above)) = entry.path.split_last() else { return Ok(()) };
        match entry.content {
            Content::Folder => self.part(name, above),
            Content::File(content) => {
                self.octets += entry.size;
                let mut text = Vec::new();
                if is_of_mailbox(name) {
                    let read = content.take(LONGEST).read_to_end(&mut text);
                    self.unreadable.extend(read.err().map(|error| (entry.path.clone(), error.to_string())));
                }
                self.file(name, above, &String::from_utf8_lossy(&text));
            }
            Content::Unreadable(_) => {}
        }
        Ok(())
    }

    fn file(&mut self, name: &str, above: &[String], text: &str) {
        match name {
            "dovecot-keywords" => {
                self.keywords.insert(above.to_vec(), keywords(text));
            }
            "subscriptions" | "courierimapsubscribed" => {
                self.subscriptions.insert(above.to_vec(), text.to_owned());
            }
            _ => {}
        }
        let in_part = above.split_last().filter(|(part, _)| matches!(part.as_str(), "cur" | "new" | "tmp"));
        if let Some((part, maildir)) = in_part {
            self.part(part, maildir);
        }
        let folder = in_part.map_or(above, |(_, maildir)| maildir);
        let common = self.common.get_or_insert_with(|| folder.to_vec());
        let same = common.iter().zip(folder).take_while(|(a, b)| a == b).count();
        common.truncate(same);
    }

    /// A folder named `part` lies in `maildir`.
    fn part(&mut self, part: &str, maildir: &[String]) {
        match part {
            "cur" => self.maildirs.insert(maildir.to_vec()),
            "new" => self.new.insert(maildir.to_vec()),
            "tmp" => self.tmp.insert(maildir.to_vec()),
            _ => return,
        };
    }

    /// The Maildir in which all others lie, else, in an archive, the folder in which everything lies.
    fn find_base(&self, is_archive: bool) -> Folder {
        let top = self.maildirs.iter().min_by_key(|maildir| maildir.len());
        match top.filter(|top| self.maildirs.iter().all(|maildir| maildir.starts_with(top))) {
            Some(top) => top.clone(),
            None if is_archive => self.common.clone().unwrap_or_default(),
            None => Folder::new(),
        }
    }

    fn relative<'a>(&self, path: &'a [String]) -> &'a [String] {
        path.strip_prefix(self.base.as_slice()).unwrap_or(path)
    }

    /// The levels of the mailbox that a Maildir holds; none for that of the account itself.
    pub(super) fn levels_of_maildir(&self, maildir: &[String]) -> Vec<String> {
        self.relative(maildir).iter().flat_map(|name| maildir_levels(name)).collect()
    }

    /// The levels of the mailbox that a file holds, or a folder of files, or a tree of them as Thunderbird has it (`Name` and
    /// `Name.sbd/`) or Apple's Mail (`Name.mbox/mbox`).
    pub(super) fn levels_of_files(&self, folder: &[String], file: Option<&str>) -> Vec<String> {
        let suffixed =
            |name: &String| name.strip_suffix(".sbd").or(name.strip_suffix(".mbox")).map(ToOwned::to_owned);
        let folder = self.relative(folder);
        let mut levels: Vec<String> =
            folder.iter().map(|name| suffixed(name).unwrap_or_else(|| name.clone())).collect();
        let is_apples = file == Some("mbox") && folder.last().is_some_and(|name| name.ends_with(".mbox"));
        if let Some(file) = file.filter(|_| !is_apples) {
            levels.push(file.strip_suffix(".mbox").unwrap_or(file).to_owned());
        }
        levels
    }

    /// The flags in the name of a file in this Maildir.
    pub(super) fn flags(&self, maildir: &[String], file: &str) -> Flags {
        let info = file.rsplit_once(":2,").map_or("", |(_, info)| info);
        let is_set = |flag: &mail_types::Flag| info.contains(flag.maildir_letter());
        let mut flags: Flags = mail_types::Flag::ALL.into_iter().filter(is_set).collect();
        let known = self.keywords.get(maildir).map(Vec::as_slice).unwrap_or_default();
        let letters = info.bytes().filter(u8::is_ascii_lowercase).map(|letter| usize::from(letter - b'a'));
        letters.filter_map(|at| known.get(at)?.clone()).for_each(|keyword| flags.insert_keyword(keyword));
        flags
    }

    /// The subscribed mailboxes, as levels; `None` if the source says nothing of that.
    pub(super) fn subscriptions(&self) -> Option<Vec<Vec<String>>> {
        let text = self.subscriptions.get(&self.base).filter(|_| self.maildirs.contains(&self.base))?;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("V\t"));
        Some(lines.map(subscribed).collect())
    }
}

/// True for the files that say something of all messages in a Maildir.
fn is_of_mailbox(name: &str) -> bool {
    matches!(name, "dovecot-keywords" | "subscriptions" | "courierimapsubscribed")
}

/// `<position> <keyword>`, a line for each; a letter in file names stands for its position.
fn keywords(text: &str) -> Vec<Option<Keyword>> {
    let mut keywords = vec![None; 26];
    for (position, name) in text.lines().filter_map(|line| line.split_once(' ')) {
        let entry = position.parse::<usize>().ok().and_then(|position| keywords.get_mut(position));
        if let Some(entry) = entry {
            *entry = name.parse().ok();
        }
    }
    keywords
}

/// Dovecot's levels are divided by dots or, since its second format, by tabs; Courier's stand below INBOX.
fn subscribed(line: &str) -> Vec<String> {
    let line = line.strip_prefix("INBOX.").unwrap_or(line).replace('\t', ".");
    if line.eq_ignore_ascii_case("INBOX") { Vec::new() } else { maildir_levels(&format!(".{line}")) }
}

fn maildir_levels(folder: &str) -> Vec<String> {
    match MailboxName::from_maildir(folder) {
        Ok(name) => name.levels().map(ToOwned::to_owned).collect(),
        Err(_) => vec![folder.trim_start_matches('.').to_owned()],
    }
}
