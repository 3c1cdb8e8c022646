use jiff::SignedDuration;
use mail_config::RelayConfig;

use super::turn::{MAX_LOOKED, MAX_NEWEST};
use super::*;

const NORMAL: Priority = Priority::NORMAL;
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Nobody has answered yet.
fn nobody() -> ((Proven, Instant), usize) {
    ((Proven::default(), Instant::now()), PASSING)
}

const PASSING: usize = 20;

/// The first look.
fn nothing() -> (Seen, bool) {
    (Seen::new(), false)
}

/// What a look has seen.
fn known(picker: &mut Picker<'_>, now: Timestamp) -> (Seen, bool) {
    (picker.end(now).0, false)
}

/// So much later.
fn later(since: Timestamp, milliseconds: usize) -> Timestamp {
    since + SignedDuration::from_millis(i64::try_from(milliseconds).unwrap())
}

fn due<'a>(message: &'a str, recipient: &'a str, priority: Priority) -> Due<'a> {
    due_of("carol@example.org", message, recipient, priority)
}

fn due_of<'a>(origin: &'a str, message: &'a str, recipient: &'a str, priority: Priority) -> Due<'a> {
    Due {
        message,
        sender: "carol@example.org",
        origin,
        recipient,
        next_hop: None,
        priority,
        since: NOW,
        is_newest: false,
    }
}

fn mail_hosts(domain: &str) -> Destination {
    Way::MailHosts(domain.parse().unwrap()).into()
}

fn piece(id: &str, destination: &Destination, priority: Priority, origin: &str) -> Piece {
    let (id, destination) = (QueueId(id.to_owned()), destination.clone());
    Piece { id, destination, priority, origin: Arc::from(origin), recipients: 1, is_passing: false }
}

fn ids(pieces: &[Piece]) -> Vec<&str> {
    pieces.iter().map(|it| it.id.0.as_str()).collect()
}

#[test]
fn a_backlog_for_one_destination_leaves_the_others_their_turn() {
    let routes = Routes::new(&RelayConfig::default());
    let ours: Domain = "example.org".parse().unwrap();
    let mut picker = Picker::new(&routes, [ours], HashSet::new(), &[], nobody(), nothing());
    for number in 0..900 {
        let message = format!("m{number}");
        assert_eq!(picker.offer(Some(&due(&message, "bob@dead.test", NORMAL)), NOW), Further::Next);
    }
    for recipient in ["eve@live.test", "mallory@LIVE.test", "alice@example.org"] {
        assert_eq!(picker.offer(Some(&due("m999", recipient, NORMAL)), NOW), Further::Next);
    }
    let behind = &picker.picked[MAX_PICKED_OF_ONE..];
    let found: Vec<_> = behind.iter().map(|it| (&it.destination, it.recipients)).collect();
    assert_eq!(found, [(&mail_hosts("live.test"), 2), (&Way::Here.into(), 1)]);
    let (seen, _) = picker.end(NOW);
    let sight = &seen[&(NORMAL, Arc::from("carol@example.org"))];
    assert!(sight.has_left(&mail_hosts("dead.test")) && !sight.has_left(&mail_hosts("live.test")));
}

#[test]
fn who_sends_to_very_many_leaves_the_others_their_turn() {
    let routes = Routes::new(&RelayConfig::default());
    let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nobody(), nothing());
    // Long due already.
    let now = NOW + SignedDuration::from_hours(1);
    let many = |picker: &mut Picker<'_>, number: usize, is_newest| {
        let (message, recipient) = (format!("m{number}"), format!("x@d{number}.test"));
        let due = due_of("many@example.org", &message, &recipient, NORMAL);
        picker.offer(Some(&Due { since: later(NOW, number), is_newest, ..due }), now)
    };
    let first = (0..10_000).map(|it| many(&mut picker, it, false));
    assert_eq!(first.take_while(|it| *it == Further::Next).count(), MAX_LOOKED);
    assert_eq!(picker.picked.len(), MAX_UNPROVEN);
    let one = due_of("one@example.org", "one", "x@d1.test", NORMAL);
    assert_eq!(picker.offer(Some(&one), now), Further::Next);
    assert_eq!(picker.picked.len(), MAX_UNPROVEN + 1);
    // At the next look what is due last may pass.
    let (waiting, known) = (std::mem::take(&mut picker.picked), known(&mut picker, now));
    assert!(picker.is_cut);
    let mut picker = Picker::new(&routes, [], HashSet::new(), &waiting, nobody(), known);
    assert_eq!(many(&mut picker, 0, false), Further::Newest);
    let last = (0..10_000).rev().map(|it| many(&mut picker, it, true));
    assert_eq!(last.take_while(|it| *it == Further::Next).count(), MAX_NEWEST);
    let seen = Spot { since: later(NOW, MAX_LOOKED), message: format!("m{MAX_LOOKED}") };
    assert_eq!(many(&mut picker, 0, false), Further::From(seen), "what waits is not looked at again");
    assert_eq!(picker.picked.len(), PASSING);
    picker.picked.extend(waiting);
    in_turn(&mut picker.picked, &HashMap::new());
    assert_eq!(ids(&picker.picked[..4]), ["m9999", "m0", "one", "m9998"]);
    picker.picked.retain(|piece| !piece.is_passing);
    in_turn(&mut picker.picked, &HashMap::from([(Arc::from("many@example.org"), 20)]));
    assert_eq!(ids(&picker.picked[..2]), ["one", "m0"], "who has deliveries under way waits");
}

