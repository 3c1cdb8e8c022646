//! The queue process: one per queue, it finds what is due and has it tried.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{File, Metadata, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mail_config::Config;
use mail_directory::{Directory, Srs, Verp};
use mail_dkim::{Keys, Signers};
use mail_events::EventLog;
use mail_metrics::Metrics;
use mail_store::Store;
use server_core::{BoundListener, Drain, ServerContext};
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet, spawn_blocking};
use tracing::{Instrument as _, error, info, info_span};

use crate::agenda::{Agenda, Found, Prospect, until};
use crate::aggregate::Aggregate;
use crate::attempt::{Begun, Deliverer, Ended};
use crate::client::{NO_ROUTE, Relay};
use crate::damaged::Damaged;
use crate::gather::Gather;
use crate::local::Local;
use crate::pick::{Further, Key, Piece};
use crate::reputation::Reputation;
use crate::schedule::Schedule;
use crate::tls_reports::TlsReports;
use crate::under_way::UnderWay;
use crate::wakeup::Wakeup;
use crate::{Queue, QueueError, QueueId, Suppression, figures};

/// How old a file without a row must be to be swept; longer than any message takes to arrive.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// How often connections are looked after.
const TIDY: Duration = Duration::from_secs(1);
/// How often it is looked which policies of mail hosts are to be renewed.
const RENEW: Duration = Duration::from_secs(3600);
/// How long after the start that is done first.
const SETTLED: Duration = Duration::from_secs(60);
/// How often it is written down what was seen of mail hosts.
const WRITE: Duration = Duration::from_secs(10);
/// How often a waiting process asks whether the one before it has ended.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Delivers what is queued until the context drains; then finishes what is in flight, within the deadline.
///
/// The queue has no sockets of its own; `sockets` is empty.
///
/// # Errors
/// If the queue, the directory or the store can't be opened, a smarthost's certificates can't be read, or the DNS can't be asked.
pub async fn run(
    context: ServerContext,
    sockets: Vec<BoundListener>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    drop(sockets);
    let (config, metrics) = (Arc::clone(&context.config), context.metrics.clone());
    let (deliverer, lock_file) = spawn_blocking(move || open(&config, &metrics)).await??;
    // The one before us may still be finishing what it has in flight.
    let Some(lock) = lock(lock_file, &context.drain).await? else { return Ok(()) };
    let _watching = watch(&context, &deliverer.queue).await?;
    let mut runner = Runner {
        wakeup: Wakeup::new(&deliverer.queue.wakeup_path()),
        deliverer: Arc::new(deliverer),
        jobs: JoinSet::new(),
        agenda: Agenda::new(&context.config.queue, Instant::now()),
        swept: None,
        tidied: Instant::now(),
        renew: Instant::now() + SETTLED,
        written: Instant::now(),
        noticed: None,
        complaints: Complaints::default(),
    };
    runner.start();
    runner.work(&context.drain).await;
    let deliverer = Arc::clone(&runner.deliverer);
    runner.finish(context.config.limits.drain_timeout).await;
    spawn_blocking(move || {
        deliverer.events.close();
        deliverer.queue.close();
    })
    .await?;
    drop(lock);
    Ok(())
}

/// Looks beside the work at what monitoring is told, until it is dropped.
async fn watch(
    context: &ServerContext,
    queue: &Arc<Queue>,
) -> Result<JoinSet<()>, Box<dyn Error + Send + Sync>> {
    let mut watching = JoinSet::new();
    watching.spawn(figures::watch(context.config.queue_dir(), context.metrics.clone()));
    if let Some(reputation) = Reputation::new(&context.config)? {
        watching.spawn(reputation.watch(context.metrics.clone()));
    }
    let (config, queue) = (Arc::clone(&context.config), Arc::clone(queue));
    if let Some(aggregate) = spawn_blocking(move || Aggregate::new(&config, &queue)).await?? {
        watching.spawn(aggregate.watch());
    }
    Ok(watching)
}

