//! What one session has been told of the mailbox that it selected.

use anyhow::{Context, Result, bail, ensure};

use super::ledger::{Ledger, id_of};
use super::truth::Folder;
use super::wire::{Fetched, Flags, Said};

/// A message as this session knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot {
    pub(crate) uid: Option<u32>,
    pub(crate) flags: Option<Flags>,
    pub(crate) id: Option<String>,
    /// Its flags were told by the command under way.
    pub(crate) is_told: bool,
}

/// A mailbox as this session knows it: the slots by sequence number.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) mailbox: String,
    pub(crate) uid_validity: u32,
    pub(crate) slots: Vec<Slot>,
}

/// RFC 3501 §7.4.1: these count messages, so that numbers must not move.
fn may_expunge(command: &str) -> bool {
    !["FETCH ", "STORE ", "SEARCH "].iter().any(|verb| command.starts_with(verb))
}

impl View {
    pub(crate) fn new(mailbox: &str) -> Self {
        Self { mailbox: mailbox.to_owned(), uid_validity: 0, slots: Vec::new() }
    }

    /// Takes in what the server says during a command, if it may say that.
    pub(crate) fn hear(&mut self, said: &Said, command: &str, ledger: &Ledger) -> Result<()> {
        match said {
            Said::Exists(count) => {
                let known = self.slots.len();
                ensure!(*count >= known, "{known} messages became {count} without EXPUNGE");
                self.slots.resize_with(*count, Slot::default);
            }
            Said::Expunge(number) => {
                ensure!(may_expunge(command), "EXPUNGE within a command that counts messages");
                self.slot(*number)?;
                let slot = self.slots.remove(*number - 1);
                if let Some(uid) = slot.uid {
                    ledger.expunged((self.uid_validity, uid));
                }
            }
            Said::Fetch(number, fetched) => self.fetched(*number, fetched, ledger)?,
            Said::Other(text) => {
                if let Some(value) = text.strip_prefix("UIDVALIDITY ") {
                    self.uid_validity = value.parse()?;
                }
            }
            Said::Search(found) => {
                let by_uid = command.starts_with("UID ");
                let unknown = found.iter().find(|it| !self.has(**it, by_uid));
                ensure!(unknown.is_none(), "{unknown:?} is found and not there");
            }
            Said::Bye => {}
        }
        Ok(())
    }

    /// True if there may be such a message, by number or by UID.
    fn has(&self, number: u32, by_uid: bool) -> bool {
        let is_it = |slot: &Slot| slot.uid.is_none_or(|known| known == number);
        if by_uid {
            self.slots.iter().any(is_it)
        } else {
            (1..=self.slots.len()).contains(&(number as usize))
        }
    }

    fn slot(&mut self, number: usize) -> Result<&mut Slot> {
        let count = self.slots.len();
        let slot = number.checked_sub(1).and_then(|index| self.slots.get_mut(index));
        slot.with_context(|| format!("number {number} of {count} messages"))
    }

    fn fetched(&mut self, number: usize, fetched: &Fetched, ledger: &Ledger) -> Result<()> {
        let slot = self.slot(number)?;
        if let Some(uid) = fetched.uid {
            let known = *slot.uid.get_or_insert(uid);
            ensure!(known == uid, "number {number} is UID {known} and is told to be {uid}");
        }
        if let Some(flags) = &fetched.flags {
            slot.flags = Some(flags.clone());
            slot.is_told = true;
        }
        if let Some(literal) = &fetched.literal {
            let id = if let Some(size) = fetched.size {
                ensure!(size > 0 && size == literal.len(), "{size} is the size of {} octets", literal.len());
                Some(ledger.read(literal)?)
            } else {
                id_of(literal)
            };
            let id = id.context("a message without its id")?;
            let known = slot.id.get_or_insert_with(|| id.clone());
            ensure!(*known == id, "number {number} was {known} and is {id}");
            let uid = slot.uid.context("a body without a UID")?;
            ledger.bind((self.uid_validity, uid), &id)?;
            fetched.date.as_ref().map_or(Ok(()), |date| ledger.date(&id, date))?;
        }
        self.check_order()
    }

    /// UIDs ascend. RFC 3501 §2.3.1.1.
    fn check_order(&self) -> Result<()> {
        let uids: Vec<u32> = self.slots.iter().filter_map(|slot| slot.uid).collect();
        ensure!(uids.windows(2).all(|pair| pair[0] < pair[1]), "UIDs don't ascend: {uids:?}");
        Ok(())
    }

    /// The set of sequence numbers of which nothing is known.
    pub(crate) fn unknown(&self) -> Option<String> {
        let is_unknown = |slot: &Slot| slot.id.is_none() || slot.flags.is_none();
        let first = self.slots.iter().position(is_unknown)?;
        let last = self.slots.iter().rposition(is_unknown)?;
        Some(format!("{}:{}", first + 1, last + 1))
    }

    /// An error that tells the first difference.
    pub(crate) fn compare(&self, folder: &Folder) -> Result<()> {
        let (mine, there) = (self.uid_validity, folder.uid_validity);
        ensure!(mine == there, "{}: UIDVALIDITY {mine}, in the file {there}", self.mailbox);
        let mut stored = folder.messages.iter();
        for slot in &self.slots {
            let Some((uid, stored)) = stored.next() else {
                bail!("{}: {slot:?} is not in the folder", self.mailbox)
            };
            let is_same = slot.uid == Some(*uid)
                && slot.id.as_ref() == Some(&stored.id)
                && slot.flags.as_ref() == Some(&stored.flags);
            ensure!(is_same, "{}: {slot:?}, in the folder {uid} {stored:?}", self.mailbox);
        }
        ensure!(stored.next().is_none(), "{}: messages of the folder are not shown", self.mailbox);
        Ok(())
    }
}
