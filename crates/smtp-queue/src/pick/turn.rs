//! Where a look is in the mail of one priority and origin, and where the next one goes on, so that each reads a bounded part of a backlog. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Due, Further, MAX_PICKED};
use crate::Priority;
use crate::routes::Destination;

/// What was queued so long ago is certainly in the database by now.
pub(super) const MARGIN: Duration = Duration::from_secs(2);
/// How many recipients are looked at for what was left before, and as many for what is new.
pub(super) const MAX_LOOKED: usize = 1000;
/// How many are gone through once more.
const MAX_AGAIN: usize = 2000;
/// How many of those that are due last are looked at where there is a backlog.
pub(super) const MAX_NEWEST: usize = 300;

/// A place in the order of what is due, of one priority and origin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// In whole milliseconds, as the index has it.
    pub(crate) since: Timestamp,
    pub(crate) message: String,
}

impl Spot {
    pub(crate) const FIRST: Self = Self { since: Timestamp::MIN, message: String::new() };

    /// Before all that is due since this moment.
    pub(crate) fn before(moment: Timestamp) -> Self {
        let since = Timestamp::from_millisecond(moment.as_millisecond()).unwrap_or(moment);
        Self { since, message: String::new() }
    }

    fn of(due: &Due<'_>) -> Self {
        Self { since: due.since, message: due.message.to_owned() }
    }

    fn is_behind(&self, due: &Due<'_>) -> bool {
        (self.since, self.message.as_str()) > (due.since, due.message)
    }

    fn is_before(&self, due: &Due<'_>) -> bool {
        (self.since, self.message.as_str()) < (due.since, due.message)
    }
}

/// What earlier looks have seen, by priority and origin.
pub(crate) type Seen = HashMap<(Priority, Arc<str>), Sight>;

/// What earlier looks have seen of what is due: so the next one goes past a backlog without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sight {
    /// All that is due before is under way or was picked, but for what was left.
    until: Spot,
    /// The last look had looked at enough, and left what is behind to the next.
    is_cut: bool,
    /// Destinations of which more is due than may wait, and the first of it.
    left: HashMap<Destination, Spot>,
    /// The same of all together that have not answered lately.
    unproven: Option<Spot>,
    /// All is gone through once more, from there on.
    again: Option<Spot>,
}

impl Sight {
    /// Of what is for destinations that have not answered lately there is more than may wait.
    pub(crate) const fn has_unproven(&self) -> bool {
        self.unproven.is_some()
    }

    /// More is due there than may wait.
    pub(crate) fn has_left(&self, destination: &Destination) -> bool {
        self.left.contains_key(destination)
    }

    /// Has all gone through once more, should something have come into sight late.
    pub(crate) fn begin_again(&mut self) {
        self.again = Some(Spot::FIRST);
    }

    /// There is something left to be gone through once more.
    pub(crate) const fn is_again(&self) -> bool {
        self.again.is_some()
    }
}

/// What waits already of one priority and origin.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Pieces by destination.
    pub(super) counts: HashMap<Destination, usize>,
    /// Pieces for those that have not answered lately: in their order, and passing.
    in_order: usize,
    passing: usize,
}

impl Waiting {
    /// Pieces for destinations that have not answered lately.
    pub(super) const fn unproven(&mut self, is_passing: bool) -> &mut usize {
        if is_passing { &mut self.passing } else { &mut self.in_order }
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing yet.
    Before,
    /// What was left before and may wait now.
    Left,
    /// What was seen, once more.
    Again,
    /// What was not seen yet.
    New,
}

/// The mail of one priority and origin, as far as it was looked at.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) priority: Priority,
    pub(super) origin: Arc<str>,
    pub(super) waiting: Waiting,
    phase: Phase,
    /// In this phase.
    picked: usize,
    looked: usize,
    /// Of the last ones.
    newest: usize,
    /// The last ones were looked at.
    is_turned: bool,
    is_anybodys: bool,
    /// The next look goes on behind where this one has begun.
    has_moved: bool,
    /// Enough was looked at before the end.
    is_cut: bool,
    /// The last one that was looked at.
    last: Spot,
    /// What is new begins there.
    until: Spot,
    /// What is left to the next look begins there.
    cut: Option<Spot>,
    left: HashMap<Destination, Spot>,
    unproven: Option<Spot>,
    /// What was left, from there on, and may wait now.
    wanted: HashMap<Destination, Spot>,
    wanted_unproven: Option<Spot>,
    /// The first of these.
    nearest: Option<Spot>,
    again: Option<Spot>,
    may_go_again: bool,
    /// What has just come for destinations that have not answered lately would wait behind others.
    is_backlog: bool,
}

