//! SORT. RFC 5256 §3, RFC 5957, RFC 5267 §3, RFC 6203 §6. What it sorts by is kept beside the messages, so that none is read.

use std::cmp::Ordering;

use imap_proto::{SearchRequest, SortCriterion, SortKey, Tag};
use mail_message::{BaseSubject, Digest, DigestText, casemap};
use mail_store::{Message, StoreError};
use mail_types::Uid;

use crate::answer::{Failure, Output};
use crate::command::search::{check_relevancy, tell};
use crate::contexts;
use crate::search::{Candidate, Hit, find_hits, for_each_digest};
use crate::selected::SelectedMailbox;
use crate::session::Session;
use crate::text::{RespText, Text};

pub(crate) fn sort(
    session: &mut Session,
    tag: &Tag,
    criteria: &[SortCriterion],
    request: &SearchRequest,
    now: i64,
    out: &mut Output,
) -> Result<RespText, Failure> {
    check_relevancy(request, criteria)?;
    let selected = session.selected()?;
    let is_updated = request.returns.is_some_and(|returns| returns.update);
    if is_updated && selected.contexts().has(tag) {
        return Err(Failure::bad(Text::TagInUse));
    }
    let found = find_hits(selected, request, now).and_then(|found| sorted(selected, criteria, &found));
    if is_updated && let Ok(found) = &found {
        contexts::begin(selected, (tag, request), Some(criteria), now, found, out);
    }
    tell(selected, &format!("TAG \"{tag}\""), request, found, "SORT", out)?;
    Ok(Text::Sorted.into())
}

/// What a message is sorted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    /// As `i;unicode-casemap` compares it.
    Text(String),
}

/// What a message is sorted by, and the message.
type Valued = (Box<[Value]>, Hit);

/// Where a message belongs among others that are in the order of the criteria, given how relevant each of these is. What a message
/// is sorted by else never changes, so that only those are looked at that decide.
pub(crate) fn place(
    selected: &SelectedMailbox,
    criteria: &[SortCriterion],
    among: &[Uid],
    relevancy: &dyn Fn(Uid) -> u8,
    hit: Hit,
) -> Result<usize, Failure> {
    let of = |hit: Hit| -> Result<(Box<[Value]>, usize), Failure> {
        let index = hit.index;
        let gone = || {
            selected
                .uid(index)
                .map_or(Failure::bad(Text::NoSuchMessage), |uid| StoreError::MessageGone(uid).into())
        };
        Ok((with_values(selected, criteria, &[hit])?.pop().ok_or_else(gone)?.0, index))
    };
    let wanted = of(hit)?;
    let mut range = 0..among.len();
    while let Some(uid) = among.get(range.start + range.len() / 2).filter(|_| !range.is_empty()) {
        let middle = range.start + range.len() / 2;
        let index = selected.now().position(*uid).ok_or(StoreError::MessageGone(*uid))?;
        let other = of(Hit { index, relevancy: relevancy(*uid) })?;
        let order = compare(criteria, &other.0, &wanted.0).then(other.1.cmp(&wanted.1));
        range = if order.is_lt() { middle + 1..range.end } else { range.start..middle };
    }
    Ok(range.start)
}

/// The messages in the order of the criteria, and then in that of the mailbox.
fn sorted(
    selected: &SelectedMailbox,
    criteria: &[SortCriterion],
    found: &[Hit],
) -> Result<Vec<Hit>, Failure> {
    let mut messages = with_values(selected, criteria, found)?;
    messages.sort_by(|(a, _), (b, _)| compare(criteria, a, b));
    Ok(messages.into_iter().map(|(_, hit)| hit).collect())
}

/// Messages with what they are sorted by; those that are gone are passed over.
fn with_values(
    selected: &SelectedMailbox,
    criteria: &[SortCriterion],
    found: &[Hit],
) -> Result<Vec<Valued>, Failure> {
    let kinds: Vec<DigestText> = criteria.iter().filter_map(|it| kind(it.key)).collect();
    let needs_header = criteria.iter().any(|it| it.key == SortKey::Date || kind(it.key).is_some());
    let mut messages = Vec::with_capacity(found.len());
    for_each_digest(selected, found, |hit, candidate| {
        let values = values(criteria, &kinds, needs_header, (hit.relevancy, candidate))?;
        messages.push((values, hit));
        Ok(())
    })?;
    Ok(messages)
}

fn compare(criteria: &[SortCriterion], a: &[Value], b: &[Value]) -> Ordering {
    let mut each = criteria
        .iter()
        .zip(a.iter().zip(b))
        .map(|(criterion, (a, b))| if criterion.reverse { b.cmp(a) } else { a.cmp(b) });
    each.find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
}

fn values(
    criteria: &[SortCriterion],
    kinds: &[DigestText],
    needs_header: bool,
    (relevancy, candidate): (u8, &Candidate<'_>),
) -> Result<Box<[Value]>, StoreError> {
    let digest = if needs_header { candidate.digest(kinds)? } else { Digest::new(&[]) };
    Ok(criteria.iter().map(|it| value(it.key, relevancy, &candidate.message, &digest)).collect())
}

fn value(key: SortKey, relevancy: u8, message: &Message, digest: &Digest<'_>) -> Value {
    let arrival = message.internal_date.unix_seconds();
    match key {
        SortKey::Arrival => Value::Number(arrival),
        SortKey::Date => Value::Number(digest.sent().unwrap_or(arrival)),
        // RFC 6203 §6: the most relevant first.
        SortKey::Relevancy => Value::Number(-i64::from(relevancy)),
        SortKey::Size => Value::Number(i64::try_from(message.size).unwrap_or(i64::MAX)),
        SortKey::Subject => {
            let subject = kind(key).and_then(|kind| digest.text(kind)).unwrap_or_default();
            Value::Text(casemap(&BaseSubject::of(subject).text).into_owned())
        }
        SortKey::Cc | SortKey::From | SortKey::To | SortKey::DisplayFrom | SortKey::DisplayTo => {
            let text = kind(key).and_then(|kind| digest.text(kind)).unwrap_or_default();
            Value::Text(casemap(text).into_owned())
        }
    }
}

/// What of a digest is sorted by.
const fn kind(key: SortKey) -> Option<DigestText> {
    match key {
        SortKey::Cc => Some(DigestText::CcMailbox),
        SortKey::DisplayFrom => Some(DigestText::FromName),
        SortKey::DisplayTo => Some(DigestText::ToName),
        SortKey::From => Some(DigestText::FromMailbox),
        SortKey::To => Some(DigestText::ToMailbox),
        SortKey::Subject => Some(DigestText::Subject),
        SortKey::Arrival | SortKey::Date | SortKey::Relevancy | SortKey::Size => None,
    }
}
