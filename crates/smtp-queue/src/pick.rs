//! What of the queue is tried next: a message's recipients at one destination at a time. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mail_types::{Address, Domain};

use crate::destinations::Proven;
use crate::routes::{Destination, Routes, Way};
use crate::{Priority, QueueId};

/// What one delivery is about: the recipients of one message that are at one destination.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) id: QueueId,
    pub(crate) destination: Destination,
    pub(crate) priority: Priority,
    /// Whose mail it is.
    pub(crate) origin: Arc<str>,
    /// How many of them were seen to be due.
    pub(crate) recipients: usize,
    /// It passes a backlog that waits for destinations that have not answered lately, being of what is due last.
    pub(crate) is_passing: bool,
}

/// By which a piece is known: not how much was seen of it.
pub(crate) type Key = (QueueId, Destination);

impl Piece {
    pub(crate) fn key(&self) -> Key {
        (self.id.clone(), self.destination.clone())
    }

    pub(crate) fn lane(&self) -> Lane {
        (self.destination.clone(), self.priority, Arc::clone(&self.origin))
    }
}

/// What takes turns with others: the mail of one origin to one destination, of one priority.
pub(crate) type Lane = (Destination, Priority, Arc<str>);

/// A recipient that is due, as the index has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due<'a> {
    pub(crate) message: &'a str,
    /// The reverse path; empty for `<>`.
    pub(crate) sender: &'a str,
    /// Whose mail it is; empty for what comes of others'.
    pub(crate) origin: &'a str,
    pub(crate) recipient: &'a str,
    /// That an operator chose.
    pub(crate) next_hop: Option<&'a str>,
    pub(crate) priority: Priority,
    /// Since when.
    pub(crate) since: Timestamp,
    /// It is one of those that are due last: after [`Further::Newest`].
    pub(crate) is_newest: bool,
}

/// How a look goes on behind a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Further {
    /// With the one behind it.
    Next,
    /// With what is due only after this moment.
    After(Timestamp),
    /// With what is due last of this origin, and then those before it.
    Newest,
    /// With what is due first of this origin.
    Oldest,
    /// With the next origin.
    NextOrigin,
}

/// What earlier looks have seen, by priority and origin: so a look goes past a backlog without reading it.
pub(crate) type Seen = HashMap<(Priority, Arc<str>), Sight>;

/// What earlier looks have seen of what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// What is due since then, or longer, is under way or was picked, but for what was left.
    until: Timestamp,
    /// Of what is for destinations that have not answered lately there was more than may wait.
    pub(crate) has_more: bool,
}

/// What was queued so long ago is certainly in the database by now.
const MARGIN: Duration = Duration::from_secs(2);

/// Pieces of one origin and priority found at one look at the queue, and of them as many for one destination, so that those behind are seen
/// too.
pub(crate) const MAX_PICKED: usize = 256;
pub(crate) const MAX_PICKED_OF_ONE: usize = 64;
/// Pieces of one origin and priority that may wait for destinations that have not answered lately; so no backlog of these hides what waits
/// for others.
pub(crate) const MAX_UNPROVEN: usize = 128;
/// How many recipients of such a backlog are looked at in one look, from either end.
const MAX_PASSED: usize = 300;

/// Chooses among what is due.
#[derive(Debug)]
pub(crate) struct Picker<'a> {
    routes: &'a Routes,
    /// Our domains.
    here: HashSet<Domain>,
    /// Under way, or about to be.
    busy: HashSet<Key>,
    /// Destinations by sender, where that matters, and domain, as far as they were met in what is looked at.
    known: HashMap<String, HashMap<String, Destination>>,
    counts: HashMap<Lane, usize>,
    /// Who has answered lately, at this moment.
    proven: (Proven, Instant),
    /// How many may wait and pass the backlog of those that have not.
    most_passing: usize,
    /// What waits for those that have not, of each priority and origin: in its order, and passing.
    unproven: HashMap<(Priority, Arc<str>, bool), usize>,
    /// For how many of them something waits.
    crowds: HashMap<(Priority, Arc<str>), usize>,
    /// Whose mail is looked at.
    turn: Turn,
    seen: Seen,
    /// Of which the look before left more than it took.
    left_before: HashSet<Lane>,
    places: HashMap<Key, usize>,
    pub(crate) picked: Vec<Piece>,
    /// Of which more is due than was picked.
    pub(crate) left: HashSet<Lane>,
    /// There is more that was not looked at.
    pub(crate) is_cut: bool,
}

