use std::path::Path;

use mail_config::Config;

use crate::cli::ConfigCommand;
use crate::{output, soundness};

pub(super) fn run(config: &Path, command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check => check(config),
    }
}

/// Everything that can be known without starting a server.
fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    for warning in soundness::check(&config)? {
        output::warn(&warning);
    }
    Ok(output::line(&format!("{}: no mistakes", path.display()))?)
}
