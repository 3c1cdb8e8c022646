//! What one client has been told of the mailbox it selected.

mod hearing;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use imap_proto::{FetchItem, MessageSet, PartialRange};
use mail_store::{Changes, Difference, Mailbox, Message, Snapshot, StoreError, View};
use mail_types::{Flag, Flags, Keyword, MailboxName, ModSeq, Rights, SeqSet, Uid, UidSet};
use tracing::{error, warn};

use crate::access::Place;
use crate::answer::{Failure, Output, Status};
use crate::command::resync;
use crate::contexts::{self, Contexts};
use crate::gaps::Gaps;
use crate::mod_seqs::{ClientModSeq, Enabled};
use crate::notify::{Hears, SelectedEvents, When};
use crate::text::Text;

/// Keywords that every mailbox has: FLAGS names them before any message does, since Thunderbird uses those for junk only then.
/// RFC 9051 §2.3.2.
const REGISTERED: [&str; 5] = ["$Forwarded", "$MDNSent", "$Junk", "$NotJunk", "$Phishing"];

/// A selected mailbox as its client knows it. The snapshot is shared with the store and all other sessions; a session's own
/// are only the differences: the gaps in its numbering, what it calls recent, and its own changes.
#[derive(Debug)]
pub(crate) struct SelectedMailbox {
    name: MailboxName,
    place: Place,
    view: View,
    /// By EXAMINE.
    read_only: bool,
    /// What the client was told that the user may do.
    rights: Rights,
    /// All of it has been told, but for the messages that are gone.
    now: Arc<Snapshot>,
    gaps: Gaps,
    /// Before the first gap: up to here the client has been told all. RFC 7162 §3.2.
    known_up_to: Option<ModSeq>,
    enabled: Enabled,
    mod_seq: ClientModSeq,
    /// The answer to the command tells the highest mod-sequence.
    owes_mod_seq: bool,
    /// What `\Recent` was claimed for, lowest and highest.
    recent: Vec<(Uid, Uid)>,
    /// Later changes that the client knows of because they are its own. Ascending.
    known: Vec<(Uid, ModSeq)>,
    /// How many keywords FLAGS has named beside the registered ones.
    keywords: usize,
    /// `$`, as ascending ranges of UIDs. RFC 5182.
    saved: Vec<(u32, u32)>,
    contexts: Contexts,
    /// What the client wants to hear of.
    events: SelectedEvents,
    /// While it may be told at any time.
    changes: Option<Changes>,
    /// What changed after this mod-sequence was told while no command was under way.
    answered_at: ModSeq,
    /// Flags that changed after this mod-sequence were not told, since the client did not want to hear of them.
    withheld: Option<ModSeq>,
    /// The command changed the client's view, which follows even where it is to stay.
    owes_changes: bool,
    /// Messages that the client added itself and has not been told of. Ascending.
    added: Vec<Uid>,
    /// New messages, with what is to be fetched of them.
    arrivals: BTreeMap<Uid, Vec<Arc<[FetchItem]>>>,
}

/// The messages that a set names.
#[derive(Debug)]
pub(crate) struct Named {
    /// Those that are there, as indexes into the snapshot, ascending and disjoint.
    pub(crate) indexes: Vec<Range<usize>>,
    /// How many more the client named that are gone.
    pub(crate) gone: usize,
}

impl Named {
    /// Some of them, by their position.
    pub(crate) fn partial(self, range: &PartialRange) -> Self {
        let wanted = range.of(self.indexes.iter().map(Range::len).sum());
        let mut before = 0;
        let mut indexes = Vec::new();
        for range in self.indexes {
            let (first, length) = (range.start, range.len());
            let within = |position: usize| first + position.saturating_sub(before).min(length);
            indexes.push(within(wanted.start)..within(wanted.end));
            before += length;
        }
        Self { indexes, gone: self.gone }
    }
}