/// Blocks.
fn open(config: &Config, metrics: &Metrics) -> Result<(Deliverer, PathBuf), Box<dyn Error + Send + Sync>> {
    let queue = Queue::open(&config.queue_dir())?;
    let lock_file = queue.folder().join("lock");
    let srs = config.smtp.srs.map(|expire| Srs::open(&config.srs_file(), expire)).transpose()?;
    let local = Local {
        directory: Directory::open(&config.directory_file())?.with_srs(srs),
        store: Store::open_with(&config.mail_dir(), config.limits.min_free, None)?,
        delimiter: config.smtp.recipient_delimiter,
        quota: config.quota.clone(),
    };
    let hostname = config.hostname.clone();
    let relay = Relay::new(config)?;
    let (schedule, language) = (Schedule::new(&config.queue), config.queue.language);
    let events = EventLog::open_or_complain(config, "queue", metrics);
    let signers = Arc::new(Signers::new(Keys::new(config.dkim_dir())));
    let list = &config.queue.suppression;
    let suppression =
        list.enabled.then(|| Suppression::open(&config.suppression_file(), list)).transpose()?;
    let (suppression, suppresses_all) = (suppression.map(Arc::new), list.all_mail);
    let tls_reports = TlsReports::of(config);
    let verp = config.smtp.recipient_delimiter.filter(|_| !config.queue.verp.is_empty());
    let verp =
        verp.map(|delimiter| Verp::open(&config.srs_file(), &config.queue.verp, delimiter)).transpose()?;
    let deliverer = Deliverer {
        queue,
        local,
        relay,
        schedule,
        hostname,
        language,
        events,
        signers,
        seals_as: config.relay.arc_seal.then(|| config.hostname.to_ascii().into()),
        tls_reports,
        suppression,
        suppresses_all,
        damaged: Damaged::default(),
        verp,
        unrecorded: AtomicUsize::default(),
        gather: Gather::new(config.queue.gather_reports),
        under_way: Arc::new(UnderWay::default()),
    };
    Ok((deliverer, lock_file))
}

