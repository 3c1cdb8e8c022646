//! Mailstead hosts a small mail domain: this is its command line and its supervisor.

mod certificate;
mod cli;
mod command;
mod data_dir;
mod demo;
mod output;
mod owner;
mod password;
mod server;
mod soundness;
mod store;
mod supervisor;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    server_core::use_small_pages();
    server_core::restrict_new_files();
    output::exit_code(command::run(cli::Cli::parse()))
}
