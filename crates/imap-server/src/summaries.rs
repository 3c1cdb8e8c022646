//! What the store's index keeps of messages' contents, so that no file is read twice for ENVELOPE, BODYSTRUCTURE and the header
//! fields that clients ask for.

use std::collections::VecDeque;
use std::sync::Arc;

use imap_proto::{FetchItem, Section, SectionText, body, envelope, internal_date, string};
use mail_message::search::SearchedMessage;
use mail_message::{BodyStructure, Digest, Envelope, header, preview};
use mail_store::{Digests, EmailId, Mailbox, Message, StoreError, Summarized, Summarizer, Summary};
use mail_types::{InternalDate, Uid};
use tracing::debug;

/// To be raised when messages are read or written in another way: then what was kept before counts no more.
pub(crate) const FORM: u32 = 3;
/// Octets of the largest summary that is kept whole.
const MOST: usize = 16 * 1024;
/// Summaries looked up at once when messages are asked about one after the other.
const AHEAD: u32 = 256;
/// Digests looked up at once.
const DIGESTS_AHEAD: u32 = 1024;
/// Summaries that are worth a transaction amid a search.
const MANY: usize = 256;
/// Summaries that wait to be kept while others are at work on the account.
const WAITING: usize = 1024;

/// The header fields that are kept: those of ENVELOPE, those that Thunderbird, Apple Mail, K-9, mutt and web mail list
/// mailboxes by, and those that a SORT or THREAD looks at.
const FIELDS: [&str; 37] = [
    "From",
    "To",
    "Cc",
    "Bcc",
    "Subject",
    "Date",
    "Message-ID",
    "References",
    "In-Reply-To",
    "Reply-To",
    "Sender",
    "Content-Type",
    "Content-Description",
    "Content-Class",
    "MIME-Version",
    "Priority",
    "X-Priority",
    "Importance",
    "X-MSMail-Priority",
    "Newsgroups",
    "Followup-To",
    "Lines",
    "List-ID",
    "List-Post",
    "List-Subscribe",
    "List-Unsubscribe",
    "Disposition-Notification-To",
    "X-Label",
    "X-Original-To",
    "X-K9mail-Identity",
    "Chat-Version",
    "X-Uniform-Type-Identifier",
    "X-Universally-Unique-Identifier",
    "BIMI-Indicator",
    "BIMI-Location",
    "Authentication-Results",
    "DKIM-Signature",
];

/// True if a header field is kept.
pub(crate) fn is_field(name: &str) -> bool {
    FIELDS.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// What an item is answered with, of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Envelope,
    Body,
    BodyStructure,
    Fields,
    Preview,
    EmailId,
    ThreadId,
    SaveDate,
}

impl Part {
    pub(crate) fn of(item: &FetchItem) -> Option<Self> {
        match item {
            FetchItem::Envelope => Some(Self::Envelope),
            FetchItem::Body => Some(Self::Body),
            FetchItem::BodyStructure => Some(Self::BodyStructure),
            FetchItem::Preview { .. } => Some(Self::Preview),
            FetchItem::EmailId => Some(Self::EmailId),
            FetchItem::ThreadId => Some(Self::ThreadId),
            FetchItem::SaveDate => Some(Self::SaveDate),
            FetchItem::Section {
                section: Section { part, text: Some(SectionText::HeaderFields(names)) },
                ..
            } if part.is_empty() && names.iter().all(|name| is_field(name)) => Some(Self::Fields),
            FetchItem::Section { .. }
            | FetchItem::Binary { .. }
            | FetchItem::BinarySize(_)
            | FetchItem::Uid
            | FetchItem::Flags
            | FetchItem::InternalDate
            | FetchItem::Size
            | FetchItem::ModSeq
            | FetchItem::Rfc822
            | FetchItem::Rfc822Header
            | FetchItem::Rfc822Text => None,
        }
    }

