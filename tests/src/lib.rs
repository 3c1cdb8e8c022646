//! The harness of the end-to-end tests: the built program in a folder of its own, and the clients that talk to it.
//!
//! Every test starts what it needs on free loopback ports and in a temporary folder; dropping it stops it.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a harness of tests: it fails by panicking and shows the server's log"
)]

mod client;
mod demo;
mod exim;
mod installation;
mod mail;
mod postfix;
mod process;
mod site;
mod smtp;
mod status;

pub use client::{Client, Finished, node, python, python_of};
pub use demo::Demo;
pub use exim::Exim;
pub use installation::{Installation, free_port};
pub use mail::{Mail, messages_in};
pub use postfix::Postfix;
pub use process::{PATIENCE, Process};
pub use site::{HOST, Person, Site};
pub use status::Status;

use std::path::PathBuf;

/// Debian's `nobody`, and its group `nogroup`.
pub const NOBODY: u32 = 65_534;

/// The executable `name` as cargo built it for this test run.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.parent().and_then(|deps| deps.parent()).map(PathBuf::from).unwrap_or_default();
    folder.join(name)
}
