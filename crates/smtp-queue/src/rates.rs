//! How many messages go where in what time: rate schedules, and addresses of ours that are warmed up. Pure, the time is an argument.
//!
//! A schedule is kept evenly, never in bursts: behind each message the next one waits for its share of the time (the generic cell rate
//! algorithm of ITU-T I.371, without tolerance). So nothing has to be remembered over a restart.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mail_config::{QueueRate, WarmUp};

use crate::routes::{Destination, Routes};

const DAY: Duration = Duration::from_secs(86_400);

/// What bounds a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Bound {
    /// `[[queue.rates]]`, by its place.
    Rate(usize),
    /// The warm-up of the `[[relay.source]]` at this place.
    WarmUp(usize),
}

/// When each schedule allows the next message.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    next: HashMap<Bound, Timestamp>,
    /// Connections under way, by the schedule that bounds them.
    connections: HashMap<usize, usize>,
    /// What mail had to wait for since that was last told.
    waited: BTreeMap<Bound, Timestamp>,
}

impl Rates {
    /// When a delivery to `destination` may begin, as far as schedules go: `None` for now, else the moment, which is [`Timestamp::MAX`] if
    /// it waits for another one to end.
    pub(crate) fn not_before(
        &mut self,
        destination: &Destination,
        routes: &Routes,
        now: Timestamp,
    ) -> Option<Timestamp> {
        for place in &destination.rates {
            let rate = routes.rates().get(*place)?;
            let most = rate.connections.unwrap_or(usize::MAX);
            if self.connections.get(place).is_some_and(|open| *open >= most) {
                return Some(Timestamp::MAX);
            }
        }
        let bounds = bounds(destination, routes);
        let waits = bounds.filter_map(|bound| Some((*self.next.get(&bound)?, bound)));
        let (moment, bound) = waits.filter(|(moment, _)| *moment > now).max()?;
        self.waited.insert(bound, now);
        Some(moment)
    }

    /// A delivery to so many recipients begins.
    pub(crate) fn begin(
        &mut self,
        destination: &Destination,
        routes: &Routes,
        recipients: usize,
        now: Timestamp,
    ) {
        for place in &destination.rates {
            *self.connections.entry(*place).or_default() += 1;
        }
        for bound in bounds(destination, routes) {
            let Some(interval) = interval(bound, routes, now) else { continue };
            let wait = interval.saturating_mul(u32::try_from(recipients).unwrap_or(u32::MAX));
            let from = self.next.get(&bound).copied().unwrap_or(now).max(now);
            let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
            self.next.insert(bound, from.saturating_add(wait).unwrap_or(Timestamp::MAX));
        }
    }

    /// It ended.
    pub(crate) fn end(&mut self, destination: &Destination) {
        for place in &destination.rates {
            if let Some(open) = self.connections.get_mut(place) {
                *open = open.saturating_sub(1);
            }
        }
    }

    /// What mail waits for, as operators are told: subject and text. A schedule is left out once nothing has waited for it for a minute.
    pub(crate) fn notices(&mut self, routes: &Routes, now: Timestamp) -> Vec<(String, String)> {
        self.waited.retain(|_, last| now.duration_since(*last) < SignedDuration::from_mins(1));
        self.waited.keys().filter_map(|bound| notice(*bound, routes, now)).collect()
    }
}

/// Which schedules bound mail for a destination.
fn bounds<'a>(destination: &'a Destination, routes: &'a Routes) -> impl Iterator<Item = Bound> + 'a {
    let warms_up = |place: &usize| routes.sources().get(*place).is_some_and(|it| it.warm_up.is_some());
    let warm_up = destination.source.filter(warms_up).map(Bound::WarmUp);
    destination.rates.iter().copied().map(Bound::Rate).chain(warm_up)
}

/// The time between two messages; `None` for a schedule that counts none.
fn interval(bound: Bound, routes: &Routes, now: Timestamp) -> Option<Duration> {
    match bound {
        Bound::Rate(place) => {
            let QueueRate { messages, per, .. } = routes.rates().get(place)?;
            messages.map(|messages| *per / messages.get())
        }
        Bound::WarmUp(place) => {
            let warm_up = routes.sources().get(place)?.warm_up.as_ref()?;
            Some(DAY / daily(warm_up, now))
        }
    }
}

/// Messages of the day that `now` is in, counted from the first one; at least one.
pub(crate) fn daily(warm_up: &WarmUp, now: Timestamp) -> u32 {
    let days = now.duration_since(warm_up.since).as_secs().max(0) / 86_400;
    let factor = 1.0 + f64::from(warm_up.growth) / 100.0;
    let grown = f64::from(warm_up.start) * factor.powf(f64::from(u32::try_from(days).unwrap_or(u32::MAX)));
    // Rounding down is meant, and what is too large is the most.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest integer in range"
    )]
    let grown = grown as u32;
    grown.clamp(1, warm_up.most.max(1))
}

fn notice(bound: Bound, routes: &Routes, now: Timestamp) -> Option<(String, String)> {
    match bound {
        Bound::Rate(place) => {
            let rate = routes.rates().get(place)?;
            Some((rate.subject(), rate.told()))
        }
        Bound::WarmUp(place) => {
            let source = routes.sources().get(place)?;
            let today = daily(source.warm_up.as_ref()?, now);
            let text =
                format!("mail goes out evenly, {today} a day at present, while the address is warmed up");
            Some((source.subject(), text))
        }
    }
}

#[cfg(test)]
mod tests {
    use mail_config::{RelayConfig, RelaySource};
    use proptest::prelude::*;

    use super::*;
    use crate::routes::Way;

    const HOUR: Duration = Duration::from_secs(3600);

