//! Addresses that bulk mail does not go to any more: nobody is there, or who is there has complained.

mod database;

pub use database::{Suppressed, Suppression, SuppressionReason};
