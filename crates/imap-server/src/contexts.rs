//! Searches and sorts of which the client is told when their results change. RFC 5267 §4.3.

mod sorted;

use std::collections::HashMap;
use std::sync::Arc;

use imap_proto::{FetchItem, SearchKey, SearchRequest, SortCriterion, SortKey, Tag};
use mail_types::{Uid, UidSet};
use tracing::warn;

use crate::answer::{Output, Status};
use crate::search::{Hit, find, find_among};
use crate::selected::SelectedMailbox;
use crate::text::Text;

/// Contexts of one session; more are refused.
const MOST: usize = 8;

/// One search.
#[derive(Debug)]
struct Context {
    tag: String,
    /// Its key names messages by UID only.
    request: SearchRequest,
    /// When the search was made, in seconds since 1970: OLDER and YOUNGER are reckoned from then.
    now: i64,
    /// By what the messages found are sorted; without that they ascend.
    order: Option<Box<[SortCriterion]>>,
    /// The messages found.
    results: Vec<Uid>,
    /// How relevant they are, where they are sorted by that.
    relevancies: Option<HashMap<Uid, u8>>,
    /// What is fetched of messages that arrive and are found.
    items: Arc<[FetchItem]>,
}

/// The searches of which the client wants to be told.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    all: Vec<Context>,
}

impl Contexts {
    pub(crate) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// RFC 5267 §4.3: a tag names one context.
    pub(crate) fn has(&self, tag: &Tag) -> bool {
        let tag = tag.to_string();
        self.all.iter().any(|it| it.tag == tag)
    }

    /// Ends those of which the client was told by sequence number.
    pub(crate) fn cancel_numbered(&mut self, out: &mut Output) {
        let numbered = self.all.extract_if(.., |it| !it.request.uid);
        for context in numbered {
            out.say(Status::No, Text::NoMessageNumbers.coded_as(format!("NOUPDATE \"{}\"", context.tag)));
        }
    }

    /// `CANCELUPDATE`: tags that name none are let pass, since a context ends by itself too.
    pub(crate) fn cancel(&mut self, tags: &[String]) {
        self.all.retain(|it| !tags.contains(&it.tag));
    }
}

/// Has the client told of changes from now on, or tells it that it won't be.
pub(crate) fn begin(
    selected: &mut SelectedMailbox,
    (tag, request): (&Tag, &SearchRequest),
    order: Option<&[SortCriterion]>,
    now: i64,
    found: &[Hit],
    out: &mut Output,
) {
    if selected.contexts().all.len() >= MOST {
        out.say(Status::No, Text::TooManySearches.coded_as(format!("NOUPDATE \"{tag}\"")));
        return;
    }
    let key = without_numbers(selected, &request.key);
    let results = found.iter().filter_map(|hit| selected.uid(hit.index)).collect();
    let by_relevancy =
        order.is_some_and(|order| order.iter().any(|criterion| criterion.key == SortKey::Relevancy));
    let relevancies = by_relevancy
        .then(|| found.iter().filter_map(|hit| Some((selected.uid(hit.index)?, hit.relevancy))).collect());
    let items = request.updates.clone().into();
    let request = SearchRequest { key, returns: None, updates: Vec::new(), ..request.clone() };
    selected.contexts_mut().all.push(Context {
        tag: tag.to_string(),
        request,
        now,
        order: order.map(Into::into),
        results,
        relevancies,
        items,
    });
}

/// The key with the messages that its sequence numbers and `$` mean now, by UID. RFC 5267 §4.3.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other keys name no messages and hold no keys")]
fn without_numbers(selected: &SelectedMailbox, key: &SearchKey) -> SearchKey {
    let of = |key: &SearchKey| without_numbers(selected, key);
    match key {
        SearchKey::Seq(_) | SearchKey::Saved => {
            let request = SearchRequest {
                uid: true,
                returns: None,
                charset: None,
                key: key.clone(),
                updates: Vec::new(),
            };
            let found = find(selected, &request, 0).unwrap_or_default();
            let uids = found.into_iter().filter_map(|index| selected.uid(index));
            SearchKey::Uid(UidSet::from_ascending(uids))
        }
        SearchKey::And(keys) => SearchKey::And(keys.iter().map(of).collect()),
        SearchKey::Or(left, right) => SearchKey::Or(Box::new(of(left)), Box::new(of(right))),
        SearchKey::Not(key) => SearchKey::Not(Box::new(of(key))),
        SearchKey::Fuzzy(key) => SearchKey::Fuzzy(Box::new(of(key))),
        other => other.clone(),
    }
}

