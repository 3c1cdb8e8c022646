//! The server process: the store, the directory, and a session for each connection.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use mail_config::Config;
use mail_directory::Directory;
use mail_events::EventLog;
use mail_metrics::Metrics;
use mail_store::Store;
use server_core::{BoundListener, Refusals, ServerContext, serve};

use crate::connection;
use crate::summaries::AheadOfNeed;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Arc<Store>,
    /// What is known of logins.
    pub(crate) events: EventLog,
}

/// Serves IMAP until the context drains.
///
/// # Errors
/// When the store or the directory can't be opened; the text tells the operator which.
pub async fn run(
    context: ServerContext,
    sockets: Vec<BoundListener>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (config, metrics) = (Arc::clone(&context.config), context.metrics.clone());
    let shared = tokio::task::spawn_blocking(move || open(config, &metrics)).await??;
    let refusals = Refusals {
        too_many: Cow::Borrowed(b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n"),
        too_many_there: Cow::Borrowed(
            b"* BYE [UNAVAILABLE] Too many connections from your address or network, try again later\r\n",
        ),
        banned: Cow::Borrowed(
            b"* BYE [UNAVAILABLE] Too many failed logins from your address, try again later\r\n",
        ),
    };
    let sessions = Arc::clone(&shared);
    serve(sockets, context, refusals, move |connection| connection::run(connection, Arc::clone(&sessions)))
        .await;
    tokio::task::spawn_blocking(move || shared.events.close()).await?;
    Ok(())
}

fn open(config: Arc<Config>, metrics: &Metrics) -> Result<Arc<Shared>, Box<dyn Error + Send + Sync>> {
    let store = Store::open_with(&config.mail_dir(), config.limits.min_free, Some(Arc::new(AheadOfNeed)))?;
    let directory = Arc::new(Directory::open(&config.directory_file())?);
    let events = EventLog::open_or_complain(&config, "imap", metrics);
    Ok(Arc::new(Shared { config, directory, store, events }))
}
