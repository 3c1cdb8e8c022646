//! Framing: bytes become whole protocol units, bounded by limits, before any grammar sees them.

pub mod deflate;
pub mod imap;
pub mod line;
pub mod mail_data;
