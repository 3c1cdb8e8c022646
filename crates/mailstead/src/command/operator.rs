use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use mail_config::Config;
use mail_directory::Directory;
use server_core::become_user;
use server_core::program::start_logging;
use smtp_queue::{Queue, QueueError};

use crate::data_dir;

/// The config, checked, with this process being the user that owns the data: what a command makes then belongs
/// to the user that the servers run as.
pub(crate) fn become_operator(config: &Path) -> anyhow::Result<Config> {
    let config = Config::load(config)?;
    data_dir::prepare(&config)?;
    if let Some(user) = &config.user {
        become_user(user).map_err(|error| anyhow!(error))?;
    }
    Ok(config)
}

/// The directory of the config, open for changes.
pub(super) fn open_directory(config: &Path) -> anyhow::Result<Directory> {
    let config = become_operator(config)?;
    Ok(Directory::open(&config.directory_file())?)
}

/// The queue, for a look or a change. What keeps that waiting is said on standard error.
pub(crate) fn open_queue(config: &Config) -> Result<Arc<Queue>, QueueError> {
    start_logging("warn");
    Queue::visit(&config.queue_dir())
}
