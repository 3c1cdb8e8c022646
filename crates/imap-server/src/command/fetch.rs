//! FETCH. RFC 3501 §6.4.5. It runs in steps, so that a large answer takes bounded memory and a slow reader holds it back.

use std::iter::Flatten;
use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use imap_proto::{FetchItem, FetchModifiers, MessageSet, Tag, internal_date};
use mail_store::{FlagChange, Message, Snapshot, StoreError};
use mail_types::{Flag, ModSeq, Rights, Uid};
use tracing::error;

use crate::answer::{Failure, Output};
use crate::command::resync::{changed_since, last_given, tell_vanished_since};
use crate::contents::{Contents, unreadable};
use crate::section::{self, Unwritten};
use crate::selected::{Named, SelectedMailbox};
use crate::summaries::{Part, Summaries};
use crate::text::{RespText, Text};

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
    /// Of the command; `None` where the client did not ask.
    tag: Option<Tag>,
    by_uid: bool,
    items: Vec<Wanted>,
    summaries: Summaries,
    indexes: Flatten<IntoIter<Range<usize>>>,
    /// The messages as `\Seen` was set on them.
    seen: Option<Arc<Snapshot>>,
    /// Messages left out because their files are gone.
    gone: usize,
    /// Messages left out because their files can't be read.
    failed: Option<Failure>,
    /// What it says when all went well.
    text: RespText,
}

/// What FETCH is asked.
pub(crate) struct Request {
    pub(crate) set: MessageSet,
    pub(crate) items: Vec<FetchItem>,
    pub(crate) modifiers: FetchModifiers,
}

impl FetchJob {
    /// Looks up the messages, and sets `\Seen` where the items ask for it, in one go.
    pub(crate) fn start(
        tag: Tag,
        selected: &mut SelectedMailbox,
        request: Request,
        out: &mut Output,
    ) -> Result<Self, Failure> {
        let Request { set, mut items, modifiers } = request;
        if modifiers.vanished {
            tell_vanished(selected, &set, modifiers.changed_since, out)?;
        }
        let mut named = selected.named(&set)?;
        if let Some(range) = modifiers.partial {
            if !set.is_uid() {
                return Err(Failure::bad(Text::PartialWithUidFetch));
            }
            named = named.partial(&range);
        }
        if let Some(mod_seq) = modifiers.changed_since {
            named = changed_since(selected, named, mod_seq);
            items.push(FetchItem::ModSeq);
        }
        let sets_seen = items.iter().any(FetchItem::sets_seen) && selected.writable(Rights::SEEN).is_ok();
        let seen = if sets_seen { set_seen(selected, &named, out)? } else { None };
        // RFC 3501 §6.4.8
        let mut named_by_uid = set.is_uid();
        if seen.is_some() {
            items.push(FetchItem::Flags);
            if selected.enabled().condstore {
                // RFC 7162 §3.2.4
                items.push(FetchItem::ModSeq);
                named_by_uid = true;
            }
        }
        // UIDFETCH names the message by it anyway.
        items.extend((named_by_uid && !selected.enabled().uid_only).then_some(FetchItem::Uid));
        let job = Self::of(Some(tag), named, items, Text::Fetched.into());
        Ok(Self { by_uid: set.is_uid(), seen, ..job })
    }

    /// Of these messages and these items, each once. The UID comes first: Thunderbird needs it there.
    pub(crate) fn of(tag: Option<Tag>, named: Named, items: Vec<FetchItem>, text: RespText) -> Self {
        let mut wanted: Vec<FetchItem> = Vec::with_capacity(items.len());
        wanted.extend(items.contains(&FetchItem::Uid).then_some(FetchItem::Uid));
        for item in items {
            if !wanted.contains(&item) {
                wanted.push(item);
            }
        }
        Self {
            tag,
            by_uid: true,
            items: wanted.into_iter().map(|item| Wanted { part: Part::of(&item), item }).collect(),
            summaries: Summaries::of(named.indexes.iter().map(Range::len).sum()),
            indexes: named.indexes.into_iter().flatten(),
            seen: None,
            gone: named.gone,
            failed: None,
            text,
        }
    }

    pub(crate) const fn take_tag(&mut self) -> Option<Tag> {
        self.tag.take()
    }

    pub(crate) const fn by_uid(&self) -> bool {
        self.by_uid
    }

    /// How it ended.
    pub(crate) fn result(&mut self) -> Result<RespText, Failure> {
        match self.failed.take() {
            Some(failure) => Err(failure),
            // As Dovecot answers: a NO would be shown to the user, who can do nothing about it.
            None if self.gone > 0 => Ok(Text::FetchedSome.coded("EXPUNGEISSUED")),
            None => Ok(self.text.clone()),
        }
    }
}

/// Which of the messages named are gone. RFC 7162 §3.2.6.
fn tell_vanished(
    selected: &mut SelectedMailbox,
    set: &MessageSet,
    changed_since: Option<u64>,
    out: &mut Output,
) -> Result<(), Failure> {
    let (true, Some(mod_seq)) = (set.is_uid(), changed_since) else {
        return Err(Failure::bad(Text::VanishedTogether));
    };
    if !selected.enabled().qresync {
        return Err(Failure::bad(Text::EnableQresyncFirst));
    }
    // `*` is the last UID there was, since that may be the one that is gone.
    let ranges = match set {
        MessageSet::Uid(set) => set.resolve(last_given(selected.now())),
        MessageSet::Saved(_) => selected.saved().to_vec(),
        MessageSet::Seq(_) => Vec::new(),
    };
    // What the client counts still goes from its numbering first.
    selected.tell_gone(out);
    tell_vanished_since(selected, mod_seq, ranges, out);
    Ok(())
}

