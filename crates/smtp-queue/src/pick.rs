//! What of the queue is tried next: a message's recipients at one destination at a time. Pure.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use mail_types::{Address, Domain};

use crate::routes::{Destination, Routes, Way};
use crate::{Priority, QueueId};

/// What one delivery is about: the recipients of one message that are at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Piece {
    pub(crate) id: QueueId,
    pub(crate) destination: Destination,
    pub(crate) priority: Priority,
}

/// A recipient that is due, as the index has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due<'a> {
    pub(crate) message: &'a str,
    /// The reverse path; empty for `<>`.
    pub(crate) sender: &'a str,
    pub(crate) recipient: &'a str,
    /// That an operator chose.
    pub(crate) next_hop: Option<&'a str>,
    pub(crate) priority: Priority,
}

/// Pieces found at one look at the queue, and of them as many of one priority for one destination, so that those behind are seen too.
pub(crate) const MAX_PICKED: usize = 512;
pub(crate) const MAX_PICKED_OF_ONE: usize = 64;

/// Chooses among what is due.
#[derive(Debug)]
pub(crate) struct Picker<'a> {
    routes: &'a Routes,
    /// Our domains.
    here: HashSet<Domain>,
    /// Under way, or about to be.
    busy: HashSet<Piece>,
    /// Destinations by sender, where that matters, and domain, as far as they were met.
    known: HashMap<String, HashMap<String, Destination>>,
    counts: HashMap<(Destination, Priority), usize>,
    pub(crate) picked: Vec<Piece>,
    /// Destinations for which more is due than was picked.
    pub(crate) left: HashSet<Destination>,
}

impl<'a> Picker<'a> {
    /// `waiting` are pieces picked before and not begun.
    pub(crate) fn new(
        routes: &'a Routes,
        here: impl IntoIterator<Item = Domain>,
        busy: HashSet<Piece>,
        waiting: &[Piece],
    ) -> Self {
        let mut counts = HashMap::new();
        for piece in waiting {
            *counts.entry((piece.destination.clone(), piece.priority)).or_default() += 1;
        }
        let here = here.into_iter().collect();
        Self { routes, here, busy, known: HashMap::new(), counts, picked: Vec::new(), left: HashSet::new() }
    }

    /// Looks at a recipient that is due, those of the highest priority first, and of them the longest due.
    pub(crate) fn offer(&mut self, due: &Due<'_>) -> ControlFlow<()> {
        if self.picked.len() >= MAX_PICKED {
            return ControlFlow::Break(());
        }
        let Due { message, priority, .. } = *due;
        let counted = (self.destination(due), priority);
        if self.counts.get(&counted).is_some_and(|count| *count >= MAX_PICKED_OF_ONE) {
            self.left.insert(counted.0);
            return ControlFlow::Continue(());
        }
        let piece = Piece { id: QueueId(message.to_owned()), destination: counted.0.clone(), priority };
        if self.busy.insert(piece.clone()) {
            *self.counts.entry(counted).or_default() += 1;
            self.picked.push(piece);
        }
        ControlFlow::Continue(())
    }

    fn destination(&mut self, due: &Due<'_>) -> Destination {
        let Due { sender, recipient, next_hop, .. } = *due;
        // Few are: they are looked at anew each time.
        if next_hop.is_some() {
            return self.destination_of(sender, recipient, next_hop);
        }
        let sender = if self.routes.look_at_senders() { sender } else { "" };
        let domain = recipient.rsplit_once('@').map_or(recipient, |(_, domain)| domain);
        if let Some(known) = self.known.get(sender).and_then(|known| known.get(domain)) {
            return known.clone();
        }
        let destination = self.destination_of(sender, recipient, None);
        self.known.entry(sender.to_owned()).or_default().insert(domain.to_owned(), destination.clone());
        destination
    }

    /// What can't be read is told as any failure of a local delivery is.
    fn destination_of(&self, sender: &str, recipient: &str, next_hop: Option<&str>) -> Destination {
        let sender = sender.parse().ok();
        match recipient.parse::<Address>() {
            Ok(address) if !self.here.contains(address.domain()) => {
                let next_hop = next_hop.and_then(|it| it.parse().ok());
                self.routes.by(sender.as_ref(), address.domain(), next_hop.as_ref())
            }
            Ok(_) | Err(_) => Way::Here.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use mail_config::RelayConfig;

    use super::*;

    const NORMAL: Priority = Priority::NORMAL;

    fn due<'a>(message: &'a str, recipient: &'a str, priority: Priority) -> Due<'a> {
        Due { message, sender: "carol@example.org", recipient, next_hop: None, priority }
    }

    fn mail_hosts(domain: &str) -> Destination {
        Way::MailHosts(domain.parse().unwrap()).into()
    }

    #[test]
    fn a_backlog_for_one_destination_leaves_the_others_their_turn() {
        let routes = Routes::new(&RelayConfig::default());
        let ours: Domain = "example.org".parse().unwrap();
        let mut picker = Picker::new(&routes, [ours], HashSet::new(), &[]);
        for number in 0..10_000 {
            assert!(picker.offer(&due(&format!("m{number}"), "bob@dead.test", NORMAL)).is_continue());
        }
        assert!(picker.offer(&due("m1", "eve@live.test", NORMAL)).is_continue());
        assert!(picker.offer(&due("m1", "mallory@LIVE.test", NORMAL)).is_continue());
        assert!(picker.offer(&due("m1", "alice@example.org", NORMAL)).is_continue());
        let behind: Vec<_> = picker.picked.iter().skip(MAX_PICKED_OF_ONE).map(|it| &it.destination).collect();
        assert_eq!(behind, [&mail_hosts("live.test"), &Way::Here.into()]);
        assert_eq!(picker.left, HashSet::from([mail_hosts("dead.test")]));
    }

    /// RFC 6710 §5
    #[test]
    fn what_matters_more_passes_a_backlog_that_waits_for_the_same_destination() {
        let routes = Routes::new(&RelayConfig::default());
        let destination = mail_hosts("x.test");
        let piece = |number: usize| Piece {
            id: QueueId(format!("m{number}")),
            destination: destination.clone(),
            priority: NORMAL,
        };
        let waiting: Vec<Piece> = (0..MAX_PICKED_OF_ONE).map(piece).collect();
        let mut picker = Picker::new(&routes, [], HashSet::new(), &waiting);
        assert!(picker.offer(&due("urgent", "a@x.test", "3".parse().unwrap())).is_continue());
        assert!(picker.offer(&due("usual", "a@x.test", NORMAL)).is_continue());
        let picked: Vec<_> = picker.picked.iter().map(|it| it.id.0.as_str()).collect();
        assert_eq!(picked, ["urgent"]);
    }

    #[test]
    fn what_is_under_way_is_not_picked_again() {
        let routes = Routes::new(&RelayConfig::default());
        let destination = mail_hosts("x.test");
        let busy = Piece { id: QueueId("m1".to_owned()), destination, priority: NORMAL };
        let mut picker = Picker::new(&routes, [], HashSet::from([busy]), &[]);
        for (message, recipient) in
            [("m1", "a@x.test"), ("m1", "a@y.test"), ("m2", "a@x.test"), ("m2", "b@x.test")]
        {
            assert!(picker.offer(&due(message, recipient, NORMAL)).is_continue());
        }
        let picked: Vec<_> = picker.picked.iter().map(|it| it.id.0.as_str()).collect();
        assert_eq!(picked, ["m1", "m2"]);
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
