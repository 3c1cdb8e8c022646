//! `mailstead-mailbox`: the few lines from which a lost index is rebuilt.

mod courier_keywords;
mod salvage;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mail_types::{Keyword, SpecialUse, Uid, UidValidity};

use crate::disk;
use crate::error::StoreError;
use crate::mark::{MailboxId, Mark};
use crate::object_id::MailboxObjectId;

const NAME: &str = "mailstead-mailbox";
/// Keywords that have a letter in file names.
const LETTERS: usize = 26;

/// What must outlive the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailboxFile {
    pub(crate) uid_validity: UidValidity,
    pub(crate) id: MailboxId,
    /// File names don't have the mailbox's mark yet: an earlier version of this program gave the UIDs in them.
    pub(crate) is_unmarked: bool,
    /// No UID from here on was ever given.
    pub(crate) uid_limit: u32,
    /// No mod-sequence from here on was ever given.
    pub(crate) mod_seq_limit: u64,
    pub(crate) special_use: Option<SpecialUse>,
    /// By which clients know it (RFC 8474); `None` only until it is opened.
    pub(crate) mailbox_id: Option<MailboxObjectId>,
    /// UIDs are being taken over from another server's files; not yet all of them stand in the file names.
    pub(crate) importing: bool,
    /// The first 26 have the letters a to z; `None` is a letter whose keyword is not known.
    pub(crate) keywords: Vec<Option<Keyword>>,
    /// Keywords without a letter, by message, as positions in `keywords`.
    pub(crate) extra: BTreeMap<u32, Vec<usize>>,
}

impl MailboxFile {
    pub(crate) fn path(folder: &Path) -> PathBuf {
        folder.join(NAME)
    }

    pub(crate) fn new(uid_validity: UidValidity, special_use: Option<SpecialUse>) -> Self {
        Self {
            uid_validity,
            id: MailboxId::random(),
            is_unmarked: false,
            uid_limit: 1,
            mod_seq_limit: 1,
            special_use,
            mailbox_id: None,
            importing: false,
            keywords: Vec::new(),
            extra: BTreeMap::new(),
        }
    }

    /// By which names of files in `cur/` say that the UIDs in them are of this mailbox.
    pub(crate) const fn mark(&self) -> Mark {
        Mark { uid_validity: self.uid_validity, id: self.id }
    }

    /// `None` if the folder has no such file. A damaged one is an error: guessing would make clients download all again.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = Self::path(folder);
        let Some(content) = disk::read_optional(&path)? else { return Ok(None) };
        match Self::parse(&String::from_utf8_lossy(&content)) {
            Some(file) => Ok(Some(file)),
            None => Err(StoreError::Io {
                context: "this file is damaged:",
                path,
                source: std::io::ErrorKind::InvalidData.into(),
            }),
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), StoreError> {
        disk::replace(&Self::path(folder), self.format().as_bytes())
    }

    /// True if another server left its list of UIDs here.
    fn has_foreign_list(folder: &Path) -> bool {
        ["dovecot-uidlist", "courierimapuiddb"].iter().any(|name| folder.join(name).exists())
    }

    fn format(&self) -> String {
        let mut text = format!(
            "mailstead-mailbox 1\nuidvalidity {}\nid {}\nuidnext {}\nmodseq {}\n",
            self.uid_validity, self.id, self.uid_limit, self.mod_seq_limit
        );
        if self.is_unmarked {
            text.push_str("unmarked yes\n");
        }
        if let Some(special_use) = self.special_use {
            text.push_str(&format!("specialuse {special_use}\n"));
        }
        if let Some(mailbox_id) = self.mailbox_id {
            text.push_str(&format!("mailboxid {mailbox_id}\n"));
        }
        if self.importing {
            text.push_str("importing yes\n");
        }
        for keyword in &self.keywords {
            text.push_str(&format!("keyword {}\n", keyword.as_ref().map_or("\\", Keyword::as_str)));
        }
        for (uid, positions) in &self.extra {
            let _ = write!(text, "extra {uid}");
            positions.iter().for_each(|position| text.push_str(&format!(" {position}")));
            text.push('\n');
        }
        text.push_str("end\n");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "mailstead-mailbox 1" || lines.next_back()? != "end" {
            return None;
        }
        let mut file = Self::new(UidValidity::MIN, None);
        file.is_unmarked = !text.contains("\nid ");
        let mut seen = 0;
        for line in lines {
            seen += u8::from(file.take_line(line)?);
        }
        (seen == 3).then_some(file)
    }

