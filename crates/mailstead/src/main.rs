//! Mailstead hosts a small mail domain: this is its command line and its supervisor.

mod certificate;
mod cli;
mod command;
mod data_dir;
mod demo;
mod output;
mod password;
mod server;
mod supervisor;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    output::exit_code(command::run(cli::Cli::parse()))
}
