//! The scheduler as a whole on virtual time: destinations that hang, refuse, are slow or well, and weeks of retries in seconds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use mail_config::RelayConfig;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::pick::{Due, Further, MAX_PICKED_OF_ONE, MAX_UNPROVEN};
use crate::{Handling, Priority};

/// How often a process looks without being told.
const POLL: u64 = 5000;
/// What the client waits for at most: RFC 5321 §4.5.3.2.
const TIMEOUT: u64 = 300_000;
const SECOND: u64 = 1000;
const HOUR: u64 = 3_600_000;

/// What the hosts of a domain do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Takes mail, in so many milliseconds.
    Well(u64),
    /// Takes a connection and says nothing.
    Hangs,
    /// There is no connection.
    Refuses,
    /// Defers mail until it has been there for so many milliseconds.
    Defers(u64),
}

#[derive(Debug, Clone)]
struct Mail {
    origin: &'static str,
    priority: Priority,
    domain: String,
    arrived: u64,
    /// When it is tried next; `None` when it is done.
    since: Option<u64>,
    begun: Vec<u64>,
    /// It was not given up.
    is_delivered: bool,
    ended: Option<u64>,
}

/// A queue, the scheduler and the world, all times in milliseconds from the start.
struct World {
    agenda: Agenda<u64>,
    routes: Routes,
    config: QueueConfig,
    schedule: crate::schedule::Schedule,
    domains: HashMap<String, Manner>,
    mail: Vec<Mail>,
    /// As the database's index has it.
    index: BTreeSet<(Reverse<Priority>, &'static str, u64, usize)>,
    /// When jobs end; those that hang are looked at as time goes by.
    ends: BTreeSet<(u64, u64)>,
    jobs: BTreeMap<u64, (usize, Piece, u64)>,
    hanging: BTreeSet<(u64, u64)>,
    /// When the process looks for what has ended without a word.
    poll_at: Option<u64>,
    now: u64,
    begin: Instant,
}

fn moment(milliseconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(i64::try_from(milliseconds).unwrap())
}

impl World {
    fn new(max_concurrent: usize) -> Self {
        let config = QueueConfig { max_concurrent, ..QueueConfig::default() };
        let begin = Instant::now();
        Self {
            agenda: Agenda::new(&config, begin),
            routes: Routes::new(&RelayConfig::default()),
            schedule: crate::schedule::Schedule::new(&config),
            config,
            domains: HashMap::new(),
            mail: Vec::new(),
            index: BTreeSet::new(),
            ends: BTreeSet::new(),
            jobs: BTreeMap::new(),
            hanging: BTreeSet::new(),
            poll_at: None,
            now: 0,
            begin,
        }
    }

    fn at(&self) -> Instant {
        self.begin + Duration::from_millis(self.now)
    }

    /// Queues a message now, of the priority of most mail.
    fn add(&mut self, origin: &'static str, domain: &str, manner: Manner) -> usize {
        self.add_with(origin, domain, manner, Priority::NORMAL)
    }

    fn add_with(&mut self, origin: &'static str, domain: &str, manner: Manner, priority: Priority) -> usize {
        self.domains.insert(domain.to_owned(), manner);
        let (now, place) = (self.now, self.mail.len());
        self.mail.push(Mail {
            origin,
            priority,
            domain: domain.to_owned(),
            arrived: now,
            since: Some(now),
            begun: Vec::new(),
            is_delivered: false,
            ended: None,
        });
        self.index.insert((Reverse(priority), origin, now, place));
        self.agenda.look();
        place
    }

    /// As the database offers it.
    fn look(&self, picker: &mut Picker<'_>) -> Option<Timestamp> {
        let behind = |lane: &(Reverse<Priority>, &'static str)| {
            let mut rows = self.index.range((lane.0, lane.1, u64::MAX, usize::MAX)..);
            rows.next().map(|(priority, origin, ..)| (*priority, *origin))
        };
        let first = self.index.first().map(|(priority, origin, ..)| (*priority, *origin));
        let lanes = std::iter::successors(first, behind);
        lanes.filter_map(|lane| self.look_at_lane(picker, lane)).min()
    }

