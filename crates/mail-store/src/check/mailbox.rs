//! One mailbox: its folder, its file and what the index knows of it, compared.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::file::Found;
use super::finding::{Finding, Findings, Problem};
use crate::housekeeping;
use crate::index::{Index, MailboxRow, MessageRow};
use crate::mailbox_file::MailboxFile;
use crate::names::FileName;

/// A mailbox as one look shows it.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) findings: Vec<Finding>,
    pub(super) files: Vec<Found>,
}

/// Looks at a mailbox. `index` is `None` where that can't be read.
pub(super) fn look(folder: &Path, key: &str, index: Option<&Index>) -> Look {
    let mut findings = Findings::default();
    // The index first: a message that comes meanwhile is then a file too many, and looked at again.
    let known = index.map(|index| Known::read(index, key));
    let mut files = Vec::new();
    for part in ["new", "cur"] {
        read_part(folder, part, &mut files, &mut findings);
    }
    judge_tmp(folder, &mut findings);
    let file = match MailboxFile::read(folder) {
        Ok(file) => file,
        Err(error) if error.is_damage() => {
            findings.add(MailboxFile::path(folder), Problem::MailboxFileDamaged);
            return Look { findings: findings.0, files };
        }
        Err(error) => {
            findings.add(MailboxFile::path(folder), Problem::Unreadable(error.to_string()));
            return Look { findings: findings.0, files };
        }
    };
    match (&file, known) {
        (Some(file), known) => {
            files.iter_mut().for_each(|found| found.keep_own_uid(file));
            judge_uids(&files, &mut findings);
            judge_file(folder, file, &files, &mut findings);
            known.into_iter().for_each(|known| known.judge(folder, file, &files, &mut findings));
        }
        (None, Some(Known { row: Some(_), .. })) => {
            findings.add(MailboxFile::path(folder), Problem::MailboxFileMissing);
        }
        (None, _) => {} // another program's mailbox, which was never opened
    }
    Look { findings: findings.0, files }
}

fn read_part(folder: &Path, part: &str, files: &mut Vec<Found>, findings: &mut Findings) {
    let path = folder.join(part);
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return findings.add(path, Problem::FolderMissing);
        }
        Err(error) => return findings.add(path, Problem::Unreadable(error.to_string())),
    };
    for entry in entries {
        match entry {
            Ok(entry) => files.extend(Found::look(&entry, part == "cur", findings)),
            Err(error) => return findings.add(path, Problem::Unreadable(error.to_string())),
        }
    }
}

fn judge_tmp(folder: &Path, findings: &mut Findings) {
    if !folder.join("tmp").is_dir() {
        findings.add(folder.join("tmp"), Problem::FolderMissing);
    }
    for path in housekeeping::stale(folder, std::time::SystemTime::now()) {
        findings.add(path, Problem::StaleTemporary);
    }
}

fn judge_uids(files: &[Found], findings: &mut Findings) {
    let mut seen = HashSet::new();
    for file in files {
        if let Some(uid) = file.uid.filter(|uid| !seen.insert(*uid)) {
            findings.add(&file.path, Problem::UidDoubled(uid));
        }
    }
}

/// What the mailbox's file says of the messages.
fn judge_file(folder: &Path, file: &MailboxFile, files: &[Found], findings: &mut Findings) {
    for found in files {
        if found.is_in_cur && found.uid.is_none() {
            findings.add(&found.path, Problem::NoUid);
        }
        if let Some(uid) = found.uid.filter(|uid| uid.value() >= file.uid_limit) {
            findings.add(&found.path, Problem::UidAboveLimit(uid));
        }
        let name = FileName::parse(&found.name);
        let unknown = name.letters().find(|letter| !file.knows_letter(*letter));
        if let Some(letter) = unknown.filter(|_| found.uid.is_some()) {
            findings.add(&found.path, Problem::LetterUnknown(letter));
        }
    }
    let uids: HashSet<u32> = files.iter().filter_map(|it| it.uid).map(|uid| uid.value()).collect();
    for (uid, positions) in &file.extra {
        let is_named = |position: &usize| file.keywords.get(*position).is_some_and(Option::is_some);
        if !uids.contains(uid) || !positions.iter().all(is_named) {
            findings.add(MailboxFile::path(folder), Problem::StrayKeywords(*uid));
        }
    }
}

/// What the index knows of a mailbox.
struct Known {
    row: Option<MailboxRow>,
    messages: HashMap<u32, MessageRow>,
    failed: Option<String>,
}

impl Known {
    fn read(index: &Index, key: &str) -> Self {
        let both = index.mailbox(key).and_then(|row| {
            let count = row.as_ref().map_or(0, |row| row.messages);
            Ok((row, index.all_messages(key, count)?))
        });
        match both {
            Ok((row, messages)) => {
                let messages = messages.into_iter().map(|row| (row.uid, row)).collect();
                Self { row, messages, failed: None }
            }
            Err(error) => Self { row: None, messages: HashMap::new(), failed: Some(error.to_string()) },
        }
    }

    fn judge(mut self, folder: &Path, file: &MailboxFile, files: &[Found], findings: &mut Findings) {
        if let Some(error) = self.failed {
            return findings.add(folder, Problem::IndexDamaged(error));
        }
        // A mailbox that was not opened since the index was made is not in it, and that is all right.
        let Some(row) = self.row else { return };
        let numbers = row.uid_next <= file.uid_limit && row.mod_seq <= file.mod_seq_limit;
        if row.uid_validity != file.uid_validity.value() || !numbers {
            return findings.add(folder, Problem::IndexOfAnother);
        }
        // What lies in `new` without a UID is mail that nobody has looked at yet.
        for found in files.iter().filter(|it| it.is_in_cur || it.uid.is_some()) {
            let row = found.uid.and_then(|uid| self.messages.get(&uid.value()));
            match row.filter(|row| row.base == found.base).map(|row| row.uid) {
                Some(uid) => {
                    let row = self.messages.remove(&uid);
                    row.into_iter().for_each(|row| judge_row(&row, file, found, findings));
                }
                None => findings.add(&found.path, Problem::NotIndexed),
            }
        }
        for uid in self.messages.into_keys() {
            findings.add(folder, Problem::FileMissing(uid));
        }
    }
}

fn judge_row(row: &MessageRow, file: &MailboxFile, found: &Found, findings: &mut Findings) {
    let extra = file.extra.get(&row.uid).map(|it| crate::mailbox::joined(it)).unwrap_or_default();
    if row.info != FileName::parse(&found.name).info || row.extra != extra {
        findings.add(&found.path, Problem::FlagsDiffer);
    }
    if let Some(found_wire) = found.named_wire().filter(|wire| *wire != row.wire) {
        let problem = Problem::WireSizeDiffers { named: row.wire, found: found_wire };
        findings.add(&found.path, problem);
    }
}
