//! Changes of the disk that fail, and writes that are cut short, at a step that a test names.

use std::cell::Cell;
use std::io::Error;

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

thread_local! {
    /// What is to happen after how many steps.
    static PLAN: Cell<Option<(Strike, u32)>> = const { Cell::new(None) };
    static HAS_STRUCK: Cell<bool> = const { Cell::new(true) };
}

/// Has it happen at the `step`-th change of this thread, from 0 on.
pub(crate) fn strike(strike: Strike, step: u32) {
    PLAN.set(Some((strike, step)));
    HAS_STRUCK.set(false);
}

/// From the `step`-th change on, every one fails; `None` mends it.
pub(crate) fn after(step: Option<u32>) {
    match step {
        Some(step) => strike(Strike::Death, step),
        None => PLAN.set(None),
    }
}

/// Only the `step`-th change fails.
pub(crate) fn once(step: u32) {
    strike(Strike::Once, step);
}

/// True once it has happened.
pub(crate) fn has_struck() -> bool {
    HAS_STRUCK.get()
}

/// A change that is no write.
pub(super) fn check() -> std::io::Result<()> {
    match PLAN.get() {
        Some((strike, left)) if !strike.is_of_writes() => step(strike, left),
        _ => Ok(()),
    }
}

fn step(strike: Strike, left: u32) -> std::io::Result<()> {
    if let Some(left) = left.checked_sub(1) {
        PLAN.set(Some((strike, left)));
        return Ok(());
    }
    HAS_STRUCK.set(true);
    if strike == Strike::Once {
        PLAN.set(None);
        return Err(Error::from(Errno::NOSPC));
    }
    Err(Error::from(Errno::IO))
}

/// A write: what of its data the disk takes.
pub(super) fn admit(data: &[u8]) -> std::io::Result<&[u8]> {
    match PLAN.get() {
        Some((strike, 0)) if strike.is_of_writes() => {
            HAS_STRUCK.set(true);
            PLAN.set(strike.next().map(|strike| (strike, 0)));
            Ok(&data[..data.len().div_ceil(2)])
        }
        Some((strike, left)) => {
            if strike.is_of_writes() {
                PLAN.set(Some((strike, left - 1)));
            } else {
                step(strike, left)?;
            }
            Ok(data)
        }
        None => Ok(data),
    }
}