/// Sets `\Seen` where it is missing; `None` if nothing changed.
fn set_seen(
    selected: &mut SelectedMailbox,
    named: &Named,
    out: &mut Output,
) -> Result<Option<Arc<Snapshot>>, Failure> {
    // Another session may have cleared it without this one having been told.
    let now = selected.view().sync()?;
    let unseen = |index: usize| {
        let message = now.get(now.position(selected.uid(index)?)?)?;
        (!message.flags.contains(Flag::Seen)).then_some(message.uid)
    };
    let uids: Vec<Uid> = named.indexes.iter().cloned().flatten().filter_map(unseen).collect();
    if uids.is_empty() {
        return Ok(None);
    }
    let change = FlagChange::Add([Flag::Seen].into_iter().collect());
    let now = selected.view().store(&uids, &change)?;
    selected.tell_keywords(&now, out);
    selected.knows(&now, uids);
    Ok(Some(now))
}

/// Answers as many messages as one step may hold; true when all are answered. Blocks.
pub(crate) fn step(job: &mut FetchJob, selected: &mut SelectedMailbox, out: &mut Output) -> bool {
    let mut newest = ModSeq::MIN;
    let done = answer_some(job, selected, &mut newest, out);
    if job.items.iter().any(|wanted| wanted.item == FetchItem::ModSeq) {
        selected.told_mod_seq(newest);
    }
    job.summaries.keep(selected.mailbox());
    done
}

fn answer_some(
    job: &mut FetchJob,
    selected: &SelectedMailbox,
    newest: &mut ModSeq,
    out: &mut Output,
) -> bool {
    while out.len() < STEP_OCTETS && out.pieces() < STEP_PIECES {
        let Some(index) = job.indexes.next() else { return true };
        let Some(mut message) = selected.now().get(index) else { continue };
        let changed = job.seen.as_ref().and_then(|now| now.get(now.position(message.uid)?));
        if let Some(changed) = changed {
            message = changed;
        }
        let uid = message.uid;
        *newest = message.mod_seq.max(*newest);
        let numbered = Numbered { seq: selected.seq(index), message };
        match answer(&job.items, &mut job.summaries, selected, &numbered, out) {
            Ok(()) => {}
            Err(Failure::Store(StoreError::MessageGone(_))) => job.gone += 1,
            Err(failure @ Failure::Store(StoreError::NoSuchMailbox(_))) => {
                job.failed = Some(failure);
                return true;
            }
            Err(Failure::Store(error)) => {
                error!(%error, %uid, "a message can't be read");
                job.failed = Some(error.into());
            }
            Err(failure) => job.failed = Some(failure),
        }
        job.summaries.keep_if_many(selected.mailbox());
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
) -> Result<(), Failure> {
    let (mailbox, message) = (selected.mailbox(), &numbered.message);
    let mut known = summaries.known(items.iter().filter_map(|it| it.part), mailbox, message);
    if items.iter().any(|it| it.item == FetchItem::SaveDate) {
        known.learn_save_date(mailbox, message.uid)?;
    }
    let unknown = items.iter().filter(|it| it.part.is_none_or(|part| part.of_known(&known).is_none()));
    let contents = Contents::open(unknown.clone().map(|it| &it.item), mailbox, message.uid)?;
    if unknown.clone().any(|it| it.part.is_some())
        && let Some(summary) = contents.summary()
    {
        summaries.add(message, &summary);
        known.learn(summary, message);
    }
    let mark = out.mark();
    if selected.enabled().uid_only {
        out.text(format_args!("* {} UIDFETCH (", message.uid));
    } else {
        out.text(format_args!("* {} FETCH (", numbered.seq));
    }
    for (position, Wanted { item, part }) in items.iter().enumerate() {
        if position > 0 {
            out.octets(b" ");
        }
        if let Some(octets) = part.and_then(|part| part.of_known(&known)) {
            section::write_kept(out.buffer(), item, octets);
        } else if let Err(error) = write_item(item, selected, numbered, &contents, out) {
            out.roll_back(&mark);
            return Err(match error {
                Unwritten::Io(error) => unreadable(message.uid, error).into(),
                Unwritten::UnknownEncoding => Failure::no(Text::UnknownEncoding.coded("UNKNOWN-CTE")),
            });
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
) -> Result<(), Unwritten> {
    let message = &numbered.message;
    match item {
        FetchItem::Uid => out.text(format_args!("UID {}", message.uid)),
        FetchItem::Flags => selected.write_flags(message.uid, &message.flags, out),
        FetchItem::ModSeq => out.text(format_args!("MODSEQ ({})", message.mod_seq)),
        FetchItem::Size => out.text(format_args!("RFC822.SIZE {}", message.size)),
        FetchItem::InternalDate => {
            out.text(format_args!("INTERNALDATE {}", internal_date(message.internal_date)));
        }
        FetchItem::Envelope
        | FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::Section { .. }
        | FetchItem::Binary { .. }
        | FetchItem::BinarySize(_)
        | FetchItem::Rfc822
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text
        | FetchItem::EmailId
        | FetchItem::ThreadId
        | FetchItem::SaveDate
        | FetchItem::Preview { .. } => return contents.write(item, out),
    }
    Ok(())
}
