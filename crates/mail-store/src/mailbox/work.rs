use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail_types::{Flags, Keyword, MailboxName, ModSeq, Uid};

use crate::account::Account;
use crate::error::{IoContext as _, StoreError};
use crate::index::{Index, MailboxRow, MessageRow};
use crate::mailbox_file::{Foreign, MailboxFile, letter_of};
use crate::names::{self, FileName};
use crate::snapshot::{Row, Snapshot};

/// UIDs and mod-sequences are reserved in blocks of this size, so that the file is seldom written.
const BLOCK: u32 = 256;

/// A mailbox while the account is locked: its file, its row, the index's transaction.
pub(super) struct Work<'a> {
    pub(super) index: &'a Index,
    pub(super) name: &'a MailboxName,
    pub(super) key: &'a str,
    pub(super) folder: &'a Path,
    pub(super) file: MailboxFile,
    written: MailboxFile,
    /// The row as the index has it.
    saved: Option<MailboxRow>,
    pub(super) row: MailboxRow,
}

impl<'a> Work<'a> {
    /// Brings file, row and folder in step.
    pub(super) fn open(
        account: &Account,
        index: &'a Index,
        name: &'a MailboxName,
        key: &'a str,
        folder: &'a Path,
    ) -> Result<Self, StoreError> {
        if !folder.join("cur").try_exists().context("looking at", folder)? {
            return Err(StoreError::NoSuchMailbox(name.clone()));
        }
        let (file, foreign) = match MailboxFile::read(folder)? {
            Some(file) => (file, Foreign::default()),
            None => {
                let foreign = Foreign::read(folder)?;
                let uid_validity = foreign.uid_validity.map_or_else(|| account.new_uid_validity(), Ok)?;
                let mut file = MailboxFile::new(uid_validity, None);
                file.uid_limit = foreign.uid_next.max(1);
                file.keywords.clone_from(&foreign.keywords);
                file.write(folder)?;
                (file, foreign)
            }
        };
        let boot = account.boot();
        let known = index.mailbox(key)?.filter(|row| row.uid_validity == file.uid_validity.value());
        // After a crash of the machine the index may lack its last changes: go on above all that was ever given.
        let recovering = known.as_ref().is_none_or(|row| row.boot != boot);
        let saved = known.clone();
        let row = match known {
            Some(row) if !recovering => row,
            Some(row) => MailboxRow {
                uid_next: file.uid_limit,
                mod_seq: file.mod_seq_limit,
                boot: boot.to_owned(),
                log_floor: file.mod_seq_limit,
                ..row
            },
            None => {
                index.forget(key)?;
                MailboxRow {
                    uid_validity: file.uid_validity.value(),
                    uid_next: file.uid_limit,
                    mod_seq: file.mod_seq_limit,
                    first_recent: if file.uid_limit > 1 && foreign.uids.is_empty() {
                        file.uid_limit
                    } else {
                        1
                    },
                    boot: boot.to_owned(),
                    cur: 0,
                    new: 0,
                    log_floor: file.mod_seq_limit,
                }
            }
        };
        let mut work = Self { index, name, key, folder, written: file.clone(), file, saved, row };
        work.scan(&foreign, recovering)?;
        Ok(work)
    }

    /// Saves what changed: the file before the index, since the index is only a cache.
    pub(super) fn save(&mut self) -> Result<(), StoreError> {
        self.write_file()?;
        if self.saved.as_ref() == Some(&self.row) {
            return Ok(());
        }
        self.index.put_mailbox(self.key, &self.row)
    }

    pub(super) fn write_file(&mut self) -> Result<(), StoreError> {
        if self.file != self.written {
            self.file.write(self.folder)?;
            self.written = self.file.clone();
        }
        Ok(())
    }

    pub(super) fn next_uid(&mut self) -> Result<Uid, StoreError> {
        let exhausted = || StoreError::NumbersExhausted(self.name.clone());
        let uid = Uid::try_from(self.row.uid_next).map_err(|_| exhausted())?;
        self.row.uid_next = uid.value().checked_add(1).ok_or_else(exhausted)?;
        self.reserve()?;
        Ok(uid)
    }