/// What a turn begins with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) sight: Option<Sight>,
    pub(super) waiting: Waiting,
    /// So many for one destination may wait, and so many for all that have not answered lately, before more of these is looked for.
    pub(super) most: [usize; 2],
    /// Very many destinations that have not answered lately have something that waits.
    pub(super) is_crowded: bool,
    /// What was seen may be gone through once more.
    pub(super) may_go_again: bool,
}

/// Why the next look is to come though nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is not: all was looked at.
    Nothing,
    /// There is more.
    More,
    /// There is more of what came within [`MARGIN`], which is certainly there only then.
    Late,
}

impl Turn {
    /// Before the first one.
    pub(super) fn nobodys() -> Self {
        let waiting = Waiting::default();
        let start = Start { sight: None, waiting, most: [0; 2], is_crowded: false, may_go_again: false };
        Self { phase: Phase::New, is_anybodys: false, ..Self::new(Priority::NORMAL, Arc::from(""), start) }
    }

    pub(super) fn new(priority: Priority, origin: Arc<str>, start: Start) -> Self {
        let Start { sight, waiting, most: [of_one, of_unproven], is_crowded, may_go_again } = start;
        let is_behind = sight.as_ref().is_some_and(|it| it.is_cut);
        let is_backlog = is_crowded || sight.as_ref().is_some_and(Sight::has_unproven);
        let (until, left, unproven, again) = match sight {
            Some(Sight { until, left, unproven, again, .. }) => (until, left, unproven, again),
            None => (Spot::FIRST, HashMap::new(), None, None),
        };
        // What is behind is met as what is new.
        let seen = left.into_iter().filter(|(_, spot)| *spot < until);
        let may_wait =
            |destination: &Destination| waiting.counts.get(destination).is_none_or(|it| *it < of_one);
        let (wanted, left) = seen.partition(|(destination, _)| may_wait(destination));
        let unproven = unproven.filter(|spot| *spot < until);
        let (wanted_unproven, unproven) =
            if waiting.in_order < of_unproven { (unproven, None) } else { (None, unproven) };
        let mut turn = Self {
            priority,
            origin,
            waiting,
            phase: Phase::Before,
            picked: 0,
            looked: 0,
            newest: 0,
            is_turned: !(is_backlog || is_behind),
            is_anybodys: true,
            has_moved: false,
            is_cut: false,
            last: Spot::FIRST,
            until,
            cut: None,
            left,
            unproven,
            wanted,
            wanted_unproven,
            nearest: None,
            again,
            may_go_again,
            is_backlog,
        };
        turn.find_nearest();
        turn
    }

    fn find_nearest(&mut self) {
        self.nearest = self.wanted.values().chain(&self.wanted_unproven).min().cloned();
    }

    /// What is next instead of this one; `None` behind the last one. Where there is a backlog, what is due last has its turn before what is due
    /// first; and of each phase enough is looked at for now. What is of one message is seen as a whole.
    pub(super) fn detour(&mut self, due: Option<&Due<'_>>) -> Option<Further> {
        if due.is_some_and(|due| due.is_newest) {
            self.newest += 1;
            return (self.picked >= MAX_PICKED || self.newest > MAX_NEWEST).then_some(Further::Oldest);
        }
        let further = self.phase_detour(due);
        if let (None, Some(due)) = (&further, due) {
            self.looked += 1;
            self.last.since = due.since;
            due.message.clone_into(&mut self.last.message);
        }
        further
    }

    fn phase_detour(&mut self, due: Option<&Due<'_>>) -> Option<Further> {
        if let Some(due) = due.filter(|due| self.has_enough(due)) {
            self.cut(due);
            return if self.phase == Phase::New {
                Some(Further::NextOrigin)
            } else {
                self.enter_next(Some(due))
            };
        }
        if !std::mem::replace(&mut self.is_turned, true) {
            return Some(Further::Newest);
        }
        let is_new = due.is_none_or(|due| !self.until.is_behind(due));
        match self.phase {
            Phase::Left if is_new => {
                // No more is left of it.
                self.wanted.clear();
                self.wanted_unproven = None;
                self.enter_next(due)
            }
            Phase::Left => match (&self.nearest, due) {
                (None, _) => self.enter_next(due),
                (Some(nearest), Some(due)) if nearest.is_behind(due) => Some(Further::From(nearest.clone())),
                (Some(_), _) => None,
            },
            Phase::Again if is_new => {
                self.again = None;
                self.enter_next(due)
            }
            Phase::Before => self.enter_next(due),
            Phase::Again => None,
            Phase::New => due.is_none().then_some(Further::Next),
        }
    }

