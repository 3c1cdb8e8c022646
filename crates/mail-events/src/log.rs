use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use disk_room::Room;
use mail_config::Config;
use mail_metrics::Metrics;
use tracing::{error, warn};

use crate::count::count;
use crate::flood::Flood;
use crate::segment::{Bounds, Segment};
use crate::{Entry, Event, EventError};

/// How long events are gathered before they are written.
const GATHER: Duration = Duration::from_millis(50);
/// Octets that wait for a disk at most; what comes then is counted and lost.
const MAX_WAITING: usize = 8 << 20;
/// How long a log that can't be written to is left alone.
const TROUBLE: Duration = Duration::from_secs(60);
/// How often old segments are looked for.
const PRUNE: Duration = Duration::from_secs(3600);

/// Notes events, beside the work: a thread of its own writes them, some together. Neither a full disk nor a slow one holds up who
/// notes something. What was noted less than a moment before a SIGKILL may be lost; dropping it writes all.
#[derive(Debug)]
pub struct EventLog {
    shared: Option<Arc<Shared>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    something: Condvar,
}

/// What is to be written.
#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    /// Events for which there was no room.
    lost: u64,
    flood: Flood,
    is_closed: bool,
    metrics: Metrics,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, event: Event) {
        if self.lines.len() >= MAX_WAITING {
            self.lost += 1;
            return;
        }
        let before = self.lines.len();
        if serde_json::to_writer(&mut self.lines, &Entry::now(event)).is_ok() {
            self.lines.push(b'\n');
        } else {
            self.lines.truncate(before);
        }
    }

    fn end_flood(&mut self) {
        for omitted in self.flood.end() {
            let omitted = Event::Omitted(omitted);
            count(&self.metrics, &omitted);
            self.push(omitted);
        }
    }
}

impl EventLog {
    /// Opens the log of the config for the process `server`. Blocks.
    ///
    /// # Errors
    /// The folder or its files can't be had.
    pub fn open(config: &Config, server: &str) -> Result<Self, EventError> {
        Self::open_counted(config, server, &Metrics::default())
    }

    fn open_counted(config: &Config, server: &str, metrics: &Metrics) -> Result<Self, EventError> {
        let settings = &config.log.events;
        if !settings.enabled {
            return Ok(Self::only_counting(metrics));
        }
        let bounds = Bounds { size: settings.max_size, age: settings.keep };
        let (folder, server) = (config.events_dir(), server.to_owned());
        let segment = Segment::open(&folder, &server, bounds)?;
        let waiting = Waiting {
            lines: Vec::new(),
            lost: 0,
            flood: Flood::new(settings.max_refusals.into()),
            is_closed: false,
            metrics: metrics.clone(),
        };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), something: Condvar::new() });
        let writer = Writer {
            room: Room::new(folder.clone(), config.limits.min_free),
            folder: folder.clone(),
            server,
            bounds,
            segment: Some(segment),
            pruned: None,
            is_scarce: false,
        };
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("events".to_owned());
        let thread = thread
            .spawn(move || writer.run(&work))
            .map_err(EventError::io("starting the thread that writes", &folder))?;
        Ok(Self { shared: Some(shared), writer: Mutex::new(Some(thread)), metrics: metrics.clone() })
    }

    /// As [`Self::open`], but what can't be opened is told to the operator, and nothing is noted: no mail waits for a log. What happens is
    /// counted in any case. Blocks.
    #[must_use]
    pub fn open_or_complain(config: &Config, server: &str, metrics: &Metrics) -> Self {
        Self::open_counted(config, server, metrics).unwrap_or_else(|error| {
            error!(%error, "nothing is noted in the event log");
            Self::only_counting(metrics)
        })
    }

    /// One that notes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::only_counting(&Metrics::default())
    }

    fn only_counting(metrics: &Metrics) -> Self {
        Self { shared: None, writer: Mutex::new(None), metrics: metrics.clone() }
    }

    /// Notes an event. It waits for no disk.
    pub fn note(&self, event: Event) {
        count(&self.metrics, &event);
        self.with(|waiting| waiting.push(event));
    }

    /// Notes the refusal of something that `peer` wanted, unless there are too many of them: they are counted then, and the counts noted
    /// a minute later.
    pub fn note_refusal(&self, peer: &str, event: impl FnOnce() -> Event) {
        if self.shared.is_none() {
            return count(&self.metrics, &event());
        }
        self.with(|waiting| {
            let now = Instant::now();
            if waiting.flood.ends().is_some_and(|end| end <= now) {
                waiting.end_flood();
            }
            if waiting.flood.admit(peer, now) {
                let event = event();
                count(&waiting.metrics, &event);
                waiting.push(event);
            }
        });
    }

    /// Changes what waits, and wakes the writer up where it has nothing to do.
    fn with(&self, change: impl FnOnce(&mut Waiting)) {
        let Some(shared) = &self.shared else { return };
        let mut waiting = shared.lock();
        let was_empty = waiting.lines.is_empty();
        change(&mut waiting);
        let is_first = was_empty && !waiting.lines.is_empty();
        drop(waiting);
        if is_first {
            shared.something.notify_one();
        }
    }
}

