use std::net::SocketAddr;

use super::hold::Hold;
use super::outgoing::{Outgoing, Recipient};
use super::transaction::Outcome;
use crate::{Diagnosis, Status};

/// One message's recipients while host after host is tried. Pure.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    outgoing: &'a Outgoing,
    places: Vec<Place>,
    /// Why the last host that was tried could not even be spoken to.
    trouble: Option<Diagnosis>,
    /// Why the message must not go to the last host that was fit for others, or that takes no mail at all.
    obstacle: Option<Diagnosis>,
}

#[derive(Debug, Clone)]
enum Place {
    Untried,
    /// By the host at this address; another one may do better.
    Deferred(SocketAddr, Diagnosis),
    Settled(Outcome),
}

/// Some of the recipients, for one transaction.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) outgoing: Outgoing,
    positions: Vec<usize>,
}

impl<'a> Pending<'a> {
    pub(super) fn new(outgoing: &'a Outgoing) -> Self {
        Self {
            outgoing,
            places: vec![Place::Untried; outgoing.recipients.len()],
            trouble: None,
            obstacle: None,
        }
    }

    pub(super) const fn hold(&self) -> &Hold {
        &self.outgoing.hold
    }

    /// True if nothing is to be sent any more.
    pub(super) fn is_settled(&self) -> bool {
        self.places.iter().all(|place| matches!(place, Place::Settled(_)))
    }

    /// True if there is something that may still be sent to the host at this address.
    pub(super) fn is_open_for(&self, address: SocketAddr) -> bool {
        self.places.iter().any(|place| place.is_open_for(address))
    }

    /// What may still be sent to the host at this address, of it those whose places `choose` names; `None` if that is nobody.
    pub(super) fn part(
        &self,
        address: SocketAddr,
        choose: impl FnOnce(&[&Recipient]) -> Vec<usize>,
    ) -> Option<Part> {
        let places = self.outgoing.recipients.iter().zip(&self.places).enumerate();
        let (open, recipients): (Vec<usize>, Vec<&Recipient>) = places
            .filter(|(_, (_, place))| place.is_open_for(address))
            .map(|(position, (recipient, _))| (position, recipient))
            .unzip();
        let chosen: Vec<(usize, &Recipient)> = choose(&recipients)
            .into_iter()
            .filter_map(|place| open.get(place).copied().zip(recipients.get(place).copied()))
            .collect();
        let (positions, recipients): (Vec<usize>, Vec<Recipient>) =
            chosen.into_iter().map(|(position, recipient)| (position, recipient.clone())).unzip();
        let outgoing = Outgoing { recipients, ..self.outgoing.clone() };
        (!positions.is_empty()).then_some(Part { outgoing, positions })
    }

    /// What came of sending a part to the host at this address; no other host gets what the host may have taken (`None`) now.
    pub(super) fn sent(&mut self, part: &Part, outcomes: Vec<Outcome>, by: Option<SocketAddr>) {
        for (position, outcome) in part.positions.iter().zip(outcomes) {
            let place = match (outcome, by) {
                (Outcome::Deferred(diagnosis), Some(address)) => Place::Deferred(address, diagnosis),
                (outcome, _) => Place::Settled(outcome),
            };
            if let Some(slot) = self.places.get_mut(*position) {
                *slot = place;
            }
        }
    }

    /// What came of all that are not settled yet, whichever host is tried.
    pub(super) fn settle(&mut self, outcome: &Outcome) {
        for place in self.places.iter_mut().filter(|place| !matches!(place, Place::Settled(_))) {
            *place = Place::Settled(outcome.clone());
        }
    }

    /// A host gets nothing of it now (4yz), or must not get it (5yz).
    pub(super) fn passed_over(&mut self, diagnosis: Diagnosis) {
        if diagnosis.status.class == 5 {
            self.obstacle = Some(diagnosis);
        } else {
            self.trouble = Some(diagnosis);
        }
    }

    /// A host that may take it has not been tried: what others say is not for good.
    pub(super) fn cut_short(&mut self) {
        let untried = || Diagnosis::ours(Status::new(4, 4, 5), "not all of its hosts could be tried");
        self.trouble.get_or_insert_with(untried);
    }

