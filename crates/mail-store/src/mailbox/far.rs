//! COPY and MOVE between two accounts: to and from mailboxes that others share.

use std::cell::RefCell;

use mail_types::{Flag, Flags, Rights, Uid, Usage};

use super::reader::seen_as;
use super::transfer::{Arrival, copied_base, discard_all, take_back, usage_of_files};
use super::view::View;
use super::work::Work;
use crate::error::StoreError;
use crate::index::{Index, MessageRow};
use crate::meter::Meter;
use crate::quota;
use crate::snapshot::Snapshot;

impl View {
    /// As [`Self::transfer`], to a mailbox of another account.
    pub(super) fn transfer_far(
        &self,
        uids: &[Uid],
        target: &Self,
        rights: Rights,
        is_move: bool,
    ) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let arriving = Arriving { now: &*self.sync()?, target, rights };
        if !is_move {
            return self.copy_far(uids, &arriving);
        }
        match self.move_far(uids, &arriving) {
            Err(error) if error.is_of_other_device() => {}
            result => return result,
        }
        let pairs = self.copy_far(uids, &arriving)?;
        self.mailbox.expunge(&pairs.iter().map(|(from, _)| *from).collect::<Vec<_>>())?;
        Ok(pairs)
    }

    /// Links messages, and gives the links their places there, all or none.
    fn copy_far(&self, uids: &[Uid], arriving: &Arriving<'_>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let target = &arriving.target.mailbox;
        let there = &target.place.account;
        there.check_room(self.mailbox.usage_of(uids))?;
        there.check_disk_for_copy()?;
        Meter::expect(uids.len());
        let (links, placed) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let link = |work: &mut Work<'_>| {
            discard_all(&links); // what an attempt on a damaged index has left
            let mut linked = work.link_all(uids, target, &mut links.borrow_mut())?;
            linked.retain_mut(|it| arriving.flags(&it.row).map(|flags| it.flags = flags).is_some());
            Ok(linked)
        };
        let (linked, _) = self.mailbox.change(link).inspect_err(|_| discard_all(&links))?;
        let adopt = |index: &Index| {
            let mut work = target.work(index)?;
            let count = there.count_more(linked.iter().map(|it| it.usage).sum())?;
            let pairs = work.adopt_links(&linked, None, &mut placed.borrow_mut())?;
            arriving.note_seen(&mut work, &pairs)?;
            Ok((count, pairs, target.finish(work)?))
        };
        let adopted = target.or_undo(
            adopt,
            || take_back(&placed),
            |(mut count, pairs, outcome)| {
                count.keep();
                target.show(outcome);
                pairs
            },
        );
        if placed.borrow().len() < links.borrow().len() {
            discard_all(&links);
        }
        adopted
    }

    /// Renames each message to its UID there, while nobody changes either account: at no moment it is in both or in none.
    fn move_far(&self, uids: &[Uid], arriving: &Arriving<'_>) -> Result<Vec<(Uid, Uid)>, StoreError> {
        let (source, target) = (&self.mailbox, &arriving.target.mailbox);
        let (here, there) = (&source.place.account, &target.place.account);
        there.check_room(source.usage_of(uids))?;
        Meter::expect(uids.len());
        let moved = RefCell::new(Vec::new());
        let move_all = |from: &Index, to: &Index| {
            // A count of all must not miss what is on its way.
            let less = here.count();
            let (mut leaving, mut work) = (source.work(from)?, target.work(to)?);
            let expected = leaving.usage_of(uids)?;
            let more = there.count_more(expected)?;
            let arrival = |_: &Work<'_>, row: &MessageRow| arriving.arrival(row);
            let pairs = leaving.move_all(uids, &mut work, &arrival, &mut moved.borrow_mut())?;
            arriving.note_seen(&mut work, &pairs)?;
            let arrived = usage_of_files(moved.borrow().iter().map(|(_, to)| to.as_path()))?;
            let counts = (less, more, arrived, expected - arrived);
            Ok((pairs, counts, source.finish(leaving)?, target.finish(work)?))
        };
        here.locked_with(
            there,
            move_all,
            || take_back(&moved),
            |(pairs, (mut less, mut more, arrived, stayed), left, come)| {
                less.removed(arrived);
                more.keep();
                more.removed(stayed);
                target.show(come);
                source.show(left);
                pairs
            },
        )
    }
}

/// Messages on their way to a mailbox of another account, as a user sees them here.
struct Arriving<'a> {
    now: &'a Snapshot,
    target: &'a View,
    /// Which flags they may have there.
    rights: Rights,
}

impl Arriving<'_> {
    /// The flags that the user is to see there; `None` if he sees no such message here.
    fn of_user(&self, uid: Uid) -> Option<Flags> {
        let message = self.now.position(uid).and_then(|at| self.now.get(at))?;
        Some(self.rights.of_flags(&message.flags))
    }

    /// Those that stand there in the name of the file.
    fn flags(&self, row: &MessageRow) -> Option<Flags> {
        let flags = self.of_user(Uid::try_from(row.uid).ok()?)?;
        Some(if self.target.is_of_reader() { seen_as(&flags, false) } else { flags })
    }

    fn arrival(&self, row: &MessageRow) -> Option<Arrival> {
        Some(Arrival { flags: self.flags(row)?, base: copied_base(row), saved: None })
    }

    /// Notes what the user has seen where `\Seen` is not in the names.
    fn note_seen(&self, work: &mut Work<'_>, pairs: &[(Uid, Uid)]) -> Result<(), StoreError> {
        let Some(reader) = &self.target.reader else { return Ok(()) };
        let is_seen = |uid: Uid| self.of_user(uid).is_some_and(|flags| flags.contains(Flag::Seen));
        let seen: Vec<Uid> = pairs.iter().filter(|(from, _)| is_seen(*from)).map(|(_, to)| *to).collect();
        if seen.is_empty() { Ok(()) } else { reader.add_seen(work, &seen) }
    }
}

impl Work<'_> {
    /// How much these messages are.
    fn usage_of(&self, uids: &[Uid]) -> Result<Usage, StoreError> {
        let mut sum = Usage::default();
        for uid in uids {
            if let Some(row) = self.index.message(&self.place.key, uid.value())?
                && let Some(octets) = quota::octets(&row.base, &self.path(&row))?
            {
                sum = sum + Usage::message(octets);
            }
        }
        Ok(sum)
    }
}
