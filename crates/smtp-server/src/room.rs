//! Whether the disk has room for a message of the size that its sender declares. RFC 1870 §6.1.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mail_config::Config;
use server_core::free_on_disk;
use smtp_proto::Reply;
use tracing::{error, warn};

use crate::blocking::blocking;
use crate::connection::Dialogue;
use crate::incoming::full;

/// For how long a look at the disks counts.
const FRESH: Duration = Duration::from_secs(5);

/// What is free where messages are stored, looked at once in a while.
#[derive(Debug)]
pub(crate) struct Room {
    folders: [PathBuf; 2],
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

impl Room {
    pub(crate) fn new(config: &Config) -> Self {
        Self { folders: [config.mail_dir(), config.queue_dir()], seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The octets that were free a moment ago; `None` if who asks is to look. Only one does at a time, once there was a first look.
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

    /// The octets that are free where there is most. What can't be found out holds up nobody. Blocks.
    fn look(&self, now: Instant) -> u64 {
        let free = |folder: &PathBuf| {
            free_on_disk(folder).unwrap_or_else(|error| {
                error!(folder = %folder.display(), %error, "the room on the disk can't be found out");
                u64::MAX
            })
        };
        let octets = self.folders.iter().map(free).max().unwrap_or(u64::MAX);
        *self.seen() = Some(Seen { at: now, octets, is_told: false });
        octets
    }
}

impl Dialogue {
    /// The reply to MAIL: a refusal where the message is larger than what is free.
    pub(crate) async fn check_room(&mut self, reply: Reply) -> Reply {
        let Some(size) = self.session.declared_size().filter(|_| !reply.is_negative()) else { return reply };
        let now = Instant::now();
        let free = match self.shared.room.known(now) {
            Some(free) => free,
            None => {
                let room = Arc::clone(&self.shared.room);
                Box::pin(blocking(move || room.look(now))).await.unwrap_or(u64::MAX)
            }
        };
        if size <= free {
            return reply;
        }
        if self.shared.room.is_news() {
            warn!(size, free, "the disk has no room for a message");
        }
        self.session.reset();
        full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_looks_and_all_know_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned(), folder.path().to_owned()];
        let (room, now) = (Room { folders, seen: Mutex::default() }, Instant::now());
        assert_eq!(room.known(now), None);
        let free = room.look(now);
        assert!(0 < free && free < u64::MAX, "{free}");
        assert_eq!(room.known(now + FRESH / 2), Some(free));
        assert_eq!(room.known(now + FRESH), None);
        assert_eq!(room.known(now + FRESH), Some(free), "somebody looks already");
    }

    #[test]
    fn that_there_is_no_room_is_told_once_for_each_look() {
        let folders = [PathBuf::from("/nowhere"), PathBuf::from("/nowhere")];
        let room = Room { folders, seen: Mutex::default() };
        for _ in 0..2 {
            room.look(Instant::now());
            assert_eq!([(); 3].map(|()| room.is_news()), [true, false, false]);
        }
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_up_nobody() {
        let folders = [PathBuf::from("/nowhere"), PathBuf::from("/nowhere")];
        assert_eq!(Room { folders, seen: Mutex::default() }.look(Instant::now()), u64::MAX);
    }
}
