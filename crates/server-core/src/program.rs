//! The life of a server process: read the config, take the sockets, drop privileges, run until told to drain.
//!
//! `mailstead imap` and the executable `imap-server` are both one call of [`run`].

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use mail_config::{Config, Listener};

use crate::{BoundListener, ServerContext};

/// Runs one server until SIGTERM or SIGINT: loads the config, sets up logging, binds or inherits the sockets, drops privileges,
/// starts the runtime, tells the service manager (`READY=1`, `STATUS=sessions=…`), and drains on a signal.
///
/// Returns 0 when it was told to stop, 2 for a bad config, 1 for anything else.
pub fn run<F, S>(name: &'static str, config: &Path, listeners: fn(&Config) -> &[Listener], server: F) -> ExitCode
where
    F: FnOnce(ServerContext, Vec<BoundListener>) -> S,
    S: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    let _ = (name, config, listeners, server);
    todo!("PLATFORM")
}
