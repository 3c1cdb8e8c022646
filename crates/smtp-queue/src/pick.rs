//! What of the queue is tried next: a message's recipients at one destination at a time. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mail_types::{Address, Domain};

use crate::routes::{Destination, Routes, Way};
use crate::{Priority, QueueId};

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
}

/// By which a piece is known: not how much was seen of it.
pub(crate) type Key = (QueueId, Destination);

impl Piece {
    pub(crate) fn key(&self) -> Key {
        (self.id.clone(), self.destination.clone())
    }

    pub(crate) fn lane(&self) -> Lane {
        (self.destination.clone(), self.priority, Arc::clone(&self.origin))
    }
}

/// What takes turns with others: the mail of one origin to one destination, of one priority.
pub(crate) type Lane = (Destination, Priority, Arc<str>);

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
}

/// How a look goes on behind a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Further {
    /// With the one behind it.
    Next,
    /// With what is due only after this moment.
    After(Timestamp),
    /// With the next origin.
    NextOrigin,
}

/// Up to when earlier looks have seen what is due, by priority and origin. All of it is under way or was picked, but for what they left: so a
/// look goes past a backlog without reading it.
pub(crate) type Seen = HashMap<(Priority, Arc<str>), Timestamp>;

/// What was queued so long ago is certainly in the database by now.
const MARGIN: Duration = Duration::from_secs(2);

/// Pieces of one origin and priority found at one look at the queue, and of them as many for one destination, so that those behind are seen
/// too.
pub(crate) const MAX_PICKED: usize = 256;
pub(crate) const MAX_PICKED_OF_ONE: usize = 64;

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
    counts: HashMap<Lane, usize>,
    /// Whose mail is looked at.
    turn: Turn,
    seen: Seen,
    /// Of which the look before left more than it took.
    left_before: HashSet<Lane>,
    places: HashMap<Key, usize>,
    pub(crate) picked: Vec<Piece>,
    /// Of which more is due than was picked.
    pub(crate) left: HashSet<Lane>,
    /// There is more that was not looked at.
    pub(crate) is_cut: bool,
}

/// The mail of one priority and origin, as far as it was looked at.
#[derive(Debug)]
struct Turn {
    priority: Priority,
    origin: Arc<str>,
    picked: usize,
    is_cut: bool,
    /// Of what was left before, what is not taken up yet.
    unfilled: HashSet<Lane>,
}

impl<'a> Picker<'a> {
    /// `waiting` are pieces picked before and not begun; `left` is what the look before left.
    pub(crate) fn new(
        routes: &'a Routes,
        here: impl IntoIterator<Item = Domain>,
        busy: HashSet<Key>,
        waiting: &[Piece],
        (seen, left): (Seen, HashSet<Lane>),
    ) -> Self {
        let mut counts = HashMap::new();
        for piece in waiting {
            *counts.entry(piece.lane()).or_default() += 1;
        }
        Self {
            routes,
            here: here.into_iter().collect(),
            busy,
            known: HashMap::new(),
            counts,
            turn: Turn {
                priority: Priority::NORMAL,
                origin: Arc::from(""),
                picked: 0,
                is_cut: true,
                unfilled: HashSet::new(),
            },
            seen,
            left_before: left,
            places: HashMap::new(),
            picked: Vec::new(),
            left: HashSet::new(),
            is_cut: false,
        }
    }

    /// Looks at a recipient that is due: those of the highest priority first, of them those of one origin after the other's, and of these the
    /// longest due. `now` is when the look began.
    pub(crate) fn offer(&mut self, due: &Due<'_>, now: Timestamp) -> Further {
        if *self.turn.origin != *due.origin || self.turn.priority != due.priority {
            self.end_turn(now);
            self.begin_turn(due);
        }
        if self.turn.picked >= MAX_PICKED {
            (self.is_cut, self.turn.is_cut) = (true, true);
            return Further::NextOrigin;
        }
        let piece = Piece {
            id: QueueId(due.message.to_owned()),
            destination: self.destination(due),
            priority: due.priority,
            origin: Arc::clone(&self.turn.origin),
            recipients: 1,
        };
        self.take(piece);
        match self.seen.get(&(self.turn.priority, Arc::clone(&self.turn.origin))) {
            Some(seen) if self.turn.unfilled.is_empty() => Further::After(*seen),
            Some(_) | None => Further::Next,
        }
    }

    /// What is known for the next look: up to when all was seen, and what was left.
    pub(crate) fn end(&mut self, now: Timestamp) -> (Seen, HashSet<Lane>) {
        self.end_turn(now);
        (std::mem::take(&mut self.seen), std::mem::take(&mut self.left))
    }

