//! FETCH. RFC 3501 §6.4.5. It runs in steps, so that a large answer takes bounded memory and a slow reader holds it back.

use std::iter::Flatten;
use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use imap_proto::{FetchItem, MessageSet, Section, Tag, internal_date};
use mail_message::{BodyStructure, header};
use mail_store::{FlagChange, Message, MessageFile, Snapshot, StoreError};
use mail_types::{Flag, Uid};
use tracing::error;

use crate::answer::{Failure, Output};
use crate::section;
use crate::selected::{Named, SelectedMailbox};

/// Octets after which a step ends.
const STEP_OCTETS: usize = 256 * 1024;
/// Pieces after which a step ends: each may hold a file open.
const STEP_PIECES: usize = 32;

/// A message and what the client calls it.
struct Numbered {
    seq: usize,
    message: Message,
}

/// A FETCH on its way.
#[derive(Debug)]
pub(crate) struct FetchJob {
    tag: Tag,
    by_uid: bool,
    items: Vec<FetchItem>,
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
        let by_uid = matches!(set, MessageSet::Uid(_));
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
        Ok(Self { tag, by_uid, items, indexes, seen, gone, failed: None })
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
pub(crate) fn step(
    job: &mut FetchJob,
    selected: &SelectedMailbox,
    out: &mut Output,
) -> Result<bool, Failure> {
    while out.len() < STEP_OCTETS && out.pieces() < STEP_PIECES {
        let Some(index) = job.indexes.next() else { return Ok(true) };
        let Some(mut message) = selected.now().get(index) else { continue };
        let changed = job.seen.as_ref().and_then(|now| now.get(now.position(message.uid)?));
        if let Some(changed) = changed {
            message = changed;
        }
        let uid = message.uid;
        match answer(&job.items, selected, &Numbered { seq: selected.seq(index), message }, out) {
            Ok(()) => {}
            Err(StoreError::MessageGone(_)) => job.gone += 1,
            Err(error) => {
                error!(%error, %uid, "a message can't be read");
                job.failed = Some(error);
            }
        }
    }
    Ok(false)
}

/// One message's line. Nothing of it is written when the file can't be read.
fn answer(
    items: &[FetchItem],
    selected: &SelectedMailbox,
    numbered: &Numbered,
    out: &mut Output,
) -> Result<(), StoreError> {
    let mut contents = Contents::open(items, selected, numbered.message.uid)?;
    out.octets(format!("* {} FETCH (", numbered.seq).as_bytes());
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.octets(b" ");
        }
        write_item(item, selected, numbered, &mut contents, out);
    }
    out.line(")");
    Ok(())
}

/// A message's file, as far as the items need it.
enum Contents {
    Unread,
    /// Sent as it is.
    File(Option<MessageFile>),
    Read {
        octets: Vec<u8>,
        structure: Option<Box<BodyStructure>>,
    },
}

/// True if the item is the whole message, which can be sent straight from its file.
fn is_whole(item: &FetchItem) -> bool {
    match item {
        FetchItem::Section { section, partial, .. } => *section == Section::default() && partial.is_none(),
        FetchItem::Rfc822 => true,
        FetchItem::Uid
        | FetchItem::Flags
        | FetchItem::InternalDate
        | FetchItem::Size
        | FetchItem::Envelope
        | FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text => false,
    }
}

impl Contents {
    fn open(items: &[FetchItem], selected: &SelectedMailbox, uid: Uid) -> Result<Self, StoreError> {
        let needing: Vec<&FetchItem> = items.iter().filter(|item| item.needs_file()).collect();
        if needing.is_empty() {
            return Ok(Self::Unread);
        }
        let mut file = selected.mailbox().open_message(uid)?;
        let is_as_sent = file.file_size == file.wire_size;
        let straight = matches!(needing.as_slice(), [only] if is_whole(only));
        if straight && is_as_sent {
            return Ok(Self::File(Some(file)));
        }
        let only_header = is_as_sent && needing.iter().all(|item| section::is_of_header(item));
        let read = if only_header { header::read(&mut file.file) } else { file.read() };
        let octets = read.map_err(|source| StoreError::Io {
            context: "reading",
            path: format!("the message with UID {uid}").into(),
            source,
        })?;
        let structured = needing.iter().any(|item| section::needs_structure(item));
        let structure = structured.then(|| Box::new(BodyStructure::parse(&octets)));
        Ok(Self::Read { octets, structure })
    }
}

fn write_item(
    item: &FetchItem,
    selected: &SelectedMailbox,
    numbered: &Numbered,
    contents: &mut Contents,
    out: &mut Output,
) {
    let message = &numbered.message;
    match item {
        FetchItem::Uid => out.octets(format!("UID {}", message.uid).as_bytes()),
        FetchItem::Flags => selected.write_flags(message.uid, &message.flags, out),
        FetchItem::Size => out.octets(format!("RFC822.SIZE {}", message.size).as_bytes()),
        FetchItem::InternalDate => {
            out.octets(format!("INTERNALDATE {}", internal_date(message.internal_date)).as_bytes());
        }
        FetchItem::Envelope
        | FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::Section { .. }
        | FetchItem::Rfc822
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text => write_content(item, contents, out),
    }
}

fn write_content(item: &FetchItem, contents: &mut Contents, out: &mut Output) {
    match contents {
        Contents::Unread => {}
        Contents::File(file) => {
            if let Some(file) = file.take() {
                out.octets(format!("{} {{{}}}\r\n", section::name(item), file.file_size).as_bytes());
                out.file(file.file, file.file_size);
            }
        }
        Contents::Read { octets, structure } => {
            section::write(out.buffer(), item, octets, structure.as_deref());
        }
    }
}