    fn look_at_lane(
        &self,
        picker: &mut Picker<'_>,
        (priority, origin): (Reverse<Priority>, &'static str),
    ) -> Option<Timestamp> {
        let row = |since: u64, place: usize| (priority, origin, since, place);
        let now = moment(self.now);
        let mut offer = |since: u64, place: usize, is_newest: bool| {
            let (message, recipient) = (place.to_string(), format!("x@{}", self.mail[place].domain));
            let (sender, next_hop, since) = ("carol@example.org", None, moment(since));
            let (message, recipient, priority) = (message.as_str(), recipient.as_str(), priority.0);
            let due = Due { message, sender, origin, recipient, next_hop, priority, since, is_newest };
            picker.offer(&due, now)
        };
        let mut from = 0;
        'passage: loop {
            for (.., since, place) in self.index.range(row(from, 0)..=row(self.now, usize::MAX)) {
                match offer(*since, *place, false) {
                    Further::After(seen) if moment(*since) <= seen => {
                        from = u64::try_from(seen.as_millisecond()).unwrap() + 1;
                        continue 'passage;
                    }
                    Further::After(_) | Further::Next => {}
                    Further::Newest => {
                        let rows = self.index.range(row(0, 0)..=row(self.now, usize::MAX)).rev();
                        let mut offered = rows.map(|(.., since, place)| offer(*since, *place, true));
                        offered.find(|further| *further == Further::Oldest);
                        continue 'passage;
                    }
                    Further::Oldest | Further::NextOrigin => break 'passage,
                }
            }
            break;
        }
        let later = self.index.range(row(self.now + 1, 0)..=row(u64::MAX, usize::MAX)).next();
        later.map(|(.., since, _)| moment(*since))
    }

    fn start_ready(&mut self) {
        for piece in self.agenda.take_ready(&self.routes, moment(self.now), self.at()) {
            let place: usize = piece.id.0.parse().unwrap();
            let (job, at) = (self.jobs.last_key_value().map_or(0, |(last, _)| last + 1), self.at());
            let mail = &mut self.mail[place];
            assert!(mail.since.is_some_and(|since| since <= self.now), "not due: {mail:?}");
            assert!(self.jobs.values().all(|(known, ..)| *known != place), "twice at a time: {mail:?}");
            mail.begun.push(self.now);
            match self.domains[&mail.domain] {
                Manner::Well(time) => drop(self.ends.insert((self.now + time, job))),
                Manner::Refuses | Manner::Defers(_) => drop(self.ends.insert((self.now + 50, job))),
                Manner::Hangs => drop(self.hanging.insert((self.now, job))),
            }
            self.jobs.insert(job, (place, piece.clone(), self.now));
            self.agenda.begin(job, piece, at);
        }
    }

    fn end(&mut self, job: u64) {
        let (place, _, _) = self.jobs.remove(&job).unwrap();
        let mail = &mut self.mail[place];
        let manner = self.domains[&mail.domain];
        let is_taken = match manner {
            Manner::Well(_) => true,
            Manner::Defers(time) => self.now >= mail.arrived + time,
            Manner::Hangs | Manner::Refuses => false,
        };
        let since = mail.since.take().unwrap();
        self.index.remove(&(Reverse(mail.priority), mail.origin, since, place));
        let times = self.schedule.times(moment(mail.arrived), &Handling::default());
        if is_taken || times.is_expired(moment(self.now)) {
            (mail.ended, mail.is_delivered) = (Some(self.now), is_taken);
        } else {
            let attempts = u32::try_from(mail.begun.len()).unwrap();
            let chance =
                attempts.wrapping_mul(2_654_435_761).wrapping_add(u32::try_from(place).unwrap() << 16);
            let next = self.schedule.next_attempt(attempts, &times, moment(self.now), chance);
            let next = u64::try_from(next.as_millisecond()).unwrap();
            mail.since = Some(next);
            self.index.insert((Reverse(mail.priority), mail.origin, next, place));
        }
        let reached = matches!(manner, Manner::Well(_) | Manner::Defers(_));
        self.agenda.end(&job, reached, self.at());
        self.poll_at.get_or_insert(self.now + POLL);
    }

    /// What the process does when something has happened.
    fn step(&mut self) {
        while let Some((_, job)) = self.ends.first().copied().filter(|(end, _)| *end <= self.now) {
            self.ends.pop_first();
            self.end(job);
        }
        let haste = u64::try_from(self.agenda.haste().as_millis()).unwrap_or(u64::MAX).min(TIMEOUT);
        while let Some((_, job)) =
            self.hanging.first().copied().filter(|(begun, _)| begun + haste <= self.now)
        {
            self.hanging.pop_first();
            self.end(job);
        }
        if !self.agenda.is_to_look(self.at()) {
            self.start_ready();
        }
        while self.agenda.is_free(self.at()) && self.agenda.is_to_look(self.at()) {
            let mut prospect = self.agenda.prospect(self.at());
            let routes = Routes::new(&RelayConfig::default());
            let mut picker = prospect.picker(&routes, []);
            let next = self.look(&mut picker);
            let found = prospect.found(picker, moment(self.now), next);
            self.agenda.found(Some(found), Duration::from_millis(1), self.at());
            self.start_ready();
        }
        self.check();
    }