/// The mail of one priority and origin, as far as it was looked at.
#[derive(Debug)]
struct Turn {
    priority: Priority,
    origin: Arc<str>,
    picked: usize,
    /// Recipients that were looked at behind what may wait, and of the last ones.
    passed: usize,
    newest: usize,
    /// The last ones were looked at.
    is_turned: bool,
    is_cut: bool,
    /// What the look began with.
    sight: Option<Sight>,
    /// Since when the last one is due that was looked at.
    last: Timestamp,
    /// More of the backlog may wait.
    lacks_unproven: bool,
    /// Of the backlog what is due since then or longer; what has just come would wait behind it. `None` where there is none.
    waits_since: Option<Timestamp>,
    has_more: bool,
    /// Of what was left before, what is not taken up yet.
    unfilled: HashSet<Lane>,
}

impl Turn {
    /// Before the first one.
    fn nobodys() -> Self {
        Self {
            priority: Priority::NORMAL,
            origin: Arc::from(""),
            picked: 0,
            passed: 0,
            newest: 0,
            is_turned: true,
            is_cut: true,
            sight: None,
            last: Timestamp::MIN,
            lacks_unproven: false,
            waits_since: None,
            has_more: false,
            unfilled: HashSet::new(),
        }
    }

    /// Nothing is missing of what earlier looks have seen.
    fn is_filled(&self) -> bool {
        self.unfilled.is_empty() && !self.lacks_unproven
    }

    /// More is due than may wait.
    fn pass(&mut self, is_passing: bool) {
        self.has_more = true;
        if !is_passing {
            self.passed += 1;
            self.lacks_unproven = false;
        }
    }

    /// What is next instead of this one: where there is a backlog, what is due last has its turn before what is due first; and of either enough
    /// was looked at for now. What is due since the same moment is seen as a whole.
    fn detour(&mut self, due: &Due<'_>) -> Option<Further> {
        if due.is_newest {
            self.newest += 1;
            return (self.picked >= MAX_PICKED || self.newest > MAX_PASSED).then_some(Further::Oldest);
        }
        if !std::mem::replace(&mut self.is_turned, true) {
            return Some(Further::Newest);
        }
        if due.since > self.last && (self.picked >= MAX_PICKED || self.passed > MAX_PASSED) {
            self.is_cut = true;
            return Some(Further::NextOrigin);
        }
        self.last = due.since;
        None
    }
}

impl<'a> Picker<'a> {
    /// `waiting` are pieces picked before and not begun; `left` is what the look before left.
    pub(crate) fn new(
        routes: &'a Routes,
        here: impl IntoIterator<Item = Domain>,
        busy: HashSet<Key>,
        waiting: &[Piece],
        (proven, most_passing): ((Proven, Instant), usize),
        (seen, left): (Seen, HashSet<Lane>),
    ) -> Self {
        let (mut counts, mut unproven, mut crowds) = (HashMap::new(), HashMap::new(), HashMap::new());
        for piece in waiting {
            let count: &mut usize = counts.entry(piece.lane()).or_default();
            *count += 1;
            if !proven.0.contains(&piece.destination, proven.1) {
                let turn = (piece.priority, Arc::clone(&piece.origin), piece.is_passing);
                *unproven.entry(turn).or_default() += 1;
                let crowd = crowds.entry((piece.priority, Arc::clone(&piece.origin))).or_default();
                *crowd += usize::from(*count == 1);
            }
        }
        Self {
            routes,
            here: here.into_iter().collect(),
            busy,
            known: HashMap::new(),
            counts,
            proven,
            most_passing,
            unproven,
            crowds,
            turn: Turn::nobodys(),
            seen,
            left_before: left,
            places: HashMap::new(),
            picked: Vec::new(),
            left: HashSet::new(),
            is_cut: false,
        }
    }

