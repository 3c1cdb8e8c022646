//! The queue process: one per queue, it finds what is due and has it tried.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mail_config::Config;
use mail_directory::Directory;
use mail_store::Store;
use server_core::{BoundListener, Drain, ServerContext};
use tokio::task::{Id, JoinError, JoinSet, spawn_blocking};
use tracing::{Instrument as _, error, info, info_span};

use crate::attempt::{Deliverer, NO_ROUTE};
use crate::client::Relay;
use crate::database::Due;
use crate::local::Local;
use crate::schedule::Schedule;
use crate::wakeup::Wakeup;
use crate::{Queue, QueueError, QueueId};

/// How old a file without a row must be to be swept; longer than any message takes to arrive.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// How often a waiting process asks whether the one before it has ended.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Delivers what is queued until the context drains; then finishes what is in flight, within the deadline.
///
/// The queue has no sockets of its own; `sockets` is empty.
///
/// # Errors
/// If the queue, the directory or the store can't be opened, or the relay's certificates can't be read.
pub async fn run(
    context: ServerContext,
    sockets: Vec<BoundListener>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    drop(sockets);
    let config = Arc::clone(&context.config);
    let (deliverer, lock_file) = spawn_blocking(move || open(&config)).await??;
    // The one before us may still be finishing what it has in flight.
    let Some(lock) = lock(lock_file, &context.drain).await? else { return Ok(()) };
    let mut runner = Runner {
        wakeup: Wakeup::new(&deliverer.queue.wakeup_path()),
        deliverer: Arc::new(deliverer),
        jobs: JoinSet::new(),
        busy: HashMap::new(),
        max_concurrent: context.config.queue.max_concurrent.max(1),
        swept: None,
    };
    runner.start().await?;
    runner.work(&context.drain).await;
    runner.finish(context.config.limits.drain_timeout).await;
    drop(lock);
    Ok(())
}

/// Blocks.
fn open(config: &Config) -> Result<(Deliverer, PathBuf), Box<dyn Error + Send + Sync>> {
    let queue = Queue::open(&config.queue_dir())?;
    let lock_file = queue.folder().join("lock");
    let local = Local {
        directory: Directory::open(&config.directory_file())?,
        store: Store::open(&config.mail_dir())?,
        delimiter: config.smtp.recipient_delimiter,
        quota: config.quota.clone(),
    };
    let hostname = config.hostname.clone();
    let relay = match config.relay.smarthost.clone() {
        Some(smarthost) => Some(Relay::new(smarthost, hostname.to_ascii())?),
        None => None,
    };
    Ok((Deliverer { queue, local, relay, schedule: Schedule::new(&config.queue), hostname }, lock_file))
}

/// Waits to be the only one that delivers from this queue; `None` if told to stop meanwhile.
async fn lock(path: PathBuf, drain: &Drain) -> Result<Option<File>, QueueError> {
    let failed = || QueueError::io("locking", &path);
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(&path).map_err(failed())?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        if !std::mem::replace(&mut told, true) {
            info!("waiting for another process to finish with this queue");
        }
        tokio::select! {
            () = drain.begun() => return Ok(None),
            () = tokio::time::sleep(LOCK_POLL) => {}
        }
    }
}

struct Runner {
    deliverer: Arc<Deliverer>,
    wakeup: Wakeup,
    jobs: JoinSet<()>,
    /// What is under way.
    busy: HashMap<Id, QueueId>,
    max_concurrent: usize,
    swept: Option<Instant>,
}

impl Runner {
    /// What waited for a smarthost is tried as soon as there is one.
    async fn start(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let deliverer = Arc::clone(&self.deliverer);
        let summary = spawn_blocking(move || {
            if deliverer.relay.is_some() {
                deliverer.queue.retry_status(NO_ROUTE)?;
            }
            deliverer.queue.summary()
        })
        .await??;
        let smarthost = self.deliverer.relay.is_some();
        info!(messages = summary.messages, octets = summary.octets, smarthost, "the queue is open");
        Ok(())
    }

    async fn work(&mut self, drain: &Drain) {
        while !drain.is_draining() {
            self.sweep().await;
            let next = self.start_due().await;
            tokio::select! {
                () = drain.begun() => {}
                Some(ended) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => self.ended(ended),
                () = self.wakeup.changed(), if self.is_free() => {}
                () = tokio::time::sleep(next), if self.is_free() => self.close_idle(false).await,
            }
        }
    }

    fn is_free(&self) -> bool {
        self.jobs.len() < self.max_concurrent
    }

    /// Starts an attempt at what is due, as far as there is room. Returns how long there will be nothing new.
    async fn start_due(&mut self) -> Duration {
        let room = self.max_concurrent.saturating_sub(self.jobs.len());
        if room == 0 {
            return self.wakeup.patience();
        }
        let busy: HashSet<QueueId> = self.busy.values().cloned().collect();
        let queue = Arc::clone(&self.deliverer.queue);
        let due = match spawn_blocking(move || queue.due(Timestamp::now(), room, &busy)).await {
            Ok(Ok(due)) => due,
            Ok(Err(error)) => {
                error!(%error, "the queue can't be read");
                Due::default()
            }
            Err(error) => {
                error!(%error, "reading the queue failed unexpectedly");
                Due::default()
            }
        };
        due.messages.into_iter().for_each(|id| self.start_attempt(id));
        let patience = self.wakeup.patience();
        due.next.map_or(patience, |next| until(next).min(patience))
    }

    fn start_attempt(&mut self, id: QueueId) {
        let span = info_span!("queue", %id);
        let attempt = Arc::clone(&self.deliverer).attempt(id.clone());
        let job = self.jobs.spawn(attempt.instrument(span));
        self.busy.insert(job.id(), id);
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let job = match &ended {
            Ok((job, ())) => *job,
            Err(error) => {
                error!(%error, "a delivery ended unexpectedly");
                error.id()
            }
        };
        self.busy.remove(&job);
    }

    /// Clears away, at the start and then now and then, what interrupted steps left.
    async fn sweep(&mut self) {
        if self.swept.is_some_and(|last| last.elapsed() < GRACE) {
            return;
        }
        self.swept = Some(Instant::now());
        let queue = Arc::clone(&self.deliverer.queue);
        match spawn_blocking(move || queue.sweep(GRACE)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(files)) => info!(files, "swept away files of interrupted deliveries"),
            Ok(Err(error)) => error!(%error, "the queue can't be swept"),
            Err(error) => error!(%error, "sweeping the queue failed unexpectedly"),
        }
    }

    async fn close_idle(&self, all: bool) {
        if let Some(relay) = &self.deliverer.relay {
            relay.close_idle(all).await;
        }
    }

    /// Lets what is in flight end, but not for ever. What is cut off is tried again by the next process.
    async fn finish(mut self, deadline: Duration) {
        let all = async { while self.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all).await.is_err() {
            info!(messages = self.jobs.len(), "deliveries in flight are cut off");
            self.jobs.shutdown().await;
        }
        self.close_idle(true).await;
    }
}

fn until(moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(Timestamp::now())).unwrap_or_default()
}
