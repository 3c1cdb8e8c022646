//! What of the queue is tried next: a message's recipients at one destination at a time. Pure.

mod turn;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use mail_types::{Address, Domain};

use crate::destinations::Proven;
use crate::routes::{Destination, Routes, Way};
use crate::{Priority, QueueId};

use turn::{MARGIN, Rest, Start, Turn, Waiting};
pub(crate) use turn::{Seen, Sight, Spot};

/// What one delivery is about: the recipients of one message that are at one destination.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) id: QueueId,
    pub(crate) destination: Destination,
    pub(crate) priority: Priority,
    /// Whose mail it is.
    pub(crate) origin: Arc<str>,
    /// How many of them were seen to be due.
    pub(crate) recipients: usize,
    /// It passes a backlog that waits for destinations that have not answered lately, being of what is due last.
    pub(crate) is_passing: bool,
}

/// By which a piece is known: not how much was seen of it.
pub(crate) type Key = (QueueId, Destination);

impl Piece {
    pub(crate) fn key(&self) -> Key {
        (self.id.clone(), self.destination.clone())
    }

    /// True if it takes turns with that one: mail of one origin to one destination, of one priority.
    pub(crate) fn is_in_lane_of(&self, other: &Self) -> bool {
        self.destination == other.destination
            && self.priority == other.priority
            && self.origin == other.origin
    }
}

/// A recipient that is due, as the index has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due<'a> {
    pub(crate) message: &'a str,
    /// The reverse path; empty for `<>`.
    pub(crate) sender: &'a str,
    /// Whose mail it is; empty for what comes of others'.
    pub(crate) origin: &'a str,
    pub(crate) recipient: &'a str,
    /// That an operator chose.
    pub(crate) next_hop: Option<&'a str>,
    pub(crate) priority: Priority,
    /// Since when.
    pub(crate) since: Timestamp,
    /// It is one of those that are due last: after [`Further::Newest`].
    pub(crate) is_newest: bool,
}

/// How a look goes on behind a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Further {
    /// With the one behind it.
    Next,
    /// With the first one of this origin from there on, which may be before it.
    From(Spot),
    /// With what is due last of this origin, and then those before it.
    Newest,
    /// With what is due first of this origin.
    Oldest,
    /// With the next origin.
    NextOrigin,
}

/// Pieces of one origin and priority that are picked in one look from either end of it, and of them as many for one destination, so that those
/// behind are seen too.
pub(crate) const MAX_PICKED: usize = 256;
pub(crate) const MAX_PICKED_OF_ONE: usize = 64;
/// Where pieces wait for very many destinations, there are so many in all, or [`LEAST_OF_ONE`] for each.
const MAX_WAITING: usize = 4096;
const LEAST_OF_ONE: usize = 4;
/// Pieces of one origin and priority that may wait for destinations that have not answered lately; so no backlog of these hides what waits
/// for others.
pub(crate) const MAX_UNPROVEN: usize = 128;

/// Chooses among what is due.
#[derive(Debug)]
pub(crate) struct Picker<'a> {
    routes: &'a Routes,
    /// Our domains.
    here: HashSet<Domain>,
    /// Under way, or about to be.
    busy: HashSet<Key>,
    /// Destinations by sender, where that matters, and domain, as far as they were met in what is looked at.
    known: HashMap<String, HashMap<String, Destination>>,
    waiting: HashMap<(Priority, Arc<str>), Waiting>,
    /// How many may wait for one destination.
    most_of_one: usize,
    /// Who has answered lately, at this moment.
    proven: (Proven, Instant),
    /// How many may pass the backlog of those that have not.
    most_passing: usize,
    /// Whose mail is looked at.
    turn: Turn,
    /// What earlier looks have seen, and what this one has.
    before: Seen,
    seen: Seen,
    may_go_again: bool,
    /// Where each piece is among those picked, and whether it was picked when all was gone through once more.
    places: HashMap<Key, (usize, bool)>,
    pub(crate) picked: Vec<Piece>,
    /// There is more that was not looked at, and may be at once.
    pub(crate) is_cut: bool,
    /// The same, when a moment has passed.
    is_late: bool,
}

