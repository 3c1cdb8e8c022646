//! What each subcommand does, apart from running servers.

mod account;
mod acl;
mod alias;
mod config;
mod dkim;
mod domain;
mod init;
mod list;
pub(crate) mod operator;
mod publish;
mod queue;
mod quota;
mod received;
mod refusal;
mod report;
mod store;
mod suppression;
mod trace;

use std::process::ExitCode;

use server_core::program::DEFAULT_CONFIG;

use crate::cli::{Cli, Command, QueueArguments};
use crate::server::Server;
use crate::{demo, supervisor};

/// Does what the command line asks for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let named = cli.config;
    let config = named.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
    match cli.command {
        Command::Demo(arguments) => done(demo::run(&arguments)),
        Command::Init(arguments) => done(init::run(&arguments, named)),
        Command::Serve => done(supervisor::serve(&config)),
        Command::Smtp => Ok(Server::Smtp.run(&config)),
        Command::Queue(QueueArguments { command: Some(command) }) => done(queue::run(&config, command)),
        Command::Queue(QueueArguments { command: None }) => Ok(Server::Queue.run(&config)),
        Command::Imap => Ok(Server::Imap.run(&config)),
        Command::Pop3 => Ok(Server::Pop3.run(&config)),
        Command::Metrics => Ok(Server::Metrics.run(&config)),
        Command::Status(arguments) => supervisor::status(&config, &arguments),
        Command::Trace(arguments) => trace::run(&config, &arguments),
        Command::Report(arguments) => done(report::run(&config, &arguments)),
        Command::Config(command) => done(config::run(&config, &command)),
        Command::Account(command) => done(account::run(&config, command)),
        Command::Domain(command) => done(domain::run(&config, command)),
        Command::Dkim(command) => done(dkim::run(&config, command)),
        Command::Alias(command) => done(alias::run(&config, command)),
        Command::List(command) => done(list::run(&config, command)),
        Command::Refusal(command) => done(refusal::run(&config, command)),
        Command::Suppression(command) => done(suppression::run(&config, command)),
        Command::Acl(command) => done(acl::run(&config, command)),
        Command::Store(command) => store::run(&config, command),
    }
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}