    /// `<key> <value>`; true for one that no file may lack.
    fn take_line(&mut self, line: &str) -> Option<bool> {
        let (key, value) = line.split_once(' ')?;
        match key {
            "uidvalidity" => self.uid_validity = UidValidity::try_from(value.parse::<u32>().ok()?).ok()?,
            "id" => self.id = value.parse().ok()?,
            "unmarked" => self.is_unmarked = true,
            "uidnext" => self.uid_limit = value.parse().ok()?,
            "modseq" => self.mod_seq_limit = value.parse().ok()?,
            "specialuse" => self.special_use = value.parse().ok(),
            "mailboxid" => self.mailbox_id = value.parse().ok(),
            "importing" => self.importing = true,
            "keyword" => self.keywords.push(value.parse().ok()),
            "extra" => {
                let mut numbers = value.split(' ');
                let uid = numbers.next()?.parse().ok()?;
                self.extra.insert(uid, numbers.map(|n| n.parse().ok()).collect::<Option<_>>()?);
            }
            _ => {} // from a later version
        }
        Some(matches!(key, "uidvalidity" | "uidnext" | "modseq"))
    }

    /// Adds a keyword; its position.
    pub(crate) fn add_keyword(&mut self, keyword: &Keyword) -> usize {
        self.keywords.push(Some(keyword.clone()));
        self.keywords.len() - 1
    }

    pub(crate) fn knows_letter(&self, letter: char) -> bool {
        self.keywords.get(position_of(letter)).is_some_and(Option::is_some)
    }

    /// Gives the keyword of a letter that another program used first a name of its own.
    pub(crate) fn add_letter(&mut self, letter: char) {
        let position = position_of(letter);
        if self.keywords.len() <= position {
            self.keywords.resize(position + 1, None);
        }
        if let Some(entry) = self.keywords.get_mut(position) {
            *entry = format!("maildir-{letter}").parse().ok();
        }
    }
}

fn position_of(letter: char) -> usize {
    usize::from((letter as u8).saturating_sub(b'a'))
}

/// The letter of the keyword at `position`; `None` past the 26th.
pub(crate) fn letter_of(position: usize) -> Option<char> {
    (position < LETTERS).then(|| u8::try_from(position).ok()).flatten().map(|n| char::from(b'a' + n))
}

/// What another server knew of a folder's messages.
#[derive(Debug, Default)]
pub(crate) struct Foreign {
    pub(crate) uid_validity: Option<UidValidity>,
    pub(crate) uid_next: u32,
    /// UIDs by the base of the file name.
    pub(crate) uids: HashMap<String, Uid>,
    /// Of the letters in file names.
    pub(crate) keywords: Vec<Option<Keyword>>,
    /// Those of messages whose file names don't tell them, by the base of the file name.
    pub(crate) keywords_of: HashMap<String, Vec<Keyword>>,
}

impl Foreign {
    /// Reads Dovecot's or Courier's files, so that no client downloads again.
    pub(crate) fn read(folder: &Path) -> Result<Self, StoreError> {
        let mut foreign = Self::default();
        if let Some(list) = disk::read_optional(&folder.join("dovecot-uidlist"))? {
            foreign.dovecot(&String::from_utf8_lossy(&list));
        } else if let Some(list) = disk::read_optional(&folder.join("courierimapuiddb"))? {
            foreign.courier(&String::from_utf8_lossy(&list));
            foreign.keywords_of = courier_keywords::read(folder)?;
        }
        if let Some(names) = disk::read_optional(&folder.join("dovecot-keywords"))? {
            foreign.keywords(&String::from_utf8_lossy(&names));
        }
        Ok(foreign)
    }

