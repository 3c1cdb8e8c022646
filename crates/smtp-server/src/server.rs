use std::error::Error;
use std::sync::Arc;

use mail_directory::{Directory, Srs};
use mail_events::EventLog;
use mail_metrics::Metrics;
use mail_store::Store;
use server_core::{BoundListener, Refusals, ServerContext};
use smtp_queue::Queue;

use crate::bounces::Bounces;
use crate::connection::{self, Shared};
use crate::files::Destinations;
use crate::held_back::HeldBack;
use crate::policy::Verdicts;
use crate::reports::Reports;
use crate::suppressed::Suppressed;

/// Told to a client that is turned away.
const REFUSALS: Refusals = Refusals {
    too_many: b"421 4.7.0 Too many connections; come back later\r\n",
    banned: b"421 4.7.0 Too many failed logins from your address; come back later\r\n",
};

/// Serves SMTP until the context drains.
///
/// # Errors
/// If the directory, the store or the queue can't be opened.
pub async fn run(
    context: ServerContext,
    sockets: Vec<BoundListener>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (config, metrics) = (Arc::clone(&context.config), context.metrics.clone());
    let shared = tokio::task::spawn_blocking(move || open(config, &metrics)).await??;
    let events = Arc::clone(&shared.to.events);
    server_core::serve(sockets, context, REFUSALS, move |connection| {
        connection::serve(connection, shared.clone())
    })
    .await;
    tokio::task::spawn_blocking(move || events.close()).await?;
    Ok(())
}

fn open(config: Arc<mail_config::Config>, metrics: &Metrics) -> Result<Shared, Box<dyn Error + Send + Sync>> {
    let srs = config.smtp.srs.map(|expire| Srs::open(&config.srs_file(), expire)).transpose()?;
    let verdicts = Arc::new(Verdicts::new(&config)?);
    let directory = Arc::new(Directory::open(&config.directory_file())?.with_srs(srs));
    let suppressed = Suppressed::open(&config)?;
    let reports = Reports::open(&config, suppressed.list())?;
    let to = Destinations {
        store: Store::open(&config.mail_dir())?,
        queue: Queue::open(&config.queue_dir())?,
        events: Arc::new(EventLog::open_or_complain(&config, "smtp", metrics)),
        hostname: config.hostname.clone(),
        language: config.queue.language,
        reports,
        bounces: Bounces::open(&config)?,
        suppressed,
        held_back: Arc::new(HeldBack::new(config.smtp.max_held_back)),
    };
    Ok(Shared { config, directory, to, verdicts })
}
