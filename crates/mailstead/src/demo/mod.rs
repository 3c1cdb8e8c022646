//! `mailstead demo`: a domain of its own on loopback ports, to try things on.

mod accounts;
mod config;
mod settings;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use server_core::program::start_logging;

use self::accounts::Accounts;
use self::settings::Settings;
use crate::cli::DemoArguments;
use crate::supervisor::{self, ConfigCopy, Lock, Manner, Setup};
use crate::{data_dir, output};

/// The demo's domain. RFC 6761 §6.2 keeps `test` out of the DNS.
const DOMAIN: &str = "demo.test";
/// The host of the demo's domain.
const HOSTNAME: &str = "mail.demo.test";
/// What clients connect to; the certificate is good for it.
const HOST: &str = "localhost";
/// The time that the servers have to get ready, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Prepares the demo's folder where it is new, and runs the servers until told to stop.
pub(crate) fn run(arguments: &DemoArguments) -> anyhow::Result<()> {
    let folder = std::path::absolute(&arguments.dir)?;
    data_dir::make(&folder, None).context(
        "the demo keeps its mail in a folder: start it where you may write, or name one with --dir",
    )?;
    let lock = Lock::take(&folder, None)?;
    let file = config::ensure(&folder)?;
    start_logging(&ConfigCopy::read(&file)?.config.log.filter);
    let sockets = config::bind(&file)?;
    let copy = ConfigCopy::read(&file)?;
    data_dir::prepare(&copy.config)?;
    let accounts = Accounts::ensure(&folder, &copy.config)?;
    let settings = Settings::new(&arguments.dir, &accounts, &copy.config, &sockets)?;
    let setup = Setup::with_sockets(copy, sockets)?;
    let json = arguments.json;
    let folder = arguments.dir.clone();
    let ready = move || show(&settings, &folder, json);
    supervisor::run(setup, lock, Manner::Demo { ready: Box::new(ready), patience: PATIENCE })
}

fn show(settings: &Settings, folder: &Path, json: bool) -> anyhow::Result<()> {
    if json { output::json(settings) } else { Ok(output::line(&settings.for_people(folder))?) }
}