    /// `3 V<uidvalidity> N<next uid> G<guid>`, then `<uid> [<extension>…] :<file name>`; before version 3 as Courier's.
    fn dovecot(&mut self, list: &str) {
        let mut lines = list.lines();
        let header = lines.next().unwrap_or_default();
        if !header.starts_with("3 ") {
            return self.courier(list);
        }
        for field in header.split(' ') {
            if let Some(value) = field.strip_prefix('V') {
                self.uid_validity = value.parse().ok().and_then(|it: u32| it.try_into().ok());
            } else if let Some(value) = field.strip_prefix('N') {
                self.uid_next = value.parse().unwrap_or_default();
            }
        }
        for (fields, name) in lines.filter_map(|line| line.split_once(" :")) {
            self.message(fields.split(' ').next().unwrap_or_default(), name);
        }
    }

    /// `1 <uidvalidity> <next uid>`, then `<uid> <file name>`.
    fn courier(&mut self, list: &str) {
        let mut lines = list.lines();
        let mut header = lines.next().unwrap_or_default().split(' ').skip(1);
        self.uid_validity =
            header.next().and_then(|it| it.parse::<u32>().ok()).and_then(|it| it.try_into().ok());
        self.uid_next = header.next().and_then(|it| it.parse().ok()).unwrap_or_default();
        lines.filter_map(|line| line.split_once(' ')).for_each(|(uid, name)| self.message(uid, name));
    }

    fn message(&mut self, uid: &str, name: &str) {
        let Some(uid) = uid.parse::<u32>().ok().and_then(|uid| Uid::try_from(uid).ok()) else { return };
        self.uid_next = self.uid_next.max(uid.value().saturating_add(1));
        self.uids.insert(crate::names::FileName::parse(name).base.into_owned(), uid);
    }

    /// `<position> <keyword>`
    fn keywords(&mut self, names: &str) {
        for (position, name) in names.lines().filter_map(|line| line.split_once(' ')) {
            let Some(position) = position.parse::<usize>().ok().filter(|it| *it < LETTERS) else { continue };
            while self.keywords.len() <= position {
                self.keywords.push(None);
            }
            if let Some(entry) = self.keywords.get_mut(position) {
                *entry = name.parse().ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_back_as_written_and_a_cut_one_is_refused() {
        let mut file = MailboxFile::new(UidValidity::try_from(77).unwrap(), Some(SpecialUse::Sent));
        file.add_keyword(&"$Forwarded".parse().unwrap());
        file.add_letter('c');
        file.mailbox_id = MailboxObjectId::new().ok();
        file.importing = true;
        file.extra.insert(9, vec![27, 30]);
        let text = file.format();
        assert_eq!(MailboxFile::parse(&text), Some(file));
        assert_eq!(MailboxFile::parse(&text[..text.len() - 4]), None);
    }

    #[test]
    fn dovecot_and_courier_lists_are_understood() {
        let mut foreign = Foreign::default();
        foreign.dovecot("3 V1300000000 N42 G0123\n7 W99 :1.M2.host,S=98\n9 :1.M3.host\n");
        assert_eq!(foreign.uid_validity.map(UidValidity::value), Some(1_300_000_000));
        assert_eq!((foreign.uid_next, foreign.uids["1.M2.host,S=98"].value()), (42, 7));
        let mut foreign = Foreign::default();
        foreign.courier("1 1200000000 5\n3 1.M4.host\n");
        assert_eq!((foreign.uid_next, foreign.uids["1.M4.host"].value()), (5, 3));
    }
}