impl SelectedMailbox {
    /// Takes over what the mailbox holds now; SELECT is about to tell it.
    pub(crate) fn open(
        name: MailboxName,
        place: Place,
        read_only: bool,
        enabled: Enabled,
    ) -> Result<Self, StoreError> {
        let view = place.open()?;
        let now = view.sync()?;
        let mut selected = Self {
            name,
            rights: place.rights(),
            place,
            view,
            read_only,
            gaps: Gaps::default(),
            known_up_to: None,
            enabled,
            mod_seq: ClientModSeq::new(now.highest_mod_seq()),
            owes_mod_seq: false,
            answered_at: now.highest_mod_seq(),
            now,
            recent: Vec::new(),
            known: Vec::new(),
            keywords: 0,
            saved: Vec::new(),
            contexts: Contexts::default(),
            events: SelectedEvents::standard(),
            changes: None,
            withheld: None,
            owes_changes: false,
            added: Vec::new(),
            arrivals: BTreeMap::new(),
        };
        selected.claim_recent()?;
        Ok(selected)
    }

    pub(crate) const fn name(&self) -> &MailboxName {
        &self.name
    }

    /// Goes on in the same mailbox under its new name. One that was made anew meanwhile is another.
    pub(crate) fn follow(&mut self, name: MailboxName, place: Place) -> Result<(), StoreError> {
        let view = place.open()?;
        if view.mailbox().uid_validity() == self.mailbox().uid_validity() {
            (self.name, self.place, self.view) = (name, place, view);
            if self.changes.is_some() {
                self.changes = Some(self.mailbox().watch());
            }
        }
        Ok(())
    }

    pub(crate) const fn mailbox(&self) -> &Arc<Mailbox> {
        self.view.mailbox()
    }

    /// The mailbox as the user sees it.
    pub(crate) const fn view(&self) -> &View {
        &self.view
    }

    /// The mailbox, for commands that change it and need these rights.
    pub(crate) fn writable(&self, needed: Rights) -> Result<&View, Failure> {
        if self.read_only {
            return Err(Failure::no(Text::MailboxReadOnly.coded("CANNOT")));
        }
        if !self.rights.contains(needed) {
            return Err(Failure::no(Text::NoPermission.coded("NOPERM")));
        }
        Ok(&self.view)
    }

    /// What the user may do.
    pub(crate) const fn rights(&self) -> Rights {
        self.rights
    }

    /// True if SELECT is to say READ-ONLY: nothing that others see can be changed. RFC 4314 §5.2.
    pub(crate) const fn is_told_read_only(&self) -> bool {
        let own_flags = if self.view.is_of_reader() { Rights::SEEN } else { Rights::NONE };
        let writing = Rights::INSERT.union(Rights::EXPUNGE).union(Rights::FLAGS).without(own_flags);
        self.read_only || !self.rights.intersects(writing)
    }

    /// The messages that are there.
    pub(crate) const fn now(&self) -> &Arc<Snapshot> {
        &self.now
    }

    pub(crate) const fn enabled(&self) -> Enabled {
        self.enabled
    }

    /// The client has said what it understands: from now on it reckons with mod-sequences.
    pub(crate) fn enable(&mut self, enabled: Enabled, out: &mut Output) {
        if enabled.condstore && !self.enabled.condstore {
            self.mod_seq = ClientModSeq::new(self.known_mod_seq());
            tell_highest(self.known_mod_seq(), out);
        }
        if enabled.uid_only && !self.enabled.uid_only {
            self.contexts.cancel_numbered(out);
        }
        self.enabled = enabled;
    }

    /// Up to here the client has been told all.
    fn known_mod_seq(&self) -> ModSeq {
        let untold = self.known_up_to.into_iter().chain(self.withheld).min();
        untold.unwrap_or_else(|| self.now.highest_mod_seq())
    }

    /// Has the answer to the command tell the highest mod-sequence. RFC 7162 §3.2.7.
    pub(crate) const fn owe_mod_seq(&mut self) {
        self.owes_mod_seq = true;
    }

