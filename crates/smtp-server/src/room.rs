//! Whether the disk has room for a message, of the size that its sender declares. RFC 1870 §6.1.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use disk_room::Room;
use mail_config::Config;
use smtp_proto::Reply;
use tracing::{error, warn};

use crate::blocking::blocking;
use crate::connection::Dialogue;
use crate::incoming::full;

/// For how long a look at the disks counts.
const FRESH: Duration = Duration::from_secs(5);

/// What mail may take where messages are stored, looked at once in a while: what is written is admitted by another look.
#[derive(Debug)]
pub(crate) struct Rooms {
    rooms: [Room; 2],
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    /// When a look has begun.
    at: Instant,
    /// What the last one found.
    octets: u64,
    /// The operator was told that this is too little.
    is_told: bool,
}

impl Rooms {
    pub(crate) fn new(config: &Config) -> Self {
        Self { rooms: config.rooms(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The octets that mail could take a moment ago; `None` if who asks is to look. Only one does at a time, once there was a first look.
    fn known(&self, now: Instant) -> Option<u64> {
        let mut seen = self.seen();
        let seen = seen.as_mut()?;
        if now.saturating_duration_since(seen.at) < FRESH {
            return Some(seen.octets);
        }
        seen.at = now;
        None
    }

    /// True once for each look: of every message the log need not say it.
    fn is_news(&self) -> bool {
        self.seen().as_mut().is_some_and(|seen| !std::mem::replace(&mut seen.is_told, true))
    }

    /// The octets that mail may take where these are most. What can't be found out holds up nobody. Blocks.
    fn look(&self, now: Instant) -> u64 {
        let room = |room: &Room| {
            room.for_mail().unwrap_or_else(|error: io::Error| {
                error!(folder = %room.folder().display(), %error, "the room on the disk can't be found out");
                u64::MAX
            })
        };
        let octets = self.rooms.iter().map(room).max().unwrap_or(u64::MAX);
        *self.seen() = Some(Seen { at: now, octets, is_told: octets == 0 });
        octets
    }
}

impl Dialogue {
    /// The reply to MAIL: a refusal where the disk has no room for mail, or the message is larger than that.
    pub(crate) async fn check_room(&mut self, reply: Reply) -> Reply {
        if reply.is_negative() {
            return reply;
        }
        let size = self.session.declared_size().unwrap_or_default();
        let now = Instant::now();
        let room = match self.shared.rooms.known(now) {
            Some(room) => room,
            None => {
                let rooms = Arc::clone(&self.shared.rooms);
                Box::pin(blocking(move || rooms.look(now))).await.unwrap_or(u64::MAX)
            }
        };
        if size <= room && room > 0 {
            return reply;
        }
        if self.shared.rooms.is_news() {
            warn!(size, room, "the disk has no room for a message");
        }
        self.session.reset();
        full()
    }
}

#[cfg(test)]
mod tests {
    use disk_room::MinFree;

    use super::*;

    fn rooms(folder: &str, min_free: MinFree) -> Rooms {
        let rooms = [(); 2].map(|()| Room::new(folder.into(), min_free));
        Rooms { rooms, seen: Mutex::default() }
    }

    #[test]
    fn one_looks_and_all_know_for_a_while() {
        let (rooms, now) = (rooms("/", MinFree::octets(1)), Instant::now());
        assert_eq!(rooms.known(now), None);
        let room = rooms.look(now);
        assert!(0 < room && room < u64::MAX, "{room}");
        assert_eq!(rooms.known(now + FRESH / 2), Some(room));
        assert_eq!(rooms.known(now + FRESH), None);
        assert_eq!(rooms.known(now + FRESH), Some(room), "somebody looks already");
    }

    #[test]
    fn that_there_is_too_little_room_is_told_once_for_each_look_and_that_there_is_none_by_the_room() {
        let told = |folder, min_free| {
            let rooms = rooms(folder, min_free);
            rooms.look(Instant::now());
            [(); 3].map(|()| rooms.is_news())
        };
        assert_eq!(told("/nowhere", MinFree::default()), [true, false, false]);
        assert_eq!(told("/", MinFree::octets(u64::MAX)), [false; 3]);
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_up_nobody() {
        assert_eq!(rooms("/nowhere", MinFree::default()).look(Instant::now()), u64::MAX);
    }
}
