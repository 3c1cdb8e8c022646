//! How many deliveries each destination may have at a time, so that a slow one or a dead one leaves room for the others. Pure.

use std::collections::HashMap;

use crate::routes::Destination;

/// What a destination begins with.
const FIRST: usize = 2;

/// The destinations that deliveries are under way to.
#[derive(Debug, Clone)]
pub(crate) struct Destinations {
    most: usize,
    loads: HashMap<Destination, Load>,
}

#[derive(Debug, Clone, Copy)]
struct Load {
    active: usize,
    allowed: usize,
}

impl Destinations {
    /// `most` for each one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), loads: HashMap::new() }
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

    /// A delivery ended. One that `reached` its destination makes room for one more at a time, one that didn't halves it.
    pub(crate) fn end(&mut self, destination: &Destination, reached: bool) {
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
        let mut destinations = Destinations::new(5);
        assert_eq!(started(&mut destinations, &one), 2);
        assert_eq!(started(&mut destinations, &other), 2, "each has its own");
        for more in [2, 2, 2, 1, 1] {
            destinations.end(&one, true);
            assert_eq!(started(&mut destinations, &one), more);
        }
        destinations.end(&one, false);
        assert_eq!(started(&mut destinations, &one), 0, "4 are under way, 2 allowed");
        for _ in 0..3 {
            destinations.end(&one, false);
        }
        assert_eq!(started(&mut destinations, &one), 0);
        destinations.end(&one, false);
        assert_eq!(started(&mut destinations, &one), 2, "what is forgotten begins anew");
    }
}