    /// What holds at every moment.
    fn check(&self) {
        let fresh = self.jobs.values().filter(|(_, _, begun)| self.now - begun < 2 * SECOND).count();
        let most = self.config.max_concurrent;
        assert!(fresh <= most, "{fresh} at work");
        assert!(self.jobs.len() <= 6 * most, "{} under way", self.jobs.len());
        let mut of_one: HashMap<&str, usize> = HashMap::new();
        for (place, ..) in self.jobs.values() {
            *of_one.entry(self.mail[*place].domain.as_str()).or_default() += 1;
        }
        assert!(of_one.values().all(|count| *count <= self.config.max_per_destination));
        let unproven = |is_passing| {
            let of_kind =
                |piece: &&Piece| piece.is_passing == is_passing && !self.agenda.is_proven(piece, self.at());
            self.agenda.ready.iter().filter(of_kind).count()
        };
        // A destination may have stopped answering while what is for it waits.
        let lanes = self.mail.iter().map(|it| (it.origin, it.priority)).collect::<BTreeSet<_>>().len();
        assert!(unproven(false) <= lanes * (MAX_UNPROVEN + MAX_PICKED_OF_ONE));
        assert!(unproven(true) <= lanes * (most + MAX_PICKED_OF_ONE));
    }

    /// Lets time go by up to `end`.
    fn run_until(&mut self, end: u64) {
        loop {
            self.step();
            let mut next = end;
            next = self.ends.first().map_or(next, |(at, _)| next.min(*at));
            let haste = u64::try_from(self.agenda.haste().as_millis()).unwrap_or(u64::MAX).min(TIMEOUT);
            next = self.hanging.first().map_or(next, |(begun, _)| next.min(begun + haste));
            if self.agenda.haste() < Duration::MAX {
                // It is looked at every second.
                next = next.min(self.now + SECOND);
            }
            let patience = self.agenda.patience(moment(self.now), self.at()).as_millis();
            next = next.min(self.now.saturating_add(u64::try_from(patience).unwrap_or(u64::MAX).max(1)));
            let due = self.agenda.next().filter(|_| self.agenda.is_free(self.at()));
            let due = due.map(|it| u64::try_from(it.as_millisecond()).unwrap());
            let polled = self.poll_at.filter(|_| self.agenda.is_free(self.at()));
            next = next.min(due.unwrap_or(u64::MAX)).min(polled.unwrap_or(u64::MAX)).max(self.now + 1);
            if next >= end {
                self.now = end;
                break;
            }
            self.now = next;
            if due.is_some_and(|due| due <= self.now) || polled.is_some_and(|at| at <= self.now) {
                self.agenda.look();
                self.poll_at = None;
            }
        }
    }

