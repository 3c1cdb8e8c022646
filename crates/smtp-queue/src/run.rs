//! The queue process: one per queue, it finds what is due and has it tried.

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
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

use crate::aggregate::Aggregate;
use crate::attempt::{Begun, Deliverer};
use crate::client::{NO_ROUTE, Relay};
use crate::destinations::Destinations;
use crate::local::Local;
use crate::pick::{Key, Lane, Picker, Piece, Seen, in_turn};
use crate::rates::Rates;
use crate::reputation::Reputation;
use crate::routes::Destination;
use crate::schedule::Schedule;
use crate::slots::Slots;
use crate::tls_reports::TlsReports;
use crate::wakeup::Wakeup;
use crate::{Queue, QueueError, Suppression, figures};

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
/// How often a look goes through all that is due, should a message have come into sight late, or the clock have been set back.
const LOOK_ANEW: Duration = Duration::from_secs(60);
/// While there is work, the next look waits for so many times what the last one took.
const LOOKING: u32 = 9;

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
        slots: Slots::new(context.config.queue.max_concurrent),
        ready: VecDeque::new(),
        seen: (Seen::new(), Instant::now()),
        left: HashSet::new(),
        look: true,
        look_at: Instant::now(),
        next: None,
        destinations: Destinations::new(context.config.queue.max_per_destination),
        rates: Rates::default(),
        allowed: None,
        swept: None,
        tidied: Instant::now(),
        renew: Instant::now() + SETTLED,
        written: Instant::now(),
        noticed: None,
    };
    runner.start().await?;
    runner.work(&context.drain).await;
    let deliverer = Arc::clone(&runner.deliverer);
    runner.finish(context.config.limits.drain_timeout).await;
    spawn_blocking(move || deliverer.events.close()).await?;
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
        store: Store::open(&config.mail_dir())?,
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
        tls_reports,
        suppression,
        suppresses_all,
        verp,
    };
    Ok((deliverer, lock_file))
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

/// What a look at the queue found.
struct Found {
    pieces: Vec<Piece>,
    /// Those of them for which there is room, read already.
    begun: HashMap<Key, Begun>,
    seen: Seen,
    left: HashSet<Lane>,
    /// There may be more.
    is_cut: bool,
    next: Option<Timestamp>,
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

    /// Looks for what is due, and neither `busy` nor `waiting`. Blocks.
    fn find_due(
        &self,
        busy: HashSet<Key>,
        waiting: &[Piece],
        known: (Seen, HashSet<Lane>),
        mut room: Room,
    ) -> Result<Found, QueueError> {
        let here = self.local.directory.domains().unwrap_or_else(|error| {
            error!(%error, "the directory can't be asked");
            Vec::new()
        });
        let mut picker = Picker::new(&self.relay.routes, here, busy, waiting, known);
        let now = Timestamp::now();
        let next = self.queue.due(now, |due| picker.offer(due, now))?;
        let (seen, left) = picker.end(now);
        let Picker { picked: mut pieces, is_cut, .. } = picker;
        in_turn(&mut pieces, &room.by_origin);
        let read = pieces.iter().filter(|piece| room.take(&piece.destination));
        let begun = read.map(|piece| (piece.key(), self.begin(piece.clone()))).collect();
        Ok(Found { pieces, begun, seen, left, is_cut, next })
    }
}

/// How much can be started now.
struct Room {
    free: usize,
    destinations: Destinations,
    /// How many deliveries each origin has.
    by_origin: HashMap<Arc<str>, usize>,
}

impl Room {
    /// True if a delivery to there can be started, which it is; what a schedule may hold back is not.
    fn take(&mut self, destination: &Destination) -> bool {
        let is_free =
            self.free > 0 && destination.rates.is_empty() && self.destinations.has_room(destination);
        if is_free {
            self.free -= 1;
            self.destinations.begin(destination);
        }
        is_free
    }
}

