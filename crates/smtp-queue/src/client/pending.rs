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
    /// Why the message must not go to the last host that was fit for others.
    obstacle: Option<Diagnosis>,
}

#[derive(Debug, Clone)]
enum Place {
    Untried,
    /// Another host may do better.
    Deferred(Diagnosis),
    Settled(Outcome),
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

    /// What is still to be sent; `None` if nothing is.
    pub(super) fn outgoing(&self) -> Option<Outgoing> {
        let recipients: Vec<Recipient> = self
            .outgoing
            .recipients
            .iter()
            .zip(&self.places)
            .filter(|(_, place)| place.is_open())
            .map(|(recipient, _)| recipient.clone())
            .collect();
        (!recipients.is_empty()).then(|| Outgoing { recipients, ..self.outgoing.clone() })
    }

    /// What came of sending [`Self::outgoing`]. Where the message may have been taken (`in_doubt`) no other host gets it now.
    pub(super) fn sent(&mut self, outcomes: Vec<Outcome>, in_doubt: bool) {
        for (place, outcome) in self.places.iter_mut().filter(|place| place.is_open()).zip(outcomes) {
            *place = match outcome {
                Outcome::Deferred(diagnosis) if !in_doubt => Place::Deferred(diagnosis),
                Outcome::Deferred(_) | Outcome::Delivered(..) | Outcome::Failed(_) => Place::Settled(outcome),
            };
        }
    }

    /// A host could not be spoken to.
    pub(super) fn trouble(&mut self, diagnosis: Diagnosis) {
        self.trouble = Some(diagnosis);
    }

    /// A host must not get this message.
    pub(super) fn obstructed(&mut self, diagnosis: Diagnosis) {
        self.obstacle = Some(diagnosis);
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
            Place::Deferred(diagnosis) => Outcome::Deferred(diagnosis),
            Place::Settled(outcome) => outcome,
        };
        self.places.into_iter().map(outcome).collect()
    }
}

impl Place {
    const fn is_open(&self) -> bool {
        matches!(self, Self::Untried | Self::Deferred(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(text: &str) -> Diagnosis {
        Diagnosis::ours(Status::new(4, 0, 0), text)
    }

    #[test]
    fn the_next_host_gets_who_was_deferred_unless_the_message_may_have_been_taken() {
        let outgoing = Outgoing::plain("", &["a@x", "b@x", "c@x"], 1);
        let recipients = outgoing.recipients.clone();
        let mut pending = Pending::new(&outgoing);
        let later = Outcome::Deferred(diagnosis("later"));
        pending.sent(vec![later.clone(), Outcome::Delivered(diagnosis("done"), None), later.clone()], false);
        assert_eq!(pending.outgoing().unwrap().recipients, [recipients[0].clone(), recipients[2].clone()]);
        pending.trouble(diagnosis("down"));
        let lost = Outcome::Deferred(diagnosis("lost"));
        pending.sent(vec![lost.clone(), later.clone()], true);
        assert!(pending.outgoing().is_none());
        assert_eq!(pending.finish(), [lost, Outcome::Delivered(diagnosis("done"), None), later]);
    }
}
