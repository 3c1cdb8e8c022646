//! Which deliveries are under way, and for how many there is room. Pure but for the task's names.
//!
//! A destination that hangs must not keep others waiting. So a delivery that has taken a while gives its place to another one; what goes to
//! destinations that have not answered lately never takes all places; and the more deliveries hang, the less time they all have.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pick::Piece;

/// How long a delivery counts among those of `max_concurrent`.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many times as many there may be with those that hang; once more for destinations that have answered lately.
const MOST: usize = 5;
/// Which part of the places is for destinations that have answered lately, and for no others.
const RESERVED: usize = 4;
/// How long deliveries have when there are as many as there may be. So many can begin in this time, by [`PATIENCE`], that there are never
/// more.
const SHORTEST: Duration = Duration::from_secs(10);

/// The deliveries under way, by the names of their tasks.
#[derive(Debug)]
pub(crate) struct Slots<J> {
    max_concurrent: usize,
    busy: HashMap<J, Busy>,
}

#[derive(Debug)]
struct Busy {
    piece: Piece,
    begun: Instant,
    is_proven: bool,
}

/// For how many more deliveries there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vacancy {
    all: usize,
    /// Of these, to destinations that have not answered lately.
    unproven: usize,
}

impl Vacancy {
    /// Takes a place, if there is one for a destination that has answered lately, or has not.
    pub(crate) fn take(&mut self, is_proven: bool) -> bool {
        let is_free = if is_proven { self.all > 0 } else { self.unproven > 0 };
        if is_free {
            self.all -= 1;
            self.unproven = if is_proven { self.unproven.min(self.all) } else { self.unproven - 1 };
        }
        is_free
    }

    pub(crate) const fn is_any(&self) -> bool {
        self.all > 0
    }
}

impl<J: Eq + Hash> Slots<J> {
    /// None yet.
    pub(crate) fn new(max_concurrent: usize) -> Self {
        Self { max_concurrent: max_concurrent.max(1), busy: HashMap::new() }
    }

    pub(crate) fn begin(&mut self, job: J, piece: Piece, is_proven: bool, now: Instant) {
        self.busy.insert(job, Busy { piece, begun: now, is_proven });
    }

    pub(crate) fn end(&mut self, job: &J) -> Option<Piece> {
        self.busy.remove(job).map(|busy| busy.piece)
    }

    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.busy.values().map(|busy| &busy.piece)
    }

    /// How many deliveries each origin has.
    pub(crate) fn by_origin(&self) -> HashMap<Arc<str>, usize> {
        let mut counts = HashMap::new();
        for piece in self.pieces() {
            *counts.entry(Arc::clone(&piece.origin)).or_default() += 1;
        }
        counts
    }

    /// True if there is room for one more.
    pub(crate) fn are_free(&self, now: Instant) -> bool {
        self.busy.len() < self.max_concurrent || self.vacancy(now).is_any()
    }

    pub(crate) fn vacancy(&self, now: Instant) -> Vacancy {
        let (mut fresh, mut unproven) = (0, 0);
        for busy in self.fresh(now) {
            fresh += 1;
            unproven += usize::from(!busy.is_proven);
        }
        let left = self.most().saturating_sub(self.busy.len());
        let all = self.max_concurrent.saturating_sub(fresh);
        let all = all.min((self.most() + self.max_concurrent).saturating_sub(self.busy.len()));
        Vacancy { all, unproven: self.unproven().saturating_sub(unproven).min(left).min(all) }
    }

    /// How long until one of them, being late, leaves room, if there is none of a kind now.
    pub(crate) fn next_free(&self, now: Instant) -> Option<Duration> {
        if self.vacancy(now).unproven > 0 {
            return None;
        }
        self.fresh(now).map(|busy| (busy.begun + PATIENCE).saturating_duration_since(now)).min()
    }

    /// How long any of them may be kept waiting: for ever, as long as there are not very many.
    pub(crate) fn haste(&self) -> Duration {
        let half = self.most() / 2;
        let above = self.busy.len().saturating_sub(half);
        let factor = u32::try_from(half).unwrap_or(u32::MAX);
        u32::try_from(above)
            .ok()
            .and_then(|above| (SHORTEST * factor).checked_div(above))
            .unwrap_or(Duration::MAX)
    }

    /// Places for destinations that have not answered lately.
    pub(crate) const fn unproven(&self) -> usize {
        self.max_concurrent - self.max_concurrent / RESERVED
    }

    const fn most(&self) -> usize {
        self.max_concurrent.saturating_mul(MOST)
    }

    /// Those that have not hung for long.
    fn fresh(&self, now: Instant) -> impl Iterator<Item = &Busy> {
        self.busy.values().filter(move |busy| now.duration_since(busy.begun) < PATIENCE)
    }
}