impl<'a> Picker<'a> {
    /// `waiting` are pieces picked before and not begun; `seen` is what earlier looks have seen, and whether of it something is gone through
    /// again.
    pub(crate) fn new(
        routes: &'a Routes,
        here: impl IntoIterator<Item = Domain>,
        busy: HashSet<Key>,
        waiting: &[Piece],
        (proven, most_passing): ((Proven, Instant), usize),
        (seen, may_go_again): (Seen, bool),
    ) -> Self {
        let mut by_turn: HashMap<(Priority, Arc<str>), Waiting> = HashMap::new();
        for piece in waiting {
            let of_turn = by_turn.entry((piece.priority, Arc::clone(&piece.origin))).or_default();
            *of_turn.counts.entry(piece.destination.clone()).or_default() += 1;
            if !proven.0.contains(&piece.destination, proven.1) {
                *of_turn.unproven(piece.is_passing) += 1;
            }
        }
        let lanes = by_turn.values().map(|it| it.counts.len()).sum::<usize>().max(1);
        Self {
            routes,
            here: here.into_iter().collect(),
            busy,
            known: HashMap::new(),
            waiting: by_turn,
            most_of_one: (MAX_WAITING / lanes).clamp(LEAST_OF_ONE, MAX_PICKED_OF_ONE),
            proven,
            most_passing,
            turn: Turn::nobodys(),
            before: seen,
            seen: Seen::new(),
            may_go_again,
            places: HashMap::new(),
            picked: Vec::new(),
            is_cut: false,
            is_late: false,
        }
    }

    /// Looks at a recipient that is due: those of the highest priority first, of them those of one origin after the other's, and of these the
    /// longest due; `None` behind the last one of an origin. `now` is when the look began.
    pub(crate) fn offer(&mut self, due: Option<&Due<'_>>, now: Timestamp) -> Further {
        if let Some(due) = due
            && (*self.turn.origin != *due.origin
                || self.turn.priority != due.priority
                || !self.turn.is_anybodys())
        {
            self.end_turn(now);
            self.begin_turn(due);
        }
        if let Some(further) = self.turn.detour(due) {
            return further;
        }
        if let Some(due) = due {
            self.take(due);
        }
        Further::Next
    }

    /// What is known for the next look, and when that is to be though nothing happens.
    pub(crate) fn end(&mut self, now: Timestamp) -> (Seen, Option<Timestamp>) {
        self.end_turn(now);
        let late = self.is_late.then(|| now.checked_add(MARGIN).unwrap_or(now));
        (std::mem::take(&mut self.seen), late)
    }

    fn begin_turn(&mut self, due: &Due<'_>) {
        let origin: Arc<str> = Arc::from(due.origin);
        let key = (due.priority, Arc::clone(&origin));
        let waiting = self.waiting.remove(&key).unwrap_or_default();
        let is_unproven = |it: &&Destination| !self.proven.0.contains(it, self.proven.1);
        let crowd = waiting.counts.keys().filter(is_unproven).count();
        let start = Start {
            sight: self.before.remove(&key),
            waiting,
            most: [self.most_of_one, MAX_UNPROVEN / 2],
            is_crowded: crowd >= 2 * self.most_passing,
            may_go_again: self.may_go_again,
        };
        self.turn = Turn::new(due.priority, origin, start);
        // Who sends matters for routes and schedules.
        self.known.clear();
    }

    fn end_turn(&mut self, now: Timestamp) {
        let turn = std::mem::replace(&mut self.turn, Turn::nobodys());
        if !turn.is_anybodys() {
            return;
        }
        let key = (turn.priority, Arc::clone(&turn.origin));
        let (sight, rest) = turn.end(now);
        self.is_cut |= rest == Rest::More;
        self.is_late |= rest == Rest::Late;
        self.seen.insert(key, sight);
    }