    /// This part of what is known, if it is.
    pub(crate) fn of_known(self, known: &Known) -> Option<&[u8]> {
        let summary = &known.summary;
        match self {
            Self::EmailId => known.email_id.as_deref(),
            Self::ThreadId => known.thread_id.as_deref(),
            Self::SaveDate => known.save_date.as_deref(),
            Self::Envelope => summary.envelope.as_deref(),
            Self::Body => summary.body.as_deref(),
            Self::BodyStructure => summary.body_structure.as_deref(),
            Self::Fields => summary.fields.as_deref(),
            Self::Preview => summary.preview.as_deref(),
        }
    }
}

/// What is known of a message, as FETCH answers it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    summary: Summary,
    email_id: Option<Vec<u8>>,
    thread_id: Option<Vec<u8>>,
    save_date: Option<Vec<u8>>,
}

impl Known {
    /// Adds when the message was saved, which doesn't stand in its file.
    pub(crate) fn learn_save_date(&mut self, mailbox: &Mailbox, uid: Uid) -> Result<(), StoreError> {
        if self.save_date.is_none() {
            self.save_date = Some(save_date(mailbox.save_date(uid)?));
        }
        Ok(())
    }

    /// Adds what was read.
    pub(crate) fn learn(&mut self, summary: Summary, message: &Message) {
        if let Some(content) = summary.content {
            self.email_id = Some(email_id(&EmailId::new(content, message.internal_date.unix_seconds())));
        }
        if let Some(digest) = &summary.digest {
            self.thread_id = thread_id(&Digest::new(digest));
        }
        self.summary = summary;
    }
}

fn save_date(seconds: i64) -> Vec<u8> {
    internal_date(InternalDate::from_unix(seconds)).into_bytes()
}

fn email_id(id: &EmailId) -> Vec<u8> {
    format!("({id})").into_bytes()
}

fn thread_id(digest: &Digest<'_>) -> Option<Vec<u8>> {
    digest.thread().map(|key| format!("(T{key})").into_bytes())
}

/// The summary of a message or, without the structure, of its header.
pub(crate) fn summary(octets: &[u8], structure: Option<&BodyStructure>) -> Summary {
    let body_of = |extended| structure.map(|structure| written(|out| body(out, structure, extended)));
    Summary {
        envelope: Some(written(|out| envelope(out, &Envelope::parse(octets)))),
        body: body_of(false),
        body_structure: body_of(true),
        fields: Some(header::select(octets, |field| FIELDS.iter().any(|name| field.is(name)))),
        preview: structure.map(|structure| string(preview(octets, structure).as_bytes())),
        digest: Some(Digest::write(octets, true)),
        content: None,
    }
}

/// Has messages summarized beside the work, so that nobody waits for it who opens a mailbox.
#[derive(Debug)]
pub(crate) struct AheadOfNeed;

impl Summarizer for AheadOfNeed {
    fn form(&self) -> u32 {
        FORM
    }

    fn summarize(&self, message: &SearchedMessage) -> Summary {
        kept(summary(message.octets(), Some(message.structure())))
    }
}

/// What of a summary is kept: where it is too long, first the structure is left out and then all that may be long.
fn kept(mut summary: Summary) -> Summary {
    if summary.len() > MOST {
        (summary.body, summary.body_structure) = (None, None);
    }
    if summary.len() > MOST {
        (summary.envelope, summary.fields) = (None, None);
    }
    summary
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// The digest that was kept of a message, where it was looked up.
#[derive(Debug)]
pub(crate) struct KeptDigest {
    digests: Arc<Digests>,
    position: usize,
}

impl KeptDigest {
    pub(crate) fn view(&self) -> Digest<'_> {
        Digest::new(self.digests.get(self.position).map(|(_, _, digest)| digest).unwrap_or_default())
    }
}

/// Digests that were looked up at once; they are asked for in ascending order.
#[derive(Debug, Default)]
struct DigestPage {
    digests: Arc<Digests>,
    /// The first that was not asked for.
    position: usize,
    /// Up to this UID all were looked up that there are.
    through: Option<u32>,
}

