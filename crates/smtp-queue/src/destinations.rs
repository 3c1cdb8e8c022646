//! How many deliveries each destination may have at a time, so that a slow one or a dead one leaves room for the others, and which have
//! answered lately. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::routes::Destination;

/// How long it counts that a destination has answered.
const PROVEN: Duration = Duration::from_secs(3600);
/// How many such ones are remembered.
const MAX_PROVEN: usize = 10_000;

/// What a destination begins with.
const FIRST: usize = 2;

/// The destinations that deliveries are under way to.
#[derive(Debug, Clone)]
pub(crate) struct Destinations {
    most: usize,
    loads: HashMap<Destination, Load>,
    proven: Proven,
}

/// The destinations that have answered lately.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proven(Arc<HashMap<Destination, Instant>>);

impl Proven {
    pub(crate) fn contains(&self, destination: &Destination, now: Instant) -> bool {
        destination.is_here()
            || self.0.get(destination).is_some_and(|answered| now.duration_since(*answered) < PROVEN)
    }

    /// What can't be remembered has to prove itself again.
    fn insert(&mut self, destination: &Destination, now: Instant) {
        let known = Arc::make_mut(&mut self.0);
        if let Some(answered) = known.get_mut(destination) {
            *answered = now;
            return;
        }
        if known.len() >= MAX_PROVEN {
            known.retain(|_, answered| now.duration_since(*answered) < PROVEN);
        }
        if known.len() >= MAX_PROVEN {
            known.clear();
        }
        known.insert(destination.clone(), now);
    }

    fn remove(&mut self, destination: &Destination) {
        if self.0.contains_key(destination) {
            Arc::make_mut(&mut self.0).remove(destination);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Load {
    active: usize,
    allowed: usize,
}

impl Destinations {
    /// `most` for each one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), loads: HashMap::new(), proven: Proven::default() }
    }

    pub(crate) fn has_room(&self, destination: &Destination) -> bool {
        self.loads.get(destination).is_none_or(|load| load.active < load.allowed)
    }

    /// A delivery begins.
    pub(crate) fn begin(&mut self, destination: &Destination) {
        // Ourselves we know.
        let first = if destination.is_here() { self.most } else { FIRST.min(self.most) };
        let load = self.loads.entry(destination.clone()).or_insert(Load { active: 0, allowed: first });
        load.active += 1;
    }

    /// Those that have answered lately.
    pub(crate) const fn proven(&self) -> &Proven {
        &self.proven
    }

    /// A delivery ended. One that `reached` its destination makes room for one more at a time, one that didn't halves it.
    pub(crate) fn end(&mut self, destination: &Destination, reached: bool, now: Instant) {
        if reached {
            self.proven.insert(destination, now);
        } else {
            self.proven.remove(destination);
        }
        let Some(load) = self.loads.get_mut(destination) else { return };
        load.active = load.active.saturating_sub(1);
        load.allowed = if reached { (load.allowed + 1).min(self.most) } else { (load.allowed / 2).max(1) };
        if load.active == 0 {
            self.loads.remove(destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Way;

    fn started(destinations: &mut Destinations, destination: &Destination) -> usize {
        let mut count = 0;
        while destinations.has_room(destination) {
            destinations.begin(destination);
            count += 1;
        }
        count
    }

    #[test]
    fn a_destination_gets_more_as_it_answers_and_less_when_it_does_not() {
        let (one, other) = (Way::Smarthost(0).into(), Way::Smarthost(1).into());
        let (mut destinations, now) = (Destinations::new(5), Instant::now());
        assert_eq!(started(&mut destinations, &one), 2);
        assert_eq!(started(&mut destinations, &other), 2, "each has its own");
        for more in [2, 2, 2, 1, 1] {
            destinations.end(&one, true, now);
            assert_eq!(started(&mut destinations, &one), more);
        }
        destinations.end(&one, false, now);
        assert_eq!(started(&mut destinations, &one), 0, "4 are under way, 2 allowed");
        for _ in 0..3 {
            destinations.end(&one, false, now);
        }
        assert_eq!(started(&mut destinations, &one), 0);
        destinations.end(&one, false, now);
        assert_eq!(started(&mut destinations, &one), 2, "what is forgotten begins anew");
    }

    #[test]
    fn who_has_answered_is_proven_for_an_hour_or_until_it_does_not() {
        let (one, other) = (Way::Smarthost(0).into(), Way::Smarthost(1).into());
        let (mut destinations, now) = (Destinations::new(5), Instant::now());
        destinations.end(&one, true, now);
        destinations.end(&other, true, now);
        destinations.end(&other, false, now);
        let proven = destinations.proven();
        assert!(proven.contains(&one, now) && !proven.contains(&other, now));
        assert!(proven.contains(&Way::Here.into(), now), "ourselves we know");
        assert!(!proven.contains(&one, now + PROVEN));
        for place in 0..MAX_PROVEN * 2 {
            destinations.end(&Way::Smarthost(place).into(), true, now);
            assert!(destinations.proven.0.len() <= MAX_PROVEN);
        }
    }
}
