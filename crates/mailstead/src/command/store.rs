mod check;
mod stats;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use mail_directory::Directory;
use mail_store::{Account, Store};
use mail_types::Address;

use super::operator::become_operator;
use crate::cli::{ImportArguments, StoreCommand};
use crate::output;
use crate::store::import;

pub(super) fn run(config: &Path, command: StoreCommand) -> anyhow::Result<ExitCode> {
    match command {
        StoreCommand::Import(arguments) => import(config, arguments),
        StoreCommand::Check(arguments) => check::check(config, &arguments),
        StoreCommand::Rebuild(arguments) => check::rebuild(config, &arguments),
        StoreCommand::Stats(arguments) => {
            stats::stats(config, &arguments)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The mail of an account, which must exist.
fn open_account(config: &Path, address: &Address) -> anyhow::Result<Arc<Account>> {
    let config = become_operator(config)?;
    let known = Directory::open(&config.directory_file())?.accounts()?;
    let same = |known: &&Address| known.to_string().eq_ignore_ascii_case(&address.to_string());
    let Some(address) = known.iter().find(same) else {
        bail!("there is no account {address}: add it with `mailstead account add {address}`");
    };
    Ok(Store::open(&config.mail_dir())?.account(address)?)
}

fn import(config: &Path, arguments: ImportArguments) -> anyhow::Result<ExitCode> {
    let ImportArguments { account, sources, mailbox, dry_run, json } = arguments;
    let account = open_account(config, &account)?;
    let report = import::run(account, &import::Request { sources, mailbox, is_dry_run: dry_run })?;
    if json {
        output::json(&report.to_json(dry_run))?;
    } else {
        output::line(&report.to_text(dry_run))?;
    }
    Ok(if report.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