    /// A command ends, or a part of IDLE: tells the mod-sequence up to which the client knows all where it would reckon wrongly,
    /// or gives it for the tagged answer where it is due there.
    pub(crate) fn complete_mod_seq(&mut self, out: &mut Output) -> Option<ModSeq> {
        let is_due = std::mem::take(&mut self.owes_mod_seq);
        if !self.enabled.condstore {
            return None;
        }
        let known = self.known_mod_seq();
        let is_wrong = self.mod_seq.complete(known, is_due || self.enabled.qresync);
        if is_wrong && !is_due {
            tell_highest(known, out);
        }
        is_due.then_some(known)
    }

    /// A MODSEQ was told.
    pub(crate) fn told_mod_seq(&mut self, mod_seq: ModSeq) {
        self.mod_seq.tell(mod_seq);
    }

    /// How many messages the client counts, those included of which it doesn't know that they are gone.
    pub(crate) fn len(&self) -> usize {
        self.now.len() + self.gaps.len()
    }

    /// The client's sequence number of the message at `index` in the snapshot.
    pub(crate) fn seq(&self, index: usize) -> usize {
        self.gaps.number(index) + 1
    }

    /// The UID of the message at `index` in the snapshot.
    pub(crate) fn uid(&self, index: usize) -> Option<Uid> {
        self.now.uids().get(index)
    }

    pub(crate) fn highest_uid(&self) -> u32 {
        self.now.uids().last().map_or(0, |uid| uid.value())
    }

    /// EXAMINE leaves `\Recent` to the next SELECT (RFC 3501 §6.3.2), and so do clients that know no such flag (RFC 9051, appendix E).
    fn claim_recent(&mut self) -> Result<(), StoreError> {
        if self.enabled.imap4rev2 || self.view.is_of_reader() {
            // What is recent is the owner's.
            return Ok(());
        }
        let (first, next) = (self.now.first_recent(), self.now.uid_next());
        if self.read_only {
            self.recent.clear();
            self.recent.extend((first < next).then_some((first, Uid::MAX)));
        } else if first < next {
            self.add_recent(self.mailbox().claim_recent()?);
        }
        Ok(())
    }

    fn add_recent(&mut self, claimed: Option<(Uid, Uid)>) {
        let Some((first, last)) = claimed else { return };
        match self.recent.last_mut() {
            Some((_, end)) if end.next() == Some(first) => *end = last,
            Some(_) | None => self.recent.push((first, last)),
        }
    }

    pub(crate) fn is_recent(&self, uid: Uid) -> bool {
        !self.enabled.imap4rev2 && self.recent.iter().any(|(first, last)| (first..=last).contains(&&uid))
    }

    fn recent_count(&self) -> usize {
        let uids = self.now.uids();
        let within = |(first, last): &(Uid, Uid)| {
            uids.partition_point(|uid| uid <= *last) - uids.partition_point(|uid| uid < *first)
        };
        self.recent.iter().map(within).sum()
    }

    /// The messages that a set names.
    pub(crate) fn named(&self, set: &MessageSet) -> Result<Named, Failure> {
        match set {
            MessageSet::Seq(set) => self.numbered(set),
            MessageSet::Uid(set) => Ok(self.with_uids(&set.resolve(self.highest_uid()))),
            MessageSet::Saved(_) => Ok(self.with_uids(&self.saved)),
        }
    }

    /// RFC 3501 §9, `seq-number`: a number beyond the last message is an error, and so is `*` in an empty mailbox.
    fn numbered(&self, set: &SeqSet) -> Result<Named, Failure> {
        let highest = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let ranges = set.resolve(highest);
        if highest == 0 || ranges.last().is_some_and(|(_, last)| *last > highest) {
            return Err(Failure::bad(Text::NoSuchNumber));
        }
        let mut named = Named { indexes: Vec::with_capacity(ranges.len()), gone: 0 };
        for (first, last) in ranges {
            let numbers = first as usize - 1..last as usize;
            let indexes = self.gaps.indexes(numbers.clone());
            named.gone += numbers.len() - indexes.len();
            named.indexes.push(indexes);
        }
        Ok(named)
    }

