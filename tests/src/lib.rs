//! The harness of the end-to-end tests: the built program in a folder of its own, and the clients that talk to it.
//!
//! Every test starts what it needs on free loopback ports and in a temporary folder; dropping it stops it.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness of tests: it fails by panicking and shows the server's log"
)]

mod client;
mod demo;
mod message;
mod server;

pub use client::{Client, Finished, python};
pub use demo::{Account, Demo, Service};
pub use message::Mail;
pub use server::{Alone, Installation, Serving, free_port};

use std::path::PathBuf;

/// The executable `name` as cargo built it for this test run.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.parent().and_then(|deps| deps.parent()).map(PathBuf::from).unwrap_or_default();
    folder.join(name)
}