    /// Looks at a recipient that is due: those of the highest priority first, of them those of one origin after the other's, and of these the
    /// longest due. `now` is when the look began.
    pub(crate) fn offer(&mut self, due: &Due<'_>, now: Timestamp) -> Further {
        if *self.turn.origin != *due.origin || self.turn.priority != due.priority {
            self.end_turn(now);
            self.begin_turn(due);
        }
        if let Some(further) = self.turn.detour(due) {
            self.is_cut |= self.turn.is_cut;
            return further;
        }
        let piece = Piece {
            id: QueueId(due.message.to_owned()),
            destination: self.destination(due),
            priority: due.priority,
            origin: Arc::clone(&self.turn.origin),
            recipients: 1,
            is_passing: due.is_newest,
        };
        let may_wait = self.turn.waits_since.is_none_or(|moment| due.since <= moment);
        self.take(piece, may_wait);
        match self.turn.sight {
            Some(sight) if self.turn.is_filled() && !due.is_newest => Further::After(sight.until),
            Some(_) | None => Further::Next,
        }
    }

    /// What is known for the next look: up to when all was seen, and what was left.
    pub(crate) fn end(&mut self, now: Timestamp) -> (Seen, HashSet<Lane>) {
        self.end_turn(now);
        (std::mem::take(&mut self.seen), std::mem::take(&mut self.left))
    }

    fn begin_turn(&mut self, due: &Due<'_>) {
        let origin: Arc<str> = Arc::from(due.origin);
        let is_his = |lane: &&Lane| lane.1 == due.priority && lane.2 == origin;
        let before: Vec<Lane> = self.left_before.iter().filter(is_his).cloned().collect();
        let is_unfilled = |lane: &&Lane| self.counts.get(*lane).is_none_or(|it| *it < MAX_PICKED_OF_ONE);
        let unfilled = before.iter().filter(is_unfilled).cloned().collect();
        // What is gone past without a look is left.
        let sight = self.seen.get(&(due.priority, Arc::clone(&origin))).copied();
        self.left.extend(before.into_iter().filter(|_| sight.is_some()));
        let waiting =
            self.unproven.get(&(due.priority, Arc::clone(&origin), false)).copied().unwrap_or_default();
        let has_more = sight.is_some_and(|it| it.has_more);
        let lacks_unproven = has_more && waiting < MAX_UNPROVEN / 2;
        let crowd = self.crowds.get(&(due.priority, Arc::clone(&origin))).copied().unwrap_or_default();
        let is_backlog = has_more || crowd >= 2 * self.most_passing;
        let seen = sight.filter(|_| lacks_unproven).map_or(Timestamp::MIN, |it| it.until);
        self.turn = Turn {
            priority: due.priority,
            origin,
            is_cut: false,
            unfilled,
            sight,
            lacks_unproven,
            waits_since: is_backlog.then_some(seen),
            has_more,
            is_turned: !is_backlog,
            ..Turn::nobodys()
        };
        // Who sends matters for routes and schedules.
        self.known.clear();
    }

    fn end_turn(&mut self, now: Timestamp) {
        let Turn { is_cut, last, sight, lacks_unproven, .. } = self.turn;
        if last == Timestamp::MIN {
            // Nothing was looked at.
            return;
        }
        let mut until = now.checked_sub(MARGIN).unwrap_or(now);
        if is_cut {
            until = until.min(last).max(sight.map_or(Timestamp::MIN, |it| it.until));
        } else {
            // All that was left before and not taken up was looked for, and there is no more of it.
            for lane in &self.turn.unfilled {
                self.left.remove(lane);
            }
        }
        let has_more = self.turn.has_more && (is_cut || !lacks_unproven);
        self.seen.insert((self.turn.priority, Arc::clone(&self.turn.origin)), Sight { until, has_more });
    }