    pub(super) fn next_mod_seq(&mut self) -> Result<u64, StoreError> {
        self.row.mod_seq += 1;
        self.reserve()?;
        Ok(self.row.mod_seq)
    }

    /// Raises the limits in the file ahead of use.
    fn reserve(&mut self) -> Result<(), StoreError> {
        if self.row.uid_next > self.file.uid_limit {
            self.file.uid_limit = self.row.uid_next.saturating_add(BLOCK);
        }
        if self.row.mod_seq >= self.file.mod_seq_limit {
            self.file.mod_seq_limit = self.row.mod_seq + u64::from(BLOCK);
        }
        self.write_file()
    }

    pub(super) fn path(&self, row: &MessageRow) -> PathBuf {
        let uid = Uid::try_from(row.uid).unwrap_or(Uid::MIN);
        self.folder.join("cur").join(names::in_cur(&row.base, uid, &row.info))
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        let mut known: HashMap<Vec<usize>, u32> = HashMap::from([(Vec::new(), 0)]);
        let (mut uids, mut rows) = (Vec::new(), Vec::new());
        for row in self.index.messages(self.key)? {
            let name = FileName::of_info(&row.info);
            let keywords = *known.entry(keyword_positions(&name, &row).collect()).or_insert_with_key(|set| {
                sets.push(set.clone());
                u32::try_from(sets.len() - 1).unwrap_or_default()
            });
            let Ok(uid) = Uid::try_from(row.uid) else { continue };
            uids.push(uid);
            rows.push(Row {
                mod_seq: ModSeq::try_from(row.mod_seq).unwrap_or(ModSeq::MIN),
                seconds: row.seconds,
                size: row.wire,
                keywords,
                offset_minutes: row.offset_minutes,
                system: name.system(),
            });
        }
        Ok(Snapshot {
            uids: uids.into(),
            rows,
            sets: Arc::new(sets),
            known: self.file.keywords.iter().flatten().cloned().collect::<Vec<Keyword>>().into(),
            names: Arc::new(self.file.keywords.clone()),
            uid_next: Uid::try_from(self.row.uid_next).unwrap_or(Uid::MIN),
            highest_mod_seq: ModSeq::try_from(self.row.mod_seq).unwrap_or(ModSeq::MIN),
            first_recent: Uid::try_from(self.row.first_recent).unwrap_or(Uid::MIN),
        })
    }

    /// The parts of a name and row for these flags.
    pub(super) fn encode(&mut self, name: &FileName<'_>, uid: u32, flags: &Flags) -> (String, String) {
        let positions: Vec<usize> = flags.keywords().iter().map(|it| self.file.keyword(it)).collect();
        let extra: Vec<usize> = positions.iter().copied().filter(|it| letter_of(*it).is_none()).collect();
        let info = name.info_with(flags.system_bits(), positions.into_iter().filter_map(letter_of));
        let text = joined(&extra);
        if extra.is_empty() {
            self.file.extra.remove(&uid)
        } else {
            self.file.extra.insert(uid, extra)
        };
        (info, text)
    }

    pub(super) fn flags(&self, row: &MessageRow) -> Flags {
        let name = FileName::of_info(&row.info);
        let keywords = keyword_positions(&name, row).filter_map(|it| self.file.keywords.get(it)?.clone());
        Flags::from_parts(name.system(), keywords)
    }
}

/// Where a message's keywords stand in the mailbox's list: the letters in its name, and those beyond the letters.
fn keyword_positions<'m>(name: &'m FileName<'_>, row: &'m MessageRow) -> impl Iterator<Item = usize> + 'm {
    let letters = name.letters().map(|letter| usize::from((letter as u8) - b'a'));
    letters.chain(row.extra.split(' ').filter_map(|it| it.parse().ok()))
}

pub(super) fn joined(positions: &[usize]) -> String {
    positions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
