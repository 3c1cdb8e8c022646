use std::error::Error;
use std::sync::Arc;

use mail_directory::{Directory, Srs};
use mail_events::EventLog;
use mail_metrics::Metrics;
use mail_store::Store;
use server_core::{BoundListener, Refusals, ServerContext, TurnedAway};
use smtp_proto::Reply;
use smtp_queue::Queue;

use crate::bounces::Bounces;
use crate::connection::{self, Shared};
use crate::files::Destinations;
use crate::held_back::HeldBack;
use crate::policy::Verdicts;
use crate::reports::Reports;
use crate::room::Rooms;
use crate::suppressed::Suppressed;

/// What is told to a client that is turned away.
fn refusals(hostname: &str) -> Refusals {
    let line = |why| {
        let mut line = String::new();
        refusal(why).in_the_name_of(hostname).encode(&mut line);
        line.into_bytes().into()
    };
    Refusals {
        too_many: line(TurnedAway::TooMany),
        too_many_there: line(TurnedAway::TooManyThere),
        banned: line(TurnedAway::Banned),
    }
}

/// Why nothing is taken from a client.
pub(crate) fn refusal(why: TurnedAway) -> Reply {
    let (status, text) = match why {
        TurnedAway::TooMany => ("4.3.2", "Too many connections are open here; come back later"),
        TurnedAway::TooManyThere => {
            ("4.7.0", "Too many connections from your address or network; close some, or come back later")
        }
        TurnedAway::Banned => ("4.7.0", "Too many failed logins from your address; come back later"),
    };
    Reply::new(421, status, text)
}

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
    let (events, queue) = (Arc::clone(&shared.to.events), Arc::clone(&shared.to.queue));
    let refusals = refusals(&context.config.hostname.to_ascii());
    server_core::serve(sockets, context, refusals, move |connection| {
        connection::serve(connection, shared.clone())
    })
    .await;
    tokio::task::spawn_blocking(move || {
        events.close();
        queue.close();
    })
    .await?;
    Ok(())
}

fn open(config: Arc<mail_config::Config>, metrics: &Metrics) -> Result<Shared, Box<dyn Error + Send + Sync>> {
    let srs = config.smtp.srs.map(|expire| Srs::open(&config.srs_file(), expire)).transpose()?;
    let verdicts = Arc::new(Verdicts::new(&config)?);
    let directory = Arc::new(Directory::open(&config.directory_file())?.with_srs(srs));
    let suppressed = Suppressed::open(&config)?;
    let reports = Reports::open(&config, suppressed.list())?;
    let to = Destinations {
        store: Store::open_with(&config.mail_dir(), config.limits.min_free, None)?,
        queue: Queue::open_with(&config.queue_dir(), config.limits.min_free)?,
        events: Arc::new(EventLog::open_or_complain(&config, "smtp", metrics)),
        hostname: config.hostname.clone(),
        language: config.queue.language,
        reports,
        bounces: Bounces::open(&config)?,
        suppressed,
        held_back: Arc::new(HeldBack::new(config.smtp.max_held_back)),
    };
    let rooms = Arc::new(Rooms::new(&config));
    Ok(Shared { config, directory, to, verdicts, rooms })
}
