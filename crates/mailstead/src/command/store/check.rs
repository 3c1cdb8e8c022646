//! `store check` and `store rebuild`: what is wrong, and what stays wrong.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use mail_directory::Directory;
use mail_store::{Advance, Finding, Store, StoreError};
use mail_types::Address;
use serde_json::{Value, json};

use crate::cli::{CheckArguments, RebuildArguments};
use crate::command::operator::become_operator;
use crate::output;
use crate::store::progress::Progress;

pub(super) fn check(config: &Path, arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let CheckArguments { accounts, content, json } = arguments;
    let look = |store: &Arc<Store>, account: &Address, progress: &Progress| {
        store.check(account, *content, &mut |advance| show(progress, account, advance, *content))
    };
    each(config, accounts, look)?.tell(*json, "found", "`mailstead store rebuild` mends what can be mended")
}

pub(super) fn rebuild(config: &Path, arguments: &RebuildArguments) -> anyhow::Result<ExitCode> {
    let RebuildArguments { accounts, json } = arguments;
    let mend = |store: &Arc<Store>, account: &Address, progress: &Progress| {
        store.rebuild(account, &mut |advance| show(progress, account, advance, false))
    };
    each(config, accounts, mend)?.tell(*json, "left to mend", "each line says what can be done")
}

/// With `content` a bar for the octets of each mailbox, else one for the mailboxes of each account.
fn show(progress: &Progress, account: &Address, advance: Advance<'_>, content: bool) {
    match advance {
        Advance::Mailbox { name, octets, .. } if content => {
            progress.begin(&format!("{account} {name}"), octets);
        }
        Advance::Mailbox { position, count, .. } => progress.count(&account.to_string(), position, count),
        Advance::Octets(octets) => progress.advance(octets),
    }
}

/// What was found in some accounts.
struct Report {
    accounts: usize,
    /// Accounts that could not be looked at.
    failed: usize,
    findings: Vec<(Address, Finding)>,
}

/// Does it to the accounts named, or to all.
fn each(
    config: &Path,
    named: &[Address],
    act: impl Fn(&Arc<Store>, &Address, &Progress) -> Result<Vec<Finding>, StoreError>,
) -> anyhow::Result<Report> {
    let config = become_operator(config)?;
    let accounts = wanted(&Directory::open(&config.directory_file())?.accounts()?, named)?;
    let (store, progress) = (Store::open(&config.mail_dir())?, Progress::new());
    let mut report = Report { accounts: accounts.len(), failed: 0, findings: Vec::new() };
    for account in accounts {
        let outcome = act(&store, &account, &progress);
        progress.end();
        match outcome {
            Ok(found) => report.findings.extend(found.into_iter().map(|finding| (account.clone(), finding))),
            Err(error) => {
                output::warn(&format!("{account} can't be looked at: {error}"));
                report.failed += 1;
            }
        }
    }
    Ok(report)
}

fn wanted(known: &[Address], named: &[Address]) -> anyhow::Result<Vec<Address>> {
    if named.is_empty() {
        return Ok(known.to_vec());
    }
    let lower = named.iter().map(Address::to_lowercase).collect::<Vec<_>>();
    if let Some(address) = lower.iter().find(|address| !known.contains(address)) {
        bail!("there is no account {address}: `mailstead account list` shows the accounts");
    }
    Ok(lower)
}

impl Report {
    /// Prints what was found; the exit code says whether anything was.
    fn tell(&self, json: bool, found: &str, advice: &str) -> anyhow::Result<ExitCode> {
        if json {
            output::json(&json!({
                "accounts": self.accounts,
                "failed": self.failed,
                "findings": self.findings.iter().map(to_json).collect::<Vec<_>>(),
            }))?;
        } else {
            for (account, finding) in &self.findings {
                output::line(&format!("{account}: {finding}"))?;
            }
            let accounts = counted(self.accounts, "account", "accounts");
            output::line(&match self.findings.len() {
                0 => format!("{accounts}: nothing {found}"),
                count => format!("{accounts}: {} {found}; {advice}", counted(count, "fault", "faults")),
            })?;
        }
        Ok(if self.findings.is_empty() && self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn to_json((account, finding): &(Address, Finding)) -> Value {
    json!({
        "account": account.to_string(),
        "path": finding.path.to_string_lossy(),
        "problem": finding.problem.code(),
        "text": finding.problem.to_string(),
    })
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
