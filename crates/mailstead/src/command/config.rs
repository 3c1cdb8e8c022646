use std::path::Path;

use mail_config::Config;
use server_core::TlsContext;

use crate::cli::ConfigCommand;
use crate::output;

pub(super) fn run(config: &Path, command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check => check(config),
    }
}

/// Everything that can be known without starting a server.
fn check(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    TlsContext::load(&config.tls)?;
    Ok(output::line(&format!("{} holds", path.display()))?)
}
