//! The scheduler as a whole on virtual time: destinations that hang, refuse, are slow or well, and weeks of retries in seconds.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use mail_config::RelayConfig;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::pick::{Due, Further, MAX_PICKED_OF_ONE, MAX_UNPROVEN, Spot};
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
    /// Recipients that the look under way was shown, and the most that one was.
    rows: Cell<usize>,
    most_rows: usize,
    /// Whose mail of which priority there was.
    lanes: BTreeSet<(&'static str, Priority)>,
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
            rows: Cell::new(0),
            most_rows: 0,
            lanes: BTreeSet::new(),
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
        self.lanes.insert((origin, priority));
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
        let mut offer = |found: Option<(u64, usize)>, is_newest: bool| {
            let Some((since, place)) = found else { return picker.offer(None, now) };
            self.rows.set(self.rows.get() + 1);
            let (message, recipient) = (format!("{place:09}"), format!("x@{}", self.mail[place].domain));
            let (sender, next_hop, since) = ("carol@example.org", None, moment(since));
            let (message, recipient, priority) = (message.as_str(), recipient.as_str(), priority.0);
            let due = Due { message, sender, origin, recipient, next_hop, priority, since, is_newest };
            picker.offer(Some(&due), now)
        };
        let (mut from, mut is_seen) = (row(0, 0), false);
        'passage: loop {
            let rows = self.index.range(from..=row(self.now, usize::MAX));
            let rows = rows.map(|(.., since, place)| Some((*since, *place)));
            for found in rows.chain([None]) {
                is_seen |= found.is_some();
                if !is_seen {
                    break 'passage;
                }
                match offer(found, false) {
                    Further::Next => {}
                    Further::From(Spot { since, message }) => {
                        let since = u64::try_from(since.as_millisecond()).unwrap_or_default();
                        from = row(since, message.parse().unwrap_or_default());
                        continue 'passage;
                    }
                    Further::Newest => {
                        let rows = self.index.range(row(0, 0)..=row(self.now, usize::MAX)).rev();
                        let mut offered = rows.map(|(.., since, place)| offer(Some((*since, *place)), true));
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
            self.most_rows = self.most_rows.max(self.rows.take());
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
        let lanes = self.lanes.len();
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
        // Looks come one after the other as long as there is work, with pauses of so many milliseconds.
        assert!(world.waited(place).is_some_and(|it| it <= 10), "{:?}", world.waited(place));
    }
}

/// What a look may read of the mail of one origin and priority.
const MOST_ROWS: usize = 4500;

/// Whatever waits, each look reads a bounded part of it, and all is tried all the same: one dead destination, one that answers, very many of them,
/// and all that is due since one and the same moment.
#[test]
fn no_look_reads_more_of_a_long_queue_than_of_a_short_one() {
    const MESSAGES: usize = 12_000;
    let domains: [fn(usize) -> (String, Manner); 4] = [
        |_| ("dead.test".to_owned(), Manner::Refuses),
        |_| ("live.test".to_owned(), Manner::Well(5)),
        |number| (format!("dead{}.test", number % 4000), Manner::Refuses),
        // Few of one among many of the other.
        |number| match number % 300 {
            0 => ("few.test".to_owned(), Manner::Well(5)),
            _ => ("many.test".to_owned(), Manner::Well(20)),
        },
    ];
    for domain in domains {
        let mut world = World::new(200);
        for number in 0..MESSAGES {
            let (domain, manner) = domain(number);
            world.add(ORIGINS[0], &domain, manner);
        }
        let mut live = Vec::new();
        while world.mail.iter().take(MESSAGES).any(|mail| mail.begun.is_empty()) {
            assert!(world.now < HOUR, "{:?} are not tried", domain(0));
            for origin in [ORIGINS[0], ORIGINS[1]] {
                live.push(world.add(origin, "other.test", Manner::Well(50)));
            }
            world.run_until(world.now + 10 * SECOND);
        }
        assert!(world.most_rows <= MOST_ROWS, "{} recipients of {:?}", world.most_rows, domain(0));
        assert!(live.iter().all(|place| world.waited(*place).is_some_and(|it| it <= SECOND)));
    }
}

/// What a transaction brought late, or a clock that was set back, is found though looks have gone past it, of a long queue too.
#[test]
fn what_came_into_sight_late_is_found_within_minutes() {
    let mut world = World::new(20);
    for _ in 0..20_000 {
        world.add(ORIGINS[0], "dead.test", Manner::Hangs);
    }
    world.run_until(30 * SECOND);
    let late = world.add(ORIGINS[0], "live.test", Manner::Well(50));
    world.index.remove(&(Reverse(Priority::NORMAL), ORIGINS[0], 30 * SECOND, late));
    world.index.insert((Reverse(Priority::NORMAL), ORIGINS[0], 0, late));
    world.mail[late].since = Some(0);
    while world.now < 180 * SECOND {
        world.agenda.look();
        world.run_until(world.now + POLL);
    }
    assert!(world.waited(late).is_some(), "it is not found");
}
