//! The SMTP server: receiving on the MX port, and submission by our own users.

mod ahead;
mod blocking;
mod bounces;
mod connection;
mod files;
mod header;
mod held_back;
mod incoming;
mod literal;
mod login;
mod lookup;
mod milter;
mod note;
mod patience;
mod policy;
mod quota;
mod receive;
mod reports;
mod rights;
mod room;
mod server;
mod session;
mod suppressed;
mod trace;
mod transaction;
mod xclient;

pub use server::run;