/// Tells which results are gone with their messages, which ascend, whose indexes in the snapshot before are given: before they
/// lose their numbers (RFC 5267 §4.3.4).
pub(crate) fn tell_gone(
    contexts: &mut Contexts,
    gone: &[(usize, Uid)],
    number: impl Fn(usize) -> usize,
    out: &mut Output,
) {
    for context in &mut contexts.all {
        if context.order.is_some() {
            let number = |uid: Uid| {
                let (index, _) = gone.get(gone.binary_search_by_key(&uid, |(_, gone)| *gone).ok()?)?;
                if context.request.uid { Some(uid) } else { numbered(number(*index)) }
            };
            let removed = sorted::remove(&mut context.results, number);
            sorted::tell(context, "REMOVEFROM", &removed, out);
            if let Some(relevancies) = &mut context.relevancies {
                relevancies.retain(|uid, _| gone.binary_search_by_key(uid, |(_, gone)| *gone).is_err());
            }
            continue;
        }
        let is_result = |(_, uid): &&(usize, Uid)| context.results.binary_search(uid).is_ok();
        let of_results: Vec<_> = gone.iter().filter(is_result).copied().collect();
        context.results.retain(|uid| of_results.binary_search_by_key(uid, |(_, gone)| *gone).is_err());
        let uids = of_results.iter().map(|(_, uid)| *uid);
        let numbers = of_results.iter().filter_map(|(index, _)| numbered(number(*index)));
        let set =
            if context.request.uid { UidSet::from_ascending(uids) } else { UidSet::from_ascending(numbers) };
        tell(context, "REMOVEFROM", &set, out);
    }
}

/// Tells what changed of the results, now that the client knows of these messages, which changed or are new, those after the UID
/// `after`; their indexes ascend.
pub(crate) fn tell_changed(
    selected: &mut SelectedMailbox,
    changed: &[usize],
    after: Option<Uid>,
    out: &mut Output,
) {
    let mut contexts = std::mem::take(selected.contexts_mut());
    let mut arrivals = Vec::new();
    contexts.all.retain_mut(|context| {
        context.order.is_none()
            || sorted::tell_changed(context, selected, changed, out)
                .map(|added| {
                    arrivals.extend(added.into_iter().map(|index| (index, Arc::clone(&context.items))))
                })
                .inspect_err(|failure| sorted::give_up(context, failure, out))
                .is_ok()
    });
    for context in contexts.all.iter_mut().filter(|it| it.order.is_none()) {
        let found = match find_among(selected, &context.request, context.now, changed.iter().copied()) {
            Ok(found) => found,
            Err(failure) => {
                warn!(?failure, "the results of a search are not updated");
                continue;
            }
        };
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for index in changed {
            let Some(uid) = selected.uid(*index) else { continue };
            match (context.results.binary_search(&uid), found.binary_search(index).is_ok()) {
                (Err(at), true) => {
                    context.results.insert(at, uid);
                    added.push(*index);
                }
                (Ok(at), false) => {
                    context.results.remove(at);
                    removed.push(*index);
                }
                (Ok(_), true) | (Err(_), false) => {}
            }
        }
        let set = |indexes: Vec<usize>| {
            UidSet::from_ascending(indexes.into_iter().filter_map(|index| {
                if context.request.uid { selected.uid(index) } else { numbered(selected.seq(index)) }
            }))
        };
        arrivals.extend(added.iter().map(|index| (*index, Arc::clone(&context.items))));
        let (added, removed) = (set(added), set(removed));
        tell(context, "REMOVEFROM", &removed, out);
        tell(context, "ADDTO", &added, out);
    }
    *selected.contexts_mut() = contexts;
    for (index, items) in arrivals {
        selected.arrived(index, after, &items);
    }
}

/// Sequence numbers are written as UIDs are.
fn numbered(number: usize) -> Option<Uid> {
    Uid::try_from(u32::try_from(number).ok()?).ok()
}

/// Position 0: the client keeps results in the order of the mailbox.
fn tell(context: &Context, item: &str, set: &UidSet, out: &mut Output) {
    if !set.is_empty() {
        let uid = if context.request.uid { " UID" } else { "" };
        out.text(format_args!("* ESEARCH (TAG \"{}\"){uid} {item} (0 {set})\r\n", context.tag));
    }
}
