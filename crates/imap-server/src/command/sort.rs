//! SORT. RFC 5256 §3, RFC 5957, RFC 5267 §3. What it sorts by is kept beside the messages, so that none is read.

use std::cmp::Ordering;

use imap_proto::{SearchRequest, SortCriterion, SortKey, Tag};
use mail_message::{BaseSubject, Digest, DigestText, casemap};
use mail_store::{Message, StoreError};

use crate::answer::{Failure, Output};
use crate::command::search::tell;
use crate::search::{Candidate, find, for_each_digest};
use crate::selected::SelectedMailbox;
use crate::session::Session;

pub(crate) fn sort(
    session: &mut Session,
    tag: &Tag,
    criteria: &[SortCriterion],
    request: &SearchRequest,
    now: i64,
    out: &mut Output,
) -> Result<String, Failure> {
    let selected = session.selected()?;
    if request.returns.is_some_and(|returns| returns.update) {
        out.text(format_args!("* NO [NOUPDATE \"{tag}\"] The order of a SORT is not updated\r\n"));
    }
    let found = find(selected, request, now).and_then(|found| sorted(selected, criteria, &found));
    tell(selected, &format!("TAG \"{tag}\""), request, found, "SORT", out)?;
    Ok("Sorted".to_owned())
}

/// What a message is sorted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    /// As `i;unicode-casemap` compares it.
    Text(String),
}

/// The messages in the order of the criteria, and then in that of the mailbox.
fn sorted(
    selected: &SelectedMailbox,
    criteria: &[SortCriterion],
    found: &[usize],
) -> Result<Vec<usize>, Failure> {
    let kinds: Vec<DigestText> = criteria.iter().filter_map(|it| kind(it.key)).collect();
    let needs_header = criteria.iter().any(|it| it.key == SortKey::Date || kind(it.key).is_some());
    let mut messages = Vec::with_capacity(found.len());
    for_each_digest(selected, found, |index, candidate| {
        let values = values(criteria, &kinds, needs_header, candidate)?;
        messages.push((values, index));
        Ok(())
    })?;
    messages.sort_by(|(a, _), (b, _)| compare(criteria, a, b));
    Ok(messages.into_iter().map(|(_, index)| index).collect())
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
    candidate: &Candidate<'_>,
) -> Result<Box<[Value]>, StoreError> {
    let digest = if needs_header { candidate.digest(kinds)? } else { Digest::new(&[]) };
    Ok(criteria.iter().map(|it| value(it.key, &candidate.message, &digest)).collect())
}

fn value(key: SortKey, message: &Message, digest: &Digest<'_>) -> Value {
    let arrival = message.internal_date.unix_seconds();
    match key {
        SortKey::Arrival => Value::Number(arrival),
        SortKey::Date => Value::Number(digest.sent().unwrap_or(arrival)),
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
        SortKey::Arrival | SortKey::Date | SortKey::Size => None,
    }
}
