//! SEARCH, and what ESEARCH tells of what was found. RFC 3501 §6.4.4, RFC 4731, RFC 5182.

use imap_proto::{SearchRequest, SearchReturns, SortCriterion, SortKey, Tag};
use mail_types::{ModSeq, Uid};

use crate::answer::{Failure, Output};
use crate::contexts;
use crate::mod_seqs::has_mod_seq;
use crate::search::{Hit, find_hits, is_fuzzy};
use crate::selected::SelectedMailbox;
use crate::session::Session;
use crate::text::{RespText, Text};

pub(crate) fn search(
    session: &mut Session,
    tag: &Tag,
    request: &SearchRequest,
    now: i64,
    out: &mut Output,
) -> Result<RespText, Failure> {
    let selected = session.selected()?;
    check_relevancy(request, &[])?;
    let is_updated = request.returns.is_some_and(|returns| returns.update);
    if is_updated && selected.contexts().has(tag) {
        return Err(Failure::bad(Text::TagInUse));
    }
    let found = find_hits(selected, request, now);
    if is_updated && let Ok(found) = &found {
        contexts::begin(selected, (tag, request), None, now, found, out);
    }
    // RFC 9051 §6.4.4: every answer is an ESEARCH.
    let all = SearchReturns { all: true, ..SearchReturns::default() };
    let returns = request.returns.or_else(|| selected.enabled().imap4rev2.then_some(all));
    let request = &SearchRequest { returns, ..request.clone() };
    tell(selected, &format!("TAG \"{tag}\""), request, found, "SEARCH", out)?;
    Ok(Text::Searched.into())
}

/// RFC 6203 §4, §6: only FUZZY says how relevant a message is.
pub(crate) fn check_relevancy(request: &SearchRequest, criteria: &[SortCriterion]) -> Result<(), Failure> {
    let is_told = request.returns.is_some_and(|returns| returns.relevancy);
    let is_wanted = is_told || criteria.iter().any(|criterion| criterion.key == SortKey::Relevancy);
    if is_wanted && !is_fuzzy(&request.key) {
        return Err(Failure::bad(Text::RelevancyOfFuzzy));
    }
    Ok(())
}

fn indexes(hits: &[Hit]) -> Vec<usize> {
    hits.iter().map(|hit| hit.index).collect()
}

/// Tells what was found, in its order, under the command's name or as ESEARCH does, with the correlator that says of what it
/// is.
pub(crate) fn tell(
    selected: &mut SelectedMailbox,
    correlator: &str,
    request: &SearchRequest,
    found: Result<Vec<Hit>, Failure>,
    name: &str,
    out: &mut Output,
) -> Result<(), Failure> {
    if let Some(returns) = request.returns.filter(|returns| returns.save) {
        // RFC 5182 §2.1: a search that fails empties it.
        let found = found.as_ref().map(|hits| indexes(hits)).unwrap_or_default();
        let mut uids: Vec<Uid> = saved(returns, &found).filter_map(|index| selected.uid(index)).collect();
        uids.sort_unstable();
        uids.dedup();
        selected.save(uids);
    }
    let hits = found?;
    let found = indexes(&hits);
    let mod_seq = highest_mod_seq(selected, request, &found);
    let numbers: Vec<u32> = found.into_iter().map(|index| number(selected, request.uid, index)).collect();
    if request.returns.is_some() {
        tell_extended(correlator, request, &numbers, &hits, mod_seq, out);
        return Ok(());
    }
    out.text(format_args!("* {name}"));
    for number in numbers {
        out.text(format_args!(" {number}"));
    }
    if let Some(mod_seq) = mod_seq {
        out.text(format_args!(" (MODSEQ {mod_seq})"));
    }
    out.octets(b"\r\n");
    Ok(())
}