struct Runner {
    deliverer: Arc<Deliverer>,
    wakeup: Wakeup,
    /// Each tells whether its destination was reached.
    jobs: JoinSet<bool>,
    /// What is under way.
    slots: Slots,
    /// What is due, found at the last look.
    ready: VecDeque<Piece>,
    /// What looks have seen, and since when.
    seen: (Seen, Instant),
    /// Of which the last look left more than it took.
    left: HashSet<Lane>,
    /// There may be something new.
    look: bool,
    /// Not before, as long as there is work.
    look_at: Instant,
    /// When something will be due.
    next: Option<Timestamp>,
    destinations: Destinations,
    rates: Rates,
    /// When a schedule allows something that waits.
    allowed: Option<Timestamp>,
    swept: Option<Instant>,
    tidied: Instant,
    /// When policies are to be renewed, and reports to be sent.
    renew: Instant,
    written: Instant,
    /// What operators were told last; `None` before they were told anything.
    noticed: Option<Vec<(String, String)>>,
}

impl Runner {
    /// What waited for a way is tried as soon as there is one.
    async fn start(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let deliverer = Arc::clone(&self.deliverer);
        let summary = spawn_blocking(move || {
            if deliverer.relay.routes.lead_everywhere() {
                deliverer.queue.retry_status(NO_ROUTE)?;
            }
            deliverer.queue.summary()
        })
        .await??;
        let smarthosts = self.deliverer.relay.routes.smarthosts().len();
        info!(messages = summary.messages, octets = summary.octets, smarthosts, "the queue is open");
        Ok(())
    }

    async fn work(&mut self, drain: &Drain) {
        while !drain.is_draining() {
            self.sweep().await;
            self.close_idle().await;
            self.start_due().await;
            let next = self.next.map_or(Duration::MAX, until).min(self.wakeup.patience());
            let (is_free, patience) = (self.is_free(), self.patience());
            tokio::select! {
                () = drain.begun() => {}
                Some(ended) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => self.all_ended(ended),
                () = self.wakeup.changed(), if is_free => self.look = true,
                () = tokio::time::sleep(next), if is_free => self.look = true,
                () = tokio::time::sleep(patience) => {}
            }
        }
    }

    fn is_free(&self) -> bool {
        self.slots.are_free(Instant::now())
    }

    /// Until something that waits may begin, though nothing ends: a schedule allows it, or what hangs leaves room.
    fn patience(&self) -> Duration {
        let allowed = self.allowed.map_or(Duration::MAX, until);
        let room =
            if self.ready.is_empty() && !self.look { None } else { self.slots.next_free(Instant::now()) };
        let look = if self.look && self.is_free() {
            self.look_at.saturating_duration_since(Instant::now())
        } else {
            Duration::MAX
        };
        allowed.min(look).min(room.unwrap_or(Duration::MAX))
    }

    /// Starts attempts at what is due, as far as there is room.
    async fn start_due(&mut self) {
        // What is found may go before what waits already.
        if !self.look || !self.may_look() {
            self.start_ready();
        }
        while self.is_free() && self.may_look() && std::mem::take(&mut self.look) {
            let begun = self.find_due().await;
            self.start_ready_with(begun);
        }
    }

    fn may_look(&self) -> bool {
        self.ready.is_empty() || Instant::now() >= self.look_at
    }

    fn start_ready(&mut self) {
        self.start_ready_with(HashMap::new());
    }