/// Waits to be the only one that delivers from this queue; `None` if told to stop meanwhile.
async fn lock(path: PathBuf, drain: &Drain) -> Result<Option<File>, QueueError> {
    let failed = || QueueError::io("locking", &path);
    whole_file::set_aside_unless(&path, Metadata::is_file);
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

impl Deliverer {
    /// Writes down what was seen of mail hosts. Blocks.
    fn write_results(&self) {
        let written = self.relay.trust().map(|trust| trust.write_results());
        if let Some(Err(error)) = written {
            error!(%error, "what was seen of mail hosts can't be written down");
        }
    }

    /// Tells others of the TLS of their mail hosts.
    async fn report_tls(&self) {
        if let Some((reports, trust)) = self.tls_reports.as_ref().zip(self.relay.trust()) {
            reports.send(&self.queue, trust, Timestamp::now()).await;
        }
    }

    /// What was named long ago may have been removed since. Blocks.
    fn forget_removed(&self) {
        for (id, why) in self.damaged.named_long_ago(Instant::now()) {
            if self.queue.contains(&id).unwrap_or(true) {
                self.damaged.note_flawed(&id, why, Instant::now());
            }
        }
    }

    /// Looks for what is due, and reads of it what there is room for. Blocks.
    fn find_due(&self, mut prospect: Prospect) -> Result<(Found, HashMap<Key, Begun>), QueueError> {
        let here = self.local.directory.domains().unwrap_or_else(|error| {
            error!(%error, "the directory can't be asked");
            Vec::new()
        });
        let mut picker = prospect.picker(&self.relay.routes, here);
        let now = Timestamp::now();
        self.forget_removed();
        let damaged = self.damaged.ids(Instant::now());
        let next = self.queue.due(now, |due| match due {
            Some(due) if damaged.contains(due.message) => Further::Next,
            Some(due) if due.message.contains(char::REPLACEMENT_CHARACTER) => {
                self.leave_damaged(&QueueId(due.message.to_owned()), "its name can't be read".to_owned());
                Further::Next
            }
            due => picker.offer(due, now),
        })?;
        let found = prospect.found(picker, now, next);
        let read = found.pieces.iter().filter(|piece| prospect.room.take(&piece.destination));
        let begun = read.map(|piece| (piece.key(), self.begin(piece.clone()))).collect();
        Ok((found, begun))
    }
}

struct Runner {
    deliverer: Arc<Deliverer>,
    wakeup: Wakeup,
    jobs: JoinSet<Ended>,
    agenda: Agenda<Id>,
    swept: Option<Instant>,
    tidied: Instant,
    /// When policies are to be renewed, and reports to be sent.
    renew: Instant,
    written: Instant,
    /// What operators were told last; `None` before they were told anything.
    noticed: Option<Vec<(String, String)>>,
    complaints: Complaints,
}

/// What is wrong with the queue for as long as it is the same, which is logged once.
#[derive(Default)]
struct Complaints {
    read: Option<String>,
    notices: Option<String>,
}

/// True if that is something else than what was wrong before.
fn is_news(known: &mut Option<String>, found: Option<String>) -> bool {
    let is_news = found.is_some() && *known != found;
    *known = found;
    is_news
}

impl Runner {
    /// What waited for a way is tried as soon as there is one: found beside the work, since all of the queue is read for it.
    fn start(&self) {
        let routes = &self.deliverer.relay.routes;
        info!(smarthosts = routes.smarthosts().len(), "the queue is open");
        if routes.lead_everywhere() {
            let queue = Arc::clone(&self.deliverer.queue);
            spawn_blocking(move || {
                if let Err(error) = queue.retry_status(NO_ROUTE) {
                    error!(%error, "what waited for a way is not tried before its time");
                }
            });
        }
    }

    async fn work(&mut self, drain: &Drain) {
        while !drain.is_draining() {
            self.sweep();
            self.close_idle().await;
            // What can't be recorded would be sent again after a crash: no more of it, until it can.
            let records = self.deliverer.unrecorded.load(Ordering::Relaxed) == 0;
            if records {
                self.start_due().await;
            }
            let (now, at) = (Timestamp::now(), Instant::now());
            let next = self.agenda.next().map_or(Duration::MAX, |next| until(next, now));
            let next = next.min(self.wakeup.patience());
            let (is_free, patience) = (records && self.agenda.is_free(at), self.patience(now, at));
            let patience = if records { patience } else { TIDY };
            tokio::select! {
                () = drain.begun() => {}
                Some(ended) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => self.all_ended(ended),
                () = self.wakeup.changed(), if is_free => self.agenda.look(),
                () = tokio::time::sleep(next), if is_free => self.agenda.look(),
                () = tokio::time::sleep(patience) => {}
            }
        }
    }

    /// Until something is to be done though nothing happens.
    fn patience(&self, now: Timestamp, at: Instant) -> Duration {
        let patience = self.agenda.patience(now, at);
        // The more there are that hang, the shorter is the time of all.
        if self.agenda.haste() < Duration::MAX { patience.min(TIDY) } else { patience }
    }

    /// Starts attempts at what is due, as far as there is room.
    async fn start_due(&mut self) {
        // What is found may go before what waits already.
        if !self.agenda.is_to_look(Instant::now()) {
            self.start_ready();
        }
        // What there is more comes with the next one: what has ended meanwhile makes room first.
        if self.agenda.is_free(Instant::now()) && self.agenda.is_to_look(Instant::now()) {
            let begun = self.find_due().await;
            self.start_ready_with(begun);
        }
    }

    fn start_ready(&mut self) {
        self.start_ready_with(HashMap::new());
    }

    /// Starts what there is room for; `begun` is what was read already.
    fn start_ready_with(&mut self, mut begun: HashMap<Key, Begun>) {
        let mut started = Vec::new();
        for piece in self.agenda.take_ready(&self.deliverer.relay.routes, Timestamp::now(), Instant::now()) {
            let reader = self.start_attempt(piece.clone());
            match begun.remove(&piece.key()) {
                Some(begun) => drop(reader.send(begun)),
                None => started.push((piece, reader)),
            }
        }
        if !started.is_empty() {
            let deliverer = Arc::clone(&self.deliverer);
            // What starts together is read by one thread. An attempt that was cut off doesn't listen any more.
            spawn_blocking(move || {
                started.into_iter().for_each(|(piece, reader)| drop(reader.send(deliverer.begin(piece))));
            });
        }
    }

    async fn find_due(&mut self) -> HashMap<Key, Begun> {
        let (deliverer, began) = (Arc::clone(&self.deliverer), Instant::now());
        let prospect = self.agenda.prospect(began);
        let found = match spawn_blocking(move || deliverer.find_due(prospect)).await {
            Ok(Ok(found)) => {
                self.complaints.read = None;
                Some(found)
            }
            Ok(Err(error)) => {
                if is_news(&mut self.complaints.read, Some(error.to_string())) {
                    error!(%error, "the queue can't be read");
                }
                None
            }
            Err(error) => {
                error!(%error, "reading the queue failed unexpectedly");
                None
            }
        };
        let (found, begun) = found.unzip();
        self.agenda.found(found, began.elapsed(), Instant::now());
        begun.unwrap_or_default()
    }

    /// The attempt waits for what it is to try.
    fn start_attempt(&mut self, piece: Piece) -> oneshot::Sender<Begun> {
        let span = info_span!("queue", id = %piece.id);
        let (reader, begun) = oneshot::channel();
        let attempt = Arc::clone(&self.deliverer).attempt(begun);
        let job = self.jobs.spawn(attempt.instrument(span));
        self.agenda.begin(job.id(), piece, Instant::now());
        reader
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (job, Ended { reached, goes_on }) = ended.unwrap_or_else(|error| {
            error!(%error, "a delivery ended unexpectedly");
            (error.id(), Ended { reached: false, goes_on: false })
        });
        match goes_on {
            true => self.agenda.interrupt(&job, reached, Instant::now()),
            false => self.agenda.end(&job, reached, Instant::now()),
        }
    }

    /// As [`Self::ended`], with all that ended by now: those that follow them start together.
    fn all_ended(&mut self, first: Result<(Id, Ended), JoinError>) {
        self.ended(first);
        while let Some(ended) = self.jobs.try_join_next_with_id() {
            self.ended(ended);
        }
    }

    /// Clears away beside the work, at the start and then now and then, what interrupted steps left.
    fn sweep(&mut self) {
        if self.swept.is_some_and(|last| last.elapsed() < GRACE) {
            return;
        }
        self.swept = Some(Instant::now());
        let queue = Arc::clone(&self.deliverer.queue);
        spawn_blocking(move || match queue.sweep(GRACE) {
            Ok(0) => {}
            Ok(files) => info!(files, "swept away files of interrupted deliveries"),
            Err(error) => error!(%error, "the queue can't be swept"),
        });
    }

    /// Now and then, beside the work.
    async fn close_idle(&mut self) {
        if self.tidied.elapsed() >= TIDY {
            self.tidied = Instant::now();
            self.deliverer.relay.haste.set(self.agenda.haste());
            let deliverer = Arc::clone(&self.deliverer);
            tokio::spawn(async move { deliverer.relay.close_idle(false).await });
            self.tell_operators().await;
        }
        if self.written.elapsed() >= WRITE {
            self.written = Instant::now();
            let deliverer = Arc::clone(&self.deliverer);
            spawn_blocking(move || deliverer.write_results());
        }
        if Instant::now() >= self.renew {
            self.renew = Instant::now() + RENEW;
            let deliverer = Arc::clone(&self.deliverer);
            tokio::spawn(async move {
                deliverer.relay.renew_policies().await;
                deliverer.report_tls().await;
            });
        }
    }

    /// Writes down what operators should know, if that has changed.
    async fn tell_operators(&mut self) {
        let relay = &self.deliverer.relay;
        let trouble = relay.trouble().map(|text| ("network".to_owned(), text));
        let rates = self.agenda.notices(&relay.routes, Timestamp::now());
        let damaged = self.deliverer.damaged.notices();
        let notices: Vec<_> = trouble.into_iter().chain(rates).chain(damaged).collect();
        if self.noticed.as_ref() == Some(&notices) {
            return;
        }
        let (queue, told) = (Arc::clone(&self.deliverer.queue), notices.clone());
        match spawn_blocking(move || queue.set_notices(&told)).await {
            Ok(Ok(())) => {
                self.noticed = Some(notices);
                self.complaints.notices = None;
            }
            Ok(Err(error)) => {
                if is_news(&mut self.complaints.notices, Some(error.to_string())) {
                    error!(%error, "the notices for operators can't be written");
                }
            }
            Err(error) => error!(%error, "writing the notices for operators failed unexpectedly"),
        }
    }

    /// Lets what is in flight end, but not for ever. What is cut off is tried again by the next process.
    async fn finish(mut self, deadline: Duration) {
        let all = async { while self.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all).await.is_err() {
            info!(messages = self.jobs.len(), "deliveries in flight are cut off");
            self.jobs.shutdown().await;
        }
        self.deliverer.relay.close_idle(true).await;
        let deliverer = Arc::clone(&self.deliverer);
        if let Err(error) = spawn_blocking(move || deliverer.write_results()).await {
            error!(%error, "writing what was seen of mail hosts failed unexpectedly");
        }
    }
}
