//! What accounts hold, and may hold.

use std::path::Path;

use anyhow::Context as _;
use mail_config::{Config, show_size};
use mail_directory::{Directory, Limit, QuotaSetting};
use mail_store::Store;
use mail_types::{Address, Quota, Usage};
use serde_json::{Value, json};

use super::operator::become_operator;
use crate::cli::QuotaArguments;
use crate::output;

/// What one account holds, and may hold.
pub(super) struct Held {
    address: Address,
    quota: Quota,
    usage: Usage,
}

pub(super) fn run(config: &Path, arguments: &QuotaArguments) -> anyhow::Result<()> {
    let config = become_operator(config)?;
    let directory = Directory::open(&config.directory_file())?;
    let before =
        directory.quota_setting(&arguments.address).context("`mailstead account list` shows the accounts")?;
    let setting = changed(before, arguments);
    if setting != before {
        directory.set_quota(&arguments.address, setting)?;
    }
    let store = Store::open(&config.mail_dir())?;
    let held = held(&config, &directory, &store, arguments.address.to_lowercase())?;
    if arguments.json {
        return output::json(&held.json());
    }
    Ok(output::table(&[Held::headings(), held.row()])?)
}

fn changed(before: QuotaSetting, arguments: &QuotaArguments) -> QuotaSetting {
    if arguments.none {
        return QuotaSetting { storage: Limit::Unlimited, messages: Limit::Unlimited };
    }
    if arguments.default {
        return QuotaSetting::default();
    }
    QuotaSetting {
        storage: arguments.storage.unwrap_or(before.storage),
        messages: arguments.messages.unwrap_or(before.messages),
    }
}

pub(super) fn held(
    config: &Config,
    directory: &Directory,
    store: &Store,
    address: Address,
) -> anyhow::Result<Held> {
    let quota = directory.quota(&address, config.quota.default)?;
    let usage = store.usage(&address, quota).with_context(|| format!("can't count the mail of {address}"))?;
    Ok(Held { address, quota, usage })
}

impl Held {
    pub(super) fn headings() -> Vec<String> {
        ["ADDRESS", "STORAGE", "OF", "MESSAGES", "OF"].map(str::to_owned).to_vec()
    }

    pub(super) fn row(&self) -> Vec<String> {
        let limit = |shown: Option<String>| shown.unwrap_or_else(|| "-".to_owned());
        vec![
            self.address.to_string(),
            show_size(self.usage.storage),
            limit(self.quota.storage.map(show_size)),
            self.usage.messages.to_string(),
            limit(self.quota.messages.map(|number| number.to_string())),
        ]
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "address": self.address.to_string(),
            "storage": self.usage.storage,
            "storage_limit": self.quota.storage,
            "messages": self.usage.messages,
            "messages_limit": self.quota.messages,
        })
    }
}