    fn take(&mut self, due: &Due<'_>) {
        let destination = self.destination(due);
        let is_full = self.turn.waiting.counts.get(&destination).is_some_and(|it| *it >= self.most_of_one);
        if is_full && self.turn.is_known_left(&destination, due) {
            return;
        }
        let key = (QueueId(due.message.to_owned()), destination);
        let is_again = self.turn.is_again();
        if let Some((place, was_again)) = self.places.get(&key)
            && let Some(known) = self.picked.get_mut(*place)
        {
            // What was seen from one end is met again from the other, and what was left when all is gone through once more.
            let is_new = known.is_passing == due.is_newest && (*was_again || !is_again);
            known.recipients += usize::from(is_new);
            return;
        }
        if self.busy.contains(&key) {
            return;
        }
        if is_full {
            self.turn.leave(key.1, due);
        } else if self.may_be_picked(&key.1, due) {
            self.pick(key, due);
        } else {
            self.turn.leave_unproven(due);
        }
    }

    /// False where it would be one too many for destinations that have not answered lately.
    fn may_be_picked(&mut self, destination: &Destination, due: &Due<'_>) -> bool {
        if self.proven.0.contains(destination, self.proven.1) {
            return true;
        }
        let most = match due.is_newest {
            true => self.most_passing,
            false if self.turn.may_wait(due) => MAX_UNPROVEN,
            false => 0,
        };
        let waiting = self.turn.waiting.unproven(due.is_newest);
        let is_free = *waiting < most;
        *waiting += usize::from(is_free);
        is_free
    }

    fn pick(&mut self, key: Key, due: &Due<'_>) {
        let count = self.turn.waiting.counts.entry(key.1.clone()).or_default();
        *count += 1;
        let is_full = *count == self.most_of_one;
        self.turn.picked(&key.1, due, is_full);
        let (id, destination) = key.clone();
        self.places.insert(key, (self.picked.len(), self.turn.is_again()));
        self.picked.push(Piece {
            id,
            destination,
            priority: due.priority,
            origin: Arc::clone(&self.turn.origin),
            recipients: 1,
            is_passing: due.is_newest,
        });
    }

    fn destination(&mut self, due: &Due<'_>) -> Destination {
        let Due { sender, recipient, next_hop, .. } = *due;
        // Few are: they are looked at anew each time.
        if next_hop.is_some() {
            return self.destination_of(due, sender);
        }
        let sender = if self.routes.look_at_senders() { sender } else { "" };
        let domain = recipient.rsplit_once('@').map_or(recipient, |(_, domain)| domain);
        if let Some(known) = self.known.get(sender).and_then(|known| known.get(domain)) {
            return known.clone();
        }
        let destination = self.destination_of(due, sender);
        self.known.entry(sender.to_owned()).or_default().insert(domain.to_owned(), destination.clone());
        destination
    }

    /// What can't be read is told as any failure of a local delivery is.
    fn destination_of(&self, due: &Due<'_>, sender: &str) -> Destination {
        match due.recipient.parse::<Address>() {
            Ok(address) if !self.here.contains(address.domain()) => {
                let (sender, next_hop) = (sender.parse().ok(), due.next_hop.and_then(|it| it.parse().ok()));
                self.routes.by(sender.as_ref(), due.origin, address.domain(), next_hop.as_ref())
            }
            Ok(_) | Err(_) => Way::Here.into(),
        }
    }
}

/// Puts what waits in the order in which it is begun: the highest priority first, of it one of each origin in turn, who has fewer `active`
/// deliveries before who has more; what passes a backlog takes turns with it.
pub(crate) fn in_turn(waiting: &mut [Piece], active: &HashMap<Arc<str>, usize>) {
    let mut before: HashMap<(Priority, Arc<str>, bool), usize> = HashMap::new();
    let turn = |piece: &Piece| {
        let of_origin = || active.get(&piece.origin).copied().unwrap_or_default();
        let turn = (piece.priority, Arc::clone(&piece.origin), piece.is_passing);
        let count = before.entry(turn).or_insert_with(of_origin);
        *count += 1;
        *count
    };
    let turns: Vec<usize> = waiting.iter().map(turn).collect();
    let mut order: Vec<(Piece, usize)> = waiting.iter().cloned().zip(turns).collect();
    order.sort_by_key(|(piece, turn)| (std::cmp::Reverse(piece.priority), *turn));
    for (place, (piece, _)) in waiting.iter_mut().zip(order) {
        *place = piece;
    }
}

#[cfg(test)]
mod tests;