/// The summaries of messages that are asked about in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    /// Looked up and not yet asked for, ascending.
    found: VecDeque<Summarized>,
    /// Up to this UID all were looked up that there are.
    through: Option<u32>,
    digests: DigestPage,
    email_ids: Page<Option<EmailId>>,
    save_dates: Page<i64>,
    /// Made of files, and not yet kept.
    made: Vec<Summarized>,
    /// How many messages more will be asked about, if that is known.
    left: Option<u32>,
}

/// How many messages to look up from a UID on, after those through another: many only where one asks for one after the other,
/// and no more than are left to be asked about.
fn ahead(through: Option<u32>, uid: Uid, most: u32, left: Option<u32>) -> u32 {
    let is_next = through.map_or(left.is_some(), |through| uid.value() - through <= most);
    if is_next { left.map_or(most, |left| left.clamp(1, most)) } else { 1 }
}

/// What was looked up of messages at once, by UID; they are asked for in ascending order.
#[derive(Debug, Default)]
struct Page<T> {
    found: VecDeque<(u32, T)>,
    through: Option<u32>,
}

impl<T> Page<T> {
    /// What is known of a message. `look_up` gives at most so many from a UID on.
    fn find(
        &mut self,
        uid: Uid,
        left: Option<u32>,
        look_up: impl FnOnce(Uid, u32) -> Result<Vec<(u32, T)>, StoreError>,
    ) -> Option<T> {
        if self.through.is_none_or(|through| uid.value() > through) {
            let limit = ahead(self.through, uid, DIGESTS_AHEAD, left);
            let found = look_up(uid, limit).unwrap_or_else(|error| {
                debug!(%error, "the messages themselves are looked at");
                Vec::new()
            });
            let is_full = u32::try_from(found.len()) == Ok(limit);
            self.through = found.last().filter(|_| is_full).map_or(Some(u32::MAX), |(last, _)| Some(*last));
            self.found = found.into();
        }
        while self.found.front().is_some_and(|(it, _)| *it < uid.value()) {
            self.found.pop_front();
        }
        Some(self.found.pop_front_if(|(it, _)| *it == uid.value())?.1)
    }
}

impl DigestPage {
    fn find(&mut self, mailbox: &Mailbox, message: &Message, left: Option<u32>) -> Option<KeptDigest> {
        let uid = message.uid.value();
        if self.through.is_none_or(|through| uid > through) {
            self.look_up(mailbox, message.uid, left);
        }
        while let Some((found, size, _)) = self.digests.get(self.position).filter(|(found, ..)| *found <= uid)
        {
            let position = self.position;
            self.position += 1;
            if found == uid {
                // Another size: the file was replaced.
                let is_same = size == message.size;
                return is_same.then(|| KeptDigest { digests: Arc::clone(&self.digests), position });
            }
        }
        None
    }

    fn look_up(&mut self, mailbox: &Mailbox, uid: Uid, left: Option<u32>) {
        let limit = ahead(self.through, uid, DIGESTS_AHEAD, left);
        let digests = mailbox.digests(FORM, uid, limit).unwrap_or_else(|error| {
            debug!(%error, "the messages' headers are read instead of the index");
            Digests::default()
        });
        let last = digests.len().checked_sub(1).filter(|_| u32::try_from(digests.len()) == Ok(limit));
        let through = last.and_then(|last| digests.get(last)).map_or(u32::MAX, |(uid, ..)| uid);
        *self = Self { digests: Arc::new(digests), position: 0, through: Some(through) };
    }
}

impl Summaries {
    /// For so many messages, of each of which is asked what is [`Self::known`].
    pub(crate) fn of(messages: usize) -> Self {
        Self { left: u32::try_from(messages).ok(), ..Self::default() }
    }