/// RFC 6710 §5
#[test]
fn what_matters_more_passes_a_backlog_that_waits_for_the_same_destination() {
    let routes = Routes::new(&RelayConfig::default());
    let destination = mail_hosts("x.test");
    let piece = |number: usize| piece(&format!("m{number}"), &destination, NORMAL, "carol@example.org");
    let waiting: Vec<Piece> = (0..MAX_PICKED_OF_ONE).map(piece).collect();
    let mut picker = Picker::new(&routes, [], HashSet::new(), &waiting, nobody(), nothing());
    assert_eq!(picker.offer(Some(&due("urgent", "a@x.test", "3".parse().unwrap())), NOW), Further::Next);
    assert_eq!(picker.offer(Some(&due("usual", "a@x.test", NORMAL)), NOW), Further::Next);
    assert_eq!(ids(&picker.picked), ["urgent"]);
    let mut all = [waiting, picker.picked].concat();
    in_turn(&mut all, &HashMap::from([(Arc::from("carol@example.org"), 5)]));
    assert_eq!(all[0].id.0, "urgent");
}

#[test]
fn what_is_under_way_is_not_picked_again() {
    let routes = Routes::new(&RelayConfig::default());
    let busy = piece("m1", &mail_hosts("x.test"), NORMAL, "").key();
    let mut picker = Picker::new(&routes, [], HashSet::from([busy]), &[], nobody(), nothing());
    for (message, recipient) in
        [("m1", "a@x.test"), ("m1", "a@y.test"), ("m2", "a@x.test"), ("m2", "b@x.test")]
    {
        assert_eq!(picker.offer(Some(&due(message, recipient, NORMAL)), NOW), Further::Next);
    }
    assert_eq!(ids(&picker.picked), ["m1", "m2"]);
}

#[test]
fn what_an_operator_sent_another_way_is_for_a_destination_of_its_own() {
    let routes = Routes::new(&RelayConfig::default());
    let ours: Domain = "example.org".parse().unwrap();
    let mut picker = Picker::new(&routes, [ours], HashSet::new(), &[], nobody(), nothing());
    let usual = due("m1", "a@x.test", NORMAL);
    let other = Due { next_hop: Some("other.test:26"), ..due("m1", "b@x.test", NORMAL) };
    let here = Due { recipient: "alice@example.org", ..other };
    for due in [usual, other, here] {
        assert_eq!(picker.offer(Some(&due), NOW), Further::Next);
    }
    let found: Vec<_> = picker.picked.iter().map(|it| it.destination.way.clone()).collect();
    let hop = Way::Host("other.test:26".parse().unwrap());
    assert_eq!(found, [Way::MailHosts("x.test".parse().unwrap()), hop, Way::Here]);
}

