mod check;
mod stats;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use mail_config::Config;
use mail_directory::Directory;
use mail_store::{Account, Store};
use mail_types::Address;
use serde_json::Value;

use super::operator::become_operator;
use crate::cli::{ExportArguments, ImportArguments, StoreCommand};
use crate::output::{self, UsageError};
use crate::store::{export, import};

pub(super) fn run(config: &Path, command: StoreCommand) -> anyhow::Result<ExitCode> {
    match command {
        StoreCommand::Import(arguments) => import(config, arguments),
        StoreCommand::Export(arguments) => export(config, arguments),
        StoreCommand::Check(arguments) => check::check(config, &arguments),
        StoreCommand::Rebuild(arguments) => check::rebuild(config, &arguments),
        StoreCommand::Stats(arguments) => {
            stats::stats(config, &arguments)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The mail of an account, which must exist.
pub(super) fn open_account(config: &Config, address: &Address) -> anyhow::Result<Arc<Account>> {
    let known = Directory::open(&config.directory_file())?.accounts()?;
    let same = |known: &&Address| known.to_string().eq_ignore_ascii_case(&address.to_string());
    let Some(address) = known.iter().find(same) else {
        bail!("there is no account {address}: add it with `mailstead account add {address}`");
    };
    Ok(Store::open_with(&config.mail_dir(), config.limits.min_free, None)?.account(address)?)
}

fn import(config: &Path, arguments: ImportArguments) -> anyhow::Result<ExitCode> {
    let ImportArguments { account, sources, mailbox, dry_run, json } = arguments;
    let account = open_account(&become_operator(config)?, &account)?;
    let report = import::run(account, &import::Request { sources, mailbox, is_dry_run: dry_run })?;
    tell(json, &report.to_json(dry_run), &report.to_text(dry_run), report.has_failures())
}

fn export(config: &Path, arguments: ExportArguments) -> anyhow::Result<ExitCode> {
    let ExportArguments { account, target, format, mailbox, json } = arguments;
    let config = become_operator(config)?;
    refuse_store(&config.mail_dir(), &target)?;
    let account = open_account(&config, &account)?;
    let report = export::run(&account, &export::Request { target, mailbox, format })?;
    tell(json, &report.to_json(), &report.to_text(), report.has_failures())
}

/// An export must not be taken for mail of an account.
fn refuse_store(mail_dir: &Path, target: &Path) -> anyhow::Result<()> {
    let target = std::path::absolute(target)?;
    let existing = target.ancestors().find_map(|path| path.canonicalize().ok());
    let lies_in = |store: &Path| existing.as_ref().is_some_and(|target| target.starts_with(store));
    if mail_dir.canonicalize().is_ok_and(|store| lies_in(&store)) {
        return Err(UsageError(format!("{} lies in the store: export elsewhere", target.display())).into());
    }
    Ok(())
}

fn tell(json: bool, value: &Value, text: &str, has_failures: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(value)?;
    } else {
        output::line(text)?;
    }
    Ok(if has_failures { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