    /// UIDs that no message has are passed over. RFC 3501 §6.4.8.
    pub(crate) fn with_uids(&self, ranges: &[(u32, u32)]) -> Named {
        let uids = self.now.uids();
        let between = |(first, last): &(u32, u32)| {
            let start = uids.partition_point(|uid| uid.value() < *first);
            start..uids.partition_point(|uid| uid.value() <= *last)
        };
        Named { indexes: ranges.iter().map(between).collect(), gone: 0 }
    }

    /// Makes `$` these messages, which ascend.
    pub(crate) fn save(&mut self, uids: impl IntoIterator<Item = Uid>) {
        self.saved = UidSet::from_ascending(uids).resolve(0);
    }

    /// `$`, as ascending ranges of UIDs.
    pub(crate) fn saved(&self) -> &[(u32, u32)] {
        &self.saved
    }

    /// True if the message is in `$`.
    pub(crate) fn is_saved(&self, uid: Uid) -> bool {
        let at = self.saved.partition_point(|(_, last)| *last < uid.value());
        self.saved.get(at).is_some_and(|(first, _)| *first <= uid.value())
    }

    /// The UIDs of the messages named, ascending.
    pub(crate) fn uids(&self, named: &Named) -> Vec<Uid> {
        let uids = self.now.uids();
        named.indexes.iter().flat_map(|range| uids.range(range.clone())).collect()
    }

    /// Remembers that the client is told of these messages' state in `snapshot` by the command itself; they ascend.
    pub(crate) fn knows(&mut self, snapshot: &Snapshot, uids: impl IntoIterator<Item = Uid>) {
        let told = |uid: Uid| Some((uid, snapshot.get(snapshot.position(uid)?)?.mod_seq));
        self.known = uids.into_iter().filter_map(told).collect();
    }

    /// Looks for changes and tells them. Blocks.
    pub(crate) fn sync(&mut self, allow_expunge: bool, out: &mut Output) -> Result<(), StoreError> {
        self.look_at_rights(out)?;
        let now = self.view.sync()?;
        self.tell(now, allow_expunge, out);
        Ok(())
    }

    /// As [`Self::look_at_rights`] where others give them: before a command, so that nothing is done with rights that were taken
    /// away.
    pub(crate) fn look_at_others_rights(&mut self, out: &mut Output) -> Result<(), StoreError> {
        if self.view.is_of_reader() { self.look_at_rights(out) } else { Ok(()) }
    }

    /// Sees to it that no session goes on with rights that were taken away. A mailbox that may not be read any more is as one
    /// that is gone. RFC 4314 §5.1.1.
    fn look_at_rights(&mut self, out: &mut Output) -> Result<(), StoreError> {
        let rights = match self.place.rights_now() {
            Ok(rights) => rights,
            Err(Failure::Store(error)) => return Err(error),
            Err(failure) => {
                error!(?failure, mailbox = %self.name, "the rights are taken to be as they were");
                return Ok(());
            }
        };
        if !rights.contains(Rights::READ) {
            return Err(StoreError::NoSuchMailbox(self.name.clone()));
        }
        if rights != self.rights {
            self.rights = rights;
            self.tell_flags_known(&Arc::clone(&self.now), out);
        }
        Ok(())
    }

    /// Tells what differs in `now`, as far as the client wants to hear of it. Without `allow_expunge` the messages that are gone
    /// keep their numbers, since these must not move under FETCH, STORE and SEARCH (RFC 3501 §7.4.1); all else is told.
    pub(crate) fn tell(&mut self, now: Arc<Snapshot>, allow_expunge: bool, out: &mut Output) {
        let owes_changes = std::mem::take(&mut self.owes_changes);
        if self.events.hears == Hears::Nothing && !owes_changes {
            return;
        }
        let allow_expunge = allow_expunge || self.events.when == When::AtOnce;
        let before = Arc::clone(&self.now);
        if now.highest_mod_seq() >= before.highest_mod_seq() {
            self.now = now;
        }
        let is_changed = !Arc::ptr_eq(&before, &self.now);
        let difference = if is_changed { self.now.since(&before) } else { Difference::default() };
        if !difference.gone.is_empty() {
            self.known_up_to.get_or_insert(before.highest_mod_seq());
            let gone = difference.gone.into_iter();
            let gone: Vec<_> = gone.filter_map(|index| Some((index, before.uids().get(index)?))).collect();
            contexts::tell_gone(&mut self.contexts, &gone, |index| self.gaps.number(index) + 1, out);
            self.gaps.add(gone);
        }
        if allow_expunge {
            self.tell_gone(out);
        }
        if is_changed {
            self.tell_arrived(&before, out);
            self.added.clear();
            self.tell_keywords(&Arc::clone(&self.now), out);
            self.tell_flags(&before, &difference.changed, out);
            if !self.contexts.is_empty() {
                contexts::tell_changed(self, &difference.changed, before.uids().last(), out);
            }
        }
    }