    fn begin_turn(&mut self, due: &Due<'_>) {
        let origin: Arc<str> = Arc::from(due.origin);
        let is_his = |lane: &&Lane| lane.1 == due.priority && lane.2 == origin;
        let before: Vec<Lane> = self.left_before.iter().filter(is_his).cloned().collect();
        let is_unfilled = |lane: &&Lane| self.counts.get(*lane).is_none_or(|it| *it < MAX_PICKED_OF_ONE);
        let unfilled = before.iter().filter(is_unfilled).cloned().collect();
        // What is gone past without a look is left.
        let is_gone_past = self.seen.contains_key(&(due.priority, Arc::clone(&origin)));
        self.left.extend(before.into_iter().filter(|_| is_gone_past));
        self.turn = Turn { priority: due.priority, origin, picked: 0, is_cut: false, unfilled };
        // Who sends matters for routes and schedules.
        self.known.clear();
    }

    fn end_turn(&mut self, now: Timestamp) {
        if !self.turn.is_cut {
            // All that was left before and not taken up was looked for, and there is no more of it.
            for lane in &self.turn.unfilled {
                self.left.remove(lane);
            }
            let seen = now.checked_sub(MARGIN).unwrap_or(now);
            self.seen.insert((self.turn.priority, Arc::clone(&self.turn.origin)), seen);
        }
    }