    fn rate(messages: u32, per: Duration) -> QueueRate {
        QueueRate {
            account: None,
            domain: Some("x.test".parse().unwrap()),
            messages: std::num::NonZeroU32::new(messages),
            per,
            connections: None,
        }
    }

    fn routes(rates: Vec<QueueRate>) -> Routes {
        Routes::new(&RelayConfig::default()).with_rates(&rates)
    }

    fn destination(routes: &Routes) -> Destination {
        routes.to(None, "", &"x.test".parse().unwrap())
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Sends whenever it may, mail waiting all the time; when each message goes, in milliseconds.
    fn sent(routes: &Routes, recipients: &[usize], end: Timestamp) -> Vec<i64> {
        let (destination, mut rates) = (destination(routes), Rates::default());
        let (mut now, mut sent) = (Timestamp::UNIX_EPOCH, Vec::new());
        for recipients in recipients.iter().cycle() {
            if let Some(moment) = rates.not_before(&destination, routes, now) {
                now = moment;
            }
            if now >= end {
                break;
            }
            rates.begin(&destination, routes, *recipients, now);
            rates.end(&destination);
            sent.push(now.as_millisecond());
        }
        sent
    }

    #[test]
    fn a_schedule_is_kept_evenly_for_weeks() {
        let weeks = 4 * 7 * 24;
        let sent = sent(&routes(vec![rate(100, HOUR)]), &[1], second(weeks * 3600));
        assert_eq!(sent.len(), usize::try_from(weeks * 100).unwrap());
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] == 36_000), "no burst, no gap");
    }

    #[test]
    fn what_waits_for_nothing_goes_at_once_and_idle_time_is_not_saved_up() {
        let routes = routes(vec![rate(60, HOUR)]);
        let (destination, mut rates) = (destination(&routes), Rates::default());
        for start in [0, 100_000] {
            assert_eq!(rates.not_before(&destination, &routes, second(start)), None);
            rates.begin(&destination, &routes, 1, second(start));
            assert_eq!(rates.not_before(&destination, &routes, second(start)), Some(second(start + 60)));
            assert_eq!(rates.not_before(&destination, &routes, second(start + 60)), None);
        }
        let told = rates.notices(&routes, second(100_010));
        assert_eq!(
            told,
            [("rate x.test".to_owned(), "mail to x.test goes out evenly, 60 messages in 1h".to_owned())]
        );
        assert!(rates.notices(&routes, second(100_100)).is_empty());
    }

    #[test]
    fn all_schedules_that_fit_are_kept_and_connections_are_counted() {
        let mut busy = rate(3600, HOUR);
        busy.connections = Some(2);
        let routes = routes(vec![busy, rate(60, HOUR)]);
        let (destination, mut rates) = (destination(&routes), Rates::default());
        rates.begin(&destination, &routes, 1, second(0));
        assert_eq!(rates.not_before(&destination, &routes, second(1)), Some(second(60)));
        rates.begin(&destination, &routes, 1, second(60));
        assert_eq!(rates.not_before(&destination, &routes, second(600)), Some(Timestamp::MAX));
        rates.end(&destination);
        assert_eq!(rates.not_before(&destination, &routes, second(600)), None);
    }

    #[test]
    fn an_address_is_warmed_up_by_a_factor_each_day_up_to_a_maximum() {
        let warm_up = WarmUp { since: second(0), start: 50, growth: 50, most: 1000 };
        let source = RelaySource { warm_up: Some(warm_up.clone()), ..RelaySource::default() };
        let config = RelayConfig { sources: vec![source], ..RelayConfig::default() };
        let days = [0, 1, 2, 7, 8, 3000].map(|day| daily(&warm_up, second(day * 86_400 + 3600)));
        assert_eq!(days, [50, 75, 112, 854, 1000, 1000]);
        assert_eq!(daily(&warm_up, second(-86_400)), 50, "before the first day");
        let sent = sent(&Routes::new(&config), &[1], second(10 * 86_400));
        let on = |day: i64| sent.iter().filter(|at| **at / 86_400_000 == day).count();
        for (day, most) in [(0, 50), (1, 75), (2, 112), (9, 1000)] {
            assert!((most - 1..=most + 1).contains(&on(day)), "day {day}: {}", on(day));
        }
        let way = Way::MailHosts("x.test".parse().unwrap());
        assert_eq!(Routes::new(&config).to(None, "", &"x.test".parse().unwrap()).way, way);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is sent to how many at once: in no span of time there goes more than the schedule has for it and one message.
        #[test]
        fn no_span_of_time_has_more_than_its_share(
            messages in 1_u32..300,
            hours in 1_u64..48,
            recipients in prop::collection::vec(1_usize..50, 1..20),
            days in 1_i64..15,
        ) {
            let per = HOUR * u32::try_from(hours).unwrap();
            let sent = sent(&routes(vec![rate(messages, per)]), &recipients, second(days * 86_400));
            let share = |milliseconds: i64| milliseconds as f64 * f64::from(messages) / (per.as_millis() as f64);
            let counts: Vec<usize> = recipients.iter().copied().cycle().take(sent.len()).collect();
            let mut before = 0;
            for (at, count) in sent.iter().zip(&counts) {
                // What went before this one has had its time; a millisecond is lost to rounding.
                prop_assert!(before as f64 <= share(*at + 1) + 1.0, "{before} by {at}");
                before += count;
            }
            // And nothing is wasted: all but the time of the last message is used.
            let most = *counts.iter().max().unwrap() as f64;
            prop_assert!(before as f64 + most + 1.0 >= share(days * 86_400_000), "{before}");
        }
    }
}