    /// The searches of which the client wants to hear when their results change.
    pub(crate) const fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    pub(crate) const fn contexts_mut(&mut self) -> &mut Contexts {
        &mut self.contexts
    }

    /// Tells which messages are gone. RFC 3501 §7.4.1, RFC 7162 §3.2.10.2.
    pub(crate) fn tell_gone(&mut self, out: &mut Output) {
        self.known_up_to = None;
        let gone = self.gaps.take();
        if self.enabled.qresync || self.enabled.uid_only {
            resync::tell_vanished(&UidSet::from_ascending(gone.into_iter().map(|(_, uid)| uid)), "", out);
            return;
        }
        for (number, _) in gone.into_iter().rev() {
            out.text(format_args!("* {} EXPUNGE\r\n", number + 1));
        }
    }

    fn tell_numbers(&self, out: &mut Output) {
        out.text(format_args!("* {} EXISTS\r\n", self.len()));
        if !self.enabled.imap4rev2 {
            out.text(format_args!("* {} RECENT\r\n", self.recent_count()));
        }
    }

    fn tell_arrived(&mut self, before: &Snapshot, out: &mut Output) {
        let last = before.uids().last();
        if self.now.uids().last() <= last {
            return;
        }
        if let Err(error) = self.claim_recent() {
            warn!(%error, mailbox = %self.name, "new messages stay recent for another session");
        }
        self.tell_numbers(out);
        if !self.events.items.is_empty() {
            let first = last.map_or(0, |last| self.now.uids().partition_point(|uid| uid <= last));
            let items = Arc::clone(&self.events.items);
            (first..self.now.len()).for_each(|index| self.arrived(index, last, &items));
        }
    }

    /// Up to which mod-sequence the client knows all, for SELECT. RFC 7162 §3.1.2.1.
    pub(crate) fn tell_select_mod_seq(&self, out: &mut Output) {
        if self.enabled.condstore {
            tell_highest(self.now.highest_mod_seq(), out);
        }
    }

    /// What SELECT says first. RFC 3501 §7.2.6, §7.1.
    pub(crate) fn tell_select(&mut self, out: &mut Output) {
        self.tell_flags_known(&Arc::clone(&self.now), out);
        self.tell_numbers(out);
    }

    /// Tells FLAGS again when `snapshot` knows keywords that the client has not heard of.
    pub(crate) fn tell_keywords(&mut self, snapshot: &Snapshot, out: &mut Output) {
        if unregistered(snapshot).count() != self.keywords {
            self.tell_flags_known(snapshot, out);
        }
    }

    fn tell_flags_known(&mut self, snapshot: &Snapshot, out: &mut Output) {
        let mut flags = Flag::ALL.map(Flag::as_str).join(" ");
        for keyword in REGISTERED.into_iter().chain(unregistered(snapshot).map(Keyword::as_str)) {
            flags.push(' ');
            flags.push_str(keyword);
        }
        self.keywords = unregistered(snapshot).count();
        out.text(format_args!("* FLAGS ({flags})\r\n"));
        if self.read_only || !self.rights.intersects(Rights::FLAGS) {
            out.say(Status::Ok, Text::NothingCanBeChanged.coded("PERMANENTFLAGS ()"));
        } else if self.rights.contains(Rights::FLAGS) {
            out.say(Status::Ok, Text::AllFlagsKept.coded_as(format!("PERMANENTFLAGS ({flags} \\*)")));
        } else if self.rights.contains(Rights::WRITE) {
            let missing = Flag::ALL.into_iter().filter(|it| !self.rights.contains(Rights::to_change(*it)));
            let some = missing.fold(flags, |flags, it| flags.replacen(&format!("{it} "), "", 1));
            let code = format!("PERMANENTFLAGS ({some} \\*)");
            out.say(Status::Ok, Text::SomeFlagsAndKeywordsKept.coded_as(code));
        } else {
            let some = self.rights.of_flags(&Flag::ALL.into_iter().collect());
            out.say(Status::Ok, Text::SomeFlagsKept.coded_as(format!("PERMANENTFLAGS ({some})")));
        }
    }