    fn take(&mut self, piece: Piece) {
        let key = piece.key();
        if let Some(known) = self.places.get(&key).and_then(|place| self.picked.get_mut(*place)) {
            known.recipients += 1;
            return;
        }
        if self.busy.contains(&key) {
            return;
        }
        let count = self.counts.entry(piece.lane()).or_default();
        if *count >= MAX_PICKED_OF_ONE {
            self.left.insert(piece.lane());
            return;
        }
        *count += 1;
        if *count == MAX_PICKED_OF_ONE {
            self.turn.unfilled.remove(&piece.lane());
        }
        self.turn.picked += 1;
        self.places.insert(key, self.picked.len());
        self.picked.push(piece);
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
/// deliveries before who has more.
pub(crate) fn in_turn(waiting: &mut [Piece], active: &HashMap<Arc<str>, usize>) {
    let mut before: HashMap<(Priority, Arc<str>), usize> = HashMap::new();
    let turn = |piece: &Piece| {
        let of_origin = || active.get(&piece.origin).copied().unwrap_or_default();
        let count = before.entry((piece.priority, Arc::clone(&piece.origin))).or_insert_with(of_origin);
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
mod tests {
    use mail_config::RelayConfig;

    use super::*;

    const NORMAL: Priority = Priority::NORMAL;
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// The first look.
    fn nothing() -> (Seen, HashSet<Lane>) {
        (Seen::new(), HashSet::new())
    }

    fn due<'a>(message: &'a str, recipient: &'a str, priority: Priority) -> Due<'a> {
        due_of("carol@example.org", message, recipient, priority)
    }

    fn due_of<'a>(origin: &'a str, message: &'a str, recipient: &'a str, priority: Priority) -> Due<'a> {
        Due { message, sender: "carol@example.org", origin, recipient, next_hop: None, priority }
    }

    fn mail_hosts(domain: &str) -> Destination {
        Way::MailHosts(domain.parse().unwrap()).into()
    }

    fn piece(id: &str, destination: &Destination, priority: Priority, origin: &str) -> Piece {
        let (id, destination) = (QueueId(id.to_owned()), destination.clone());
        Piece { id, destination, priority, origin: Arc::from(origin), recipients: 1 }
    }

    fn ids(pieces: &[Piece]) -> Vec<&str> {
        pieces.iter().map(|it| it.id.0.as_str()).collect()
    }

    #[test]
    fn a_backlog_for_one_destination_leaves_the_others_their_turn() {
        let routes = Routes::new(&RelayConfig::default());
        let ours: Domain = "example.org".parse().unwrap();
        let mut picker = Picker::new(&routes, [ours], HashSet::new(), &[], nothing());
        for number in 0..10_000 {
            assert_eq!(
                picker.offer(&due(&format!("m{number}"), "bob@dead.test", NORMAL), NOW),
                Further::Next
            );
        }
        for recipient in ["eve@live.test", "mallory@LIVE.test", "alice@example.org"] {
            assert_eq!(picker.offer(&due("m1", recipient, NORMAL), NOW), Further::Next);
        }
        let behind = &picker.picked[MAX_PICKED_OF_ONE..];
        let found: Vec<_> = behind.iter().map(|it| (&it.destination, it.recipients)).collect();
        assert_eq!(found, [(&mail_hosts("live.test"), 2), (&Way::Here.into(), 1)]);
        assert_eq!(
            picker.left,
            HashSet::from([piece("", &mail_hosts("dead.test"), NORMAL, "carol@example.org").lane()])
        );
    }

    #[test]
    fn who_sends_to_very_many_leaves_the_others_their_turn() {
        let routes = Routes::new(&RelayConfig::default());
        let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nothing());
        let many = |number: usize| {
            let (message, recipient) = (format!("m{number}"), format!("x@d{number}.test"));
            picker.offer(&due_of("many@example.org", &message, &recipient, NORMAL), NOW)
        };
        assert_eq!((0..10_000).map(many).take_while(|it| *it == Further::Next).count(), MAX_PICKED);
        assert_eq!(picker.offer(&due_of("one@example.org", "one", "x@d1.test", NORMAL), NOW), Further::Next);
        assert!(picker.is_cut && picker.picked.len() == MAX_PICKED + 1);
        in_turn(&mut picker.picked, &HashMap::new());
        assert_eq!(ids(&picker.picked[..3]), ["m0", "one", "m1"]);
        in_turn(&mut picker.picked, &HashMap::from([(Arc::from("many@example.org"), 20)]));
        assert_eq!(ids(&picker.picked[..2]), ["one", "m0"], "who has deliveries under way waits");
    }

    /// RFC 6710 §5
    #[test]
    fn what_matters_more_passes_a_backlog_that_waits_for_the_same_destination() {
        let routes = Routes::new(&RelayConfig::default());
        let destination = mail_hosts("x.test");
        let piece = |number: usize| piece(&format!("m{number}"), &destination, NORMAL, "carol@example.org");
        let waiting: Vec<Piece> = (0..MAX_PICKED_OF_ONE).map(piece).collect();
        let mut picker = Picker::new(&routes, [], HashSet::new(), &waiting, nothing());
        assert_eq!(picker.offer(&due("urgent", "a@x.test", "3".parse().unwrap()), NOW), Further::Next);
        assert_eq!(picker.offer(&due("usual", "a@x.test", NORMAL), NOW), Further::Next);
        assert_eq!(ids(&picker.picked), ["urgent"]);
        let mut all = [waiting, picker.picked].concat();
        in_turn(&mut all, &HashMap::from([(Arc::from("carol@example.org"), 5)]));
        assert_eq!(all[0].id.0, "urgent");
    }

    #[test]
    fn what_is_under_way_is_not_picked_again() {
        let routes = Routes::new(&RelayConfig::default());
        let busy = piece("m1", &mail_hosts("x.test"), NORMAL, "").key();
        let mut picker = Picker::new(&routes, [], HashSet::from([busy]), &[], nothing());
        for (message, recipient) in
            [("m1", "a@x.test"), ("m1", "a@y.test"), ("m2", "a@x.test"), ("m2", "b@x.test")]
        {
            assert_eq!(picker.offer(&due(message, recipient, NORMAL), NOW), Further::Next);
        }
        assert_eq!(ids(&picker.picked), ["m1", "m2"]);
    }

    #[test]
    fn what_an_operator_sent_another_way_is_for_a_destination_of_its_own() {
        let routes = Routes::new(&RelayConfig::default());
        let ours: Domain = "example.org".parse().unwrap();
        let mut picker = Picker::new(&routes, [ours], HashSet::new(), &[], nothing());
        let usual = due("m1", "a@x.test", NORMAL);
        let other = Due { next_hop: Some("other.test:26"), ..due("m1", "b@x.test", NORMAL) };
        let here = Due { recipient: "alice@example.org", ..other };
        for due in [usual, other, here] {
            assert_eq!(picker.offer(&due, NOW), Further::Next);
        }
        let found: Vec<_> = picker.picked.iter().map(|it| it.destination.way.clone()).collect();
        let hop = Way::Host("other.test:26".parse().unwrap());
        assert_eq!(found, [Way::MailHosts("x.test".parse().unwrap()), hop, Way::Here]);
    }

    /// What a look takes must not grow with what waits for a destination that takes no more.
    #[test]
    fn a_backlog_that_was_seen_is_gone_past_until_it_is_used_up() {
        let routes = Routes::new(&RelayConfig::default());
        let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nothing());
        for number in 0..200 {
            assert_eq!(picker.offer(&due(&format!("m{number}"), "x@dead.test", NORMAL), NOW), Further::Next);
        }
        let (picked, known) = (std::mem::take(&mut picker.picked), picker.end(NOW));
        let seen = NOW.checked_sub(MARGIN).unwrap();
        let mut picker = Picker::new(&routes, [], HashSet::new(), &picked, known);
        assert_eq!(picker.offer(&due("m100", "x@dead.test", NORMAL), NOW), Further::After(seen));
        assert_eq!(picker.offer(&due("new", "x@live.test", NORMAL), NOW), Further::After(seen));
        assert_eq!(ids(&picker.picked), ["new"]);
        let known = picker.end(NOW);
        assert_eq!(known.1, HashSet::from([picked[0].lane()]), "more of it is known to be there");

        let mut picker = Picker::new(&routes, [], HashSet::new(), &[], known);
        let mut goes_past = |number: usize| {
            let message = format!("m{number}");
            picker.offer(&due(&message, "x@dead.test", NORMAL), NOW) == Further::After(seen)
        };
        assert_eq!((64..200).take_while(|number| !goes_past(*number)).count(), MAX_PICKED_OF_ONE - 1);
    }
}
