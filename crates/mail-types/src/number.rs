use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// A number that must not be zero was zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number must not be zero")]
pub struct ZeroError;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $primitive:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// The lowest value, 1.
            pub const MIN: Self = Self(<$inner>::MIN);
            /// The highest value.
            pub const MAX: Self = Self(<$inner>::MAX);

            /// The plain number.
            #[must_use]
            pub const fn value(self) -> $primitive {
                self.0.get()
            }

            /// The next higher number; `None` past the end of the range.
            #[must_use]
            pub fn next(self) -> Option<Self> {
                self.0.checked_add(1).map(Self)
            }
        }

        impl TryFrom<$primitive> for $name {
            type Error = ZeroError;

            fn try_from(value: $primitive) -> Result<Self, ZeroError> {
                <$inner>::new(value).map(Self).ok_or(ZeroError)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A message's unique identifier in its mailbox. RFC 3501 §2.3.1.1.
    Uid, NonZeroU32, u32
);
number!(
    /// The generation of a mailbox's UIDs. RFC 3501 §2.3.1.1.
    UidValidity, NonZeroU32, u32
);
number!(
    /// A message's position in a mailbox as one client sees it, from 1. RFC 3501 §2.3.1.2.
    SeqNum, NonZeroU32, u32
);
number!(
    /// A mailbox's change counter at a message's last change. RFC 7162 §3.1.
    ModSeq, NonZeroU64, u64
);
