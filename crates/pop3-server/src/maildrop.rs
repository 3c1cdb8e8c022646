use mail_types::{Uid, UidValidity};
use pop3_proto::{MessageNumber, UniqueId};

/// The messages of INBOX as they were at login, which stay numbered like this for the session. RFC 1939 §4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maildrop {
    uid_validity: UidValidity,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    uid: Uid,
    size: u64,
    deleted: bool,
}

impl Maildrop {
    /// Of messages given by UID and wire size, in their order.
    pub(crate) fn new(uid_validity: UidValidity, messages: impl IntoIterator<Item = (Uid, u64)>) -> Self {
        let entry = |(uid, size)| Entry { uid, size, deleted: false };
        Self { uid_validity, entries: messages.into_iter().map(entry).collect() }
    }

    /// How many messages are not marked as deleted, and their octets.
    pub(crate) fn totals(&self) -> (usize, u64) {
        self.left().fold((0, 0), |(count, size), (_, entry)| (count + 1, size + entry.size))
    }

    /// The size of a message that is not marked as deleted.
    pub(crate) fn size(&self, number: MessageNumber) -> Option<u64> {
        self.entry(number).map(|entry| entry.size)
    }

    /// The UID of a message that is not marked as deleted.
    pub(crate) fn uid(&self, number: MessageNumber) -> Option<Uid> {
        self.entry(number).map(|entry| entry.uid)
    }

    /// The unique id of a message that is not marked as deleted.
    pub(crate) fn unique_id(&self, number: MessageNumber) -> Option<UniqueId> {
        self.uid(number).map(|uid| UniqueId { uid, uid_validity: self.uid_validity })
    }

    /// The numbers of the messages not marked as deleted.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = MessageNumber> {
        self.left().filter_map(|(position, _)| MessageNumber::at(position))
    }

    /// Marks a message as deleted; false if there is none.
    pub(crate) fn delete(&mut self, number: MessageNumber) -> bool {
        let entry = self.entries.get_mut(number.position()).filter(|entry| !entry.deleted);
        entry.map(|entry| entry.deleted = true).is_some()
    }

    /// Takes all marks back.
    pub(crate) fn reset(&mut self) {
        for entry in &mut self.entries {
            entry.deleted = false;
        }
    }

    /// The UIDs of the messages marked as deleted.
    pub(crate) fn deleted(&self) -> Vec<Uid> {
        self.entries.iter().filter(|entry| entry.deleted).map(|entry| entry.uid).collect()
    }

    fn left(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().filter(|(_, entry)| !entry.deleted)
    }

    fn entry(&self, number: MessageNumber) -> Option<&Entry> {
        self.entries.get(number.position()).filter(|entry| !entry.deleted)
    }
}
