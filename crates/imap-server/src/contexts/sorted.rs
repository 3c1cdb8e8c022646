//! What changes of the results of a SORT: where each is taken out and put in. RFC 5267 §4.3.3, §4.3.4.

use mail_types::Uid;
use tracing::warn;

use super::{Context, numbered};
use crate::answer::{Failure, Output, Status};
use crate::command::search::write_set;
use crate::command::sort::place;
use crate::search::{Hit, hits_among};
use crate::selected::SelectedMailbox;
use crate::text::Text;

/// Messages, as the client calls them, that stand one after the other from a position, which counts from 1.
pub(super) type Stretch = (usize, Vec<u32>);

/// Takes out the results that have a number, and tells where they stood, each after those before it are gone.
pub(super) fn remove(results: &mut Vec<Uid>, number: impl Fn(Uid) -> Option<Uid>) -> Vec<Stretch> {
    let mut removed: Vec<Stretch> = Vec::new();
    let mut kept = Vec::with_capacity(results.len());
    for uid in results.drain(..) {
        match (number(uid), removed.last_mut()) {
            (None, _) => kept.push(uid),
            (Some(number), Some((position, stretch))) if *position == kept.len() + 1 => {
                stretch.push(number.value())
            }
            (Some(number), _) => removed.push((kept.len() + 1, vec![number.value()])),
        }
    }
    *results = kept;
    removed
}

/// Tells what of the results changed with these messages; those that joined them come back. Where the order is that of relevancy,
/// one that is more or less relevant by now is taken out and put in anew.
pub(super) fn tell_changed(
    context: &mut Context,
    selected: &SelectedMailbox,
    changed: &[usize],
    out: &mut Output,
) -> Result<Vec<usize>, Failure> {
    let found = hits_among(selected, &context.request, context.now, changed.iter().copied())?;
    let by_uid = context.request.uid;
    let number = |index: usize| if by_uid { selected.uid(index) } else { numbered(selected.seq(index)) };
    // Both ascend.
    let index_of = |uid: Uid| {
        let at = changed.binary_search_by_key(&Some(uid), |index| selected.uid(*index)).ok()?;
        changed.get(at).copied()
    };
    let stays = |uid: Uid, index: usize| {
        let hit = found.binary_search_by_key(&index, |hit| hit.index).ok().and_then(|at| found.get(at));
        hit.is_some_and(|hit| context.relevancies.is_none() || context.relevancy(uid) == hit.relevancy)
    };
    let mut known: Vec<usize> = Vec::new();
    known.extend(context.results.iter().filter_map(|uid| index_of(*uid).filter(|it| stays(*uid, *it))));
    known.sort_unstable();
    let left = |uid: Uid| index_of(uid).filter(|index| known.binary_search(index).is_err()).and_then(number);
    let removed = remove(&mut context.results, left);
    tell(context, "REMOVEFROM", &removed, out);
    let mut joined = found;
    joined.retain(|hit| known.binary_search(&hit.index).is_err());
    let mut added: Vec<Stretch> = Vec::new();
    for hit in &joined {
        let (Some(uid), Some(number)) = (selected.uid(hit.index), number(hit.index)) else { continue };
        let order = context.order.as_deref().unwrap_or_default();
        let at = place(selected, order, &context.results, &|uid| context.relevancy(uid), *hit)?;
        context.results.insert(at, uid);
        if let Some(relevancies) = &mut context.relevancies {
            relevancies.insert(uid, hit.relevancy);
        }
        match added.last_mut() {
            Some((position, stretch)) if *position + stretch.len() == at + 1 => stretch.push(number.value()),
            _ => added.push((at + 1, vec![number.value()])),
        }
    }
    tell(context, "ADDTO", &added, out);
    Ok(joined.into_iter().map(|Hit { index, .. }| index).collect())
}

impl Context {
    /// How relevant a result is; 100 where they are not sorted by that.
    fn relevancy(&self, uid: Uid) -> u8 {
        let known = self.relevancies.as_ref().and_then(|relevancies| relevancies.get(&uid));
        known.copied().unwrap_or(100)
    }
}

/// The client can't rely on the order any more, and is told so.
pub(super) fn give_up(context: &Context, failure: &Failure, out: &mut Output) {
    warn!(?failure, "the results of a SORT are no longer updated");
    out.say(Status::No, Text::SortNotUpdated.coded_as(format!("NOUPDATE \"{}\"", context.tag)));
}

pub(super) fn tell(context: &Context, item: &str, stretches: &[Stretch], out: &mut Output) {
    if stretches.is_empty() {
        return;
    }
    let uid = if context.request.uid { " UID" } else { "" };
    out.text(format_args!("* ESEARCH (TAG \"{}\"){uid} {item} (", context.tag));
    for (number, (position, numbers)) in stretches.iter().enumerate() {
        let space = if number == 0 { "" } else { " " };
        out.text(format_args!("{space}{position} "));
        write_set(numbers, out);
    }
    out.line(")");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_is_told_by_where_it_stands_then() {
        let uid = |number: u32| Uid::try_from(number).unwrap();
        let mut results: Vec<Uid> = [9, 4, 5, 1, 7, 3].map(uid).to_vec();
        let gone = [4, 5, 7, 3];
        let removed = remove(&mut results, |it| Some(it).filter(|it| gone.contains(&it.value())));
        assert_eq!(removed, [(2, vec![4, 5]), (3, vec![7, 3])]);
        assert_eq!(results, [9, 1].map(uid));
    }
}