impl EventLog {
    /// Writes all that was noted, and ends: what is noted from now on is lost. Blocks.
    pub fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(shared), Some(writer)) = (&self.shared, writer) else { return };
        let mut waiting = shared.lock();
        waiting.end_flood();
        waiting.is_closed = true;
        drop(waiting);
        shared.something.notify_one();
        if writer.join().is_err() {
            error!("writing the event log failed unexpectedly");
        }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the thread has.
#[derive(Debug)]
struct Writer {
    folder: PathBuf,
    server: String,
    bounds: Bounds,
    /// `None` while it can't be written to.
    segment: Option<Segment>,
    pruned: Option<Instant>,
    /// On its disk.
    room: Room,
    /// What is left of that is for what can't wait.
    is_scarce: bool,
}

impl Writer {
    fn run(mut self, shared: &Shared) {
        let mut trouble: Option<Instant> = None;
        loop {
            let (lines, lost, is_closed) = take(shared);
            if lost > 0 {
                warn!(lost, "events are lost: the disk of the event log is too slow or full");
            }
            if trouble.is_none_or(|since| since.elapsed() >= TROUBLE || is_closed) {
                trouble = None;
                if let Err(error) = self.write(&lines) {
                    error!(%error, "events are lost: the event log can't be written to");
                    self.segment = None;
                    trouble = Some(Instant::now());
                }
            }
            if is_closed {
                return;
            }
        }
    }

    fn is_scarce(&mut self) -> bool {
        let is_scarce = self.room.is_scarce();
        if is_scarce && !self.is_scarce {
            warn!(folder = %self.folder.display(), "events are lost for now: the disk is nearly full");
        }
        self.is_scarce = is_scarce;
        is_scarce
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), EventError> {
        let bounds = self.bounds;
        let mut segment = match self.segment.take() {
            Some(segment) if !segment.is_over(bounds) => segment,
            Some(_) | None => {
                self.pruned = None;
                Segment::open(&self.folder, &self.server, bounds)?
            }
        };
        if !lines.is_empty() && !self.is_scarce() {
            segment.append(lines).map_err(EventError::io("writing to", &self.folder))?;
        }
        if self.pruned.is_none_or(|last| last.elapsed() >= PRUNE) {
            segment.prune(bounds)?;
            self.pruned = Some(Instant::now());
        }
        self.segment = Some(segment);
        Ok(())
    }
}

/// Waits for events, and a moment for more of them; empty at the end of an hour without any.
fn take(shared: &Shared) -> (Vec<u8>, u64, bool) {
    let mut waiting = shared.lock();
    let mut patience = PRUNE;
    while waiting.lines.is_empty() && !waiting.is_closed && !patience.is_zero() {
        let begun = Instant::now();
        let flood = waiting.flood.ends().map(|end| end.saturating_duration_since(begun));
        let wait = flood.map_or(patience, |flood| flood.min(patience));
        waiting = shared.something.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0;
        patience = patience.saturating_sub(begun.elapsed());
        if waiting.flood.ends().is_some_and(|end| end <= Instant::now()) {
            waiting.end_flood();
        }
    }
    if !waiting.is_closed {
        drop(waiting);
        std::thread::sleep(GATHER);
        waiting = shared.lock();
    }
    (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.lost), waiting.is_closed)
}