/// The highest mod-sequence of the messages told of, where one was asked for. RFC 7162 §3.1.5, RFC 4731 §3.2.
fn highest_mod_seq(selected: &SelectedMailbox, request: &SearchRequest, found: &[usize]) -> Option<ModSeq> {
    let returns = SearchReturns { all: request.returns.is_none(), ..request.returns.unwrap_or_default() };
    let told = has_mod_seq(&request.key).then(|| saved(returns, found))?;
    told.filter_map(|index| Some(selected.now().get(index)?.mod_seq)).max()
}

/// What the client calls the message at an index of the snapshot.
pub(crate) fn number(selected: &SelectedMailbox, by_uid: bool, index: usize) -> u32 {
    if by_uid {
        selected.uid(index).map_or(0, Uid::value)
    } else {
        u32::try_from(selected.seq(index)).unwrap_or(u32::MAX)
    }
}

/// The messages that `$` means from now on: RFC 5182 §2.4, with PARTIAL RFC 9394 §3.2.
fn saved(returns: SearchReturns, found: &[usize]) -> impl Iterator<Item = usize> {
    let only_some =
        (returns.min || returns.max || returns.partial.is_some()) && !returns.all && !returns.count;
    let ends = [found.first().filter(|_| returns.min), found.last().filter(|_| returns.max)];
    let partial = returns.partial.and_then(|partial| found.get(partial.of(found.len())));
    let (all, ends) = if only_some { (partial.unwrap_or_default(), ends) } else { (found, [None, None]) };
    all.iter().chain(ends.into_iter().flatten()).copied()
}

/// RFC 4731 §3.1: one answer, and be it that nothing of the results is asked for, as where only UPDATE is (RFC 5267 §4.3); where only
/// SAVE is asked for, there is none (RFC 5182 §2.2).
fn tell_extended(
    correlator: &str,
    request: &SearchRequest,
    numbers: &[u32],
    hits: &[Hit],
    mod_seq: Option<ModSeq>,
    out: &mut Output,
) {
    let SearchReturns { min, max, all, count, partial, relevancy, save, update: _ } =
        request.returns.unwrap_or_default();
    if save && !(min || max || all || count || relevancy || partial.is_some()) {
        return;
    }
    out.text(format_args!("* ESEARCH ({correlator}){}", if request.uid { " UID" } else { "" }));
    if let Some(first) = numbers.first().filter(|_| min) {
        out.text(format_args!(" MIN {first}"));
    }
    if let Some(last) = numbers.last().filter(|_| max) {
        out.text(format_args!(" MAX {last}"));
    }
    if all && !numbers.is_empty() {
        out.octets(b" ALL ");
        write_set(numbers, out);
    }
    if let Some(partial) = partial {
        out.text(format_args!(" PARTIAL ({partial} "));
        match numbers.get(partial.of(numbers.len())).filter(|it| !it.is_empty()) {
            Some(numbers) => write_set(numbers, out),
            None => out.octets(b"NIL"),
        }
        out.octets(b")");
    }
    if count {
        out.text(format_args!(" COUNT {}", numbers.len()));
    }
    if relevancy {
        // Of the messages that are told of one by one.
        let told = partial.map_or(hits, |partial| hits.get(partial.of(hits.len())).unwrap_or_default());
        let scores: Vec<String> = told.iter().map(|hit| hit.relevancy.to_string()).collect();
        out.text(format_args!(" RELEVANCY ({})", scores.join(" ")));
    }
    if let Some(mod_seq) = mod_seq {
        out.text(format_args!(" MODSEQ {mod_seq}"));
    }
    out.octets(b"\r\n");
}

/// A `sequence-set` in this order, ranges only upwards (RFC 5267 §3.2).
pub(crate) fn write_set(numbers: &[u32], out: &mut Output) {
    for (position, run) in numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b)).enumerate() {
        let comma = if position == 0 { "" } else { "," };
        match run {
            [first, .., last] => out.text(format_args!("{comma}{first}:{last}")),
            [only] => out.text(format_args!("{comma}{only}")),
            [] => {}
        }
    }
}
