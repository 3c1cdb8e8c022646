//! What waits, what is under way, and what begins next. Pure: the time is an argument, and a delivery is only its task's name.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mail_config::QueueConfig;
use mail_types::Domain;

use crate::destinations::{Destinations, Proven};
use crate::pick::{Key, Picker, Piece, Seen, Sight, in_turn};
use crate::rates::Rates;
use crate::routes::{Destination, Routes};
use crate::slots::{Slots, Vacancy};

/// How often all that is due is gone through once more, should a message have come into sight late, or the clock have been set back.
const LOOK_ANEW: Duration = Duration::from_secs(60);
/// That is done in parts: the next one waits for so many times what the look with the last one took.
const LOOKING_AGAIN: u32 = 50;
/// While there is work, the next look waits for so many times what the last one took.
const LOOKING: u32 = 9;

/// The deliveries of a process, by the names of their tasks.
#[derive(Debug)]
pub(crate) struct Agenda<J> {
    /// What is under way.
    slots: Slots<J>,
    /// What is due, found at the last look.
    ready: VecDeque<Piece>,
    /// What looks have seen.
    seen: Seen,
    /// When it is gone through once more, and when a part of that may be looked at.
    again: (Instant, Instant),
    /// Looks left more than that, for destinations that have not answered lately.
    has_more: bool,
    /// There may be something new.
    look: bool,
    /// Not before, as long as there is work.
    look_at: Instant,
    /// When something will be due.
    next: Option<Timestamp>,
    destinations: Destinations,
    rates: Rates,
    /// When a schedule allows something that waits.
    allowed: Option<Timestamp>,
}

/// What a look at the queue has to know.
#[derive(Debug)]
pub(crate) struct Prospect {
    /// Under way, or waiting.
    busy: HashSet<Key>,
    waiting: Vec<Piece>,
    /// And whether a part of it is gone through once more.
    known: (Seen, bool),
    /// How many may pass a backlog: as many as begin soon.
    most_passing: usize,
    /// How much can be started now.
    pub(crate) room: Room,
    /// When the look begins.
    at: Instant,
}

/// What a look at the queue found.
#[derive(Debug)]
pub(crate) struct Found {
    /// In the order in which they may begin.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) seen: Seen,
    /// There is more.
    pub(crate) is_cut: bool,
    /// When something will be due, or what is due will be in sight.
    pub(crate) next: Option<Timestamp>,
}

/// How much can be started now.
#[derive(Debug)]
pub(crate) struct Room {
    vacancy: Vacancy,
    destinations: Destinations,
    /// How many deliveries each origin has.
    by_origin: HashMap<Arc<str>, usize>,
    at: Instant,
}

impl Room {
    /// True if a delivery to there can be started, which it is; what a schedule may hold back is not.
    pub(crate) fn take(&mut self, destination: &Destination) -> bool {
        let is_free = destination.rates.is_empty()
            && self.destinations.has_room(destination)
            && self.vacancy.take(self.destinations.proven().contains(destination, self.at));
        if is_free {
            self.destinations.begin(destination);
        }
        is_free
    }
}

impl Prospect {
    /// Who looks; `here` are our domains.
    pub(crate) fn picker<'a>(
        &mut self,
        routes: &'a Routes,
        here: impl IntoIterator<Item = Domain>,
    ) -> Picker<'a> {
        let proven: (Proven, Instant) = (self.room.destinations.proven().clone(), self.at);
        let (busy, known) = (std::mem::take(&mut self.busy), std::mem::take(&mut self.known));
        Picker::new(routes, here, busy, &self.waiting, (proven, self.most_passing), known)
    }

    /// What the look found, behind which nothing is due before `next`.
    pub(crate) fn found(&self, mut picker: Picker<'_>, now: Timestamp, next: Option<Timestamp>) -> Found {
        let (seen, late) = picker.end(now);
        let Picker { picked: mut pieces, is_cut, .. } = picker;
        in_turn(&mut pieces, &self.room.by_origin);
        Found { pieces, seen, is_cut, next: [next, late].into_iter().flatten().min() }
    }
}

impl<J: Eq + Hash> Agenda<J> {
    /// Nothing is known yet.
    pub(crate) fn new(config: &QueueConfig, now: Instant) -> Self {
        Self {
            slots: Slots::new(config.max_concurrent),
            ready: VecDeque::new(),
            seen: Seen::new(),
            again: (now + LOOK_ANEW, now),
            has_more: false,
            look: true,
            look_at: now,
            next: None,
            destinations: Destinations::new(config.max_per_destination),
            rates: Rates::default(),
            allowed: None,
        }
    }

    /// True if there is room for another delivery.
    pub(crate) fn is_free(&self, now: Instant) -> bool {
        self.slots.are_free(now)
    }

    /// There may be something new.
    pub(crate) fn look(&mut self) {
        self.look = true;
    }

    /// True if a look at the queue is to come before what waits is begun: what is found may go first.
    pub(crate) fn is_to_look(&self, now: Instant) -> bool {
        self.look && (self.ready.is_empty() || now >= self.look_at) || now >= self.again.1 && self.is_again()
    }

    /// When something will be due, as far as that is known.
    pub(crate) const fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// How long any delivery may be kept waiting now.
    pub(crate) fn haste(&self) -> Duration {
        self.slots.haste()
    }

    /// Schedules for which mail has waited: subject and text.
    pub(crate) fn notices(&mut self, routes: &Routes, now: Timestamp) -> Vec<(String, String)> {
        self.rates.notices(routes, now)
    }

