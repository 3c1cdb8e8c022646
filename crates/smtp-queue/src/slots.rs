//! Which deliveries are under way, and for how many there is room. Pure but for the task's names.
//!
//! A destination that hangs must not keep others waiting: a delivery that has taken a while gives its place to another one, up to a bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::Id;

use crate::pick::Piece;

/// How long a delivery counts among those of `max_concurrent`.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many times as many there may be with those that hang.
const MOST: usize = 5;

/// The deliveries under way.
#[derive(Debug)]
pub(crate) struct Slots {
    max_concurrent: usize,
    busy: HashMap<Id, (Piece, Instant)>,
}

impl Slots {
    /// None yet.
    pub(crate) fn new(max_concurrent: usize) -> Self {
        Self { max_concurrent: max_concurrent.max(1), busy: HashMap::new() }
    }

    pub(crate) fn begin(&mut self, job: Id, piece: Piece, now: Instant) {
        self.busy.insert(job, (piece, now));
    }

    pub(crate) fn end(&mut self, job: Id) -> Option<Piece> {
        self.busy.remove(&job).map(|(piece, _)| piece)
    }

    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.busy.values().map(|(piece, _)| piece)
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
        self.busy.len() < self.max_concurrent || self.free(now) > 0
    }

    /// For how many more there is room.
    pub(crate) fn free(&self, now: Instant) -> usize {
        let most = self.max_concurrent.saturating_mul(MOST).saturating_sub(self.busy.len());
        self.max_concurrent.saturating_sub(self.fresh(now).count()).min(most)
    }

    /// How long until one of them, being late, leaves room, if there is none now.
    pub(crate) fn next_free(&self, now: Instant) -> Option<Duration> {
        if self.are_free(now) || self.busy.len() >= self.max_concurrent.saturating_mul(MOST) {
            return None;
        }
        self.fresh(now).map(|begun| (begun + PATIENCE).saturating_duration_since(now)).min()
    }

    /// When those began that have not hung for long.
    fn fresh(&self, now: Instant) -> impl Iterator<Item = Instant> {
        self.busy.values().map(|(_, begun)| *begun).filter(move |begun| now.duration_since(*begun) < PATIENCE)
    }
}
