//! Which messages a search key names. RFC 3501 §6.4.4. What the indexes know is asked first; a message's file is read only
//! where that does not decide.

mod candidate;
mod cost;
mod fuzzy;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;

use encoding_rs::Encoding;
use imap_proto::{SearchKey, SearchRequest};
use mail_message::DigestText;
use mail_message::search::{Needle, Within};
use mail_store::{Meter, NoId, StoreError, TextAnswer};

use crate::answer::Failure;
use crate::selected::SelectedMailbox;
use crate::summaries::{Summaries, is_field};
use crate::text::Text;
pub(crate) use candidate::Candidate;
use cost::{Cost, collect_texts, cost};
use fuzzy::WantedFuzzy;
pub(crate) use fuzzy::is_fuzzy;

/// Of a few messages the texts are read sooner than looked up.
const READ_BEFORE_ASKING: u32 = 16;

/// A message that a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Its index in the snapshot.
    pub(crate) index: usize,
    /// From 1 to 100. RFC 6203 §4.
    pub(crate) relevancy: u8,
}

/// The messages found, ascending. `now` is in seconds since 1970.
pub(crate) fn find_hits(
    selected: &SelectedMailbox,
    request: &SearchRequest,
    now: i64,
) -> Result<Vec<Hit>, Failure> {
    Meter::expect(selected.now().len());
    hits_among(selected, request, now, (0..selected.now().len()).inspect(|_| Meter::count()))
}

/// As [`find_hits`], as ascending indexes of the snapshot.
pub(crate) fn find(
    selected: &SelectedMailbox,
    request: &SearchRequest,
    now: i64,
) -> Result<Vec<usize>, Failure> {
    Ok(find_hits(selected, request, now)?.into_iter().map(|hit| hit.index).collect())
}

/// Of these messages, named by ascending indexes of the snapshot, those that are found.
pub(crate) fn find_among(
    selected: &SelectedMailbox,
    request: &SearchRequest,
    now: i64,
    indexes: impl Iterator<Item = usize>,
) -> Result<Vec<usize>, Failure> {
    Ok(hits_among(selected, request, now, indexes)?.into_iter().map(|hit| hit.index).collect())
}

/// As [`find_among`], with how relevant each is.
pub(crate) fn hits_among(
    selected: &SelectedMailbox,
    request: &SearchRequest,
    now: i64,
    indexes: impl Iterator<Item = usize>,
) -> Result<Vec<Hit>, Failure> {
    let charset = charset(request.charset.as_deref())?;
    let search = Search::new(selected, &request.key, charset, now);
    let summaries = RefCell::default();
    let mut found = Vec::new();
    for index in indexes {
        let Some(message) = selected.now().get(index) else { continue };
        let candidate = Candidate::new(selected, &summaries, selected.seq(index), message);
        match search.relevancy(&request.key, &candidate) {
            Ok(Some(relevancy)) => found.push(Hit { index, relevancy }),
            Ok(None) | Err(StoreError::MessageGone(_)) => {}
            Err(error) => return Err(error.into()),
        }
        summaries.borrow_mut().keep_if_many(selected.mailbox());
    }
    summaries.into_inner().keep(selected.mailbox());
    Ok(found)
}

/// Shows what is known of the headers of messages; those that are gone meanwhile are passed over.
pub(crate) fn for_each_digest(
    selected: &SelectedMailbox,
    messages: &[Hit],
    mut see: impl FnMut(Hit, &Candidate<'_>) -> Result<(), StoreError>,
) -> Result<(), Failure> {
    Meter::expect(messages.len());
    let summaries = RefCell::<Summaries>::default();
    for hit in messages {
        Meter::count();
        let Some(message) = selected.now().get(hit.index) else { continue };
        match see(*hit, &Candidate::new(selected, &summaries, selected.seq(hit.index), message)) {
            Ok(()) | Err(StoreError::MessageGone(_)) => {}
            Err(error) => return Err(error.into()),
        }
        summaries.borrow_mut().keep_if_many(selected.mailbox());
    }
    summaries.into_inner().keep(selected.mailbox());
    Ok(())
}

/// Without CHARSET, UTF-8 is taken, of which US-ASCII is a part.
///
/// Deviates: RFC 6855 §3 would have CHARSET answered BAD once UTF8=ACCEPT is enabled. What it says of the strings is clear all the same, and
/// IMAP4rev2, with which that comes, allows it (RFC 9051 §6.4.4).
fn charset(name: Option<&str>) -> Result<&'static Encoding, Failure> {
    match name {
        None => Ok(encoding_rs::UTF_8),
        Some(name) => Encoding::for_label(name.as_bytes())
            .ok_or_else(|| Failure::no(Text::UnknownCharset.coded("BADCHARSET (US-ASCII UTF-8 ISO-8859-1)"))),
    }
}