    /// How long a message waited until it was first tried.
    fn waited(&self, place: usize) -> Option<u64> {
        self.mail[place].begun.first().map(|begun| begun - self.mail[place].arrived)
    }
}

const ORIGINS: [&str; 3] = ["alice@example.org", "bob@example.org", "carol@example.org"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    /// However many destinations hang, and whoever has written to them, mail to one that has answered lately goes at once, and mail to one
    /// that nobody has written to yet before most of those.
    #[test]
    fn no_number_of_destinations_that_hang_delays_the_others(
        hanging in 0_usize..1500,
        origins in 1_usize..=3,
        max_concurrent in 12_usize..60,
        arrivals in vec(2 * SECOND..60 * SECOND, 1..6),
    ) {
        let mut world = World::new(max_concurrent);
        let first = world.add(ORIGINS[0], "known.test", Manner::Well(80));
        world.run_until(SECOND);
        prop_assert_eq!(world.waited(first), Some(0));
        for number in 0..hanging {
            world.add(ORIGINS[number % origins], &format!("dead{number}.test"), Manner::Hangs);
        }
        let (mut known, mut new) = (Vec::new(), Vec::new());
        for (number, wait) in arrivals.into_iter().enumerate() {
            world.run_until(world.now + wait);
            known.push(world.add(ORIGINS[0], "known.test", Manner::Well(80)));
            new.push(world.add(ORIGINS[0], &format!("new{number}.test"), Manner::Well(80)));
        }
        world.run_until(world.now + 60 * SECOND);
        for place in known {
            prop_assert!(world.waited(place).is_some_and(|it| it <= SECOND / 10), "{:?}", world.waited(place));
        }
        // At worst all places were taken at one moment by others that hang, which have ten seconds then; of what begins every two seconds from
        // there on each origin has its part, and of that half what came last.
        let most = 10 * SECOND + 2 * SECOND * u64::try_from(origins).unwrap();
        for place in new {
            prop_assert!(world.waited(place).is_some_and(|it| it <= most), "{:?}", world.waited(place));
        }
    }

    /// Weeks of retries: everything is tried, none more often than its schedule says, what can be delivered is, the rest is given up when its
    /// time is over.
    #[test]
    fn everything_ends_and_what_can_be_delivered_is(
        domains in vec(prop_oneof![
            3 => (10_u64..3000).prop_map(Manner::Well),
            1 => Just(Manner::Well(20 * SECOND)),
            2 => Just(Manner::Hangs),
            1 => Just(Manner::Refuses),
            1 => (SECOND..48 * HOUR).prop_map(Manner::Defers),
        ], 1..40),
        messages in vec((any::<prop::sample::Index>(), 0_usize..3, -1_i8..=1, 0_u64..HOUR), 1..150),
        max_concurrent in 1_usize..12,
    ) {
        let mut world = World::new(max_concurrent);
        let mut arrivals: Vec<_> = messages;
        arrivals.sort_by_key(|(.., at)| *at);
        for (domain, origin, priority, at) in arrivals {
            world.run_until(at.max(world.now));
            let place = domain.index(domains.len());
            let priority = Priority::try_from(i64::from(priority)).unwrap();
            world.add_with(ORIGINS[origin], &format!("d{place}.test"), domains[place], priority);
        }
        let weeks = 14 * 24 * HOUR;
        world.run_until(weeks);
        let expire_after = u64::try_from(world.config.expire_after.as_millis()).unwrap();
        let retry_min = u64::try_from(world.config.retry_min.as_millis()).unwrap();
        for mail in &world.mail {
            let manner = world.domains[&mail.domain];
            let ended = mail.ended.expect("it never ended");
            prop_assert!(mail.begun.is_sorted_by(|one, next| next - one >= retry_min || *next >= mail.arrived + 4 * HOUR), "{mail:?}");
            match manner {
                Manner::Well(_) => prop_assert!(mail.is_delivered && mail.begun.len() == 1, "{mail:?}"),
                Manner::Defers(_) => prop_assert!(mail.is_delivered, "{mail:?}"),
                Manner::Hangs | Manner::Refuses => {
                    prop_assert!(!mail.is_delivered && ended >= mail.arrived + expire_after, "{mail:?}");
                    // The last attempt is made when the time is over, one after the other.
                    let late = ended - mail.arrived - expire_after;
                    prop_assert!(late <= 24 * HOUR, "given up {late} ms late");
                }
            }
        }
    }
}

/// Of the same origin, thousands in front, and more coming than can be tried.
#[test]
fn what_came_first_is_tried_too_while_more_comes() {
    let mut world = World::new(8);
    for number in 0..200 {
        world.add(ORIGINS[0], &format!("dead{number}.test"), Manner::Hangs);
    }
    let oldest = world.add(ORIGINS[0], "old.test", Manner::Well(50));
    for number in 200..900 {
        world.run_until(world.now + 200);
        world.add(ORIGINS[0], &format!("dead{number}.test"), Manner::Hangs);
    }
    // Half of what begins is of the backlog: three in two seconds.
    assert!(world.waited(oldest).is_some(), "it starves");
}

#[test]
fn a_backlog_for_one_dead_destination_delays_nobody() {
    let mut world = World::new(20);
    for _ in 0..20_000 {
        world.add(ORIGINS[0], "dead.test", Manner::Hangs);
    }
    for number in 0..50 {
        world.run_until(world.now + SECOND);
        let place = world.add(ORIGINS[0], &format!("live{number}.test"), Manner::Well(50));
        world.run_until(world.now + SECOND / 2);
        assert_eq!(world.waited(place), Some(0));
    }
}
