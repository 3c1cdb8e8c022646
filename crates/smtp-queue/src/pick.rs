//! What of the queue is tried next: a message's recipients at one destination at a time. Pure.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

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
    /// Whose mail is looked at, how many of it were picked, and where the last one stands.
    origin: (Arc<str>, Priority, usize),
    places: HashMap<Key, usize>,
    pub(crate) picked: Vec<Piece>,
    /// Of which more is due than was picked.
    pub(crate) left: HashSet<Lane>,
    /// There is more that was not looked at.
    pub(crate) is_cut: bool,
}

impl<'a> Picker<'a> {
    /// `waiting` are pieces picked before and not begun.
    pub(crate) fn new(
        routes: &'a Routes,
        here: impl IntoIterator<Item = Domain>,
        busy: HashSet<Key>,
        waiting: &[Piece],
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
            origin: (Arc::from(""), Priority::NORMAL, 0),
            places: HashMap::new(),
            picked: Vec::new(),
            left: HashSet::new(),
            is_cut: false,
        }
    }

    /// Looks at a recipient that is due: those of the highest priority first, of them those of one origin after the other's, and of these the
    /// longest due. Breaks off where this origin has had its turn.
    pub(crate) fn offer(&mut self, due: &Due<'_>) -> ControlFlow<()> {
        if *self.origin.0 != *due.origin || self.origin.1 != due.priority {
            self.origin = (Arc::from(due.origin), due.priority, 0);
            // Who sends matters for routes and schedules.
            self.known.clear();
        }
        if self.origin.2 >= MAX_PICKED {
            self.is_cut = true;
            return ControlFlow::Break(());
        }
        let piece = Piece {
            id: QueueId(due.message.to_owned()),
            destination: self.destination(due),
            priority: due.priority,
            origin: Arc::clone(&self.origin.0),
            recipients: 1,
        };
        self.take(piece);
        ControlFlow::Continue(())
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
        self.origin.2 += 1;
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
        let mut picker = Picker::new(&routes, [ours], HashSet::new(), &[]);
        for number in 0..10_000 {
            assert!(picker.offer(&due(&format!("m{number}"), "bob@dead.test", NORMAL)).is_continue());
        }
        for recipient in ["eve@live.test", "mallory@LIVE.test", "alice@example.org"] {
            assert!(picker.offer(&due("m1", recipient, NORMAL)).is_continue());
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
        let mut picker = Picker::new(&routes, [], HashSet::new(), &[]);
        let many = |number: usize| {
            picker.offer(&due_of(
                "many@example.org",
                &format!("m{number}"),
                &format!("x@d{number}.test"),
                NORMAL,
            ))
        };
        assert_eq!((0..10_000).map(many).take_while(|it| it.is_continue()).count(), MAX_PICKED);
        assert!(picker.offer(&due_of("one@example.org", "one", "x@d1.test", NORMAL)).is_continue());
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
        let mut picker = Picker::new(&routes, [], HashSet::new(), &waiting);
        assert!(picker.offer(&due("urgent", "a@x.test", "3".parse().unwrap())).is_continue());
        assert!(picker.offer(&due("usual", "a@x.test", NORMAL)).is_continue());
        assert_eq!(ids(&picker.picked), ["urgent"]);
        let mut all = [waiting, picker.picked].concat();
        in_turn(&mut all, &HashMap::from([(Arc::from("carol@example.org"), 5)]));
        assert_eq!(all[0].id.0, "urgent");
    }

    #[test]
    fn what_is_under_way_is_not_picked_again() {
        let routes = Routes::new(&RelayConfig::default());
        let busy = piece("m1", &mail_hosts("x.test"), NORMAL, "").key();
        let mut picker = Picker::new(&routes, [], HashSet::from([busy]), &[]);
        for (message, recipient) in
            [("m1", "a@x.test"), ("m1", "a@y.test"), ("m2", "a@x.test"), ("m2", "b@x.test")]
        {
            assert!(picker.offer(&due(message, recipient, NORMAL)).is_continue());
        }
        assert_eq!(ids(&picker.picked), ["m1", "m2"]);
    }

    #[test]
    fn what_an_operator_sent_another_way_is_for_a_destination_of_its_own() {
        let routes = Routes::new(&RelayConfig::default());
        let ours: Domain = "example.org".parse().unwrap();
        let mut picker = Picker::new(&routes, [ours], HashSet::new(), &[]);
        let usual = due("m1", "a@x.test", NORMAL);
        let other = Due { next_hop: Some("other.test:26"), ..due("m1", "b@x.test", NORMAL) };
        let here = Due { recipient: "alice@example.org", ..other };
        for due in [usual, other, here] {
            assert!(picker.offer(&due).is_continue());
        }
        let found: Vec<_> = picker.picked.iter().map(|it| it.destination.way.clone()).collect();
        let hop = Way::Host("other.test:26".parse().unwrap());
        assert_eq!(found, [Way::MailHosts("x.test".parse().unwrap()), hop, Way::Here]);
    }
}