struct Search<'a> {
    selected: &'a SelectedMailbox,
    now: i64,
    /// The sets that the key names, resolved, by where they stand in it: a set may have as many ranges as there are messages.
    sets: HashMap<*const SearchKey, Vec<(u32, u32)>>,
    /// The texts that are looked for, by their octets in the command.
    wanted: HashMap<&'a [u8], Wanted>,
    /// Those of them that are looked for with what is like them; none if no key is FUZZY.
    fuzzy: HashMap<&'a [u8], WantedFuzzy>,
    /// How many messages more are read before the full-text index is asked, which costs more than reading a few.
    to_read: Cell<u32>,
}

/// A text that is looked for, and what the full-text index knows of it.
struct Wanted {
    needle: Needle,
    in_body: OnceCell<TextAnswer>,
    in_text: OnceCell<TextAnswer>,
}

/// Resolves the sets that a key names.
fn collect_sets(
    key: &SearchKey,
    selected: &SelectedMailbox,
    sets: &mut HashMap<*const SearchKey, Vec<(u32, u32)>>,
) {
    let seen = RefCell::new(sets);
    let resolved = |key: &SearchKey, ranges| drop(seen.borrow_mut().insert(std::ptr::from_ref(key), ranges));
    key.any(&|key| {
        if let SearchKey::Seq(set) = key {
            resolved(key, set.resolve(u32::try_from(selected.len()).unwrap_or(u32::MAX)));
        } else if let SearchKey::Uid(set) = key {
            resolved(key, set.resolve(selected.highest_uid()));
        }
        false
    });
}

impl<'a> Search<'a> {
    fn new(selected: &'a SelectedMailbox, key: &'a SearchKey, charset: &'static Encoding, now: i64) -> Self {
        let mut texts = Vec::new();
        collect_texts(key, &mut texts);
        let wanted = |text: &[u8]| Wanted {
            needle: Needle::new(&charset.decode_without_bom_handling(text).0),
            in_body: OnceCell::new(),
            in_text: OnceCell::new(),
        };
        let fuzzy_texts = if is_fuzzy(key) { texts.clone() } else { Vec::new() };
        let fuzzy = |text: &[u8]| WantedFuzzy::new(&charset.decode_without_bom_handling(text).0);
        let fuzzy = fuzzy_texts.into_iter().map(|text| (text, fuzzy(text))).collect();
        let wanted = texts.into_iter().map(|text| (text, wanted(text))).collect();
        let mut sets = HashMap::new();
        collect_sets(key, selected, &mut sets);
        Self { selected, now, sets, wanted, fuzzy, to_read: Cell::new(READ_BEFORE_ASKING) }
    }

