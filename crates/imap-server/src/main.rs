//! The IMAP server alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    server_core::program::main("imap", |config| &config.imap.listeners, imap_server::run)
}
