//! How far a long piece of work has come, to be told while it goes on.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

thread_local! {
    /// Where the work of this thread is counted.
    static CURRENT: RefCell<Option<Arc<Meter>>> = const { RefCell::new(None) };
}

/// How many messages a piece of work has done, and of how many. Work that nobody measures counts nothing.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU32,
    goal: AtomicU32,
}

impl Meter {
    /// Has what `work` does on this thread counted here.
    pub fn during<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        let _measuring = Measuring(CURRENT.replace(Some(Arc::clone(self))));
        work()
    }

    /// The meter of this thread's work.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// The work of this thread will go over so many messages, or so many more.
    pub fn expect(messages: usize) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        if let Some(meter) = Self::current() {
            meter.goal.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// This thread is done with one of them.
    pub fn count() {
        CURRENT.with_borrow(|it| it.iter().for_each(|it| it.count_one()));
    }

    pub(crate) fn count_one(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages done, and to be done in all as far as that is known. More may be done than was expected, where work begins anew.
    #[must_use]
    pub fn reading(&self) -> (u32, u32) {
        (self.done.load(Ordering::Relaxed), self.goal.load(Ordering::Relaxed))
    }
}

/// As long as it lives, a meter is that of the thread; then the one before is again.
struct Measuring(Option<Arc<Meter>>);

impl Drop for Measuring {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_by_the_meter_around_it_alone() {
        let (outer, inner) = (Arc::new(Meter::default()), Arc::new(Meter::default()));
        Meter::count();
        outer.during(|| {
            Meter::expect(3);
            Meter::count();
            inner.during(Meter::count);
            Meter::count();
        });
        Meter::expect(5);
        assert_eq!((outer.reading(), inner.reading()), ((2, 3), (1, 0)));
    }
}