    /// Tells the flags that changed of messages the client knew.
    fn tell_flags(&mut self, before: &Snapshot, changed: &[usize], out: &mut Output) {
        let last = before.uids().last();
        let known = std::mem::take(&mut self.known);
        for index in changed {
            let Some(message) = self.now.get(*index) else { continue };
            let is_new = last.is_none_or(|last| message.uid > last);
            if is_new || known.binary_search(&(message.uid, message.mod_seq)).is_ok() {
                continue;
            }
            if self.events.hears == Hears::All {
                self.write_flags_of(*index, &message, out);
            } else {
                self.withheld.get_or_insert(before.highest_mod_seq());
            }
        }
    }

    /// How a FETCH response begins that names the message by its UID too; the one of RFC 9586 names it by that alone.
    fn begin_fetch(&self, index: usize, uid: Uid, out: &mut Output) {
        if self.enabled.uid_only {
            out.text(format_args!("* {uid} UIDFETCH ("));
        } else {
            out.text(format_args!("* {} FETCH (UID {uid} ", self.seq(index)));
        }
    }

    /// A FETCH response with the message's flags.
    pub(crate) fn write_flags_of(&mut self, index: usize, message: &Message, out: &mut Output) {
        self.begin_fetch(index, message.uid, out);
        self.write_flags(message.uid, &message.flags, out);
        if self.enabled.condstore {
            self.told_mod_seq(message.mod_seq);
            out.text(format_args!(" MODSEQ ({})", message.mod_seq));
        }
        out.line(")");
    }

    /// A FETCH response with the mod-sequence alone: the client knows the flags. RFC 7162 §3.1.3.
    pub(crate) fn write_mod_seq_of(&mut self, index: usize, message: &Message, out: &mut Output) {
        self.told_mod_seq(message.mod_seq);
        self.begin_fetch(index, message.uid, out);
        out.text(format_args!("MODSEQ ({}))\r\n", message.mod_seq));
    }

    /// Tells the flags that the messages named have in `later`.
    pub(crate) fn tell_flags_in(&mut self, later: &Snapshot, named: &Named, out: &mut Output) {
        for index in named.indexes.iter().cloned().flatten() {
            let Some(uid) = self.uid(index) else { continue };
            if let Some(message) = later.position(uid).and_then(|index| later.get(index)) {
                self.write_flags_of(index, &message, out);
            }
        }
    }

    /// A FLAGS item, `\Recent` included.
    pub(crate) fn write_flags(&self, uid: Uid, flags: &Flags, out: &mut Output) {
        match (self.is_recent(uid), flags.is_empty()) {
            (true, true) => out.octets(b"FLAGS (\\Recent)"),
            (true, false) => out.text(format_args!("FLAGS ({flags} \\Recent)")),
            (false, _) => out.text(format_args!("FLAGS ({flags})")),
        }
    }
}

/// The keywords of a mailbox that FLAGS does not name anyway.
fn unregistered(snapshot: &Snapshot) -> impl Iterator<Item = &Keyword> {
    let is_registered = |it: &Keyword| REGISTERED.iter().any(|name| name.eq_ignore_ascii_case(it.as_str()));
    snapshot.keywords().iter().filter(move |it| !is_registered(it))
}

fn tell_highest(mod_seq: ModSeq, out: &mut Output) {
    out.say(Status::Ok, Text::ToldUpToHere.coded_as(format!("HIGHESTMODSEQ {mod_seq}")));
}
