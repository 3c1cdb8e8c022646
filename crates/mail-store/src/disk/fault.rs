//! Changes of the disk that fail, and writes that are cut short, at a step that a test names.

use std::cell::{Cell, RefCell};
use std::io::Error;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

/// What happens at the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// This change and all that follow fail, as if the disk were gone, or the process.
    Death,
    /// Only this change fails: there was no room.
    Once,
    /// The write takes a part of its data, and then comes [`Strike::Death`].
    ShortAndDeath,
    /// The write takes a part of its data, and the next change fails.
    ShortAndOnce,
    /// The write takes a part of its data, and all goes on.
    Short,
}

impl Strike {
    pub(crate) const ALL: [Self; 5] =
        [Self::Death, Self::Once, Self::ShortAndDeath, Self::ShortAndOnce, Self::Short];

    /// True if only writes are steps.
    const fn is_of_writes(self) -> bool {
        matches!(self, Self::ShortAndDeath | Self::ShortAndOnce | Self::Short)
    }

    /// What follows a write that was cut short.
    const fn next(self) -> Option<Self> {
        match self {
            Self::ShortAndDeath | Self::Death => Some(Self::Death),
            Self::ShortAndOnce | Self::Once => Some(Self::Once),
            Self::Short => None,
        }
    }
}

/// What is to happen after how many steps, and whether it has happened.
type Plan = (Option<(Strike, u32)>, bool);

thread_local! {
    /// That of the thread, and of those that it begins for a part of its changes.
    static PLAN: RefCell<Arc<Mutex<Plan>>> = RefCell::new(Arc::new(Mutex::new((None, true))));
}

fn with<T>(act: impl FnOnce(&mut Plan) -> T) -> T {
    PLAN.with_borrow(|plan| act(&mut plan.lock().unwrap()))
}

thread_local! {
    static ORDER: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Has the file system, whichever it is, counted among those that keep the order or not; `None` lets it be.
pub(crate) fn claim_order(is_kept: Option<bool>) {
    ORDER.set(is_kept);
}

/// What is claimed.
pub(super) fn order() -> Option<bool> {
    ORDER.get()
}

/// What another thread does as a part of this one's changes.
pub(super) fn shared<T>(act: impl FnOnce() -> T + Send) -> impl FnOnce() -> T + Send {
    let plan = PLAN.with_borrow(Arc::clone);
    move || {
        PLAN.set(plan);
        act()
    }
}

/// Has it happen at the `step`-th change of this thread, from 0 on.
pub(crate) fn strike(strike: Strike, step: u32) {
    with(|plan| *plan = (Some((strike, step)), false));
}

/// From the `step`-th change on, every one fails; `None` mends it.
pub(crate) fn after(step: Option<u32>) {
    match step {
        Some(step) => strike(Strike::Death, step),
        None => with(|(plan, _)| *plan = None),
    }
}

/// Only the `step`-th change fails.
pub(crate) fn once(step: u32) {
    strike(Strike::Once, step);
}

/// True once it has happened.
pub(crate) fn has_struck() -> bool {
    with(|(_, has_struck)| *has_struck)
}

/// A change that is no write.
pub(super) fn check() -> std::io::Result<()> {
    with(|plan| match plan.0 {
        Some((strike, left)) if !strike.is_of_writes() => step(plan, strike, left),
        _ => Ok(()),
    })
}

fn step((plan, has_struck): &mut Plan, strike: Strike, left: u32) -> std::io::Result<()> {
    if let Some(left) = left.checked_sub(1) {
        *plan = Some((strike, left));
        return Ok(());
    }
    *has_struck = true;
    if strike == Strike::Once {
        *plan = None;
        return Err(Error::from(Errno::NOSPC));
    }
    Err(Error::from(Errno::IO))
}

/// A write: what of its data the disk takes.
pub(super) fn admit(data: &[u8]) -> std::io::Result<&[u8]> {
    with(|plan| match plan.0 {
        Some((strike, 0)) if strike.is_of_writes() => {
            *plan = (strike.next().map(|strike| (strike, 0)), true);
            Ok(&data[..data.len().div_ceil(2)])
        }
        Some((strike, left)) => {
            if strike.is_of_writes() {
                plan.0 = Some((strike, left - 1));
            } else {
                step(plan, strike, left)?;
            }
            Ok(data)
        }
        None => Ok(data),
    })
}