    fn holds(&self, key: &SearchKey, candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        let message = &candidate.message;
        let day = || message.internal_date.day();
        let age = || self.now - message.internal_date.unix_seconds();
        Ok(match key {
            SearchKey::All => true,
            SearchKey::Flag(flag) => message.flags.contains(*flag),
            SearchKey::Keyword(keyword) => message.flags.keywords().contains(keyword),
            SearchKey::Recent => self.selected.is_recent(message.uid),
            SearchKey::Seq(_) => self.is_named(key, u32::try_from(candidate.seq).unwrap_or(u32::MAX)),
            SearchKey::Uid(_) => self.is_named(key, message.uid.value()),
            SearchKey::Before(date) => day() < *date,
            SearchKey::On(date) => day() == *date,
            SearchKey::Since(date) => day() >= *date,
            SearchKey::SavedBefore(date) => candidate.saved_day()? < *date,
            SearchKey::SavedOn(date) => candidate.saved_day()? == *date,
            SearchKey::SavedSince(date) => candidate.saved_day()? >= *date,
            SearchKey::SentBefore(date) => candidate.sent_day()?.is_some_and(|day| day < *date),
            SearchKey::SentOn(date) => candidate.sent_day()?.is_some_and(|day| day == *date),
            SearchKey::SentSince(date) => candidate.sent_day()?.is_some_and(|day| day >= *date),
            SearchKey::EmailId(id) => match id.parse() {
                Ok(id) => candidate.has_email_id(&id)?,
                Err(NoId) => false,
            },
            SearchKey::ThreadId(id) => candidate.thread_id()?.as_deref() == Some(id),
            // What it stands for is in its place by now.
            SearchKey::Filter(_) => false,
            SearchKey::Older(seconds) => age() >= i64::from(*seconds),
            SearchKey::Younger(seconds) => age() <= i64::from(*seconds),
            SearchKey::Saved => self.selected.is_saved(message.uid),
            SearchKey::Larger(size) => message.size > *size,
            SearchKey::Smaller(size) => message.size < *size,
            SearchKey::ModSeq(mod_seq) => message.mod_seq.value() >= *mod_seq,
            SearchKey::Address(header, text) => self.header_holds(header.name(), text, candidate)?,
            SearchKey::Header(name, text) => self.header_holds(name, text, candidate)?,
            SearchKey::Body(text) => self.finds(text, Within::Body, candidate)?,
            SearchKey::Text(text) => self.finds(text, Within::Text, candidate)?,
            SearchKey::And(keys) => self.all_hold(keys, candidate)?,
            SearchKey::Or(left, right) => {
                let (first, second) = if cost(left) > cost(right) { (right, left) } else { (left, right) };
                self.holds(first, candidate)? || self.holds(second, candidate)?
            }
            SearchKey::Not(key) => !self.holds(key, candidate)?,
            SearchKey::Fuzzy(key) => self.rate(key, candidate, true)?.is_some(),
        })
    }

    /// Whether a set of sequence numbers or UIDs holds the number.
    fn is_named(&self, set: &SearchKey, number: u32) -> bool {
        let Some(ranges) = self.sets.get(&std::ptr::from_ref(set)) else { return false };
        let at = ranges.partition_point(|(_, last)| *last < number);
        ranges.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// The cheap keys come first.
    fn all_hold(&self, keys: &[SearchKey], candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        for wanted in Cost::ALL {
            for key in keys.iter().filter(|key| cost(key) == wanted) {
                if !self.holds(key, candidate)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn header_holds(&self, name: &str, text: &[u8], candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        let Some(wanted) = self.wanted.get(text) else { return Ok(false) };
        if let Some(kind) = DigestText::of_field(name)
            && let Some(digest) = candidate.kept_digest()
            && let Some(mut texts) = digest.texts(kind)
        {
            return Ok(texts.any(|text| wanted.needle.is_in(text)));
        }
        // A text that is nowhere in the message is in none of its fields.
        if !is_field(name) && self.known(wanted, Within::Text, candidate) == Some(false) {
            return Ok(false);
        }
        Ok(candidate.fields(name)?.header_holds(name, &wanted.needle))
    }

    /// Whether the message holds the text. It is read only if the full-text index doesn't know.
    fn finds(&self, text: &[u8], within: Within, candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        let Some(wanted) = self.wanted.get(text) else { return Ok(false) };
        if let Some(holds) = self.known(wanted, within, candidate) {
            return Ok(holds);
        }
        let message = candidate.whole()?;
        Ok(match within {
            Within::Body => message.body_holds(&wanted.needle),
            Within::Text => message.text_holds(&wanted.needle),
        })
    }

    /// True for the first messages.
    fn is_sooner_read(&self) -> bool {
        let left = self.to_read.get().checked_sub(1);
        left.inspect(|left| self.to_read.set(*left)).is_some()
    }

    /// What the full-text index knows of a message, once it is worth asking.
    fn known(&self, wanted: &Wanted, within: Within, candidate: &Candidate<'_>) -> Option<bool> {
        if self.is_sooner_read() {
            return None;
        }
        let cell = match within {
            Within::Body => &wanted.in_body,
            Within::Text => &wanted.in_text,
        };
        let answer = cell.get_or_init(|| self.selected.mailbox().find_text(&wanted.needle, within));
        answer.holds(candidate.message.uid)
    }
}
