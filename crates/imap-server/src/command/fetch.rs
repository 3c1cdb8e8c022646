//! FETCH. RFC 3501 §6.4.5. It runs in steps, so that a large answer takes bounded memory and a slow reader holds it back.

use std::io;
use std::iter::Flatten;
use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use imap_proto::{FetchItem, MessageSet, Tag, internal_date};
use mail_store::{FlagChange, Message, Snapshot, StoreError};
use mail_types::{Flag, Uid};
use tracing::error;

use crate::answer::{Failure, Output};
use crate::contents::{Contents, unreadable};
use crate::section;
use crate::selected::{Named, SelectedMailbox};
use crate::summaries::{Part, Summaries};

/// Octets after which a step ends.
const STEP_OCTETS: usize = 256 * 1024;
/// Pieces after which a step ends: each may hold a file open.
const STEP_PIECES: usize = 32;

/// A message and what the client calls it.
struct Numbered {
    seq: usize,
    message: Message,
}

/// An item, and what of a message's summary answers it.
#[derive(Debug)]
struct Wanted {
    item: FetchItem,
    part: Option<Part>,
}

/// A FETCH on its way.
#[derive(Debug)]
pub(crate) struct FetchJob {
    tag: Tag,
    by_uid: bool,
    items: Vec<Wanted>,
    summaries: Summaries,
    indexes: Flatten<IntoIter<Range<usize>>>,
    /// The messages as `\Seen` was set on them.
    seen: Option<Arc<Snapshot>>,
    /// Messages left out because their files are gone.
    gone: usize,
    /// Messages left out because their files can't be read.
    failed: Option<StoreError>,
}

impl FetchJob {
    /// Looks up the messages, and sets `\Seen` where the items ask for it, in one go.
    pub(crate) fn start(
        tag: Tag,
        selected: &mut SelectedMailbox,
        set: &MessageSet,
        mut items: Vec<FetchItem>,
        out: &mut Output,
    ) -> Result<Self, Failure> {
        let by_uid = set.is_uid();
        // The UID comes first, Thunderbird needs it there; RFC 3501 §6.4.8 has it always in UID FETCH.
        if by_uid || items.contains(&FetchItem::Uid) {
            items.retain(|item| *item != FetchItem::Uid);
            items.insert(0, FetchItem::Uid);
        }
        let named = selected.named(set)?;
        let sets_seen = items.iter().any(FetchItem::sets_seen) && !selected.is_read_only();
        let seen = if sets_seen { set_seen(selected, &named, out)? } else { None };
        if seen.is_some() && !items.contains(&FetchItem::Flags) {
            items.push(FetchItem::Flags);
        }
        let Named { indexes, gone } = named;
        let indexes = indexes.into_iter().flatten();
        let items = items.into_iter().map(|item| Wanted { part: Part::of(&item), item }).collect();
        Ok(Self { tag, by_uid, items, summaries: Summaries::default(), indexes, seen, gone, failed: None })
    }

    pub(crate) const fn tag(&self) -> &Tag {
        &self.tag
    }

    pub(crate) const fn by_uid(&self) -> bool {
        self.by_uid
    }

    /// How it ended.
    pub(crate) fn result(&mut self) -> Result<String, Failure> {
        match self.failed.take() {
            Some(error) => Err(Failure::Store(error)),
            // As Dovecot answers: a NO would be shown to the user, who can do nothing about it.
            None if self.gone > 0 => Ok("[EXPUNGEISSUED] Fetched, but for messages that are gone".to_owned()),
            None => Ok("Fetched".to_owned()),
        }
    }
}

/// Sets `\Seen` where it is missing; `None` if nothing changed.
fn set_seen(
    selected: &mut SelectedMailbox,
    named: &Named,
    out: &mut Output,
) -> Result<Option<Arc<Snapshot>>, Failure> {
    let unseen = |index: usize| {
        let message = selected.now().get(index)?;
        (!message.flags.contains(Flag::Seen)).then_some(message.uid)
    };
    let uids: Vec<Uid> = named.indexes.iter().cloned().flatten().filter_map(unseen).collect();
    if uids.is_empty() {
        return Ok(None);
    }
    let change = FlagChange::Add([Flag::Seen].into_iter().collect());
    let now = selected.mailbox().store(&uids, &change)?;
    selected.tell_keywords(&now, out);
    selected.knows(&now, uids);
    Ok(Some(now))
}