/// What a look takes must not grow with what waits for a destination that takes no more.
#[test]
fn a_backlog_that_was_seen_is_gone_past_until_it_is_used_up() {
    let routes = Routes::new(&RelayConfig::default());
    let now = NOW + SignedDuration::from_hours(1);
    let offer = |picker: &mut Picker<'_>, number: usize| {
        picker.offer(Some(&due(&format!("m{number:03}"), "x@dead.test", NORMAL)), now)
    };
    let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nobody(), nothing());
    for number in 0..200 {
        assert_eq!(offer(&mut picker, number), Further::Next);
    }
    let (picked, seen) = (std::mem::take(&mut picker.picked), known(&mut picker, now));
    let until = Further::From(Spot::before(now.checked_sub(MARGIN).unwrap()));
    let mut picker = Picker::new(&routes, [], HashSet::new(), &picked, nobody(), seen);
    assert_eq!(offer(&mut picker, 0), until);
    let new = Due { since: now, ..due("new", "x@live.test", NORMAL) };
    assert_eq!(picker.offer(Some(&new), now), Further::Next);
    assert_eq!(ids(&picker.picked), ["new"]);
    let seen = known(&mut picker, now);
    assert!(seen.0[&(NORMAL, Arc::from("carol@example.org"))].has_left(&picked[0].destination));

    let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nobody(), seen);
    let left = Spot { since: NOW, message: format!("m{MAX_PICKED_OF_ONE:03}") };
    assert_eq!(offer(&mut picker, 0), Further::From(left), "it goes on where it was left");
    let more = (MAX_PICKED_OF_ONE..200).map(|number| offer(&mut picker, number));
    assert_eq!(more.take_while(|it| *it == Further::Next).count(), MAX_PICKED_OF_ONE);
    assert_eq!(picker.picked.len(), MAX_PICKED_OF_ONE);
}

/// Should something have come into sight late.
#[test]
fn what_was_seen_is_gone_through_once_more_in_parts() {
    let routes = Routes::new(&RelayConfig::default());
    let now = NOW + SignedDuration::from_hours(1);
    let offer = |picker: &mut Picker<'_>, number: usize| {
        picker.offer(Some(&due(&format!("m{number:06}"), "x@dead.test", NORMAL)), now)
    };
    let mut seen = nothing();
    let mut looks = Vec::new();
    for look in 0..20 {
        seen.1 = true;
        if look == 10 {
            seen.0.values_mut().for_each(Sight::begin_again);
        }
        let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nobody(), seen);
        let (mut number, mut rows) = (0, 0);
        while number < 5000 {
            rows += 1;
            match offer(&mut picker, number) {
                Further::Next => number += 1,
                Further::From(spot) if spot == Spot::FIRST => number = 0,
                Further::From(spot) => number = spot.message.trim_start_matches('m').parse().unwrap_or(5000),
                Further::Newest | Further::Oldest => {}
                Further::NextOrigin => break,
            }
        }
        assert_eq!(picker.offer(None, now), Further::Next);
        looks.push(rows);
        seen = (picker.end(now).0, true);
    }
    assert!(looks.iter().all(|rows| *rows <= 4000), "{looks:?}");
    assert!(looks[10] >= 2000 && looks[19] < 200, "{looks:?}");
}

#[test]
fn who_is_met_twice_in_one_look_is_counted_once() {
    let routes = Routes::new(&RelayConfig::default());
    let now = NOW + SignedDuration::from_hours(1);
    let two = |number: usize| ["a@dead.test", "b@dead.test"].map(|to| (format!("m{number:03}"), to));
    let rows: Vec<(String, &str)> = (0..MAX_PICKED_OF_ONE + 6).flat_map(two).collect();
    let look = |picker: &mut Picker<'_>| {
        let mut place = 0;
        loop {
            let row = rows.get(place).map(|(message, recipient)| due(message, recipient, NORMAL));
            match picker.offer(row.as_ref(), now) {
                Further::Next if row.is_none() => return,
                Further::Next => place += 1,
                Further::From(spot) => {
                    let is_there =
                        |(message, _): &(String, &str)| (NOW, message) >= (spot.since, &spot.message);
                    place = rows.iter().position(is_there).unwrap_or(rows.len());
                }
                Further::Newest => {}
                further @ (Further::Oldest | Further::NextOrigin) => panic!("{further:?}"),
            }
        }
    };
    let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nobody(), nothing());
    look(&mut picker);
    let busy = picker.picked.iter().map(Piece::key).collect();
    let (mut seen, _) = known(&mut picker, now);
    // What was left has its turn, and then all is gone through.
    seen.values_mut().for_each(Sight::begin_again);
    let mut picker = Picker::new(&routes, [], busy, &[], nobody(), (seen, true));
    look(&mut picker);
    let left = (MAX_PICKED_OF_ONE..MAX_PICKED_OF_ONE + 6).map(|number| format!("m{number:03}"));
    assert_eq!(ids(&picker.picked), left.collect::<Vec<_>>());
    assert!(picker.picked.iter().all(|piece| piece.recipients == 2), "{:?}", picker.picked);
}
