//! THREAD. RFC 5256 §3. What it looks at is kept beside the messages, so that none is read.

use imap_proto::{SearchRequest, ThreadAlgorithm};
use mail_message::{BaseSubject, DigestText, casemap};

use crate::answer::{Failure, Output};
use crate::command::search::number;
use crate::search::{Hit, find_hits, for_each_digest};
use crate::selected::SelectedMailbox;
use crate::session::Session;
use crate::text::{RespText, Text};
use crate::threads::{Member, Threads};

pub(crate) fn thread(
    session: &mut Session,
    algorithm: ThreadAlgorithm,
    request: &SearchRequest,
    now: i64,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let selected = session.selected()?;
    let found = find_hits(selected, request, now)?;
    let mut numbers = Vec::with_capacity(found.len());
    let mut members = Vec::with_capacity(found.len());
    collect(selected, algorithm, &found, |index, member| {
        numbers.push(number(selected, request.uid, index));
        members.push(member);
    })?;
    let threads = match algorithm {
        ThreadAlgorithm::OrderedSubject => Threads::by_subject(&members),
        ThreadAlgorithm::References => Threads::by_references(&members),
        ThreadAlgorithm::Refs => Threads::by_references_alone(&members),
    };
    drop(members);
    out.octets(b"* THREAD");
    if !threads.roots.is_empty() {
        out.octets(b" ");
    }
    threads.write(out.buffer(), |out, at| {
        let number = numbers.get(at).copied().unwrap_or_default();
        out.extend_from_slice(number.to_string().as_bytes());
    });
    out.octets(b"\r\n");
    Ok(Text::Threaded.into())
}

/// Of each message what its algorithm looks at.
fn collect(
    selected: &SelectedMailbox,
    algorithm: ThreadAlgorithm,
    found: &[Hit],
    mut add: impl FnMut(usize, Member),
) -> Result<(), Failure> {
    let by_subject = algorithm != ThreadAlgorithm::Refs;
    let by_references = algorithm != ThreadAlgorithm::OrderedSubject;
    let kinds: &[DigestText] = if by_subject { &[DigestText::Subject] } else { &[] };
    for_each_digest(selected, found, |hit, candidate| {
        let digest = candidate.digest(kinds)?;
        let arrival = candidate.message.internal_date.unix_seconds();
        let mut member = Member { date: arrival, ..Member::default() };
        if by_subject {
            let subject = BaseSubject::of(digest.text(DigestText::Subject).unwrap_or_default());
            member.subject = casemap(&subject.text).into_owned();
            member.is_reply = subject.is_reply;
            member.date = digest.sent().unwrap_or(arrival);
        }
        if by_references {
            member.id = digest.message_id();
            member.references = digest.references().collect();
        }
        add(hit.index, member);
        Ok(())
    })
}
