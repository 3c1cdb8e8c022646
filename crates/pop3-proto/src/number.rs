use std::fmt;
use std::num::NonZeroU32;

/// A message's position in the maildrop, from 1. RFC 1939 §5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageNumber(NonZeroU32);

/// There is no such message number: it is 0 or does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message numbers start at 1")]
pub struct MessageNumberError;

impl MessageNumber {
    /// The place in a list that starts at 0.
    #[must_use]
    pub const fn position(self) -> usize {
        self.0.get() as usize - 1
    }

    /// The number of the message at `position`, from 0; `None` past the end of the range.
    #[must_use]
    pub fn at(position: usize) -> Option<Self> {
        u32::try_from(position).ok()?.checked_add(1).and_then(NonZeroU32::new).map(Self)
    }
}

impl TryFrom<u32> for MessageNumber {
    type Error = MessageNumberError;

    fn try_from(number: u32) -> Result<Self, MessageNumberError> {
        NonZeroU32::new(number).map(Self).ok_or(MessageNumberError)
    }
}

impl fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