    fn has_enough(&self, due: &Due<'_>) -> bool {
        let most = if self.phase == Phase::Again { MAX_AGAIN } else { MAX_LOOKED };
        let is_enough = self.picked >= MAX_PICKED || self.looked >= most;
        self.phase != Phase::Before && is_enough && !is_at(&self.last, due)
    }

    /// Leaves the rest of the phase to the next look, from this one on.
    fn cut(&mut self, due: &Due<'_>) {
        let here = Spot::of(due);
        match self.phase {
            Phase::Left => {
                (self.is_cut, self.has_moved) = (true, true);
                let wanted = self.wanted.drain().map(|(lane, spot)| (lane, spot.max(here.clone())));
                self.left.extend(wanted);
                self.unproven =
                    self.wanted_unproven.take().map(|spot| spot.max(here)).or(self.unproven.take());
            }
            Phase::Again => self.again = Some(here),
            Phase::Before | Phase::New => {
                self.is_cut = true;
                self.cut = Some(here);
            }
        }
    }

    fn enter_next(&mut self, due: Option<&Due<'_>>) -> Option<Further> {
        let is_first = self.phase == Phase::Before;
        let again = self.again.clone().filter(|_| self.may_go_again && self.phase != Phase::Again);
        let (phase, start) = match (self.nearest.clone().filter(|_| is_first), again) {
            (Some(nearest), _) => (Phase::Left, nearest),
            (None, Some(again)) => (Phase::Again, again),
            (None, None) => (Phase::New, self.until.clone()),
        };
        (self.phase, self.picked, self.looked) = (phase, 0, 0);
        match due {
            // It is the first of this phase.
            Some(due) if (is_first || phase == Phase::New) && !start.is_behind(due) => {
                self.phase_detour(Some(due))
            }
            None if phase == Phase::New => Some(Further::Next),
            Some(_) | None => Some(Further::From(start)),
        }
    }

    /// True if it may wait though its destination has not answered lately.
    pub(super) fn may_wait(&self, due: &Due<'_>) -> bool {
        !self.is_backlog || self.wanted_unproven.is_some() && self.until.is_behind(due)
    }

    /// True if it is known that from before this one on more is due there than may wait.
    pub(super) fn is_known_left(&self, destination: &Destination, due: &Due<'_>) -> bool {
        due.is_newest || self.left.get(destination).is_some_and(|spot| spot.is_before(due))
    }

    /// More is due there than may wait.
    pub(super) fn leave(&mut self, destination: Destination, due: &Due<'_>) {
        let here = Spot::of(due);
        self.left
            .entry(destination)
            .and_modify(|spot| *spot = here.clone().min(spot.clone()))
            .or_insert(here);
    }

    /// More is due than may wait, of what is for destinations that have not answered lately.
    pub(super) fn leave_unproven(&mut self, due: &Due<'_>) {
        // What is due last is met again from the other end.
        if due.is_newest {
            return;
        }
        let here = Spot::of(due);
        if let Some(spot) = self.wanted_unproven.take() {
            self.unproven = Some(spot.max(here));
            self.find_nearest();
        } else if self.unproven.as_ref().is_none_or(|spot| here < *spot) {
            self.unproven = Some(here);
        }
    }

    /// One was picked; with it as many wait for its destination as may.
    pub(super) fn picked(&mut self, destination: &Destination, due: &Due<'_>, is_full: bool) {
        self.picked += 1;
        self.has_moved = true;
        if let Some(spot) = is_full.then(|| self.wanted.remove(destination)).flatten() {
            let spot = if self.phase == Phase::Left { spot.max(Spot::of(due)) } else { spot };
            self.left.insert(destination.clone(), spot);
            self.find_nearest();
        }
    }

    /// What the next look goes on with, and when that is.
    pub(super) fn end(self, now: Timestamp) -> (Sight, Rest) {
        let safe = Spot::before(now.checked_sub(MARGIN).unwrap_or(now));
        let until = self.cut.as_ref().map_or(&safe, |cut| cut.min(&safe));
        let rest = match self.is_cut {
            true if self.has_moved || *until > self.until => Rest::More,
            true => Rest::Late,
            false => Rest::Nothing,
        };
        let mut left = self.left;
        left.extend(self.wanted);
        let sight = Sight {
            until: self.until.max(until.clone()),
            is_cut: self.cut.is_some(),
            left,
            unproven: self.unproven.into_iter().chain(self.wanted_unproven).min(),
            again: self.again,
        };
        (sight, rest)
    }

    /// What was seen is gone through once more.
    pub(super) fn is_again(&self) -> bool {
        self.phase == Phase::Again
    }

    /// False before the first one.
    pub(super) const fn is_anybodys(&self) -> bool {
        self.is_anybodys
    }
}

fn is_at(spot: &Spot, due: &Due<'_>) -> bool {
    spot.since == due.since && spot.message == due.message
}