    /// The outcomes, in the order of the recipients. What a host said of a recipient tells more than that another is down.
    pub(super) fn finish(self) -> Vec<Outcome> {
        let untried = || Diagnosis::ours(Status::new(4, 4, 4), "no host to try");
        // One that could not be spoken to may be fit another time.
        let none = match (self.trouble, self.obstacle) {
            (Some(trouble), _) => Outcome::Deferred(trouble),
            (None, Some(obstacle)) => Outcome::Failed(obstacle),
            (None, None) => Outcome::Deferred(untried()),
        };
        let outcome = |place| match place {
            Place::Untried => none.clone(),
            Place::Deferred(_, diagnosis) => Outcome::Deferred(diagnosis),
            Place::Settled(outcome) => outcome,
        };
        self.places.into_iter().map(outcome).collect()
    }
}

impl Place {
    fn is_open_for(&self, address: SocketAddr) -> bool {
        match self {
            Self::Untried => true,
            Self::Deferred(by, _) => *by != address,
            Self::Settled(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(text: &str) -> Diagnosis {
        Diagnosis::ours(Status::new(4, 0, 0), text)
    }

    fn all(recipients: &[&Recipient]) -> Vec<usize> {
        (0..recipients.len()).collect()
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn the_next_host_gets_who_was_deferred_unless_the_message_may_have_been_taken() {
        let outgoing = Outgoing::plain("", &["a@x", "b@x", "c@x"], 1);
        let recipients = outgoing.recipients.clone();
        let mut pending = Pending::new(&outgoing);
        let later = Outcome::Deferred(diagnosis("later"));
        let part = pending.part(address(1), all).unwrap();
        let outcomes = vec![later.clone(), Outcome::Delivered(diagnosis("done"), None), later.clone()];
        pending.sent(&part, outcomes, Some(address(1)));
        assert!(!pending.is_open_for(address(1)), "each host is asked once");
        let part = pending.part(address(2), all).unwrap();
        assert_eq!(part.outgoing.recipients, [recipients[0].clone(), recipients[2].clone()]);
        pending.passed_over(diagnosis("down"));
        let lost = Outcome::Deferred(diagnosis("lost"));
        pending.sent(&part, vec![lost.clone(), later.clone()], None);
        assert!(!pending.is_open_for(address(3)));
        assert_eq!(pending.finish(), [lost, Outcome::Delivered(diagnosis("done"), None), later]);
    }

    #[test]
    fn what_a_host_does_not_take_at_once_it_gets_in_parts() {
        let outgoing = Outgoing::plain("", &["a@x", "b@x", "c@x"], 1);
        let mut pending = Pending::new(&outgoing);
        let part = pending.part(address(1), |_| vec![0, 2]).unwrap();
        let done = Outcome::Delivered(diagnosis("done"), None);
        pending.sent(&part, vec![done.clone(), Outcome::Deferred(diagnosis("later"))], Some(address(1)));
        assert!(pending.part(address(1), |_| Vec::new()).is_none());
        let part = pending.part(address(1), all).unwrap();
        assert_eq!(part.outgoing.recipients, outgoing.recipients[1..2]);
        pending.settle(&Outcome::Failed(diagnosis("all")));
        assert_eq!(pending.finish()[0], done);
    }

    /// RFC 7504 §3: it is for good only where no host may take it another time.
    #[test]
    fn what_no_host_takes_at_all_fails_and_what_one_may_take_later_waits() {
        let outgoing = Outgoing::plain("", &["a@x"], 1);
        let never = Diagnosis::ours(Status::new(5, 3, 2), "no mail here");
        let mut pending = Pending::new(&outgoing);
        pending.passed_over(never.clone());
        assert_eq!(pending.finish(), [Outcome::Failed(never.clone())]);
        let mut pending = Pending::new(&outgoing);
        pending.passed_over(diagnosis("down"));
        pending.passed_over(never.clone());
        pending.cut_short();
        assert_eq!(pending.finish(), [Outcome::Deferred(diagnosis("down"))]);
        let mut pending = Pending::new(&outgoing);
        pending.passed_over(never);
        pending.cut_short();
        assert!(matches!(pending.finish()[..], [Outcome::Deferred(_)]));
    }
}