    /// What is known of a message for these parts.
    pub(crate) fn known(
        &mut self,
        parts: impl Iterator<Item = Part>,
        mailbox: &Mailbox,
        message: &Message,
    ) -> Known {
        let mut known = Known::default();
        let mut is_looked_up = false;
        for part in parts {
            match part {
                Part::EmailId => known.email_id = self.email_id(mailbox, message).as_ref().map(email_id),
                Part::SaveDate => known.save_date = self.save_date(mailbox, message.uid).map(save_date),
                Part::ThreadId => {
                    known.thread_id = self.digest(mailbox, message).and_then(|it| thread_id(&it.view()));
                }
                Part::Envelope | Part::Body | Part::BodyStructure | Part::Fields | Part::Preview => {
                    if !std::mem::replace(&mut is_looked_up, true) {
                        known.summary = self.find(mailbox, message).unwrap_or_default();
                    }
                }
            }
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        known
    }

    /// What is known of a message. An index that can't be read knows nothing.
    pub(crate) fn find(&mut self, mailbox: &Mailbox, message: &Message) -> Option<Summary> {
        let uid = message.uid;
        if self.through.is_none_or(|through| uid.value() > through) {
            self.look_up(mailbox, uid);
        }
        while self.found.front().is_some_and(|it| it.uid < uid) {
            self.found.pop_front();
        }
        let found = self.found.pop_front_if(|it| it.uid == uid)?;
        // Another size: the file was replaced.
        (found.size == message.size).then_some(found.summary)
    }

    fn look_up(&mut self, mailbox: &Mailbox, uid: Uid) {
        let limit = ahead(self.through, uid, AHEAD, self.left);
        let found = mailbox.summaries(FORM, uid, limit).unwrap_or_else(|error| {
            debug!(%error, "the messages' files are read instead of the index");
            Vec::new()
        });
        let is_full = u32::try_from(found.len()) == Ok(limit);
        let last = found.last().filter(|_| is_full).map_or(u32::MAX, |last| last.uid.value());
        (self.found, self.through) = (found.into(), Some(last));
    }

    /// What is known of a message's header.
    pub(crate) fn digest(&mut self, mailbox: &Mailbox, message: &Message) -> Option<KeptDigest> {
        self.digests.find(mailbox, message, self.left)
    }

    /// A message's id, if its content was hashed.
    pub(crate) fn email_id(&mut self, mailbox: &Mailbox, message: &Message) -> Option<EmailId> {
        self.email_ids.find(message.uid, self.left, |uid, limit| mailbox.email_ids(uid, limit))?
    }

    /// When a message was saved, in seconds since 1970, if that can be looked up.
    pub(crate) fn save_date(&mut self, mailbox: &Mailbox, uid: Uid) -> Option<i64> {
        self.save_dates.find(uid, self.left, |uid, limit| mailbox.save_dates(uid, limit))
    }

    /// Adds what was made of a message's file, to be kept.
    pub(crate) fn add(&mut self, message: &Message, summary: &Summary) {
        // Of a long header alone nothing is worth to take the place of what may be there.
        let is_long_header = summary.preview.is_none() && summary.len() > MOST;
        if is_long_header || self.made.len() >= WAITING {
            return;
        }
        self.made.push(Summarized { uid: message.uid, size: message.size, summary: kept(summary.clone()) });
    }

    /// As [`Self::keep`], once it is worth a transaction.
    pub(crate) fn keep_if_many(&mut self, mailbox: &Mailbox) {
        if self.made.len() >= MANY {
            self.keep(mailbox);
        }
    }

    /// Keeps what was made; while others are at work on the account, that waits for the next call.
    pub(crate) fn keep(&mut self, mailbox: &Mailbox) {
        if self.made.is_empty() {
            return;
        }
        match mailbox.keep_summaries(FORM, &self.made) {
            Ok(false) => {}
            Ok(true) => self.made.clear(),
            Err(error) => {
                debug!(%error, "what was read of messages is not kept");
                self.made.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_looked_up_than_will_be_asked_about() {
        let uid = |uid| Uid::try_from(uid).unwrap();
        for (through, at, left, expected) in [
            (None, 7, None, 1),
            (Some(7), 8, None, 256),
            (Some(7), 300, None, 1),
            (None, 7, Some(20), 20),
            (None, 7, Some(1), 1),
            (None, 7, Some(1000), 256),
            (Some(262), 263, Some(20), 20),
            (Some(262), 900, Some(20), 1),
            (Some(7), 8, Some(0), 1),
        ] {
            assert_eq!(ahead(through, uid(at), AHEAD, left), expected, "{through:?} {at} {left:?}");
        }
    }
}
