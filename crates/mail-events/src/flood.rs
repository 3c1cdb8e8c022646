//! How many refusals are noted one by one. Pure: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::Omitted;

/// Over which refusals are counted.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Refusals of one client that are noted in a window.
const MAX_OF_PEER: u64 = 20;
/// Clients that are counted one by one; the rest together.
const MAX_PEERS: usize = 1000;
/// Counts that are told one by one at the end of a window.
const MAX_TOLD: usize = 50;

/// Bounds what a flood of refusals costs.
#[derive(Debug)]
pub(crate) struct Flood {
    /// Refusals noted in a window at most.
    limit: u64,
    begun: Option<Instant>,
    noted: u64,
    /// Refusals of each client, and how many of them were omitted.
    peers: HashMap<String, (u64, u64)>,
    /// Omitted of clients that are not in `peers`.
    others: u64,
}

impl Flood {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, begun: None, noted: 0, peers: HashMap::new(), others: 0 }
    }

    /// True if this refusal of `peer` is to be noted; else it is counted.
    pub(crate) fn admit(&mut self, peer: &str, now: Instant) -> bool {
        self.begun.get_or_insert(now);
        let is_full = self.noted >= self.limit;
        if !self.peers.contains_key(peer) && self.peers.len() >= MAX_PEERS {
            self.noted += u64::from(!is_full);
            self.others += u64::from(is_full);
            return !is_full;
        }
        let (seen, omitted) = self.peers.entry(peer.to_owned()).or_default();
        *seen += 1;
        let noted = !is_full && *seen <= MAX_OF_PEER;
        *omitted += u64::from(!noted);
        self.noted += u64::from(noted);
        noted
    }

    /// When the window ends, if one has begun.
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.begun.map(|begun| begun + WINDOW)
    }

    /// Ends the window: what was omitted in it.
    pub(crate) fn end(&mut self) -> Vec<Omitted> {
        let mut counts: Vec<(String, u64)> =
            self.peers.drain().map(|(peer, (_, omitted))| (peer, omitted)).filter(|it| it.1 > 0).collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let rest = counts.split_off(MAX_TOLD.min(counts.len()));
        let others = std::mem::take(&mut self.others) + rest.iter().map(|(_, count)| count).sum::<u64>();
        let told = counts.into_iter().map(|(peer, count)| Omitted { peer: Some(peer), count });
        let others = (others > 0).then_some(Omitted { peer: None, count: others });
        (self.begun, self.noted) = (None, 0);
        told.chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_refusals_noted_and_the_rest_counted() {
        let mut flood = Flood::new(1000);
        let now = Instant::now();
        let noted = (0..50).filter(|_| flood.admit("192.0.2.1", now)).count();
        assert_eq!(noted, 20);
        assert!(flood.admit("192.0.2.2", now), "another client is noted still");
        assert_eq!(flood.ends(), Some(now + WINDOW));
        assert_eq!(flood.end(), [Omitted { peer: Some("192.0.2.1".to_owned()), count: 30 }]);
        assert!(flood.admit("192.0.2.1", now), "the next window begins anew");
    }

    #[test]
    fn any_number_of_clients_costs_a_bounded_number_of_lines_and_of_memory() {
        let mut flood = Flood::new(600);
        let now = Instant::now();
        let noted = (0..20_000).filter(|client| flood.admit(&format!("client {client}"), now)).count();
        assert_eq!(noted, 600);
        assert!(flood.peers.len() <= MAX_PEERS);
        let omitted = flood.end();
        assert_eq!(omitted.len(), MAX_TOLD + 1);
        assert_eq!(omitted.iter().map(|it| it.count).sum::<u64>(), 19_400);
    }
}
