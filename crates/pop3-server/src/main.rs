//! The POP3 server as an executable of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    server_core::program::main("pop3", |config| &config.pop3.listeners, pop3_server::run)
}