    /// Starts what there is room for; `begun` is what was read already.
    fn start_ready_with(&mut self, mut begun: HashMap<Key, Begun>) {
        let (mut started, now) = (Vec::new(), Timestamp::now());
        self.allowed = None;
        for _ in 0..self.ready.len() {
            let Some(piece) = self.ready.pop_front() else { break };
            if self.is_free() && self.may_begin(&piece, now) {
                let reader = self.start_attempt(piece.clone(), now);
                match begun.remove(&piece.key()) {
                    Some(begun) => drop(reader.send(begun)),
                    None => started.push((piece, reader)),
                }
            } else {
                self.ready.push_back(piece);
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

    fn may_begin(&mut self, piece: &Piece, now: Timestamp) -> bool {
        if !self.destinations.has_room(&piece.destination) {
            return false;
        }
        let Some(moment) = self.rates.not_before(&piece.destination, &self.deliverer.relay.routes, now)
        else {
            return true;
        };
        self.allowed = Some(self.allowed.map_or(moment, |allowed| allowed.min(moment)));
        false
    }

    async fn find_due(&mut self) -> HashMap<Key, Begun> {
        let deliverer = Arc::clone(&self.deliverer);
        let waiting: Vec<Piece> = self.ready.iter().cloned().collect();
        self.next = None;
        let busy = self.slots.pieces().chain(&waiting).map(Piece::key).collect();
        let (free, by_origin) = (self.slots.free(Instant::now()), self.slots.by_origin());
        let room = Room { free, destinations: self.destinations.clone(), by_origin };
        if self.seen.1.elapsed() >= LOOK_ANEW {
            self.seen = (Seen::new(), Instant::now());
        }
        let (known, began) = ((std::mem::take(&mut self.seen.0), self.left.clone()), Instant::now());
        let found = spawn_blocking(move || deliverer.find_due(busy, &waiting, known, room)).await;
        self.look_at = Instant::now() + began.elapsed() * LOOKING;
        match found {
            Ok(Ok(found)) => {
                self.ready.extend(found.pieces);
                in_turn(self.ready.make_contiguous(), &self.slots.by_origin());
                (self.left, self.next, self.look) = (found.left, found.next, found.is_cut);
                self.seen.0 = found.seen;
                return found.begun;
            }
            Ok(Err(error)) => error!(%error, "the queue can't be read"),
            Err(error) => error!(%error, "reading the queue failed unexpectedly"),
        }
        HashMap::new()
    }

    /// The attempt waits for what it is to try.
    fn start_attempt(&mut self, piece: Piece, now: Timestamp) -> oneshot::Sender<Begun> {
        self.destinations.begin(&piece.destination);
        self.rates.begin(&piece.destination, &self.deliverer.relay.routes, piece.recipients, now);
        let span = info_span!("queue", id = %piece.id);
        let (reader, begun) = oneshot::channel();
        let attempt = Arc::clone(&self.deliverer).attempt(begun);
        let job = self.jobs.spawn(attempt.instrument(span));
        self.slots.begin(job.id(), piece, Instant::now());
        reader
    }

    fn ended(&mut self, ended: Result<(Id, bool), JoinError>) {
        let (job, reached) = ended.unwrap_or_else(|error| {
            error!(%error, "a delivery ended unexpectedly");
            (error.id(), false)
        });
        let Some(piece) = self.slots.end(job) else { return };
        self.destinations.end(&piece.destination, reached);
        self.rates.end(&piece.destination);
        // More is known to be due there, once what was found is used up.
        let lane = piece.lane();
        self.look |= self.left.contains(&lane) && self.ready.iter().all(|piece| piece.lane() != lane);
    }

    /// As [`Self::ended`], with all that ended by now: those that follow them start together.
    fn all_ended(&mut self, first: Result<(Id, bool), JoinError>) {
        self.ended(first);
        while let Some(ended) = self.jobs.try_join_next_with_id() {
            self.ended(ended);
        }
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

    /// Now and then, beside the work.
    async fn close_idle(&mut self) {
        if self.tidied.elapsed() >= TIDY {
            self.tidied = Instant::now();
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
        let rates = self.rates.notices(&relay.routes, Timestamp::now());
        let notices: Vec<_> = trouble.into_iter().chain(rates).collect();
        if self.noticed.as_ref() == Some(&notices) {
            return;
        }
        let (queue, told) = (Arc::clone(&self.deliverer.queue), notices.clone());
        match spawn_blocking(move || queue.set_notices(&told)).await {
            Ok(Ok(())) => self.noticed = Some(notices),
            Ok(Err(error)) => error!(%error, "the notices for operators can't be written"),
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

fn until(moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(Timestamp::now())).unwrap_or_default()
}
