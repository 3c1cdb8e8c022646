use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use mail_metrics::{Sample, Sum};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::Setup;
use super::control::ServerReport;
use super::process::{Event, WorkerId};
use super::run_dir::RunDir;
use super::worker::Worker;
use crate::server::Server;

/// How often hung servers are looked for.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The processes of all servers: those that serve, and old ones that finish their sessions.
pub(super) struct Fleet {
    workers: Vec<Worker>,
    run_dir: RunDir,
    events: UnboundedSender<Event>,
    last_id: WorkerId,
    looked: Instant,
    /// What processes had counted that are no more.
    past: Sum,
}

impl Fleet {
    pub(super) fn new(run_dir: RunDir) -> (Self, UnboundedReceiver<Event>) {
        let (events, receiver) = unbounded_channel();
        let (workers, looked, past) = (Vec::new(), Instant::now(), Sum::default());
        (Self { workers, run_dir, events, last_id: 0, looked, past }, receiver)
    }

    /// Starts the servers of `setup`. Old ones go on until the new ones are ready.
    pub(super) fn replace(&mut self, setup: &Arc<Setup>) {
        let now = Instant::now();
        let enabled = Server::enabled(&setup.config);
        for worker in &mut self.workers {
            worker.superseded = true;
            if !enabled.contains(&worker.server) || !worker.server.may_overlap() {
                worker.drain(now);
            }
        }
        for server in enabled {
            self.last_id = self.last_id.wrapping_add(1);
            self.workers.push(Worker::new(self.last_id, server, setup, now));
        }
    }

    /// Does what is due now: starts, kills, forgets.
    pub(super) fn tick(&mut self, now: Instant) {
        self.workers.retain(|worker| !worker.is_gone());
        let busy: Vec<Server> = self.workers.iter().filter_map(Worker::occupies).collect();
        for worker in &mut self.workers {
            worker.kill_if_late(now);
            if worker.is_due(now) && !busy.contains(&worker.server) {
                worker.start(&self.run_dir, &self.events);
            }
        }
    }

    /// When [`Self::tick`] has something to do next, apart from what events bring.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let busy: Vec<Server> = self.workers.iter().filter_map(Worker::occupies).collect();
        let waits_for_time = |worker: &&Worker| worker.occupies().is_some() || !busy.contains(&worker.server);
        self.workers.iter().filter(waits_for_time).filter_map(Worker::deadline).min()
    }

    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Told(id, text) => self.told(id, &text),
            Event::Ended(id, status) => self.ended(id, &status),
        }
    }

    fn told(&mut self, id: WorkerId, text: &str) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else { return };
        if worker.told(text) {
            let server = worker.server;
            self.retire(server, id);
        }
    }

    /// A new process serves: those before it finish their sessions.
    fn retire(&mut self, server: Server, newest: WorkerId) {
        let now = Instant::now();
        let old = |worker: &&mut Worker| worker.server == server && worker.superseded && worker.id < newest;
        self.workers.iter_mut().filter(old).for_each(|worker| worker.drain(now));
    }

    fn ended(&mut self, id: WorkerId, status: &std::io::Result<ExitStatus>) {
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) {
            self.run_dir.remove(&worker.name());
            self.past.add_counters(&std::mem::take(&mut worker.metrics));
            worker.ended(status);
        }
    }

    /// Kills servers that have said nothing for long; they are then started again. Where it was we who
    /// did not run for a while, everybody gets a new chance.
    pub(super) fn kill_the_hung(&mut self, now: Instant) {
        let we_slept = now.duration_since(self.looked) > LOOK_EVERY.saturating_mul(3);
        self.looked = now;
        self.workers.iter_mut().for_each(|worker| worker.kill_if_hung(now, we_slept));
    }

    /// Lets every server finish its sessions.
    pub(super) fn drain(&mut self, now: Instant) {
        self.workers.iter_mut().for_each(|worker| worker.drain(now));
    }

    /// Ends every server at once.
    pub(super) fn kill_all(&mut self) {
        self.workers.iter().for_each(Worker::kill);
    }

    /// True if every server of the newest config serves.
    pub(super) fn all_running(&self) -> bool {
        self.workers.iter().filter(|worker| !worker.superseded).all(Worker::is_running)
    }

    /// True if no process is left.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.iter().all(Worker::is_gone)
    }

    /// How every server is, the newest of each first.
    pub(super) fn report(&self) -> Vec<ServerReport> {
        let of = |server: Server| {
            self.workers.iter().rev().filter(move |worker| worker.server == server).map(Worker::report)
        };
        Server::ALL.into_iter().flat_map(of).collect()
    }

    /// What the servers have counted since the supervisor was started.
    pub(super) fn metrics(&self) -> Vec<Sample> {
        let mut sum = self.past.clone();
        self.workers.iter().for_each(|worker| sum.add(&worker.metrics));
        sum.samples()
    }
}
