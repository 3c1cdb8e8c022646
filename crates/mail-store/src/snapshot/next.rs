//! A snapshot made of the one before and of what changed, so that the cost is that of the change.

use std::sync::Arc;

use mail_types::{Keyword, ModSeq, Uid};

use super::history::{History, Step};
use super::{Row, Rows, Snapshot, Uids};
use crate::index::{MailboxRow, MessageRow, MessageState};
use crate::names::FileName;

/// What a snapshot says of its mailbox as a whole.
pub(crate) struct Head<'a> {
    pub(crate) keywords: &'a [Option<Keyword>],
    pub(crate) row: &'a MailboxRow,
}

impl Snapshot {
    /// That of a mailbox of which nothing is known.
    pub(crate) fn empty() -> Self {
        Self {
            uids: Arc::default(),
            rows: Rows::default(),
            sets: Arc::new(vec![Vec::new()]),
            names: Arc::default(),
            known: Arc::new([]),
            uid_next: Uid::MIN,
            highest_mod_seq: ModSeq::MIN,
            first_recent: Uid::MIN,
            history: History::default(),
        }
    }

    /// The next one. `changed` ascends by UID and holds what is new too; `gone` may name what never was.
    pub(crate) fn next(&self, changed: &[MessageRow], gone: &[u32], head: &Head<'_>) -> Self {
        let same_names = self.names.as_slice() == head.keywords;
        let known = || head.keywords.iter().flatten().cloned().collect();
        let mut next = Self {
            uids: Arc::clone(&self.uids),
            rows: self.rows.clone(),
            sets: Arc::clone(&self.sets),
            names: if same_names { Arc::clone(&self.names) } else { Arc::new(head.keywords.to_vec()) },
            known: if same_names { Arc::clone(&self.known) } else { known() },
            uid_next: Uid::try_from(head.row.uid_next).unwrap_or(Uid::MIN),
            highest_mod_seq: ModSeq::try_from(head.row.mod_seq).unwrap_or(ModSeq::MIN),
            first_recent: Uid::try_from(head.row.first_recent).unwrap_or(Uid::MIN),
            history: self.history.clone(),
        };
        let mut encoder = Encoder::new(head, &mut next.sets);
        let uids =
            |uids: &mut dyn Iterator<Item = u32>| uids.filter_map(|it| Uid::try_from(it).ok()).collect();
        if next.highest_mod_seq != self.highest_mod_seq {
            next.history.add(Step {
                from: self.highest_mod_seq,
                changed: uids(&mut changed.iter().map(|message| message.uid)),
                gone: uids(&mut gone.iter().copied()),
            });
        }
        let mut added = Vec::new();
        for message in changed {
            let Ok(uid) = Uid::try_from(message.uid) else { continue };
            let row = encoder.row(message.state());
            match self.position(uid) {
                Some(position) => next.rows.set(position, row),
                None => added.push((uid, row)),
            }
        }
        next.splice(added, gone.iter().filter_map(|uid| self.position(Uid::try_from(*uid).ok()?)).collect());
        next
    }

    /// That of a mailbox of which `read` hands on all, ascending by UID.
    pub(crate) fn whole<E>(
        head: &Head<'_>,
        read: impl FnOnce(&mut dyn FnMut(MessageState<'_>)) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut whole = Self::empty().next(&[], &[], head);
        let mut encoder = Encoder::new(head, &mut whole.sets);
        let (mut uids, rows) = (Uids::default(), &mut whole.rows);
        read(&mut |message| {
            if let Ok(uid) = Uid::try_from(message.uid) {
                uids.push(uid);
                rows.push(encoder.row(message));
            }
        })?;
        rows.shrink();
        whole.uids = Arc::new(uids);
        whole.history = History::default();
        Ok(whole)
    }

    /// Puts rows in and takes those at the positions `gone` out.
    pub(super) fn splice(&mut self, added: Vec<(Uid, Row)>, mut gone: Vec<usize>) {
        gone.sort_unstable();
        let first = added.first().map(|(uid, _)| self.uids.partition_point(|it| it < *uid));
        let Some(split) = gone.first().copied().into_iter().chain(first).min() else { return };
        let stays = |position: &usize| gone.binary_search(position).is_err();
        let len = self.uids.len();
        let tail: Vec<_> = self.uids.range(split..len).zip(self.rows.split_off(split)).collect();
        let tail = (split..).zip(tail).filter(|(position, _)| stays(position));
        let mut tail = tail.map(|(_, message)| message).peekable();
        let uids = Arc::make_mut(&mut self.uids);
        uids.truncate(split);
        let mut rows = Vec::with_capacity(len - split + added.len());
        let mut push = |(uid, row)| {
            uids.push(uid);
            rows.push(row);
        };
        for (uid, row) in added {
            while let Some(before) = tail.next_if(|(other, _)| *other < uid) {
                push(before);
            }
            push((uid, row));
        }
        tail.for_each(push);
        self.rows.extend(&rows);
    }
}

/// Makes rows of what the index says.
struct Encoder<'a> {
    least: ModSeq,
    sets: &'a mut Arc<Vec<Vec<usize>>>,
    /// What the last message had, `info` and `extra`, and how that is encoded: most have the same.
    last: (String, String, u8, u32),
}

impl<'a> Encoder<'a> {
    fn new(head: &Head<'_>, sets: &'a mut Arc<Vec<Vec<usize>>>) -> Self {
        let least = ModSeq::try_from(head.row.least_mod_seq).unwrap_or(ModSeq::MIN);
        Self { least, sets, last: (String::new(), String::new(), 0, 0) }
    }