    fn take(&mut self, piece: Piece, may_wait: bool) {
        let key = piece.key();
        if let Some(known) = self.places.get(&key).and_then(|place| self.picked.get_mut(*place)) {
            // What was seen from one end is met again from the other.
            known.recipients += usize::from(known.is_passing == piece.is_passing);
            return;
        }
        if self.busy.contains(&key) {
            return;
        }
        let count = self.counts.entry(piece.lane()).or_default();
        if *count >= MAX_PICKED_OF_ONE {
            self.left.insert(piece.lane());
            return;
        }
        if !self.proven.0.contains(&piece.destination, self.proven.1) {
            let most = match piece.is_passing {
                true => self.most_passing,
                false if may_wait => MAX_UNPROVEN,
                false => 0,
            };
            let turn = (piece.priority, Arc::clone(&piece.origin), piece.is_passing);
            let waiting = self.unproven.entry(turn).or_default();
            if *waiting >= most {
                self.turn.pass(piece.is_passing);
                return;
            }
            *waiting += 1;
        }
        *count += 1;
        if *count == MAX_PICKED_OF_ONE {
            self.turn.unfilled.remove(&piece.lane());
        }
        self.turn.picked += 1;
        self.places.insert(key, self.picked.len());
        self.picked.push(piece);
    }

    fn destination(&mut self, due: &Due<'_>) -> Destination {
        let Due { sender, recipient, next_hop, .. } = *due;
        // Few are: they are looked at anew each time.
        if next_hop.is_some() {
            return self.destination_of(due, sender);
        }
        let sender = if self.routes.look_at_senders() { sender } else { "" };
        let domain = recipient.rsplit_once('@').map_or(recipient, |(_, domain)| domain);
        if let Some(known) = self.known.get(sender).and_then(|known| known.get(domain)) {
            return known.clone();
        }
        let destination = self.destination_of(due, sender);
        self.known.entry(sender.to_owned()).or_default().insert(domain.to_owned(), destination.clone());
        destination
    }

    /// What can't be read is told as any failure of a local delivery is.
    fn destination_of(&self, due: &Due<'_>, sender: &str) -> Destination {
        match due.recipient.parse::<Address>() {
            Ok(address) if !self.here.contains(address.domain()) => {
                let (sender, next_hop) = (sender.parse().ok(), due.next_hop.and_then(|it| it.parse().ok()));
                self.routes.by(sender.as_ref(), due.origin, address.domain(), next_hop.as_ref())
            }
            Ok(_) | Err(_) => Way::Here.into(),
        }
    }
}