    /// A look begins.
    pub(crate) fn prospect(&mut self, at: Instant) -> Prospect {
        self.look = false;
        self.next = None;
        if at >= self.again.0 && !self.is_again() {
            self.again.0 = at + LOOK_ANEW;
            self.seen.values_mut().for_each(Sight::begin_again);
        }
        let may_go_again = at >= self.again.1;
        let waiting: Vec<Piece> = self.ready.iter().cloned().collect();
        Prospect {
            busy: self.slots.pieces().chain(&waiting).map(Piece::key).collect(),
            waiting,
            known: (std::mem::take(&mut self.seen), may_go_again),
            most_passing: (self.slots.unproven() / 2).max(1),
            room: Room {
                vacancy: self.slots.vacancy(at),
                destinations: self.destinations.clone(),
                by_origin: self.slots.by_origin(),
                at,
            },
            at,
        }
    }

    /// It ended after `took`; with nothing where it failed.
    pub(crate) fn found(&mut self, found: Option<Found>, took: Duration, now: Instant) {
        self.look_at = now + took * LOOKING;
        let Some(found) = found else { return };
        self.look = found.is_cut;
        self.ready.extend(found.pieces);
        in_turn(self.ready.make_contiguous(), &self.slots.by_origin());
        self.next = found.next;
        self.has_more = found.is_cut || found.seen.values().any(Sight::has_unproven);
        self.seen = found.seen;
        if now >= self.again.1 {
            self.again.1 = now + took * LOOKING_AGAIN;
        }
    }

    /// There is something left to be gone through once more.
    fn is_again(&self) -> bool {
        self.seen.values().any(Sight::is_again)
    }

    /// Takes out what there is room for, in turn. [`Self::begin`] is to follow for each before the next call.
    pub(crate) fn take_ready(&mut self, routes: &Routes, now: Timestamp, at: Instant) -> Vec<Piece> {
        self.allowed = None;
        let (mut taken, mut vacancy) = (Vec::new(), self.slots.vacancy(at));
        for _ in 0..self.ready.len() {
            let Some(piece) = self.ready.pop_front() else { break };
            if vacancy.is_any()
                && self.may_begin(&piece, routes, now)
                && vacancy.take(self.is_proven(&piece, at))
            {
                self.destinations.begin(&piece.destination);
                self.rates.begin(&piece.destination, routes, piece.recipients, now);
                taken.push(piece);
            } else {
                self.ready.push_back(piece);
            }
        }
        self.look |= self.has_more && !taken.is_empty();
        taken
    }

    /// A delivery that was taken out begins, under this name.
    pub(crate) fn begin(&mut self, job: J, piece: Piece, now: Instant) {
        let is_proven = self.is_proven(&piece, now);
        self.slots.begin(job, piece, is_proven, now);
    }

    fn is_proven(&self, piece: &Piece, now: Instant) -> bool {
        self.destinations.proven().contains(&piece.destination, now)
    }

    /// As far as its destination and its schedules go.
    fn may_begin(&mut self, piece: &Piece, routes: &Routes, now: Timestamp) -> bool {
        if !self.destinations.has_room(&piece.destination) {
            return false;
        }
        let Some(moment) = self.rates.not_before(&piece.destination, routes, now) else { return true };
        self.allowed = Some(self.allowed.map_or(moment, |allowed| allowed.min(moment)));
        false
    }

    /// A delivery ended, and its destination answered or didn't.
    pub(crate) fn end(&mut self, job: &J, reached: bool, now: Instant) {
        let Some(piece) = self.leave(job, reached, now) else { return };
        // More is known to be due there, once what was found is used up.
        let sight = self.seen.get(&(piece.priority, Arc::clone(&piece.origin)));
        self.look |= sight.is_some_and(|it| it.has_left(&piece.destination))
            && !self.ready.iter().any(|other| other.is_in_lane_of(&piece));
    }

    /// The same, but recipients are left: they wait for their turn again.
    pub(crate) fn interrupt(&mut self, job: &J, reached: bool, now: Instant) {
        let Some(piece) = self.leave(job, reached, now) else { return };
        self.ready.push_back(piece);
        in_turn(self.ready.make_contiguous(), &self.slots.by_origin());
    }

    /// Leaves its place to others.
    fn leave(&mut self, job: &J, reached: bool, now: Instant) -> Option<Piece> {
        let piece = self.slots.end(job)?;
        self.destinations.end(&piece.destination, reached, now);
        self.rates.end(&piece.destination);
        Some(piece)
    }

    /// Until something that waits may begin, though nothing ends: a schedule allows it, or what hangs leaves room.
    pub(crate) fn patience(&self, now: Timestamp, at: Instant) -> Duration {
        let allowed = self.allowed.map_or(Duration::MAX, |moment| until(moment, now));
        let waits = !self.ready.is_empty() || self.look;
        let room = waits.then(|| self.slots.next_free(at)).flatten().unwrap_or(Duration::MAX);
        let look = match self.look && self.is_free(at) {
            true if self.ready.is_empty() => Duration::ZERO,
            true => self.look_at.saturating_duration_since(at),
            false => Duration::MAX,
        };
        let again = if self.is_again() && self.is_free(at) {
            self.again.1.saturating_duration_since(at)
        } else {
            Duration::MAX
        };
        allowed.min(look).min(again).min(room)
    }
}

/// How long it is until then.
pub(crate) fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
