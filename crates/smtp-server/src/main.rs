//! `smtp-server`: the SMTP server alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    server_core::program::main("smtp", |config| &config.smtp.listeners, smtp_server::run)
}