/// Puts what waits in the order in which it is begun: the highest priority first, of it one of each origin in turn, who has fewer `active`
/// deliveries before who has more; what passes a backlog takes turns with it.
pub(crate) fn in_turn(waiting: &mut [Piece], active: &HashMap<Arc<str>, usize>) {
    let mut before: HashMap<(Priority, Arc<str>, bool), usize> = HashMap::new();
    let turn = |piece: &Piece| {
        let of_origin = || active.get(&piece.origin).copied().unwrap_or_default();
        let turn = (piece.priority, Arc::clone(&piece.origin), piece.is_passing);
        let count = before.entry(turn).or_insert_with(of_origin);
        *count += 1;
        *count
    };
    let turns: Vec<usize> = waiting.iter().map(turn).collect();
    let mut order: Vec<(Piece, usize)> = waiting.iter().cloned().zip(turns).collect();
    order.sort_by_key(|(piece, turn)| (std::cmp::Reverse(piece.priority), *turn));
    for (place, (piece, _)) in waiting.iter_mut().zip(order) {
        *place = piece;
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use mail_config::RelayConfig;

    use super::*;

    const NORMAL: Priority = Priority::NORMAL;
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// Nobody has answered yet.
    fn nobody() -> ((Proven, Instant), usize) {
        ((Proven::default(), Instant::now()), PASSING)
    }

    const PASSING: usize = 20;

    /// The first look.
    fn nothing() -> (Seen, HashSet<Lane>) {
        (Seen::new(), HashSet::new())
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
        for number in 0..10_000 {
            assert_eq!(
                picker.offer(&due(&format!("m{number}"), "bob@dead.test", NORMAL), NOW),
                Further::Next
            );
        }
        for recipient in ["eve@live.test", "mallory@LIVE.test", "alice@example.org"] {
            assert_eq!(picker.offer(&due("m1", recipient, NORMAL), NOW), Further::Next);
        }
        let behind = &picker.picked[MAX_PICKED_OF_ONE..];
        let found: Vec<_> = behind.iter().map(|it| (&it.destination, it.recipients)).collect();
        assert_eq!(found, [(&mail_hosts("live.test"), 2), (&Way::Here.into(), 1)]);
        assert_eq!(
            picker.left,
            HashSet::from([piece("", &mail_hosts("dead.test"), NORMAL, "carol@example.org").lane()])
        );
    }

    #[test]
    fn who_sends_to_very_many_leaves_the_others_their_turn() {
        let routes = Routes::new(&RelayConfig::default());
        let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nobody(), nothing());
        // Long due already.
        let now = NOW + SignedDuration::from_hours(1);
        let many = |picker: &mut Picker<'_>, number: usize, is_newest| {
            let (message, recipient) = (format!("m{number}"), format!("x@d{number}.test"));
            let since = NOW + SignedDuration::from_millis(i64::try_from(number).unwrap());
            let due = due_of("many@example.org", &message, &recipient, NORMAL);
            picker.offer(&Due { since, is_newest, ..due }, now)
        };
        let first = (0..10_000).map(|it| many(&mut picker, it, false));
        assert_eq!(first.take_while(|it| *it == Further::Next).count(), MAX_UNPROVEN + MAX_PASSED + 1);
        assert_eq!(picker.picked.len(), MAX_UNPROVEN);
        assert_eq!(picker.offer(&due_of("one@example.org", "one", "x@d1.test", NORMAL), now), Further::Next);
        assert!(picker.is_cut && picker.picked.len() == MAX_UNPROVEN + 1);
        // At the next look what is due last may pass.
        let (waiting, known) = (std::mem::take(&mut picker.picked), picker.end(now));
        let mut picker = Picker::new(&routes, [], HashSet::new(), &waiting, nobody(), known);
        assert_eq!(many(&mut picker, 0, false), Further::Newest);
        let last = (0..10_000).rev().map(|it| many(&mut picker, it, true));
        assert_eq!(last.take_while(|it| *it == Further::Next).count(), MAX_PASSED);
        let seen = NOW + SignedDuration::from_millis(428);
        assert_eq!(many(&mut picker, 0, false), Further::After(seen), "what waits is not looked at again");
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
        assert_eq!(picker.offer(&due("urgent", "a@x.test", "3".parse().unwrap()), NOW), Further::Next);
        assert_eq!(picker.offer(&due("usual", "a@x.test", NORMAL), NOW), Further::Next);
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
            assert_eq!(picker.offer(&due(message, recipient, NORMAL), NOW), Further::Next);
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
            assert_eq!(picker.offer(&due, NOW), Further::Next);
        }
        let found: Vec<_> = picker.picked.iter().map(|it| it.destination.way.clone()).collect();
        let hop = Way::Host("other.test:26".parse().unwrap());
        assert_eq!(found, [Way::MailHosts("x.test".parse().unwrap()), hop, Way::Here]);
    }

    /// What a look takes must not grow with what waits for a destination that takes no more.
    #[test]
    fn a_backlog_that_was_seen_is_gone_past_until_it_is_used_up() {
        let routes = Routes::new(&RelayConfig::default());
        let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nobody(), nothing());
        for number in 0..200 {
            assert_eq!(picker.offer(&due(&format!("m{number}"), "x@dead.test", NORMAL), NOW), Further::Next);
        }
        let (picked, known) = (std::mem::take(&mut picker.picked), picker.end(NOW));
        let seen = NOW.checked_sub(MARGIN).unwrap();
        let mut picker = Picker::new(&routes, [], HashSet::new(), &picked, nobody(), known);
        assert_eq!(picker.offer(&due("m100", "x@dead.test", NORMAL), NOW), Further::After(seen));
        assert_eq!(picker.offer(&due("new", "x@live.test", NORMAL), NOW), Further::After(seen));
        assert_eq!(ids(&picker.picked), ["new"]);
        let known = picker.end(NOW);
        assert_eq!(known.1, HashSet::from([picked[0].lane()]), "more of it is known to be there");

        let mut picker = Picker::new(&routes, [], HashSet::new(), &[], nobody(), known);
        let mut goes_past = |number: usize| {
            let message = format!("m{number}");
            picker.offer(&due(&message, "x@dead.test", NORMAL), NOW) == Further::After(seen)
        };
        assert_eq!((64..200).take_while(|number| !goes_past(*number)).count(), MAX_PICKED_OF_ONE - 1);
    }
}
