//! The SMTP server: receiving on the MX port, and submission by our own users.

mod connection;
mod incoming;
mod server;
mod session;

pub use server::run;