    fn row(&mut self, message: MessageState<'_>) -> Row {
        let (info, extra, ..) = &self.last;
        if (info.as_str(), extra.as_str()) != (message.info, message.extra) {
            let name = FileName::of_info(message.info);
            let set: Vec<usize> = keyword_positions(&name, message.extra).collect();
            let keywords = u32::try_from(self.position(set)).unwrap_or_default();
            self.last = (message.info.to_owned(), message.extra.to_owned(), name.system(), keywords);
        }
        let (_, _, system, keywords) = self.last;
        Row {
            mod_seq: ModSeq::try_from(message.mod_seq).unwrap_or(ModSeq::MIN).max(self.least),
            seconds: message.seconds,
            size: message.wire,
            keywords,
            offset_minutes: message.offset_minutes,
            system,
        }
    }

    fn position(&mut self, set: Vec<usize>) -> usize {
        let known = self.sets.iter().position(|it| *it == set);
        known.unwrap_or_else(|| {
            Arc::make_mut(self.sets).push(set);
            self.sets.len() - 1
        })
    }
}

/// Where a message's keywords stand in the mailbox's list: the letters in its name, and those beyond the letters.
pub(crate) fn keyword_positions<'m>(
    name: &'m FileName<'_>,
    extra: &'m str,
) -> impl Iterator<Item = usize> + 'm {
    let letters = name.letters().map(|letter| usize::from((letter as u8) - b'a'));
    letters.chain(extra.split(' ').filter_map(|it| it.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(uid: u32, mod_seq: u64, info: &str) -> MessageRow {
        let (base, extra) = (String::new(), String::new());
        let info = info.to_owned();
        MessageRow { uid, base, info, extra, seconds: 0, offset_minutes: 0, wire: 10, mod_seq, saved: None }
    }

    fn head(mod_seq: u64) -> MailboxRow {
        MailboxRow { uid_validity: 1, uid_next: 5000, mod_seq, first_recent: 1, ..MailboxRow::default() }
    }

    /// A mailbox changed step by step is as one that is read as a whole.
    #[test]
    fn a_snapshot_made_of_changes_is_as_one_made_at_once() {
        let mut all: Vec<MessageRow> = (1..=2000).map(|uid| message(uid * 2, 5, "")).collect();
        let (five, six) = (head(5), head(6));
        let first = Snapshot::empty().next(&all, &[], &Head { keywords: &[], row: &five });
        assert_eq!((first.len(), first.rows.unseen()), (2000, 2000));
        let gone = [2, 1024, 1026, 4000, 7];
        let changed = [message(3, 6, "S"), message(6, 6, "Sa"), message(2047, 6, ""), message(4100, 6, "S")];
        let keywords = ["k".parse().ok()];
        let next = first.next(&changed, &gone, &Head { keywords: &keywords, row: &six });
        all.retain(|it| !gone.contains(&it.uid) && changed.iter().all(|other| other.uid != it.uid));
        all.extend(changed);
        all.sort_by_key(|it| it.uid);
        let whole = Snapshot::empty().next(&all, &[], &Head { keywords: &keywords, row: &six });
        let messages = |it: &Snapshot| (0..it.len()).map(|at| it.get(at).unwrap()).collect::<Vec<_>>();
        assert_eq!(messages(&next), messages(&whole));
        assert_eq!((next.rows.unseen(), next.rows.octets()), (whole.rows.unseen(), whole.rows.octets()));
        let is_unseen = |at: &usize| !next.get(*at).unwrap().flags.contains(mail_types::Flag::Seen);
        let unseen = (0..next.len()).find(is_unseen);
        assert_eq!((next.first_unseen(), whole.first_unseen()), (unseen, unseen));
        assert_eq!(next.changed_since(five.mod_seq.try_into().unwrap()).len(), 4);
        assert_eq!(first.len(), 2000, "the one before stays as it was");
        let flags = next.next(&[message(6, 7, "")], &[], &Head { keywords: &keywords, row: &six });
        assert!(Arc::ptr_eq(&flags.uids, &next.uids), "a change of flags leaves the UIDs where they are");
    }
}