/// Answers as many messages as one step may hold; true when all are answered. Blocks.
pub(crate) fn step(job: &mut FetchJob, selected: &SelectedMailbox, out: &mut Output) -> bool {
    let done = answer_some(job, selected, out);
    job.summaries.keep(selected.mailbox());
    done
}

fn answer_some(job: &mut FetchJob, selected: &SelectedMailbox, out: &mut Output) -> bool {
    while out.len() < STEP_OCTETS && out.pieces() < STEP_PIECES {
        let Some(index) = job.indexes.next() else { return true };
        let Some(mut message) = selected.now().get(index) else { continue };
        let changed = job.seen.as_ref().and_then(|now| now.get(now.position(message.uid)?));
        if let Some(changed) = changed {
            message = changed;
        }
        let uid = message.uid;
        let numbered = Numbered { seq: selected.seq(index), message };
        match answer(&job.items, &mut job.summaries, selected, &numbered, out) {
            Ok(()) => {}
            Err(StoreError::MessageGone(_)) => job.gone += 1,
            Err(error @ StoreError::NoSuchMailbox(_)) => {
                job.failed = Some(error);
                return true;
            }
            Err(error) => {
                error!(%error, %uid, "a message can't be read");
                job.failed = Some(error);
            }
        }
    }
    false
}

/// One message's line. Nothing of it is written when the file can't be read.
fn answer(
    items: &[Wanted],
    summaries: &mut Summaries,
    selected: &SelectedMailbox,
    numbered: &Numbered,
    out: &mut Output,
) -> Result<(), StoreError> {
    let (mailbox, message) = (selected.mailbox(), &numbered.message);
    let has_part = items.iter().any(|it| it.part.is_some());
    let known = if has_part { summaries.find(mailbox, message) } else { None };
    let mut summary = known.unwrap_or_default();
    let unknown = items.iter().filter(|it| it.part.is_none_or(|part| part.in_summary(&summary).is_none()));
    let contents = Contents::open(unknown.clone().map(|it| &it.item), mailbox, message.uid)?;
    if unknown.clone().any(|it| it.part.is_some())
        && let Some(learned) = contents.summary()
    {
        summary = learned;
        summaries.add(message, &summary);
    }
    let mark = out.mark();
    out.text(format_args!("* {} FETCH (", numbered.seq));
    for (position, Wanted { item, part }) in items.iter().enumerate() {
        if position > 0 {
            out.octets(b" ");
        }
        if let Some(octets) = part.and_then(|part| part.in_summary(&summary)) {
            section::write_kept(out.buffer(), item, octets);
        } else if let Err(error) = write_item(item, selected, numbered, &contents, out) {
            out.roll_back(&mark);
            return Err(unreadable(message.uid, error));
        }
    }
    out.line(")");
    Ok(())
}

fn write_item(
    item: &FetchItem,
    selected: &SelectedMailbox,
    numbered: &Numbered,
    contents: &Contents,
    out: &mut Output,
) -> io::Result<()> {
    let message = &numbered.message;
    match item {
        FetchItem::Uid => out.text(format_args!("UID {}", message.uid)),
        FetchItem::Flags => selected.write_flags(message.uid, &message.flags, out),
        FetchItem::Size => out.text(format_args!("RFC822.SIZE {}", message.size)),
        FetchItem::InternalDate => {
            out.text(format_args!("INTERNALDATE {}", internal_date(message.internal_date)));
        }
        FetchItem::Envelope
        | FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::Section { .. }
        | FetchItem::Rfc822
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text
        | FetchItem::Preview { .. } => return contents.write(item, out),
    }
    Ok(())
}
