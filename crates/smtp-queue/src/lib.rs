//! The durable outbound queue: what authenticated senders and aliases send elsewhere, and the bounces.
//!
//! The database and the message files lie in the queue's folder. `smtp` processes add to it through [`Queue::add`], one
//! `queue` process delivers, operators look on and intervene through the same [`Queue`].
//!
//! A message is queued when its row is committed, and its file is durable before that: so a row never lacks its file, and
//! a file without a row is the rest of an interrupted step, which the deliverer sweeps away.
//!
//! A database that is found damaged is set aside and made anew of what can be read of it; what became of each message is written down in a text
//! beside it, and no file of a message is swept as long as that is there.

/// As tests name it that run here and outside.
#[cfg(test)]
extern crate self as smtp_queue;

mod agenda;
mod aggregate;
mod arrival;
mod attempt;
mod change;
mod checked;
mod class;
mod client;
mod content;
mod damaged;
mod database;
mod destinations;
mod dsn;
mod encoding;
mod error;
mod exchanges;
mod figures;
mod filter;
mod gather;
mod handling;
mod hop;
mod local;
mod message;
mod message_file;
mod mishap;
mod note;
mod pick;
mod queue;
mod rates;
mod record;
mod reputation;
mod routes;
mod run;
mod schedule;
mod slots;
mod step;
mod suppression;
mod tls_reports;
mod under_way;
mod wakeup;
mod watch;
mod writer;

pub use arrival::{Arrival, Receipt};
pub use change::Change;
pub use class::BounceClass;
pub use content::Content;
pub use database::Notice;
pub use dsn::Action;
pub use error::QueueError;
pub use filter::{Filter, SenderFilter, WaitState};
pub use handling::{Deadline, Handling};
pub use hop::{NextHop, NextHopError};
pub use message::{
    Diagnosis, Envelope, QueueId, QueuedMessage, QueuedRecipient, RecipientState, Requests, Summary,
};
pub use queue::Queue;
pub use run::run;
pub use smtp_proto::{Body, Priority, RcptParameters, Status};
pub use suppression::{Suppressed, Suppression, SuppressionReason};
pub use writer::QueueWriter;
